"""POST /predict with a file: any number of samples as CSV, JSON lines, Parquet or Arrow, answered in parts.

The whole answer is written before the first of it is sent, so that a fault anywhere is a 422, and what is large is
written to files, so that the memory does not grow with it.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import cache, partial
from io import BytesIO
from operator import add
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
import polars as pl
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Scope

from service.api.access import needs
from service.api.dependencies import TheDatabase, TheSettings, refuse_unknown_query
from service.api.long_answers import sent
from service.api.model_cache import ModelCache
from service.api.predict import ANSWERED_BY, ANSWERS, ARROW, CSV, JSON, JSON_LINES, N_WARNINGS
from service.api.predicting import outcomes, warnings_of
from service.api.preference import preferred
from service.api.routes import LateRoute
from service.api.upload_options import SamplesOptions, in_query, options_of
from service.api.uploads import receive
from service.data.arrow_files import file_of
from service.data.batches import scan_file
from service.data.labels import label_array, label_keys
from service.data.samples import features_of_file
from service.errors import InvalidFeatures, InvalidRequest
from service.files import MEDIA_TYPES
from service.ranges import Unfamiliar, joined, unfamiliar
from service.room import Content, Spool
from service.settings import Settings
from service.store import folders
from service.store.models import TrainedModel
from service.store.space import disk

PATH = "/predict"
SENT_BYTES = 2**18
MOST_BYTES_IN_MEMORY = 2**22
"""A file, what is said of it, and the answer lie in memory up to so many bytes each; what is more lies in files."""
_ANSWER = "answer"


def is_file(scope: Scope) -> bool:
    """Tell whether a request brings a file of samples, by its media type."""
    if scope["path"] != PATH or scope.get("method") != "POST":
        return False
    return Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower() in MEDIA_TYPES


class FileRoute(LateRoute):
    """A route for bodies that are files."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Leave other bodies to the route of the same path."""
        return super().matches(scope) if is_file(scope) else (Match.NONE, {})


router = APIRouter(route_class=FileRoute)


@asynccontextmanager
async def _folder(settings: Settings) -> AsyncIterator[Callable[[], Path]]:
    """Give what makes a folder to work in when it is first called, in a thread; at the end the folder is gone."""
    at_end = ExitStack()
    make = cache(lambda: at_end.enter_context(folders.workspace(settings)))
    try:
        yield make
    finally:
        if make.cache_info().currsize:
            await run_in_threadpool(at_end.close)


@router.post(PATH, include_in_schema=False, dependencies=[Depends(refuse_unknown_query)])
@needs("read")
async def predict_file(
    request: Request,
    database: TheDatabase,
    settings: TheSettings,
    options: Annotated[SamplesOptions, Query()],
) -> Response:
    """Predict for all samples of a file; described with the other bodies of POST /predict."""
    models: ModelCache = request.app.state.models
    trained = await models.find(database, options.model)
    media_type = preferred(request, ANSWERS)

    def answer() -> tuple[bytes | BinaryIO, int]:
        upload, parts, warnings, first = finish(), _Parts(folder), list[Unfamiliar](), 0
        read = partial(features_of_file, trained.schema, spool.content, upload.format)
        for features in read(options_of(options, upload), settings.max_upload_bytes):
            parts.add(_part(trained, features, first))
            if trained.ranges is not None:
                warnings = joined(warnings, unfamiliar(trained.ranges, trained.schema, features), first)
            first += len(features)
        written = _written(trained, parts, media_type, warnings, folder)
        # A file is opened here, for its folder is gone before it is sent.
        return written if isinstance(written, bytes) else written.open("rb"), len(warnings)

    async with _folder(settings) as folder:
        with Spool(lambda: folder() / "samples", MOST_BYTES_IN_MEMORY) as spool:
            try:
                finish = await receive(request, spool.write, settings.max_upload_bytes, disk(settings), None)
                content, n_warnings = await run_in_threadpool(answer)
            except ClientDisconnect:
                return Response(status_code=400)  # which goes nowhere
            except InvalidRequest as refused:
                raise in_query(options, refused) from None
    headers = {"Vary": "Accept", N_WARNINGS: str(n_warnings), ANSWERED_BY: f"{trained.model}@{trained.version}"}
    if isinstance(content, bytes):
        return Response(content, media_type=media_type, headers=headers)
    return StreamingResponse(sent(content), media_type=media_type, headers=headers)


