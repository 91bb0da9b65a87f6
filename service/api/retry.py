"""POST /jobs/{id}/retry: the same training again, with other hyperparameters or with what its job suggests."""

from functools import partial
from typing import Any, Literal

from fastapi import APIRouter
from fastapi import Response as HttpResponse
from pydantic import BaseModel, Field

from service.api.dependencies import TheDatabase, TheSettings
from service.api.jobs import JobId, JobResponse
from service.api.planning import Planned, enqueue, plan_stored, plan_training
from service.api.problems import describe
from service.api.routes import LateRoute
from service.api.submission import HEADERS, IdempotencyKey, Put, submit
from service.errors import Fault, InvalidRequest, JobNotEnded, NotFound
from service.hyperparameters import FROZEN_VALUES, Hyperparameters
from service.selection import Selection
from service.settings import Settings
from service.store import datasets, jobs
from service.store.database import Database
from service.store.jobs import Job

router = APIRouter(tags=["jobs"], route_class=LateRoute)


class RetryRequest(BaseModel):
    """What to change in a training that is asked for again; nothing, when it is left out."""

    model_config = FROZEN_VALUES

    hyperparameters: Hyperparameters = Field(
        default=Hyperparameters(),
        description="Those to change; all others are as they were asked for, the seed as it was drawn.",
    )
    apply: Literal["suggestion"] | None = Field(
        default=None,
        description="`suggestion` changes what the job's diagnosis suggests, or else its warnings; `hyperparameters` "
        "that are given win.",
    )


UNCHANGED = RetryRequest()


@router.post(
    "/jobs/{job_id}/retry",
    status_code=202,
    response_description="The new job.",
    responses={
        202: {"headers": HEADERS},
        **describe(404, 409, 413, 415, 429, 507),
    },
)
def retry_job(
    database: TheDatabase,
    settings: TheSettings,
    job_id: JobId,
    response: HttpResponse,
    body: RetryRequest = UNCHANGED,
    idempotency_key: IdempotencyKey = None,
) -> JobResponse:
    """Queue the training of an ended job again, as a new job: same dataset, task, model name and priority."""
    with database.reading() as session:
        job = jobs.get(session, job_id)

    def prepare() -> Put:
        if not job.has_ended:
            raise JobNotEnded(f"job {job_id} is {job.status}: wait for its end, or cancel it first")
        changes = _suggestion(job) if body.apply else {}
        changes |= body.hyperparameters.model_dump(mode="json", exclude_unset=True)
        given = Hyperparameters.model_validate({**job.requested, **changes})
        return partial(
            enqueue,
            planned=_plan(database, settings, job, given),
            dataset_id=job.dataset_id,
            model=job.model,
            metadata=job.user_metadata,
            retry_of=job,
            priority=job.priority,
        )

    try:
        path = f"/jobs/{job_id}/retry"
        submitted = submit(database, settings, prepare, job.priority, key=idempotency_key, path=path, body=body)
    except NotFound as gone:
        detail = f"job {job_id} cannot be retried without what it was trained on: {gone.detail}"
        raise InvalidRequest([Fault("", detail)]) from None
    response.headers.update(submitted.headers)
    return submitted.job


def _plan(database: Database, settings: Settings, job: Job, given: Hyperparameters) -> Planned:
    """Plan a job's training on what it was trained on.

    Raises:
        NotFound: when the dataset has been deleted.
        InvalidDataset, InvalidHyperparameters: with faults that point into a request to train.
    """
    if job.selection is not None:
        selection = Selection.model_validate(job.selection)
        return plan_stored(database, settings, job.task, job.dataset_id, selection, given)
    with database.reading() as session:
        dataset = datasets.load(session, job.dataset_id)
    return plan_training(database, settings, job.task, dataset, given)


def _suggestion(job: Job) -> dict[str, Any]:
    """Give the hyperparameters that a job suggests to change: by its diagnosis, or else by its warnings."""
    found: dict[str, Any] = dict((job.diagnosis or {}).get("suggestion") or {})
    if not found:
        for warning in reversed(job.warnings):  # so that the first one has the last word
            found |= warning.get("suggestion") or {}
    if not found:
        detail = f"job {job.id} suggests nothing: give the hyperparameters to change"
        raise InvalidRequest([Fault("/apply", detail)])
    return found
