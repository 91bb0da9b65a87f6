"""The queue: the jobs that wait, each in its place, and whether there is room for one more."""

from collections.abc import Collection

from sqlalchemy import and_, exists, func, or_, select
from sqlalchemy.orm import Session

from service.errors import QueueFull
from service.store.columns import now
from service.store.jobs import Job, waits
from service.store.tables import JobRow

UNKNOWN_SECONDS = 60
"""Nothing tells how long it takes until a place is free: no job runs."""
MOST_SECONDS = 3600

_waits = waits()


def has_waiting(session: Session, *, but_for_gpus: bool = False) -> bool:
    """Tell whether any job waits for a worker, or for one without a GPU; it asks this often, for it takes no lock."""
    return bool(session.scalar(select(exists().where(waits(but_for_gpus=but_for_gpus)))))


def positions(session: Session, found: Collection[Job]) -> dict[str, int]:
    """Give the place in the queue of those of these jobs that wait: 1 is the next to start."""
    waiting = [job for job in found if job.status == "queued" and not job.paused]
    if len(waiting) == 1:
        (job,) = waiting
        behind = and_(JobRow.priority == job.priority, JobRow.sequence <= job.sequence)
        place = select(func.count()).where(_waits, or_(JobRow.priority > job.priority, behind))
        return {job.id: session.scalars(place).one()}
    if not waiting:
        return {}
    in_order = select(JobRow.sequence).where(_waits).order_by(JobRow.priority.desc(), JobRow.sequence)
    places = {sequence: place for place, sequence in enumerate(session.scalars(in_order), 1)}
    return {job.id: places[job.sequence] for job in waiting}


def check_room(session: Session, max_queued_jobs: int) -> None:
    """See that the queue has a place left. Paused jobs take one, too.

    Raises:
        QueueFull: when it has none.
    """
    n_queued = session.scalars(select(func.count()).where(JobRow.status == "queued")).one()
    if n_queued >= max_queued_jobs:
        said = f"the queue is full: {n_queued} jobs are queued and {max_queued_jobs} is the limit (setting"
        raise QueueFull(f"{said} DESCENT_MAX_QUEUED_JOBS): ask again later, or cancel some", _seconds_to_room(session))


def _seconds_to_room(session: Session) -> int:
    """Estimate when a place will be free: when the first of the running jobs ends, at its pace so far."""
    running = session.scalars(select(JobRow).where(JobRow.status == "running"))
    soonest = min((_seconds_to_end(row.as_value(Job)) for row in running), default=UNKNOWN_SECONDS)
    return max(1, min(MOST_SECONDS, round(soonest)))


def _seconds_to_end(job: Job) -> float:
    """Estimate how long a running job will take; as long again as so far where its pace is not known yet."""
    lasted = (now() - (job.started_at or job.created_at)).total_seconds()
    left = float(job.hyperparameters["epochs"]) - job.progress
    return lasted * left / job.progress if job.progress else lasted
