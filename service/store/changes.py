"""What has changed: where watched jobs stand, and which jobs have come to another status after a moment."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, bindparam, literal, select, tuple_
from sqlalchemy.orm import Session

from service.store.columns import long
from service.store.jobs import Job, Status
from service.store.tables import JobRow, core

_JOBS = core(JobRow)  # which whoever watches was shown already
_STANDINGS = select(_JOBS.c.id, _JOBS.c.status, _JOBS.c.attempt, _JOBS.c.engine, _JOBS.c.progress).where(
    _JOBS.c.id.in_(bindparam("its_ids", expanding=True))
)


@dataclass(frozen=True)
class Standing:
    """Where a job stands: of what changes while it is watched, as much as tells that something did."""

    status: Status
    attempt: int
    engine: str | None
    progress: float


@dataclass(frozen=True, order=True)
class Moment:
    """When a job came to its status; its sequence tells apart what was written at once.

    Such times are taken by writers that hold the write lock, so that they rise from one commit to the next.
    """

    time: datetime
    sequence: int


def standings(session: Session, job_ids: Collection[str]) -> dict[str, Standing]:
    """Tell where each of these jobs stands; those that are not there any more are left out."""
    rows = session.execute(_STANDINGS, {"its_ids": list(job_ids)})
    return {row.id: Standing(row.status, row.attempt, row.engine, row.progress) for row in rows}


def moment_of(job: Job) -> Moment:
    """Tell when a job came to its status."""
    return Moment(job.changed_at, job.sequence)


def latest(session: Session) -> Moment | None:
    """Give the moment of the last change; None when there is no job."""
    newest = select(JobRow.changed_at, JobRow.sequence).order_by(JobRow.changed_at.desc(), JobRow.sequence.desc())
    found = session.execute(newest.limit(1)).first()
    return None if found is None else Moment(*found)


def since(session: Session, moment: Moment | None, model: str | None, limit: int) -> list[Job]:
    """Give the jobs that came to another status after a moment, in this order; at most so many, the first ones.

    Args:
        moment: None stands for the beginning.
        model: only jobs for this one, if it is named.
    """
    place = tuple_(JobRow.changed_at, JobRow.sequence)
    query: Select[JobRow] = select(JobRow).order_by(JobRow.changed_at, JobRow.sequence).limit(limit)
    if moment is not None:
        query = query.where(place > tuple_(literal(moment.time, JobRow.changed_at.type), long(moment.sequence)))
    if model is not None:
        query = query.where(JobRow.model == model)
    return [row.as_value(Job) for row in session.scalars(query)]
