"""Leases: how long a running job is its worker's own, and what becomes of the jobs of workers that are gone."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from service.store import checkpoints, fence
from service.store.columns import now
from service.store.jobs import Asked, Job, asked_by, back_in_queue, cancelled, ending
from service.store.tables import DatasetRow, JobRow, core

_JOBS, _DATASETS = core(JobRow), core(DatasetRow)
_HELD = select(_JOBS.c.cancel_requested, _JOBS.c.paused, _DATASETS.c.sha256).where(
    fence.IS_HELD, _DATASETS.c.id == _JOBS.c.dataset_id
)


@dataclass(frozen=True)
class Held:
    """A running job that is its worker's: what is asked of that, and the hash of the dataset that it trains on."""

    asked: Asked | None
    dataset_sha256: str


def renew(session: Session, worker_id: str, lease_seconds: float) -> None:
    """Keep a worker's running job for longer."""
    mine = update(JobRow).where(JobRow.worker_id == worker_id, JobRow.status == "running")
    session.execute(mine.values(lease_expires_at=now() + timedelta(seconds=lease_seconds)))


def check(session: Session, job: Job) -> Held:
    """See that a claimed job is still its worker's, which may have been told nothing of what became of it.

    Raises:
        LeaseLost: when it is no longer running, or in another attempt.
    """
    found = fence.through(session, _HELD, job, {})
    return Held(asked_by(found), found.sha256)


def release_expired(session: Session, max_lost_workers: int) -> int:
    """Put jobs whose lease has run out back into the queue, as `release_lost` does; tell how many there were."""
    return _release_lost(
        session, JobRow.lease_expires_at < now(), max_lost_workers, "unheard of, until its lease ran out"
    )


def release_lost(session: Session, worker_id: str, max_lost_workers: int, how: str) -> int:
    """Put the jobs of a dead worker back into the queue; a job that has lost too many workers fails instead.

    Losses count since the job last got on: see `jobs.advance`.

    Args:
        how: the worker died, for those who ask why the job failed.
    """
    return _release_lost(session, JobRow.worker_id == worker_id, max_lost_workers, how)


def release_stopped(session: Session, worker_id: str) -> None:
    """Put the jobs of a worker that was made to stop back into the queue; this is no loss to hold against them."""
    stopped = update(JobRow).where(JobRow.status == "running", JobRow.worker_id == worker_id)
    ended = stopped.where(JobRow.cancel_requested).values(**cancelled()).returning(JobRow.sequence)
    checkpoints.delete(session, session.scalars(ended).all())
    session.execute(stopped.values(**back_in_queue()))


def _release_lost(session: Session, which: ColumnElement[bool], max_lost_workers: int, how: str) -> int:
    lost = update(JobRow).where(JobRow.status == "running", which).values(n_lost_workers=JobRow.n_lost_workers + 1)
    lost = lost.execution_options(synchronize_session=False)
    ended = session.scalars(lost.where(JobRow.cancel_requested).values(**cancelled()).returning(JobRow.sequence)).all()
    error = {
        "code": "worker_lost",
        "detail": f"the job's worker process died {max_lost_workers} times without the job getting on, the last time "
        f"{how}, so it is not tried again. Too large a dataset for the memory is the usual reason, which a system "
        "answers with SIGKILL; the service's log tells more",
    }
    failed = session.scalars(
        lost.where(JobRow.n_lost_workers + 1 >= max_lost_workers)
        .values(**ending("failed", "error"), error=error)
        .returning(JobRow.sequence)
    ).all()
    checkpoints.delete(session, [*ended, *failed])
    queued = session.scalars(lost.values(**back_in_queue()).returning(JobRow.sequence)).all()
    return len(ended) + len(failed) + len(queued)
