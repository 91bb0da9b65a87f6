"""GET /jobs, GET /jobs/{id}: what became of the trainings."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query
from fastapi import Response as HttpResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from service.api.dependencies import After, Limit, Page, Reading, Response, TheDatabase
from service.api.learning_rate import ConditionNumber, LearningRateCheck, learning_rate_of
from service.api.problems import describe
from service.api.routes import LateRoute
from service.hyperparameters import Hyperparameters
from service.store import jobs, pace, queue
from service.store.database import Database, Session
from service.store.jobs import Job, Status
from service.tasks import Task

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=LateRoute)

JobId = Annotated[str, Path(description="The job's id.", max_length=100, examples=["job_01KAJ5Y8M4T0"])]
StopReason = Literal[
    "epochs_completed",
    "target_loss_reached",
    "no_improvement",
    "max_seconds_reached",
    "diverged",
    "cancelled",
    "error",
]


class Progress(Response):
    """How far a training is."""

    epoch: int = Field(description="Epochs done.")
    epochs: int = Field(description="Epochs asked for.")
    fraction: float = Field(description="Share of the epochs that is done, 0 to 1; 1 when the job has succeeded.")
    eta_seconds: float | None = Field(
        description="Seconds to go at the pace of this attempt, or to the end of `stop.max_seconds` if that is sooner; "
        "null before its first epoch."
    )


class Metrics(Response):
    """How good the model is, on each part of the data, in original units; null stands for what is not defined."""

    train: dict[str, Any] = Field(
        description="On the samples that were trained on. Regression: `mse`, `rmse`, `mae`, `r2`, and `per_target` "
        "with those of each of several targets. Classification: `accuracy`, `log_loss`, `precision`, `recall`, `f1`, "
        "`precision_macro`, `recall_macro`, `f1_macro`, `roc_auc`, `confusion_matrix` (a row for each true label), and "
        "`per_class` with `label`, `precision`, `recall`, `f1`, `support` of each."
    )
    validation: dict[str, Any] | None = Field(description="The same; null when no samples were held out.")
    test: dict[str, Any] | None = Field(description="The same; null when no samples were held out.")


class OptimumParameters(Response):
    """Weight and bias, in original units and in the shapes of the learned ones."""

    weight: list[float] | list[list[float]] = Field(description="n_features numbers; rows of them for several targets.")
    bias: float | list[float] = Field(description="A number; a list for several targets.")


class OptimumResponse(Response):
    """The lowest point of a quadratic objective, in closed form: what the descent was on its way to."""

    parameters: OptimumParameters = Field(description="Where it is; the nearest to the start, where there are many.")
    loss: float = Field(description="The train loss there.")
    objective: float = Field(description="The loss and the penalties there.")
    gap: float | None = Field(description="How much the objective of the learned parameters is above it.")


class Result(Response):
    """What a training came to."""

    epoch: int | None = Field(
        default=None,
        description="The epoch whose parameters were given: the last one, or the best one where `stop` restores it.",
    )
    train_loss: float = Field(description="The loss at the parameters that were given, mean per sample.")
    objective: float | None = Field(
        description="What was minimised: the loss and the penalties; null beyond the largest number."
    )
    validation_loss: float | None = Field(description="Null: no samples were held out.")
    metrics: Metrics = Field(description="How good the model is.")
    optimum: OptimumResponse | None = Field(
        default=None, description="The lowest point that there is; null where no closed form gives it."
    )


class JobError(Response):
    """Why a job failed."""

    code: str = Field(description="For machines: `diverged`, `device_unavailable`, `worker_lost`, …")
    detail: str = Field(description="For a person.")


Evidence = Annotated[dict[str, Any], Field(description="In numbers.", examples=[{"limit": 4.2e-5}])]
Suggestion = Annotated[
    dict[str, Any],
    Field(
        description="Hyperparameters to change, by name; `POST /jobs/{id}/retry` applies them. Empty: none.",
        examples=[{"learning_rate": 2.1e-5}],
    ),
]


class JobWarning(Response):
    """Something worth knowing that did not stop the training."""

    code: str = Field(description="For machines.", examples=["batch_size_exceeds_samples"])
    detail: str = Field(description="For a person.")
    evidence: Evidence = Field(default={})
    suggestion: Suggestion = Field(default={})


class DiagnosisResponse(Response):
    """Why a training diverged, and what to change."""

    code: str = Field(description="For machines: `learning_rate_too_large`, `oscillation`, `numbers_too_large`.")
    detail: str | None = Field(default=None, description="For a person.")
    epoch: int | None = Field(description="The first evaluated epoch at which it shows.")
    evidence: Evidence
    suggestion: Suggestion


class JobLinks(Response):
    """Where to go on."""

    self: str = Field(description="The job.")
    history: str = Field(description="The loss at every recorded epoch.")
    parameters: str = Field(description="The parameters at the last recorded epoch, or at `?epoch=`.")
    trajectory: str = Field(description="The parameters at every recorded epoch.")
    events: str = Field(description="What happens to it, as it happens: server-sent events.")
    model: str | None = Field(description="The version that the job gave; null before it succeeds.")


class JobResponse(Response):
    """A job: one asked-for training."""

    id: str = Field(description="The job's id.", examples=["job_01KAJ5Y8M4T0"])
    owner: str = Field(
        description="The name of the key that it was asked for with; `local` where none was needed.", examples=["local"]
    )
    status: Status = Field(description="`queued`, `running`, then one of `succeeded`, `failed`, `cancelled`.")
    terminal: bool = Field(description="Whether the status is final.")
    paused: bool = Field(
        description="Whether it waits to be resumed; while it runs, whether it is about to go back to the queue."
    )
    priority: int = Field(description="As given: jobs of a higher one are taken up first.")
    model: str = Field(description="The name that the model is published under.", examples=["exam-scores"])
    version: int | None = Field(description="The version that the job gave; null before it succeeds.")
    task: Task = Field(description="What is trained.")
    dataset: str = Field(description="The id of the dataset that it is trained on.", examples=["ds_7f83b1657ff1fc53"])
    selection: dict[str, Any] | None = Field(
        description="Which of its columns, as asked for; null for a dataset that came with the request.",
        examples=[{"target": "price"}],
    )
    metadata: dict[str, str] = Field(description="As given.")
    created_at: datetime = Field(description="When it was asked for.")
    started_at: datetime | None = Field(description="When the present attempt began.")
    finished_at: datetime | None = Field(description="When it ended; null before that.")
    queue_position: int | None = Field(description="1 is the next to start; null when not queued, or paused.")
    attempt: int = Field(description="How many times the job was started.")
    retry_of: str | None = Field(
        description="The id of the job that this one was to do again, which may have been deleted since."
    )
    progress: Progress = Field(description="How far it is.")
    engine: str | None = Field(description="How epochs are had; null before the start.", examples=["exact"])
    device: str | None = Field(description="Where it trains; null before the start.", examples=["cpu"])
    seed: int | None = Field(description="The source of every random draw.")
    hyperparameters: Hyperparameters = Field(description="All of them; resolved once the job has started.")
    learning_rate: LearningRateCheck | None = Field(
        description="What the data says of the learning rate; null before the start, and of jobs of earlier versions."
    )
    condition_number: ConditionNumber
    environment: dict[str, Any] | None = Field(
        description="What the outcome depends on beside the request, such as the versions of the software: with the "
        "same, it is the same in every bit. `sweep` names the instructions that linear models are compiled for, or "
        "is `numpy`. `resumed_at` is there when this attempt went on from an earlier "
        "one, after so many epochs; `begun_in_attempt` is the one that the history begins with. Null before the start."
    )
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
    return response_of(job, queue.positions(session, [job]).get(job.id))


def response_of(job: Job, queue_position: int | None) -> JobResponse:
    """Put a job into the words of the wire, whose place in the queue is known."""
    values: dict[str, Any] = {name: getattr(job, name) for name in JobResponse.model_fields if hasattr(job, name)}
    hyperparameters = Hyperparameters.model_validate(job.hyperparameters)
    path, asked = f"/jobs/{job.id}", job.requested.get("learning_rate", "auto")
    model = f"/models/{job.model}/versions/{job.version}" if job.version else None
    values |= {
        "terminal": job.has_ended,
        "dataset": job.dataset_id,
        "metadata": job.user_metadata,
        "queue_position": queue_position,
        "progress": progress_of(job, hyperparameters.epochs),
        "device": hyperparameters.device if job.engine else None,
        "learning_rate": None if job.advice is None else learning_rate_of(job.advice, asked),
        "condition_number": None if job.advice is None else job.advice["condition_number"],
        "environment": job.environment if job.engine else None,
        "seed": hyperparameters.seed,
        "hyperparameters": hyperparameters,
        "links": JobLinks(
            self=path,
            history=f"{path}/history",
            parameters=f"{path}/parameters",
            trajectory=f"{path}/trajectory",
            events=f"{path}/events",
            model=model,
        ),
    }
    return JobResponse.model_validate(values)


def progress_of(job: Job, epochs: int) -> Progress:
    """Tell how far a job is with the epochs that it was asked for."""
    fraction = 1.0 if job.status == "succeeded" else min(1.0, job.progress / epochs)
    eta = 0.0 if job.has_ended else pace.seconds_to_end(job)
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
    positions = queue.positions(session, found)
    return JobPage(
        data=[response_of(job, positions.get(job.id)) for job in found],
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
async def get_job(
    database: TheDatabase,
    job_id: JobId,
    response: HttpResponse,
    if_none_match: Annotated[str | None, Header(description="The `ETag` of an earlier answer.")] = None,
) -> Any:
    """Tell how a job is doing."""
    job, answer = await run_in_threadpool(_read, database, job_id)
    tag = f'"{job.attempt}-{job.status}-{job.paused:d}-{job.engine}-{job.progress}-{answer.queue_position or 0}"'
    weak = f"W/{tag}"  # for the estimate of the time to go changes with every look
    known = if_none_match or ""
    if known.strip() == "*" or tag in known:  # weak or not (RFC 9110, 13.1.2)
        return HttpResponse(status_code=304, headers={"ETag": weak})
    response.headers["ETag"] = weak
    return answer


def _read(database: Database, job_id: str) -> tuple[Job, JobResponse]:
    with database.reading_once() as session:
        job, place = queue.get(session, job_id)
    return job, response_of(job, place)
