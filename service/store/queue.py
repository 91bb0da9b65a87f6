"""The queue: the jobs that wait, each in its place, who gets the next, and whether there is room for one more."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, case, exists, func, or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from service.errors import QueueFull
from service.store import jobs, pace, workers
from service.store.columns import now
from service.store.jobs import COLUMNS, Job
from service.store.ownership import OF_ALL, owner_of
from service.store.statements import run
from service.store.tables import JobRow, core

UNKNOWN_SECONDS = 60
"""Nothing tells how long it takes until a place is free: no job runs."""
MOST_SECONDS = 3600

# What workers do is nobody's view of the table.
_JOBS = core(JobRow)
_COLUMNS = [_JOBS.c[name] for name in COLUMNS]
_WAITS = and_(_JOBS.c.status == "queued", ~_JOBS.c.paused)
_ASKS_FOR_GPU = func.coalesce(_JOBS.c.requested["device"].as_string(), "").like("cuda%")
_WANTED = {False: _WAITS, True: and_(_WAITS, or_(~_ASKS_FOR_GPU, ~workers.ANY_WITH_GPU))}
"""Which jobs a worker takes: all that wait, or but for those that ask for a GPU where another has one."""
_HAS_WAITING = {leaves_gpus: select(exists().where(wanted)) for leaves_gpus, wanted in _WANTED.items()}
_IS_BEHIND = and_(_JOBS.c.priority == bindparam("its_priority"), _JOBS.c.sequence <= bindparam("its_sequence"))
_PLACE = select(func.count()).where(_WAITS, or_(_JOBS.c.priority > bindparam("its_priority"), _IS_BEHIND))
_IN_ORDER = select(_JOBS.c.sequence).where(_WAITS).order_by(_JOBS.c.priority.desc(), _JOBS.c.sequence)
_IS_BEFORE = and_(~_JOBS.c.paused, _JOBS.c.priority >= bindparam("its_priority"))
_ROOM = select(func.count(), func.count(case((_IS_BEFORE, 1)))).where(_JOBS.c.status == "queued")
# Of one job, as its session sees it: its place is among all, whosesoever they are.
_OTHERS = _JOBS.alias()
_IS_BEHIND_OTHER = and_(_OTHERS.c.priority == JobRow.priority, _OTHERS.c.sequence <= JobRow.sequence)
_AHEAD = select(func.count()).where(
    _OTHERS.c.status == "queued", ~_OTHERS.c.paused, or_(_OTHERS.c.priority > JobRow.priority, _IS_BEHIND_OTHER)
)
_ITS_PLACE = case((and_(JobRow.status == "queued", ~JobRow.paused), _AHEAD.scalar_subquery()))
_PLACED = jobs.GET.add_columns(_ITS_PLACE)


def _claim_of(wanted: ColumnElement[bool]) -> ReturningUpdate[Any]:
    # Two steps along the index: in one, it would sort all that wait.
    highest = select(func.max(_JOBS.c.priority)).where(wanted).scalar_subquery()
    in_order = select(_JOBS.c.sequence).where(wanted, _JOBS.c.priority == highest).order_by(_JOBS.c.sequence)
    claimed = {
        "status": "running",
        "worker_id": bindparam("its_worker"),
        "lease_expires_at": bindparam("its_lease"),
        "attempt": _JOBS.c.attempt + 1,
        "started_at": bindparam("its_start"),
        "changed_at": bindparam("its_start"),
    }
    first = update(_JOBS).where(_JOBS.c.sequence == in_order.limit(1).scalar_subquery())
    return first.values(claimed).returning(*_COLUMNS)


_CLAIM = {leaves_gpus: _claim_of(wanted) for leaves_gpus, wanted in _WANTED.items()}


def has_waiting(session: Session, lease_seconds: float, *, leaves_gpus: bool = False) -> bool:
    """Tell whether any job waits that a worker would claim; it asks this often, for it takes no lock."""
    its = workers.seen_within(lease_seconds) if leaves_gpus else {}
    return bool(run(session, _HAS_WAITING[leaves_gpus], its).scalar())


def claim(session: Session, worker_id: str, lease_seconds: float, *, leaves_gpus: bool = False) -> Job | None:
    """Make the first job of the queue this worker's own, as a new attempt; None when none waits.

    First is the oldest of those of the highest priority. Paused jobs do not wait.

    Args:
        lease_seconds: for how long, and for how long a worker counts as alive of which nothing is heard.
        leaves_gpus: whether jobs that ask for a GPU are left to the workers that have one, if any is alive.
    """
    moment = now()
    its = {"its_worker": worker_id, "its_start": moment, "its_lease": moment + timedelta(seconds=lease_seconds)}
    if leaves_gpus:
        its |= workers.seen_within(lease_seconds)
    claimed = run(session, _CLAIM[leaves_gpus], its).first()
    return None if claimed is None else Job(*claimed)


def positions(session: Session, found: Collection[Job]) -> dict[str, int]:
    """Give the place in the queue, which is one for all, of those of these jobs that wait: 1 is the next to start."""
    waiting = [job for job in found if job.status == "queued" and not job.paused]
    if len(waiting) == 1:
        (job,) = waiting
        its = {"its_priority": job.priority, "its_sequence": job.sequence}
        return {job.id: run(session, _PLACE, its).scalar_one()}
    if not waiting:
        return {}
    places = {sequence: place for place, sequence in enumerate(run(session, _IN_ORDER).scalars(), 1)}
    return {job.id: places[job.sequence] for job in waiting}


def get(session: Session, job_id: str) -> tuple[Job, int | None]:
    """Read a job by one statement, and its place in the queue if it waits; raises NotFound when there is none."""
    *its, place = jobs.found(session, _PLACED, job_id)
    return Job(*its), place


def check_room(session: Session, max_queued_jobs: int, max_jobs_per_owner: int, priority: int = 0) -> int:
    """See that the queue has a place left, and the session's owner, too; tell which one a job of a priority gets.

    Paused jobs take one, too.

    Args:
        max_queued_jobs: that all may have in the queue together.
        max_jobs_per_owner: that one owner may have queued and running; 0 is no limit.

    Raises:
        QueueFull: when there is none.
    """
    n_queued, n_before = run(session, _ROOM, {"its_priority": priority}).one()
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
    return int(n_before) + 1


def _seconds_to_room(session: Session, which: ColumnElement[bool]) -> int:
    """Estimate when a place will be free: when the first of these running jobs ends, at its pace so far.

    One whose pace is not known yet is taken to go on for as long as it has, if it may.
    """
    running = session.scalars(select(JobRow).where(which), execution_options=OF_ALL)
    soonest = min((_seconds_to_end(row.as_value(Job)) for row in running), default=UNKNOWN_SECONDS)
    return max(1, min(MOST_SECONDS, round(soonest)))


def _seconds_to_end(job: Job) -> float:
    at_its_pace = pace.seconds_to_end(job)
    return min(pace.seconds_so_far(job), pace.most_seconds(job)) if at_its_pace is None else at_its_pace