class _Parts:
    """What a model says of a file, part by part: in memory while it is little, else in files of a folder made then."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._n_bytes = 0
        self.frames: list[pl.DataFrame | pl.LazyFrame] = []

    def add(self, part: pl.DataFrame) -> None:
        """Keep the next part."""
        self._n_bytes += int(part.estimated_size())
        if self._n_bytes <= MOST_BYTES_IN_MEMORY:
            self.frames.append(part)
            return
        path = self._folder() / f"{len(self.frames):05}.arrow"
        part.write_ipc(path, compression="uncompressed")
        self.frames.append(scan_file(path))

    def together(self) -> pl.DataFrame | pl.LazyFrame:
        """Give all parts as one."""
        in_memory = [part for part in self.frames if isinstance(part, pl.DataFrame)]
        is_all = len(in_memory) == len(self.frames)
        return pl.concat(in_memory) if is_all else pl.concat([part.lazy() for part in self.frames])

    def target(self) -> BytesIO | Path:
        """Give where to write all parts together."""
        return BytesIO() if self._n_bytes <= MOST_BYTES_IN_MEMORY else self._folder() / _ANSWER


def _part(trained: TrainedModel, features: Any, first: int) -> pl.DataFrame:
    """Give the predictions of a part as columns; those of a classifier are codes."""
    try:
        found = outcomes(trained, features, first)
    except InvalidFeatures as invalid:
        raise invalid.moved(partial(add, "/rows")) from None
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
    trained: TrainedModel, parts: _Parts, media_type: str, warnings: list[Unfamiliar], folder: Callable[[], Path]
) -> Content:
    """Write the answer."""
    if media_type == JSON:
        with Spool(lambda: folder() / _ANSWER, MOST_BYTES_IN_MEMORY) as spool:
            for piece in _json(trained, parts.frames, warnings):
                spool.write(piece)
        return spool.content
    frame = parts.together()
    if trained.schema.classes is not None:
        labels = pl.Series(label_array(trained.schema.classes).tolist())
        codes = pl.col("prediction").cast(pl.Int64)
        frame = frame.with_columns(codes.replace_strict(list(range(len(labels))), labels, return_dtype=labels.dtype))
    if media_type == ARROW and isinstance(frame, pl.DataFrame):
        return file_of(frame)
    target = parts.target()
    if media_type == CSV:
        frame.lazy().sink_csv(target)
    elif media_type == JSON_LINES:
        frame.lazy().sink_ndjson(target)
    else:
        frame.lazy().sink_ipc(target, compression="uncompressed")
    return target if isinstance(target, Path) else target.getvalue()


def _json(
    trained: TrainedModel, parts: list[pl.DataFrame | pl.LazyFrame], warnings: list[Unfamiliar]
) -> Iterator[bytes]:
    """Write a `Prediction`, part by part."""
    classes = trained.schema.classes
    yield b'{"model":%s,"version":%d,"predictions":[' % (to_json(trained.model), trained.version)
    for number, part in enumerate(parts):
        frame = part.lazy().select(pl.col("^prediction.*$")).collect()
        values: list[Any] = frame.to_series().to_list() if frame.width == 1 else [list(row) for row in frame.rows()]
        if classes is not None:
            values = [classes[int(code)] for code in values]
        yield (b"," if number else b"") + to_json(values)[1:-1]
    yield b"]"
    if classes is not None:
        keys = label_keys(classes)
        yield b',"probabilities":['
        for number, part in enumerate(parts):
            rows = part.lazy().select(pl.exclude("prediction")).collect().rows()
            yield (b"," if number else b"") + to_json([dict(zip(keys, row, strict=True)) for row in rows])[1:-1]
        yield b"]"
    if warnings:
        yield b',"warnings":' + to_json(warnings_of(warnings))
    yield b"}"
