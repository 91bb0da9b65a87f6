"""POST /predict with a file: any number of samples as CSV, JSON lines, Parquet or Arrow, answered in parts.

The answer is written to a file before the first of it is sent, so that a fault anywhere is a 422, in memory that does
not grow with the file.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
import polars as pl
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Scope

from service.api.access import needs
from service.api.dependencies import TheDatabase, TheSettings, refuse_unknown_query
from service.api.intakes import Workspace
from service.api.model_cache import ModelCache
from service.api.predict import ANSWERS, ARROW, CSV, JSON, JSON_LINES, N_WARNINGS
from service.api.predicting import outcomes, warnings_of
from service.api.preference import preferred
from service.api.references import Reference
from service.api.uploads import receive
from service.data.labels import label_array, label_keys
from service.data.samples import features_of_file
from service.files import MEDIA_TYPES
from service.ranges import Unfamiliar, joined, unfamiliar
from service.store.models import TrainedModel
from service.store.space import disk

PATH = "/predict"
SENT_BYTES = 2**18


def is_file(scope: Scope) -> bool:
    """Tell whether a request brings a file of samples, by its media type."""
    if scope["path"] != PATH or scope.get("method") != "POST":
        return False
    return Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower() in MEDIA_TYPES


class FileRoute(APIRoute):
    """A route for bodies that are files."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Leave other bodies to the route of the same path."""
        return super().matches(scope) if is_file(scope) else (Match.NONE, {})


router = APIRouter(route_class=FileRoute)


@router.post(PATH, include_in_schema=False, dependencies=[Depends(refuse_unknown_query)])
@needs("read")
async def predict_file(
    request: Request,
    database: TheDatabase,
    settings: TheSettings,
    workspace: Workspace,
    model: Annotated[Reference, Query()],
) -> Response:
    """Predict for all samples of a file; described with the other bodies of POST /predict."""
    cache: ModelCache = request.app.state.models
    trained = await cache.find(database, model)
    try:
        upload = await receive(request, workspace / "samples", settings.max_upload_bytes, disk(settings), None)
    except ClientDisconnect:
        return Response(status_code=400)  # which goes nowhere
    media_type = preferred(request, ANSWERS)

    def answer() -> tuple[BinaryIO, bytes, int]:
        parts, warnings = workspace / "parts", list[Unfamiliar]()
        parts.mkdir()
        first = 0
        found = features_of_file(trained.schema, upload.path, upload.format, settings.max_upload_bytes)
        for number, features in enumerate(found):
            _part(trained, features, first).write_ipc(parts / f"{number:05}.arrow", compression="uncompressed")
            if trained.ranges is not None:
                warnings = joined(warnings, unfamiliar(trained.ranges, trained.schema, features), first)
            first += len(features)
        content = _written(trained, sorted(parts.iterdir()), media_type, warnings, workspace / "answer")
        return content, content.read(SENT_BYTES), len(warnings)

    content, start, n_warnings = await run_in_threadpool(answer)
    headers = {"Vary": "Accept", N_WARNINGS: str(n_warnings)}
    return StreamingResponse(_sent(start, content), media_type=media_type, headers=headers)


def _part(trained: TrainedModel, features: Any, first: int) -> pl.DataFrame:
    """Give the predictions of a part as columns; those of a classifier are codes."""
    found = outcomes(trained, features, first)
    values = found.values if found.values.ndim == 2 else found.values[:, None]
    names = ["prediction"]
    if values.shape[1] > 1:
        names = [f"prediction_{name}" for name in trained.schema.target_names]
    columns = {name: np.ascontiguousarray(column) for name, column in zip(names, values.T, strict=True)}
    if found.probabilities is not None:
        keys = label_keys(trained.schema.classes or ())
        columns |= {
            f"probability_{key}": column.copy() for key, column in zip(keys, found.probabilities.T, strict=True)
        }
    return pl.DataFrame(columns)


def _written(
    trained: TrainedModel, parts: list[Path], media_type: str, warnings: list[Unfamiliar], path: Path
) -> BinaryIO:
    """Write the answer, and give its file to be read, which lasts as long as it is open."""
    if media_type == JSON:
        with path.open("wb") as file:
            for piece in _json(trained, parts, warnings):
                file.write(piece)
        return path.open("rb")
    if media_type == ARROW and len(parts) == 1 and trained.schema.classes is None:
        return parts[0].open("rb")
    frame = pl.scan_ipc(parts, glob=False, hive_partitioning=False)
    if trained.schema.classes is not None:
        labels = pl.Series(label_array(trained.schema.classes).tolist())
        codes = pl.col("prediction").cast(pl.Int64)
        frame = frame.with_columns(codes.replace_strict(list(range(len(labels))), labels, return_dtype=labels.dtype))
    if media_type == CSV:
        frame.sink_csv(path)
    elif media_type == JSON_LINES:
        frame.sink_ndjson(path)
    else:
        frame.sink_ipc(path, compression="uncompressed")
    return path.open("rb")


def _json(trained: TrainedModel, parts: list[Path], warnings: list[Unfamiliar]) -> Iterator[bytes]:
    """Write a `Prediction`, part by part."""
    classes = trained.schema.classes
    yield b'{"model":%s,"version":%d,"predictions":[' % (to_json(trained.model), trained.version)
    for number, part in enumerate(parts):
        frame = pl.read_ipc(part).select(pl.col("^prediction.*$"))
        values: list[Any] = frame.to_series().to_list() if frame.width == 1 else [list(row) for row in frame.rows()]
        if classes is not None:
            values = [classes[int(code)] for code in values]
        yield (b"," if number else b"") + to_json(values)[1:-1]
    yield b"]"
    if classes is not None:
        keys = label_keys(classes)
        yield b',"probabilities":['
        for number, part in enumerate(parts):
            rows = pl.read_ipc(part).select(pl.exclude("prediction")).rows()
            yield (b"," if number else b"") + to_json([dict(zip(keys, row, strict=True)) for row in rows])[1:-1]
        yield b"]"
    if warnings:
        yield b',"warnings":' + to_json(warnings_of(warnings))
    yield b"}"


async def _sent(start: bytes, file: BinaryIO) -> AsyncIterator[bytes]:
    """Send what was read of a file, and what a thread reads of it after that."""
    with file:
        yield start
        n_read = len(start)
        while n_read == SENT_BYTES:
            piece = await run_in_threadpool(file.read, SENT_BYTES)
            yield piece
            n_read = len(piece)
