"""POST /datasets and /datasets/synthetic: a file or a recipe in, a dataset out."""

import asyncio
import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from service.api.dataset_examples import UPLOADED
from service.api.datasets import DatasetResponse, dataset_response, statistics_of
from service.api.dependencies import TheDatabase, TheSettings
from service.api.problems import describe
from service.api.routes import LateRoute
from service.api.upload_options import DatasetName, UploadOptions, in_query, options_of
from service.api.uploads import BYTES, FORM, TEXT, Upload, receive
from service.data.identity import Identity, identify
from service.data.intake import Intake, take_in
from service.data.reading import ReadingOptions
from service.data.synthetic import SyntheticSpec, synthetic_dataset
from service.data.tables import Table
from service.dataset import id_of_content
from service.errors import InvalidRequest
from service.files import MEDIA_TYPES
from service.settings import Settings
from service.store import datasets, folders
from service.store.database import Database, Session
from service.store.datasets import StoredDataset
from service.store.space import Space, keep, space

router = APIRouter(prefix="/datasets", tags=["datasets"], route_class=LateRoute)

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
        "description": "The same is here already, as this dataset; a name that was given is its own from now on.",
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
    available, path = await run_in_threadpool(_space, database, settings), workspace / "upload"
    try:
        with path.open("wb") as file:
            write = _hashing(file, hashed := hashlib.sha256())
            finish = await receive(request, write, settings.max_upload_bytes, available, options.name)
            upload = await run_in_threadpool(finish)
    except ClientDisconnect:
        return Response(status_code=400)  # which goes nowhere
    said = options.with_fields(upload.fields)
    intakes: asyncio.Semaphore = request.app.state.intakes

    def find() -> tuple[Identity, StoredDataset | None]:
        identity = identify(path, upload.format, hashed.hexdigest(), reading, settings.max_upload_bytes)
        with database.reading() as session:
            return identity, _held(session, identity, reading)

    def take(identity: Identity) -> tuple[StoredDataset, bool]:
        available = _space(database, settings)
        available.check(path.stat().st_size)
        room = workspace / TABLE, available.left_bytes, settings.max_upload_bytes
        taken = take_in(path, upload.format, reading, *room)
        understood = _described(identity, upload, said.name or upload.file_name, taken)
        return folders.keep_table(database, settings, understood, workspace / TABLE, workspace / "aside")

    try:
        types = dict(sorted((said.types or {}).items()))
        reading = dataclasses.replace(options_of(said, upload), types=types)
        identity, found = await run_in_threadpool(find)
        if found is None:
            async with intakes:
                stored, is_new = await run_in_threadpool(take, identity)
        else:
            stored, is_new = found, False
    except InvalidRequest as refused:
        raise in_query(options, refused, upload.fields) from None
    if said.name not in (None, stored.name):
        stored = await run_in_threadpool(_called, database, stored, said.name)
    return _answer(response, dataset_response(stored, stored.statistics, settings.datasets_path), is_new=is_new)


@router.post(
    "/synthetic",
    status_code=201,
    response_model=DatasetResponse,
    responses={**_ANSWERS, 200: _ANSWERS[200]},
)
async def make_dataset(
    body: SyntheticSpec,
    request: Request,
    response: Response,
    database: TheDatabase,
    settings: TheSettings,
    name: Annotated[DatasetName | None, Query(description="What to call the dataset.")] = None,
) -> Any:
    """Make a dataset up from a recipe, and keep it as a training on the recipe does. The same one is made once."""
    intakes: asyncio.Semaphore = request.app.state.intakes

    def make() -> tuple[DatasetResponse, bool]:
        dataset = synthetic_dataset(body)
        identifier, statistics = id_of_content(dataset.sha256), statistics_of(Table.of_dataset(dataset))
        with database.writing() as session:
            is_new = datasets.held(session, identifier) is None
            if is_new:
                space(session, settings).check(len(dataset.content), len(dataset.content))
                keep(session, settings, dataset, "synthetic", body.model_dump(mode="json"))
            if name is not None:
                datasets.rename(session, identifier, name)
            stored = datasets.get(session, identifier)
        return dataset_response(stored, statistics, settings.datasets_path), is_new

    async with intakes:
        made, is_new = await run_in_threadpool(make)
    return _answer(response, made, is_new=is_new)


def _answer(response: Response, dataset: DatasetResponse, *, is_new: bool) -> DatasetResponse:
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = dataset.links.self
    return dataset


def _hashing(file: BinaryIO, content: "hashlib._Hash") -> Callable[[bytes], None]:
    """Write what is read also into a hash."""

    def write(piece: bytes) -> None:
        content.update(piece)
        file.write(piece)

    return write


def _space(database: Database, settings: Settings) -> Space:
    with database.reading() as session:
        return space(session, settings)


def _held(session: Session, identity: Identity, options: ReadingOptions) -> StoredDataset | None:
    """Find the dataset that a file is among those that its owner has here, if what these are tells.

    What is here was read as it is; as of another format the same content is read again, which tells that it is not.
    """
    found, types = datasets.held(session, identity.id_with({})), options.types
    if found is not None:
        kinds = {column["name"]: column["kind"] for column in found.columns}
        types = {name: kind for name, kind in types.items() if kind != kinds.get(name)}
    if types:
        found = datasets.held(session, identity.id_with(types))
    return found if found is not None and found.format == identity.format else None


def _called(database: Database, stored: StoredDataset, name: str) -> StoredDataset:
    """Let a dataset that is here have another name from now on."""
    with database.writing() as session:
        datasets.rename(session, stored.id, name)
    return dataclasses.replace(stored, name=name)


def _described(identity: Identity, upload: Upload, name: str | None, intake: Intake) -> StoredDataset:
    return StoredDataset(
        id=identity.id_with(intake.reading["types"]),
        sha256=identity.sha256,
        name=name,
        origin="upload",
        format=upload.format,
        n_samples=intake.n_samples,
        columns=[{"name": column.name, "kind": column.kind} for column in intake.columns],
        statistics=intake.statistics,
        reading=intake.reading,
        n_bytes=intake.n_bytes,
        created_at=datetime.now(UTC),
    )
