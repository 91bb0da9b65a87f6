"""The workers that live."""

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, exists, select, true, update
from sqlalchemy.orm import Session

from service.store.columns import now
from service.store.tables import WorkerRow


def register(session: Session, worker_id: str, device: str) -> None:
    """Note that a worker has started; forget those of which nothing was heard for a day."""
    session.execute(delete(WorkerRow).where(WorkerRow.seen_at < now() - timedelta(days=1)))
    session.merge(WorkerRow(id=worker_id, device=device, started_at=now(), seen_at=now()))


def heartbeat(session: Session, worker_id: str, device: str) -> None:
    """Note that a worker lives, also one that was forgotten while its machine slept."""
    seen = update(WorkerRow).where(WorkerRow.id == worker_id).values(seen_at=now()).returning(WorkerRow.id)
    if session.scalar(seen) is None:
        register(session, worker_id, device)


def remove(session: Session, worker_id: str) -> None:
    """Forget a worker that has ended."""
    session.execute(delete(WorkerRow).where(WorkerRow.id == worker_id))


def any_alive(session: Session, lease_seconds: float, device: str | None = None) -> bool:
    """Tell whether any worker was heard of within the lease, or any that trains on a device."""
    is_such = true() if device is None else WorkerRow.device == device
    return bool(session.scalar(select(exists().where(_lives(lease_seconds), is_such))))


def is_oldest(session: Session, worker_id: str, lease_seconds: float) -> bool:
    """Tell whether a worker has lived longest of all: the one who does what is to be done once for all."""
    alive = select(WorkerRow.id).where(_lives(lease_seconds))
    oldest = session.scalar(alive.order_by(WorkerRow.started_at, WorkerRow.id).limit(1))
    return oldest == worker_id


def _lives(lease_seconds: float) -> ColumnElement[bool]:
    return WorkerRow.seen_at > now() - timedelta(seconds=lease_seconds)
