"""The workers that live."""

from datetime import timedelta

from sqlalchemy import ColumnElement, bindparam, delete, exists, select, update
from sqlalchemy.orm import Session

from service.store.columns import now
from service.store.tables import WorkerRow, core

_WORKERS = core(WorkerRow)
_LIVES = _WORKERS.c.seen_at > bindparam("seen_after")
_ANY_ALIVE = select(exists().where(_LIVES))
_ANY_ALIVE_ON = select(exists().where(_LIVES, _WORKERS.c.device == bindparam("its_device")))


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
    seen_after = now() - timedelta(seconds=lease_seconds)
    if device is None:
        return bool(session.scalar(_ANY_ALIVE, {"seen_after": seen_after}))
    return bool(session.scalar(_ANY_ALIVE_ON, {"seen_after": seen_after, "its_device": device}))


def is_oldest(session: Session, worker_id: str, lease_seconds: float) -> bool:
    """Tell whether a worker has lived longest of all: the one who does what is to be done once for all."""
    alive = select(WorkerRow.id).where(_lives(lease_seconds))
    oldest = session.scalar(alive.order_by(WorkerRow.started_at, WorkerRow.id).limit(1))
    return oldest == worker_id


def _lives(lease_seconds: float) -> ColumnElement[bool]:
    return WorkerRow.seen_at > now() - timedelta(seconds=lease_seconds)
