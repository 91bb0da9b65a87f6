"""POST /train: a dataset and hyperparameters in, a job out."""

import re
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, Discriminator, Field, StringConstraints, Tag, WithJsonSchema
from starlette.concurrency import run_in_threadpool

from service.api.dependencies import TheDatabase, TheSettings
from service.api.jobs import JobResponse, response_of
from service.api.long_lists import MayBeLong
from service.api.planning import Planned, enqueue, in_dataset, known_dataset, plan_stored, plan_training
from service.api.problems import describe
from service.api.requests import JsonRequest
from service.api.routes import LateRoute
from service.api.submission import HEADERS, IdempotencyKey, Put, Submitted, submit
from service.api.waiting import JobWatch
from service.data.inline import dataset_from_records, dataset_from_rows
from service.data.json_numbers import Flat, Records, Rows
from service.data.long_lists import is_list
from service.data.synthetic import SyntheticSpec, synthetic_dataset
from service.dataset import Dataset
from service.errors import InvalidDataset, NotFound
from service.hyperparameters import FROZEN_VALUES, Hyperparameters
from service.selection import Selection
from service.settings import Settings
from service.store import queue
from service.store.database import Database, Session
from service.store.datasets import Origin
from service.store.jobs import Job
from service.store.space import keep
from service.store.tables import Json
from service.tasks import Task

router = APIRouter(tags=["train"], route_class=LateRoute)

MAX_WAIT_SECONDS = 60
METADATA_PAIRS = 16

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
MetadataKey = Annotated[str, StringConstraints(max_length=100)]
MetadataValue = Annotated[str, StringConstraints(max_length=1000)]
SampleWeight = Annotated[
    Annotated[list[Annotated[float, Field(ge=0)]], MayBeLong((Flat,), 0)] | None,
    Field(
        description="How much each sample counts in a training, at least 0; all alike when left out. Metrics count "
        "every sample once.",
        examples=[[1, 1, 0.5]],
    ),
]
_LABEL = {"type": ["string", "number", "boolean"]}


def _shape(features: Any) -> str:
    """Tell rows from a flat list by the first entry, so that a fault is reported for the one that was meant."""
    return "<rows>" if is_list(features) and features and is_list(features[0]) else "<flat>"


_INLINE = dict.fromkeys(("features", "targets"), "<inline>")
_FORMS = {"id": "<stored>", "records": "<records>", "synthetic": "<synthetic>", **_INLINE}
"""The fields that tell one form of a dataset from the others."""


def form_of(dataset: Any) -> str | None:
    """Tell the form by the field that no other has, so that a fault is reported for the one that was meant.

    A dataset that has been validated is told, too, for it is written again.
    """
    fields = type(dataset).model_fields if isinstance(dataset, BaseModel) else dataset
    if not isinstance(fields, dict):
        return "<inline>"
    return next((form for field, form in _FORMS.items() if field in fields), None)


class InlineDataset(BaseModel):
    """Features and targets as rows."""

    model_config = FROZEN_VALUES

    features: Annotated[
        Annotated[list[float], Tag("<flat>")] | Annotated[list[list[float]], Tag("<rows>")],
        Discriminator(_shape),
        MayBeLong((Flat, Rows)),
        Field(description="A row of numbers for each sample; a flat list for a single feature."),
    ]
    feature_names: list[Name] | None = Field(
        default=None, description="A name for each feature; `x1, x2 …` when left out, and `x` for a single one."
    )
    targets: Annotated[
        list[Any],
        MayBeLong(),
        WithJsonSchema({"type": "array", "items": {**_LABEL, "type": [*_LABEL["type"], "array"]}}),
        Field(
            description="One for each sample: a number, or a row of numbers for several targets; for classification a "
            "label, which is any JSON scalar."
        ),
    ]
    sample_weight: SampleWeight = None


class RecordsDataset(BaseModel):
    """Samples as objects, one of whose fields is the target."""

    model_config = FROZEN_VALUES

    records: Annotated[
        list[dict[str, Any]],
        MayBeLong((Records,)),
        WithJsonSchema({"type": "array", "items": {"type": "object", "additionalProperties": _LABEL}}),
        Field(description="One object a sample, all with the same fields; features are numbers."),
    ]
    target: Name = Field(description="The field to predict; all others are features.")
    sample_weight: SampleWeight = None


class SelectedDataset(Selection):
    """Columns of a dataset that is kept."""

    id: Name = Field(description="The dataset's id, as POST /datasets gave it.", examples=["ds_5b1f0c9e4d7a8236"])

    @property
    def selection(self) -> Selection:
        """Which columns, and how to read them."""
        return Selection.model_validate(self.model_dump(exclude={"id"}))


class SyntheticDataset(BaseModel):
    """A dataset that is made up."""

    model_config = FROZEN_VALUES

    synthetic: SyntheticSpec = Field(description="What to make up.")


