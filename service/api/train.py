"""POST /train: a dataset and hyperparameters in, a job out."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, Discriminator, Field, StringConstraints, Tag, WithJsonSchema
from starlette.concurrency import run_in_threadpool

from service.api.dependencies import TheDatabase
from service.api.jobs import JobResponse, job_response
from service.api.planning import Planned, enqueue, plan_training
from service.api.problems import describe
from service.api.waiting import JobWatch
from service.data.inline import dataset_from_records, dataset_from_rows
from service.errors import Fault, InvalidDataset
from service.hyperparameters import FROZEN_VALUES, Hyperparameters
from service.store import datasets, jobs
from service.store.database import Database
from service.tasks import Task

router = APIRouter(tags=["train"])

MAX_WAIT_SECONDS = 60

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
MetadataKey = Annotated[str, StringConstraints(max_length=100)]
MetadataValue = Annotated[str, StringConstraints(max_length=1000)]
SampleWeight = Annotated[
    list[Annotated[float, Field(ge=0)]] | None,
    Field(description="How much each sample counts, at least 0; all alike when left out.", examples=[[1, 1, 0.5]]),
]
_LABEL = {"type": ["string", "number", "boolean"]}


def _shape(features: Any) -> str:
    """Tell rows from a flat list by the first entry, so that a fault is reported for the one that was meant."""
    return "<rows>" if isinstance(features, list) and features and isinstance(features[0], list) else "<flat>"


def _form(dataset: Any) -> str:
    return "<records>" if isinstance(dataset, dict) and "records" in dataset else "<inline>"


class InlineDataset(BaseModel):
    """Features and targets as rows."""

    model_config = FROZEN_VALUES

    features: Annotated[
        Annotated[list[float], Tag("<flat>")] | Annotated[list[list[float]], Tag("<rows>")],
        Discriminator(_shape),
        Field(description="A row of numbers for each sample; a flat list for a single feature."),
    ]
    feature_names: list[Name] | None = Field(
        default=None, description="A name for each feature; `x1, x2 …` when left out, and `x` for a single one."
    )
    targets: Annotated[
        list[Any],
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
        WithJsonSchema({"type": "array", "items": {"type": "object", "additionalProperties": _LABEL}}),
        Field(description="One object a sample, all with the same fields; features are numbers."),
    ]
    target: Name = Field(description="The field to predict; all others are features.")
    sample_weight: SampleWeight = None


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
        Annotated[InlineDataset, Tag("<inline>")] | Annotated[RecordsDataset, Tag("<records>")],
        Discriminator(_form),
    ] = Field(description="Rows of features and targets, or records.")
    hyperparameters: Hyperparameters = Field(default=Hyperparameters(), description="How to train.")
    metadata: dict[MetadataKey, MetadataValue] = Field(
        default={}, max_length=16, description="Up to 16 pairs of strings, kept with the job and the model."
    )


_HEADERS = {
    "Location": {"schema": {"type": "string"}, "description": "Where the job is.", "example": "/jobs/job_01KAJ5Y8M4T0"},
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
        **describe(413, 415),
    },
)
async def train(
    body: TrainRequest,
    request: Request,
    response: Response,
    database: TheDatabase,
    prefer: Annotated[
        list[str], Header(description="`wait=N` holds the answer until the job has ended, up to min(N, 60) seconds.")
    ] = [],  # noqa: B006  FastAPI copies it
) -> JobResponse:
    """Queue a training. A worker takes it up at once when one is free."""
    queued = await run_in_threadpool(_enqueue, database, body)
    response.headers["Location"] = f"/jobs/{queued.id}"
    seconds = _seconds_to_wait(prefer)
    if seconds is None:
        return queued
    watch: JobWatch = request.app.state.watch
    await watch.wait(queued.id, seconds)
    job = await run_in_threadpool(_read, database, queued.id)
    response.headers["Preference-Applied"] = f"wait={seconds}"
    response.status_code = 201 if job.terminal else 202
    return job


def plan_request(database: Database, body: TrainRequest) -> Planned:
    """Check a request as a whole.

    Raises:
        InvalidDataset, InvalidHyperparameters: with faults that point into the body.
    """
    given = body.dataset
    try:
        if isinstance(given, RecordsDataset):
            dataset = dataset_from_records(body.task, given.records, given.target, given.sample_weight)
        else:
            dataset = dataset_from_rows(
                body.task, given.features, given.targets, given.feature_names, sample_weight=given.sample_weight
            )
    except InvalidDataset as invalid:
        raise InvalidDataset([Fault(f"/dataset{fault.pointer}", fault.detail) for fault in invalid.faults]) from None
    return plan_training(database, body.task, dataset, body.hyperparameters)


def _enqueue(database: Database, body: TrainRequest) -> JobResponse:
    planned = plan_request(database, body)
    _ = planned.dataset.content  # made here, so that the write lock is not held meanwhile
    with database.writing() as session:
        dataset_id = datasets.keep(session, planned.dataset)
        job = enqueue(session, planned, dataset_id=dataset_id, model=body.model, metadata=body.metadata)
        return job_response(session, job)


def _read(database: Database, job_id: str) -> JobResponse:
    with database.reading() as session:
        return job_response(session, jobs.get(session, job_id))


def _seconds_to_wait(prefer: list[str]) -> int | None:
    """Read `wait=N` out of Prefer headers (RFC 7240), N being 60 at most; other preferences are not ours."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})", ",".join(prefer), re.IGNORECASE)
    return min(int(found.group(1)), MAX_WAIT_SECONDS) if found else None
