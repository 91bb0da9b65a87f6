"""Jobs. Nothing but this, `queue`, `leases` and `control` beside it changes a job's status.

    queued ──claim──▶ running ──succeed──▶ succeeded
      │  ▲              │ │ └────fail────▶ failed
      │  └───release────┘ └──end_cancelled──▶ cancelled
      └──────────────request_cancel──────────▲

A worker's writes are fenced: they count only while the job is running in the attempt that the worker claimed. They
tell the worker what is asked of it: to cancel the job, or to release it, since it is paused (`service.store.control`).
"""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import Row, Select, bindparam, exists, func, insert, select, update
from sqlalchemy.orm import Session

from service.errors import NotFound
from service.parameters import Layout
from service.store import audit, checkpoints, fence
from service.store.columns import now
from service.store.identifiers import is_identifier, new_identifier
from service.store.ownership import owner_of
from service.store.statements import run
from service.store.tables import CheckpointRow, JobRow, Json, core
from service.tasks import Task

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: tuple[Status, ...] = ("succeeded", "failed", "cancelled")
assert set(ENDED) < set(get_args(Status))
Asked = Literal["cancel", "pause"]
"""What a worker may be asked for in the middle of a job."""
BEGUN_IN = "begun_in_attempt"
RESUMED_AT = "resumed_at"
"""What the environment tells of a job beside what its attempt was given."""


@dataclass(frozen=True)
class Job:
    """A job as it was when it was read."""

    sequence: int
    id: str
    owner: str
    model: str
    version: int | None
    task: Task
    dataset_id: str
    selection: Json | None
    requested: Json
    resolved: Json | None
    layout: Layout
    user_metadata: dict[str, str]
    retry_of: str | None
    request_id: str | None
    status: Status
    paused: bool
    priority: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    changed_at: datetime
    attempt: int
    n_lost_workers: int
    engine: str | None
    advice: Json | None
    scaling: Json | None
    environment: Json | None
    progress: float
    stop_reason: str | None
    result: Json | None
    warnings: list[Json]
    diagnosis: Json | None
    error: Json | None

    @property
    def hyperparameters(self) -> Json:
        """All of them: as settled by the worker once the job has started, as planned before that."""
        return self.resolved or self.requested  # jobs of the first version had no plan while they were queued

    @property
    def begun_in_attempt(self) -> int:
        """The attempt that the history begins with: those after it went on from there."""
        begun_in: int = (self.environment or {}).get(BEGUN_IN, 1)  # of old jobs it is not known
        return begun_in

    @property
    def has_ended(self) -> bool:
        """Whether the status is final."""
        return self.status in ENDED


COLUMNS = [field.name for field in fields(Job)]
"""What a job is made of, in the order in which `Job` takes it."""
GET = select(*(getattr(JobRow, name) for name in COLUMNS)).where(JobRow.id == bindparam("its_id"))
# What workers do is nobody's view of the table.
_JOBS = core(JobRow)
_INSERT = insert(_JOBS).returning(_JOBS.c.sequence)
_NEW: Json = {name: None for name in COLUMNS if name != "sequence"}
_NEW |= {"status": "queued", "paused": False, "attempt": 0, "n_lost_workers": 0, "progress": 0.0}
_HAS_CHECKPOINT = exists().where(core(CheckpointRow).c.job_sequence == _JOBS.c.sequence)
_FOUND = (_JOBS.c.cancel_requested, _JOBS.c.paused, _HAS_CHECKPOINT.label("has_checkpoint"))
_WRITE = update(_JOBS).where(fence.IS_HELD).returning(*_FOUND)
NIL: Json = {}  # no values


def enqueue(
    session: Session,
    *,
    model: str | None,
    task: Task,
    dataset_id: str,
    selection: Json | None = None,
    requested: Json,
    resolved: Json,
    layout: Layout,
    user_metadata: dict[str, str],
    warnings: list[Json],
    retry_of: str | None = None,
    priority: int = 0,
    request_id: str | None = None,
    owner: str | None = None,
) -> Job:
    """Put a new job into the queue, behind all of its priority.

    Args:
        model: the name to publish under; when None, one is made of the task and the job's own id.
        selection: which columns of the dataset; None where it is features and targets already.
        requested: the hyperparameters as asked for and the seed, all that it takes to plan the training again.
        resolved: the hyperparameters as planned.
        retry_of, request_id: the job that this one tries anew, and the request that asks for it, for the logs.
        owner: whose it is; the session's when None.
    """
    identifier, moment = new_identifier("job_"), now()
    values: Json = _NEW | {
        "id": identifier,
        "owner": owner or owner_of(session),
        "model": model or f"{task.replace('_', '-')}-{identifier[-12:].lower()}",
        "task": task,
        "dataset_id": dataset_id,
        "selection": selection,
        "requested": requested,
        "resolved": resolved,
        "layout": layout,
        "user_metadata": user_metadata,
        "retry_of": retry_of,
        "request_id": request_id,
        "warnings": warnings,
        "priority": priority,
        "created_at": moment,
        "changed_at": moment,
    }
    values["sequence"] = run(session, _INSERT, values).scalar_one()
    audit.note(session, identifier)
    return Job(**values)


def get(session: Session, job_id: str) -> Job:
    """Read a job; raises NotFound when there is none of this id."""
    return Job(*found(session, GET, job_id))