class TrainRequest(BaseModel):
    """What to train, on what, and how."""

    model_config = FROZEN_VALUES

    model: ModelName | None = Field(
        default=None,
        description="The name to publish under: letters, digits, `.`, `_`, `-`. One is made up when left out. A name "
        "that is there already gets a new version.",
    )
    task: Task = Field(description="What to train.")
    dataset: Annotated[
        Annotated[InlineDataset, Tag("<inline>")]
        | Annotated[RecordsDataset, Tag("<records>")]
        | Annotated[SelectedDataset, Tag("<stored>")]
        | Annotated[SyntheticDataset, Tag("<synthetic>")],
        Discriminator(
            form_of,
            custom_error_type="no_form",
            custom_error_message="give features and targets, or records and a target, or the id of a dataset that is "
            "kept and a target, or synthetic with a recipe",
        ),
    ] = Field(description="Rows of features and targets, or records; or columns of a dataset that is kept, by its id.")
    hyperparameters: Hyperparameters = Field(default=Hyperparameters(), description="How to train.")
    metadata: dict[MetadataKey, MetadataValue] = Field(
        default={},
        max_length=METADATA_PAIRS,
        description=f"Up to {METADATA_PAIRS} pairs of strings, kept with the job and the version.",
    )
    priority: int = Field(
        default=0,
        ge=-100,
        le=100,
        description="Jobs of a higher priority are taken up first; those of the same one first come, first served.",
        examples=[0],
    )


_HEADERS = {
    **HEADERS,
    "Preference-Applied": {
        "schema": {"type": "string"},
        "description": "With `Prefer: wait=N`: how long the answer was held at most.",
        "example": "wait=10",
    },
}


@router.post(
    "/train",
    status_code=202,
    response_model=JobResponse,
    responses={
        201: {
            "model": JobResponse,
            "description": "With `Prefer: wait=N`: the job has ended within N seconds.",
            "headers": _HEADERS,
        },
        202: {
            "description": "The job is queued. Follow `Location` until its `terminal` is true.",
            "headers": _HEADERS,
        },
        **describe(413, 415, 429, 507),
    },
)
async def train(
    body: TrainRequest,
    request: JsonRequest,
    response: Response,
    database: TheDatabase,
    settings: TheSettings,
    prefer: Annotated[
        list[str], Header(description="`wait=N` holds the answer until the job has ended, up to min(N, 60) seconds.")
    ] = [],  # noqa: B006  FastAPI copies it
    idempotency_key: IdempotencyKey = None,
) -> JobResponse:
    """Queue a training. A worker takes it up at once when one is free."""
    submitted = await run_in_threadpool(_submit, database, settings, body, idempotency_key)
    queued = submitted.job
    response.headers.update(submitted.headers)
    seconds = _seconds_to_wait(prefer)
    if seconds is None:
        return queued
    request.end_turn()
    watch: JobWatch = request.app.state.watch
    await watch.wait(queued.id, seconds)
    job = await run_in_threadpool(_read, database, queued)
    response.headers["Preference-Applied"] = f"wait={seconds}"
    response.status_code = 201 if job.terminal else 202
    return job


def plan_request(database: Database, settings: Settings, body: TrainRequest) -> Planned:
    """Check a request as a whole.

    Raises:
        InvalidDataset, InvalidHyperparameters: with faults that point into the body.
        InvalidRequest: when it is beyond the limits of this installation.
    """
    given = body.dataset
    if isinstance(given, SelectedDataset):
        with known_dataset():
            return plan_stored(database, settings, body.task, given.id, given.selection, body.hyperparameters)
    with in_dataset():
        dataset = dataset_of(body.task, given)
    return plan_training(database, settings, body.task, dataset, body.hyperparameters)


def dataset_of(task: Task, given: InlineDataset | RecordsDataset | SyntheticDataset) -> Dataset:
    """Make the dataset that came along; raises InvalidDataset."""
    if isinstance(given, RecordsDataset):
        return dataset_from_records(task, given.records, given.target, given.sample_weight)
    if isinstance(given, InlineDataset):
        names, weights = given.feature_names, given.sample_weight
        return dataset_from_rows(task, given.features, given.targets, names, sample_weight=weights)
    try:
        return synthetic_dataset(given.synthetic)
    except InvalidDataset as invalid:
        raise invalid.moved(lambda pointer: f"/synthetic{pointer}") from None


def _submit(database: Database, settings: Settings, body: TrainRequest, key: str | None) -> Submitted:
    def prepare() -> Put:
        planned = plan_request(database, settings, body)
        if isinstance(planned.dataset, Dataset):
            _ = planned.dataset.content  # made here, so that the write lock is not held meanwhile
        return partial(_enqueue, settings=settings, body=body, planned=planned)

    with known_dataset():
        return submit(database, settings, prepare, body.priority, key=key, path="/train", body=body)


def _enqueue(session: Session, *, settings: Settings, body: TrainRequest, planned: Planned) -> Job:
    dataset, kept = planned.dataset, planned.kept
    if kept is not None:
        dataset_id = kept.dataset_id
    else:
        assert isinstance(dataset, Dataset)
        dataset_id = keep(session, settings, dataset, *_origin(body.dataset))
    return enqueue(
        session, planned, dataset_id=dataset_id, model=body.model, metadata=body.metadata, priority=body.priority
    )


def _origin(given: BaseModel) -> tuple[Origin, Json | None]:
    """Tell where a dataset that is not kept yet comes from, with its recipe where it has one."""
    if isinstance(given, SyntheticDataset):
        return "synthetic", given.synthetic.model_dump(mode="json")
    return "inline", None


def _read(database: Database, queued: JobResponse) -> JobResponse:
    """Give a job as it is now; as it was, if it has been deleted meanwhile."""
    with suppress(NotFound), database.reading_once() as session:
        return response_of(*queue.get(session, queued.id))
    return queued


def _seconds_to_wait(prefer: list[str]) -> int | None:
    """Read `wait=N` out of Prefer headers (RFC 7240), N being 60 at most; other preferences are not ours."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})", ",".join(prefer), re.IGNORECASE)
    return min(int(found.group(1)), MAX_WAIT_SECONDS) if found else None
