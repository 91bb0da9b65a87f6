"""A census: how much there is of everything, counted over indexes where there are many rows."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.store import datasets, pace, workers
from service.store.columns import now
from service.store.jobs import Job
from service.store.tables import DatasetRow, JobRow, ModelRow, VersionRow


@dataclass(frozen=True)
class Census:
    """What was counted.

    `n_jobs` is by status. Waiting are the queued jobs that are not paused; `oldest_seconds` is the age of the one of
    them that was asked for first, 0 when there is none.
    """

    n_jobs: dict[str, int]
    n_waiting: int
    n_paused: int
    oldest_seconds: float
    epochs_per_second: float
    n_workers: int
    n_datasets: int
    datasets_bytes: int
    n_models: int
    n_versions: int


def take(session: Session, lease_seconds: float) -> Census:
    """Count everything; a worker lives when it was heard of within the lease."""
    at = now()
    by_status = select(JobRow.status, JobRow.paused, func.count()).group_by(JobRow.status, JobRow.paused)
    counts = {(status, paused): n_jobs for status, paused, n_jobs in session.execute(by_status)}
    statuses = {status for status, _ in counts}
    n_datasets = select(func.count()).select_from(DatasetRow).where(DatasetRow.deleted_at.is_(None))
    return Census(
        n_jobs={status: counts.get((status, False), 0) + counts.get((status, True), 0) for status in statuses},
        n_waiting=counts.get(("queued", False), 0),
        n_paused=counts.get(("queued", True), 0),
        oldest_seconds=_oldest_seconds(session, at),
        epochs_per_second=_epochs_per_second(session),
        n_workers=workers.n_alive(session, lease_seconds),
        n_datasets=session.scalar(n_datasets) or 0,
        datasets_bytes=datasets.total_bytes(session),
        n_models=session.scalar(select(func.count()).select_from(ModelRow)) or 0,
        n_versions=session.scalar(select(func.count()).select_from(VersionRow)) or 0,
    )


def _oldest_seconds(session: Session, at: datetime) -> float:
    # By the sequence, for the index has it, and not the time.
    oldest = select(func.min(JobRow.sequence)).where(JobRow.status == "queued", JobRow.paused.is_(False))
    created_at = session.scalar(select(JobRow.created_at).where(JobRow.sequence == oldest.scalar_subquery()))
    return 0.0 if created_at is None else max(0.0, (at - created_at).total_seconds())


def _epochs_per_second(session: Session) -> float:
    running = session.scalars(select(JobRow).where(JobRow.status == "running"))
    return float(sum(pace.epochs_per_second(row.as_value(Job)) or 0.0 for row in running))