def found(session: Session, statement: Select[*tuple[Any, ...]], job_id: str) -> Row[*tuple[Any, ...]]:
    """Give the row of `GET`, or of what was made of it; raises NotFound when there is no job of this id."""
    row = session.execute(statement, {"its_id": job_id}).first()
    if row is None:
        raise NotFound(f"there is no job {job_id!r}: it may have been deleted; GET /jobs lists those that there are")
    return row


def page(
    session: Session, *, limit: int, after: str | None = None, status: Status | None = None, model: str | None = None
) -> tuple[list[Job], bool]:
    """Read up to `limit` jobs, newest first, those after a given one; and tell whether there are more.

    The one given may have been deleted since: identifiers sort by time, so that its place is known to the millisecond.

    Raises:
        NotFound: when `after` is no job's.
    """
    query: Select[JobRow] = select(JobRow).order_by(JobRow.sequence.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(JobRow.sequence < _end_of_page(session, after))
    if status is not None:
        query = query.where(JobRow.status == status)
    if model is not None:
        query = query.where(JobRow.model == model)
    rows = session.scalars(query).all()
    return [row.as_value(Job) for row in rows[:limit]], len(rows) > limit


def _end_of_page(session: Session, job_id: str) -> int:
    sequence = session.scalar(select(JobRow.sequence).where(JobRow.id == job_id))
    if sequence is None and not is_identifier(job_id, "job_"):
        raise NotFound(f"there is no job {job_id!r} to go on after")
    older = select(func.coalesce(func.max(JobRow.sequence), 0)).where(JobRow.id < job_id)
    return sequence or session.scalars(older).one() + 1


def asked_by(found: Row[Any]) -> Asked | None:
    """Tell what is asked of a job's worker."""
    return "cancel" if found.cancel_requested else "pause" if found.paused else None


def settled(
    job: Job,
    *,
    hyperparameters: Json,
    engine: str,
    advice: Json,
    warnings: list[Json],
    scaling: Json | None,
    environment: Json,
    resumed_at: float | None = None,
) -> Json:
    """Give the values of a claimed job of which it is known how and where it will be trained.

    Args:
        advice: what the data says of the learning rate.
        environment: what the outcome depends on beside the request.
        resumed_at: the progress from which on it goes on; None where it begins anew, whatever was recorded before.
    """
    begun: Json = {BEGUN_IN: job.attempt}
    if resumed_at is not None:
        begun = {BEGUN_IN: job.begun_in_attempt, RESUMED_AT: resumed_at}
    its = {"resolved": hyperparameters, "engine": engine, "advice": advice, "warnings": warnings, "scaling": scaling}
    return its | {"environment": environment | begun, "progress": resumed_at or 0.0}


def advance(
    session: Session,
    job: Job,
    progress: float,
    checkpoint: bytes | None = None,
    *,
    gets_on: bool = False,
    noted: Json = NIL,
) -> Asked | None:
    """Note how many epochs are done, and how to go on from there; tell what is asked for. Raises LeaseLost.

    Args:
        gets_on: the workers that the job has lost count no more, for it has done a fair part of its work since.
        noted: values that are to be noted along with it, as `settled` gives them.
    """
    values = noted | {"progress": progress} | ({"n_lost_workers": 0} if gets_on else {})
    found = fence.through(session, _WRITE, job, values)
    if checkpoint is not None:
        checkpoints.save(session, job.sequence, checkpoint)
    return asked_by(found)


def _end(session: Session, job: Job, values: Json) -> None:
    if fence.through(session, _WRITE, job, values).has_checkpoint:
        checkpoints.delete(session, [job.sequence])


def succeed(
    session: Session, job: Job, *, version: int, result: Json, stop_reason: str, warnings: list[Json], noted: Json = NIL
) -> None:
    """End a running job with its version and all that is worth knowing, `noted` along with it. Raises LeaseLost."""
    found = {"version": version, "result": result, "warnings": warnings}
    _end(session, job, noted | ending("succeeded", stop_reason) | found)


def fail(session: Session, job: Job, *, stop_reason: str, error: Json, diagnosis: Json | None = None) -> None:
    """End a running job without a model. Raises LeaseLost."""
    _end(session, job, ending("failed", stop_reason) | {"error": error, "diagnosis": diagnosis})


def end_cancelled(session: Session, job: Job, noted: Json = NIL) -> None:
    """End a running job whose cancelling was asked for; `noted` is noted along with it. Raises LeaseLost."""
    _end(session, job, noted | cancelled())


def release(session: Session, job: Job) -> None:
    """Put a running job back to its place in the queue: its worker has to stop, or it is paused. Raises LeaseLost."""
    fence.through(session, _WRITE, job, back_in_queue())


def ending(status: Status, stop_reason: str) -> dict[str, Any]:
    """Give the values of a job that ends now."""
    moments = dict.fromkeys(("finished_at", "changed_at"), now())
    return {"status": status, "stop_reason": stop_reason, "lease_expires_at": None, "paused": False, **moments}


def cancelled() -> dict[str, Any]:
    """Give the values of a job that is cancelled now."""
    return ending("cancelled", "cancelled")


def back_in_queue() -> dict[str, Any]:
    """Give the values of a job whose attempt is given up now, for another to go on from there.

    What was settled stays, for it belongs to the history, and the progress, from which the next attempt goes on.
    """
    given_up = dict.fromkeys(("worker_id", "lease_expires_at", "started_at", "engine"))
    return {"status": "queued", "changed_at": now(), **given_up}
