"""GET /jobs, GET /jobs/{id}, POST /jobs/{id}/cancel: what became of the trainings."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query
from fastapi import Response as HttpResponse
from pydantic import Field

from service.api.dependencies import After, Limit, Page, Reading, Response, Writing
from service.api.problems import describe
from service.hyperparameters import Hyperparameters
from service.store import jobs
from service.store.database import Session
from service.store.jobs import Job, Status
from service.tasks import Task

router = APIRouter(prefix="/jobs", tags=["jobs"])

JobId = Annotated[str, Path(description="The job's id.", max_length=100, examples=["job_01KAJ5Y8M4T0"])]
StopReason = Literal["epochs_completed", "target_loss_reached", "diverged", "cancelled", "error"]


class Progress(Response):
    """How far a training is."""

    epoch: int = Field(description="Epochs done.")
    epochs: int = Field(description="Epochs asked for.")
    fraction: float = Field(description="Share of the epochs that is done, 0 to 1; 1 when the job has succeeded.")
    eta_seconds: float | None = Field(description="Seconds to go at the pace so far; null before the first epoch.")


class Metrics(Response):
    """How good the model is, on each part of the data."""

    train: dict[str, float | None] = Field(description="On the samples that were trained on.")
    validation: dict[str, float | None] | None = Field(description="Null: no samples were held out.")
    test: dict[str, float | None] | None = Field(description="Null: no samples were held out.")


class Result(Response):
    """What a training came to."""

    train_loss: float = Field(description="The loss at the parameters that were learned, mean per sample.")
    objective: float | None = Field(
        description="What was minimised: the loss and the penalties; null beyond the largest number."
    )
    validation_loss: float | None = Field(description="Null: no samples were held out.")
    metrics: Metrics = Field(description="`mse`, `mae`, `r2` for regression, else `accuracy`, `log_loss`.")


class JobError(Response):
    """Why a job failed."""

    code: str = Field(description="For machines: `diverged`, `device_unavailable`, `worker_lost`, …")
    detail: str = Field(description="For a person.")


class JobWarning(Response):
    """Something worth knowing that did not stop the training."""

    code: str = Field(description="For machines.", examples=["batch_size_exceeds_samples"])
    detail: str = Field(description="For a person.")


class DiagnosisResponse(Response):
    """Why a training diverged, and what to change."""

    code: str = Field(description="For machines: `learning_rate_too_large`, `numbers_too_large`.")
    epoch: int = Field(description="The first evaluated epoch whose loss or gradient was not finite.")
    evidence: dict[str, Any] = Field(
        description="In numbers: the `learning_rate`, the `limit` up to which the data is known to converge, …"
    )
    suggestion: dict[str, Any] = Field(description="Hyperparameters to change.", examples=[{"learning_rate": 2.1e-5}])


class JobLinks(Response):
    """Where to go on."""

    self: str = Field(description="The job.")
    history: str = Field(description="The loss at every recorded epoch.")
    parameters: str = Field(description="The parameters at the last recorded epoch, or at `?epoch=`.")
    model: str | None = Field(description="The version that the job gave; null before it succeeds.")


class JobResponse(Response):
    """A job: one asked-for training."""

    id: str = Field(description="The job's id.", examples=["job_01KAJ5Y8M4T0"])
    status: Status = Field(description="`queued`, `running`, then one of `succeeded`, `failed`, `cancelled`.")
    terminal: bool = Field(description="Whether the status is final.")
    model: str = Field(description="The name that the model is published under.", examples=["exam-scores"])
    version: int | None = Field(description="The version that the job gave; null before it succeeds.")
    task: Task = Field(description="What is trained.")
    metadata: dict[str, str] = Field(description="As given.")
    created_at: datetime = Field(description="When it was asked for.")
    started_at: datetime | None = Field(description="When the present attempt began.")
    finished_at: datetime | None = Field(description="When it ended; null before that.")
    queue_position: int | None = Field(description="1 is the next to start; null when not queued.")
    attempt: int = Field(description="How many times the job was started.")
    progress: Progress = Field(description="How far it is.")
    engine: str | None = Field(description="How epochs are had; null before the start.", examples=["analytic"])
    device: str | None = Field(description="Where it trains; null before the start.", examples=["cpu"])
    seed: int | None = Field(description="The source of every random draw.")
    hyperparameters: Hyperparameters = Field(description="All of them; resolved once the job has started.")
    stop_reason: StopReason | None = Field(description="Why it ended; null before that.")
    result: Result | None = Field(description="What it came to; null unless it succeeded.")
    warnings: list[JobWarning] = Field(description="What is worth knowing and did not stop the training.")
    diagnosis: DiagnosisResponse | None = Field(description="For a diverged job: the evidence, and what to change.")
    error: JobError | None = Field(description="Why it failed; null unless it did.")
    links: JobLinks = Field(description="Where to go on.")


class JobPage(Page):
    """Jobs, newest first."""

    data: list[JobResponse] = Field(description="The jobs.")


def job_response(session: Session, job: Job) -> JobResponse:
    """Put a job into the words of the wire."""
    return _response(job, jobs.queue_positions(session, [job]))


def _response(job: Job, queue_positions: dict[str, int]) -> JobResponse:
    values: dict[str, Any] = {name: getattr(job, name) for name in JobResponse.model_fields if hasattr(job, name)}
    hyperparameters = Hyperparameters.model_validate(job.hyperparameters)
    path = f"/jobs/{job.id}"
    model = f"/models/{job.model}/versions/{job.version}" if job.version else None
    values |= {
        "terminal": job.has_ended,
        "metadata": job.user_metadata,
        "queue_position": queue_positions.get(job.id),
        "progress": _progress(job, hyperparameters.epochs),
        "device": hyperparameters.device if job.engine else None,
        "seed": hyperparameters.seed,
        "hyperparameters": hyperparameters,
        "links": JobLinks(self=path, history=f"{path}/history", parameters=f"{path}/parameters", model=model),
    }
    return JobResponse.model_validate(values)


def _progress(job: Job, epochs: int) -> Progress:
    fraction = 1.0 if job.status == "succeeded" else min(1.0, job.progress / epochs)
    eta = None
    if job.has_ended:
        eta = 0.0
    elif fraction and job.started_at:
        eta = (datetime.now(UTC) - job.started_at).total_seconds() * (1 - fraction) / fraction
    return Progress(epoch=int(job.progress), epochs=epochs, fraction=fraction, eta_seconds=eta)


@router.get("", response_description="A page of jobs.", responses=describe(404))
def list_jobs(
    session: Reading,
    status: Annotated[Status | None, Query(description="Only jobs of this status.")] = None,
    model: Annotated[str | None, Query(max_length=200, description="Only jobs for this model.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> JobPage:
    """List jobs, newest first."""
    found, has_more = jobs.page(session, limit=limit, after=after, status=status, model=model)
    positions = jobs.queue_positions(session, found)
    return JobPage(
        data=[_response(job, positions) for job in found],
        has_more=has_more,
        next=found[-1].id if has_more else None,
    )


@router.get(
    "/{job_id}",
    response_description="The job.",
    response_model=JobResponse,
    responses={
        200: {"headers": {"ETag": {"schema": {"type": "string"}, "description": "Changes when the job does."}}},
        304: {"description": "With If-None-Match: the job is as it was."},
        **describe(404),
    },
)
def get_job(
    session: Reading,
    job_id: JobId,
    response: HttpResponse,
    if_none_match: Annotated[str | None, Header(description="The `ETag` of an earlier answer.")] = None,
) -> Any:
    """Tell how a job is doing."""
    job = jobs.get(session, job_id)
    answer = job_response(session, job)
    # Weak, for the estimate of the time to go changes with every look.
    tag = f'W/"{job.attempt}-{job.status}-{job.progress:g}-{answer.queue_position or 0}"'
    if if_none_match is not None and (
        if_none_match.strip() == "*" or tag in re.split(r"\s*,\s*", if_none_match.strip())
    ):
        return HttpResponse(status_code=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return answer


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    response_description="The job: cancelled, or about to be.",
    responses=describe(404, 409),
)
def cancel_job(session: Writing, job_id: JobId) -> JobResponse:
    """Cancel a job: a queued one at once, a running one within a step. Its history stays. Asking again is no error."""
    return job_response(session, jobs.request_cancel(session, job_id))
