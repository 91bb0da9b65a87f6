"""What has changed: where watched jobs stand, and which jobs came, started or ended after a moment."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from service.store.jobs import Job, Status
from service.store.tables import JobRow


@dataclass(frozen=True)
class Standing:
    """Where a job stands: of what changes while it is watched, as much as tells that something did."""

    status: Status
    attempt: int
    engine: str | None
    progress: float


@dataclass(frozen=True, order=True)
class Moment:
    """When a job came, started or ended; its sequence tells apart what was written at once.

    Such times are taken by writers that hold the write lock, so that they rise from one commit to the next.
    """

    time: datetime
    sequence: int


def standings(session: Session, job_ids: Collection[str]) -> dict[str, Standing]:
    """Tell where each of these jobs stands; those that are not there any more are left out."""
    query = select(JobRow.id, JobRow.status, JobRow.attempt, JobRow.engine, JobRow.progress)
    rows = session.execute(query.where(JobRow.id.in_(job_ids)))
    return {row.id: Standing(row.status, row.attempt, row.engine, row.progress) for row in rows}


def moment_of(job: Job) -> Moment:
    """Tell when a job last came, started or ended."""
    return Moment(job.finished_at or job.started_at or job.created_at, job.sequence)


def latest(session: Session) -> Moment | None:
    """Give the moment of the last change; None when there is no job."""
    row = JobRow
    newest = session.scalar(select(func.max(row.created_at)).where(row.sequence == _newest()))
    started = session.scalar(select(func.max(row.started_at)).where(row.status == "running"))
    ended = session.scalar(select(func.max(row.finished_at)))
    times = [time for time in (newest, started, ended) if time is not None]
    if not times:
        return None
    at_last = select(func.max(row.sequence)).where(_may_have_changed(max(times)), _changed_at() == max(times))
    return Moment(max(times), session.scalar(at_last) or 0)


def since(session: Session, moment: Moment | None, model: str | None, limit: int) -> list[Job]:
    """Give the jobs that came, started or ended after a moment, in this order; at most so many, the first ones.

    Args:
        moment: None stands for the beginning.
        model: only jobs for this one, if it is named.
    """
    query: Select[JobRow] = select(JobRow).order_by(_changed_at(), JobRow.sequence).limit(limit)
    if moment is not None:
        at_once = and_(_changed_at() == moment.time, JobRow.sequence > moment.sequence)
        is_later = or_(_changed_at() > moment.time, at_once)
        query = query.where(_may_have_changed(moment.time), is_later)
    if model is not None:
        query = query.where(JobRow.model == model)
    return [row.as_value(Job) for row in session.scalars(query)]


def running(session: Session, model: str | None) -> set[int]:
    """Give the sequences of the jobs that are running."""
    query = select(JobRow.sequence).where(JobRow.status == "running")
    return set(session.scalars(query if model is None else query.where(JobRow.model == model)))


def queued_again(session: Session, sequences: Collection[int]) -> list[Job]:
    """Give those of these jobs that are back in the queue."""
    query = select(JobRow).where(JobRow.sequence.in_(sequences), JobRow.status == "queued")
    return [row.as_value(Job) for row in session.scalars(query)]


def _changed_at() -> ColumnElement[datetime]:
    return func.coalesce(JobRow.finished_at, JobRow.started_at, JobRow.created_at)


def _newest() -> ColumnElement[int]:
    return select(func.max(JobRow.sequence)).scalar_subquery()


def _may_have_changed(time: datetime) -> ColumnElement[bool]:
    """Narrow jobs down, by an index each, to those that may have changed at a time or after it."""
    before = select(JobRow.sequence).where(JobRow.created_at < time).order_by(JobRow.sequence.desc()).limit(1)
    came = JobRow.sequence > func.coalesce(before.scalar_subquery(), -1)
    return or_(came, JobRow.status == "running", JobRow.finished_at >= time)
