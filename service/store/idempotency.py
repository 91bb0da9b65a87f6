"""Idempotency keys, each its owner's: a request that comes twice under one key is answered with one job."""

from datetime import timedelta

from sqlalchemy import delete, select, tuple_
from sqlalchemy.orm import Session

from service.errors import Fault, InvalidRequest
from service.store.columns import now
from service.store.jobs import Job
from service.store.ownership import owner_of
from service.store.tables import IdempotencyRow, JobRow

KEPT = timedelta(hours=24)
POINTER = "/header/Idempotency-Key"


def find(session: Session, key: str, body_sha256: str) -> Job | None:
    """Give the job, as it is now, that was made under a key in the last 24 hours; None when there was none.

    Raises:
        InvalidRequest: when it was made of another request, or has been deleted.
    """
    known = session.scalar(
        select(IdempotencyRow).where(
            IdempotencyRow.owner == owner_of(session),
            IdempotencyRow.key == key,
            IdempotencyRow.created_at > now() - KEPT,
        )
    )
    if known is None:
        return None
    if known.body_sha256 != body_sha256:
        detail = f"the key {key!r} was used for another request, which made job {known.job_id}: use another key"
        raise InvalidRequest([Fault(POINTER, detail)])
    row = session.scalar(select(JobRow).where(JobRow.id == known.job_id))
    if row is None:
        detail = f"job {known.job_id}, which was made under the key {key!r}, has been deleted: use another key"
        raise InvalidRequest([Fault(POINTER, detail)])
    return row.as_value(Job)


def remember(session: Session, key: str, body_sha256: str, job: Job) -> None:
    """Note which job a request under a key has made; in the transaction that makes it."""
    owner = owner_of(session)
    session.merge(IdempotencyRow(owner=owner, key=key, body_sha256=body_sha256, job_id=job.id, created_at=now()))
    session.flush()


def forget_expired(session: Session, limit: int) -> None:
    """Remove up to so many keys that no longer count."""
    its_key = tuple_(IdempotencyRow.owner, IdempotencyRow.key)
    expired = select(IdempotencyRow.owner, IdempotencyRow.key).where(IdempotencyRow.created_at <= now() - KEPT)
    session.execute(delete(IdempotencyRow).where(its_key.in_(expired.limit(limit))))
