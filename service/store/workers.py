"""The workers that live."""

from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, exists, func, select, update
from sqlalchemy.orm import Session

from service.store.columns import now
from service.store.statements import run
from service.store.tables import WorkerRow, core

_WORKERS = core(WorkerRow)
_LIVES = _WORKERS.c.seen_at > bindparam("seen_after")
_ANY_ALIVE = select(exists().where(_LIVES))
_N_ALIVE = select(func.count()).where(_LIVES)
_OLDEST = select(_WORKERS.c.id).where(_LIVES).order_by(_WORKERS.c.started_at, _WORKERS.c.id).limit(1)
ANY_WITH_GPU = exists().where(_LIVES, _WORKERS.c.device == "cuda")
"""Whether a worker with a GPU is alive; takes what `seen_within` gives."""


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


def seen_within(lease_seconds: float) -> dict[str, datetime]:
    """Give the values of statements that ask which workers were heard of within the lease."""
    return {"seen_after": now() - timedelta(seconds=lease_seconds)}


def any_alive(session: Session, lease_seconds: float) -> bool:
    """Tell whether any worker was heard of within the lease."""
    return bool(run(session, _ANY_ALIVE, seen_within(lease_seconds)).scalar())


def n_alive(session: Session, lease_seconds: float) -> int:
    """Tell how many workers were heard of within the lease."""
    return int(run(session, _N_ALIVE, seen_within(lease_seconds)).scalar_one())


def is_oldest(session: Session, worker_id: str, lease_seconds: float) -> bool:
    """Tell whether a worker has lived longest of all: the one who does what is to be done once for all."""
    return bool(run(session, _OLDEST, seen_within(lease_seconds)).scalar() == worker_id)
