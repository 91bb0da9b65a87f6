"""POST /datasets and /datasets/synthetic: a file or a recipe in, a dataset out."""

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from service.api.dataset_examples import UPLOADED
from service.api.datasets import DatasetResponse, dataset_response
from service.api.dependencies import TheDatabase, TheSettings
from service.api.problems import describe
from service.api.upload_options import DatasetName, UploadOptions, identify
from service.api.uploads import BYTES, FORM, TEXT, receive
from service.data.intake import Intake, take_in
from service.data.reading import ReadingOptions
from service.data.synthetic import SyntheticSpec, synthetic_dataset
from service.data.tables import Table
from service.dataset import id_of_content
from service.errors import InvalidRequest
from service.files import MEDIA_TYPES, Format
from service.settings import Settings
from service.store import datasets, folders
from service.store.database import Database
from service.store.datasets import Origin, StoredDataset
from service.store.space import Space, space

router = APIRouter(prefix="/datasets", tags=["datasets"])

INTAKES_AT_ONCE = 2
"""So many files are read at once, for each takes memory and all processors."""
TABLE = "table"


def _workspace(settings: TheSettings) -> Iterator[Path]:
    with folders.workspace(settings) as folder:
        yield folder


Workspace = Annotated[Path, Depends(_workspace, scope="function")]

_HEADERS = {
    "Location": {"schema": {"type": "string"}, "description": "Where the dataset is.", "example": "/datasets/ds_5b1f0c"}
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": DatasetResponse,
        "description": "The same is here already, as this dataset; nothing was read.",
        "headers": _HEADERS,
    },
    201: {"description": "The dataset, understood and kept.", "headers": _HEADERS},
    **describe(413, 415, 507),
}
_FILE = {"type": "string", "format": "binary"}
_BODY: dict[str, Any] = {
    "required": True,
    "description": "The file. It may be packed by gzip or zstd: a `Content-Encoding` tells it, or the first bytes do. "
    f"Of `{BYTES}` the first bytes, or the ending of `name` or of the file's name, tell what it is. A charset of the "
    "media type is the `encoding`. Dates with a time zone are taken in UTC, and so are their parts.",
    "content": {
        **{media_type: {"schema": _FILE} for media_type in (*MEDIA_TYPES, TEXT, BYTES)},
        "text/csv": {"schema": {"type": "string"}, "example": UPLOADED},
        FORM: {
            "schema": {
                "type": "object",
                "properties": {"file": {**_FILE, "description": "The file, in a part of any name with a filename."}},
                "additionalProperties": {"type": "string", "description": "What the query may say, too."},
            }
        },
    },
}


@router.post(
    "", status_code=201, response_model=DatasetResponse, responses=_ANSWERS, openapi_extra={"requestBody": _BODY}
)
async def upload_dataset(
    request: Request,
    response: Response,
    database: TheDatabase,
    settings: TheSettings,
    workspace: Workspace,
    options: Annotated[UploadOptions, Query()],
) -> Any:
    """Upload a file: it is read, checked and kept as a dataset. The same content read the same way is the same one."""
    available = await run_in_threadpool(_space, database, settings)
    try:
        upload = await receive(request, workspace / "upload", settings.max_upload_bytes, available, options.name)
    except ClientDisconnect:
        return Response(status_code=400)  # which goes nowhere
    said = options.with_fields(upload.fields, upload.file_name)

    def understand() -> StoredDataset:
        available = _space(database, settings)
        available.check(upload.path.stat().st_size)
        room = workspace / TABLE, available.left_bytes, settings.max_upload_bytes
        intake = take_in(upload.path, upload.format, reading, *room)
        return _described(identifier, upload.sha256, said.name, "upload", upload.format, intake)

    try:
        reading = said.for_reading(upload)
        identifier = identify(upload, reading)
        return await _keep(request, response, identifier, upload.format, understand, workspace, database)
    except InvalidRequest as refused:
        raise options.in_query(refused, upload.fields) from None


@router.post(
    "/synthetic",
    status_code=201,
    response_model=DatasetResponse,
    responses={**_ANSWERS, 200: {**_ANSWERS[200], "description": "The same is here already, as this dataset."}},
)
async def make_dataset(
    body: SyntheticSpec,
    request: Request,
    response: Response,
    database: TheDatabase,
    settings: TheSettings,
    workspace: Workspace,
    name: Annotated[DatasetName | None, Query(description="What to call the dataset.")] = None,
) -> Any:
    """Make a dataset up from a recipe, and keep it like one that was uploaded. The same recipe makes the same one."""
    recipe = body.model_dump(mode="json")
    sha256 = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()

    def understand() -> StoredDataset:
        dataset = synthetic_dataset(body)
        available = _space(database, settings)
        available.check(dataset.features.nbytes + dataset.targets.nbytes)
        file = workspace / "made.arrow"
        pl.concat(Table.of_dataset(dataset).frames()).write_ipc(file)
        room = workspace / TABLE, available.left_bytes, settings.max_upload_bytes
        intake = take_in(file, "arrow", ReadingOptions(), *room)
        return _described(identifier, sha256, name, "synthetic", "arrow", dataclasses.replace(intake, reading=recipe))

    identifier = id_of_content(sha256)
    return await _keep(request, response, identifier, "arrow", understand, workspace, database)


async def _keep(
    request: Request,
    response: Response,
    identifier: str,
    file_format: Format,
    understand: Callable[[], StoredDataset],
    workspace: Path,
    database: Database,
) -> DatasetResponse:
    """Answer with the dataset of an id: the one that its owner has here, or else the one that is understood now.

    What is here was read as it is; as of another format the same content is read again, which tells that it is not.
    """
    intakes: asyncio.Semaphore = request.app.state.intakes
    known = await run_in_threadpool(_known, database, identifier)
    if known is not None and known.format == file_format:
        stored, is_new = known, False
    else:
        async with intakes:
            understood = await run_in_threadpool(understand)
        stored, is_new = await run_in_threadpool(
            folders.keep_table, database, request.app.state.settings, understood, workspace / TABLE, workspace / "aside"
        )
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/datasets/{identifier}"
    return dataset_response(stored, stored.statistics, request.app.state.settings.datasets_path)


def _space(database: Database, settings: Settings) -> Space:
    with database.reading() as session:
        return space(session, settings)


def _known(database: Database, identifier: str) -> StoredDataset | None:
    with database.reading() as session:
        return datasets.held(session, identifier)


def _described(
    identifier: str, sha256: str, name: str | None, origin: Origin, file_format: Format, intake: Intake
) -> StoredDataset:
    return StoredDataset(
        id=identifier,
        sha256=sha256,
        name=name,
        origin=origin,
        format=file_format,
        n_samples=intake.n_samples,
        columns=[{"name": column.name, "kind": column.kind} for column in intake.columns],
        statistics=intake.statistics,
        reading=intake.reading,
        n_bytes=intake.n_bytes,
        created_at=datetime.now(UTC),
    )
