"""The queue: the jobs that wait, each in its place, and whether there is room for one more."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from service.errors import QueueFull
from service.store.columns import now
from service.store.jobs import Job
from service.store.ownership import OF_ALL, owner_of
from service.store.tables import JobRow

UNKNOWN_SECONDS = 60
"""Nothing tells how long it takes until a place is free: no job runs."""
MOST_SECONDS = 3600

_waits = and_(JobRow.status == "queued", ~JobRow.paused)


def has_waiting(session: Session) -> bool:
    """Tell whether any job waits; a worker asks this often, for it takes no lock."""
    return bool(session.scalar(select(exists().where(_waits))))


def positions(session: Session, found: Collection[Job]) -> dict[str, int]:
    """Give the place in the queue, which is one for all, of those of these jobs that wait: 1 is the next to start."""
    waiting = [job for job in found if job.status == "queued" and not job.paused]
    if len(waiting) == 1:
        (job,) = waiting
        behind = and_(JobRow.priority == job.priority, JobRow.sequence <= job.sequence)
        place = select(func.count()).where(_waits, or_(JobRow.priority > job.priority, behind))
        return {job.id: session.scalars(place, execution_options=OF_ALL).one()}
    if not waiting:
        return {}
    in_order = select(JobRow.sequence).where(_waits).order_by(JobRow.priority.desc(), JobRow.sequence)
    places = {sequence: place for place, sequence in enumerate(session.scalars(in_order, execution_options=OF_ALL), 1)}
    return {job.id: places[job.sequence] for job in waiting}


def check_room(session: Session, max_queued_jobs: int, max_jobs_per_owner: int) -> None:
    """See that the queue has a place left, and the session's owner, too. Paused jobs take one, too.

    Args:
        max_queued_jobs: that all may have in the queue together.
        max_jobs_per_owner: that one owner may have queued and running; 0 is no limit.

    Raises:
        QueueFull: when there is none.
    """
    n_queued = session.scalars(select(func.count()).where(JobRow.status == "queued"), execution_options=OF_ALL).one()
    if n_queued >= max_queued_jobs:
        said = f"the queue is full: {n_queued} jobs are queued and {max_queued_jobs} is the limit (setting"
        seconds = _seconds_to_room(session, JobRow.status == "running")
        raise QueueFull(f"{said} DESCENT_MAX_QUEUED_JOBS): ask again later, or cancel some", seconds)
    if max_jobs_per_owner:
        owner = owner_of(session)
        its = and_(JobRow.owner == owner, JobRow.status.in_(("queued", "running")))
        n_jobs = session.scalars(select(func.count()).where(its)).one()
        if n_jobs >= max_jobs_per_owner:
            said = f"{owner!r} has {n_jobs} jobs queued or running and {max_jobs_per_owner} is the limit (setting"
            seconds = _seconds_to_room(session, and_(JobRow.owner == owner, JobRow.status == "running"))
            raise QueueFull(f"{said} DESCENT_MAX_JOBS_PER_KEY): wait for the end of one, or cancel one", seconds)


def _seconds_to_room(session: Session, which: ColumnElement[bool]) -> int:
    """Estimate when a place will be free: when the first of these running jobs ends, at its pace so far."""
    running = session.scalars(select(JobRow).where(which), execution_options=OF_ALL)
    soonest = min((_seconds_to_end(row.as_value(Job)) for row in running), default=UNKNOWN_SECONDS)
    return max(1, min(MOST_SECONDS, round(soonest)))


def _seconds_to_end(job: Job) -> float:
    """Estimate how long a running job will take; as long again as so far where its pace is not known yet."""
    lasted = (now() - (job.started_at or job.created_at)).total_seconds()
    left = float(job.hyperparameters["epochs"]) - job.progress
    return lasted * left / job.progress if job.progress else lasted
