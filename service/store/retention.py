"""Retention: old jobs, unused datasets, expired idempotency keys, old entries of the audit: deleted a few at a time."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Row, Select, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.errors import DatasetInUse, JobNotEnded, NotFound
from service.settings import Settings
from service.store import audit, control, datasets, folders, idempotency
from service.store.columns import now
from service.store.database import Database
from service.store.identifiers import first_identifier
from service.store.tables import AliasRow, DatasetRow, HistoryBlockRow, HoldingRow, JobRow, ModelRow, VersionRow

logger = logging.getLogger(__name__)

JOBS_AT_ONCE = 100
DATASETS_AT_ONCE = 10
KEYS_AT_ONCE = 1000
ENTRIES_AT_ONCE = 1000
LEFT_IN_PEACE = timedelta(hours=1)
"""What is younger is not deleted for want of space: somebody may be about to use it."""


def sweep(database: Database, settings: Settings) -> bool:
    """Delete what the settings do not keep, a bounded number of each kind; tell whether another sweep may find more.

    What is old goes whatever it takes. Where everything takes too much, the oldest goes, but nothing that was made or
    ended within the hour, and not where the newest version of a model comes from, or one that an alias names: its job,
    and its dataset.
    Every deletion is a transaction of its own, so that nobody waits long, and a line in the log.
    """
    with database.writing() as session:
        idempotency.forget_expired(session, KEYS_AT_ONCE)
        n_entries = audit.forget(session, settings.audit_retention_days, ENTRIES_AT_ONCE)
    n_jobs = n_datasets = 0
    if days := settings.job_retention_days:
        with database.reading() as session:
            old = _old_jobs(session, now() - timedelta(days=days))
        n_jobs = _delete_jobs(database, old, retention_days=days)
    if max_bytes := settings.job_retention_bytes:
        with database.reading() as session:
            too_many = _jobs_beyond(session, max_bytes)
        n_jobs = max(n_jobs, _delete_jobs(database, too_many, retention_bytes=max_bytes))
    if days := settings.dataset_retention_days:
        with database.reading() as session:
            unused = _unused_datasets(session, now() - timedelta(days=days))
        n_datasets = _delete_datasets(database, settings, unused, retention_days=days)
    if max_bytes := settings.dataset_retention_bytes:
        with database.reading() as session:
            too_large = _datasets_beyond(session, max_bytes)
        n_datasets = max(n_datasets, _delete_datasets(database, settings, too_large, retention_bytes=max_bytes))
    return n_jobs == JOBS_AT_ONCE or n_datasets == DATASETS_AT_ONCE or n_entries == ENTRIES_AT_ONCE


def _delete_jobs(database: Database, job_ids: list[str], **why: float) -> int:
    for job_id in job_ids:
        try:
            with database.writing() as session:
                control.remove(session, job_id)
        except (NotFound, JobNotEnded):  # another worker's sweep was quicker
            continue
        logger.info("old job deleted", extra={"job": job_id, **why})
    return len(job_ids)


def _old_jobs(session: Session, since: datetime) -> list[str]:
    # Identifiers sort by time: only jobs that were made before are looked at.
    query = select(JobRow.id).where(JobRow.id < first_identifier("job_", since), JobRow.finished_at < since)
    return list(session.scalars(query.order_by(JobRow.id).limit(JOBS_AT_ONCE)))


def _jobs_beyond(session: Session, max_bytes: int) -> list[str]:
    """Choose the jobs to delete so that histories take no more than so many bytes."""
    block = HistoryBlockRow
    arrays = (
        block.epoch,
        block.train_loss,
        block.validation_loss,
        block.gradient_norm,
        block.learning_rate,
        block.parameters,
        block.gradient,
    )
    # Lengths are known without reading what has them.
    taken = func.sum(sum((func.coalesce(func.length(array), 0) for array in arrays[1:]), func.length(arrays[0])))
    sizes = select(block.job_sequence, taken.label("n_bytes")).group_by(block.job_sequence).subquery()
    total = session.scalar(select(func.sum(sizes.c.n_bytes))) or 0
    may_go = (
        select(JobRow.id, sizes.c.n_bytes)
        .join(sizes, sizes.c.job_sequence == JobRow.sequence)
        .where(JobRow.finished_at < now() - LEFT_IN_PEACE, JobRow.id.not_in(_origins(VersionRow.job_id)))
        .order_by(JobRow.finished_at, JobRow.sequence)
        .limit(JOBS_AT_ONCE)
    )
    return _oldest(session.execute(may_go), total - max_bytes)


def _delete_datasets(database: Database, settings: Settings, dataset_ids: list[str], **why: float) -> int:
    for dataset_id in dataset_ids:
        try:
            folders.delete(database, settings, dataset_id)
        except (NotFound, DatasetInUse):  # another sweep was quicker, or a job came that needs it
            continue
        logger.info("unused dataset deleted", extra={"dataset": dataset_id, **why})
    return len(dataset_ids)


def _unused_datasets(session: Session, since: datetime) -> list[str]:
    in_use = select(JobRow.dataset_id).where(or_(JobRow.finished_at.is_(None), JobRow.finished_at >= since))
    brought = select(HoldingRow.dataset_id).where(HoldingRow.created_at >= since)
    unused = DatasetRow.deleted_at.is_(None), DatasetRow.id.not_in(brought), DatasetRow.id.not_in(in_use)
    return list(session.scalars(select(DatasetRow.id).where(*unused).order_by(DatasetRow.id).limit(DATASETS_AT_ONCE)))


def _datasets_beyond(session: Session, max_bytes: int) -> list[str]:
    """Choose the datasets to delete so that all take no more than so many bytes."""
    last_used = (
        select(func.max(JobRow.finished_at)).where(JobRow.dataset_id == DatasetRow.id).correlate(DatasetRow)
    ).scalar_subquery()
    brought = (
        select(func.max(HoldingRow.created_at)).where(HoldingRow.dataset_id == DatasetRow.id).correlate(DatasetRow)
    ).scalar_subquery()
    since = now() - LEFT_IN_PEACE
    in_use = select(JobRow.dataset_id).where(or_(JobRow.finished_at.is_(None), JobRow.finished_at >= since))
    may_go = (
        select(DatasetRow.id, DatasetRow.n_bytes)
        .where(
            DatasetRow.deleted_at.is_(None),
            brought < since,
            DatasetRow.id.not_in(in_use),
            DatasetRow.id.not_in(_origins(VersionRow.dataset_id)),
        )
        .order_by(func.coalesce(last_used, brought), DatasetRow.id)
        .limit(DATASETS_AT_ONCE)
    )
    return _oldest(session.execute(may_go), datasets.total_bytes(session) - max_bytes)


def _origins(column: InstrumentedAttribute[str]) -> Select[str]:
    """Give what the newest versions of all models come from, and those that aliases name."""
    newest = exists().where(ModelRow.name == VersionRow.model, ModelRow.latest_version == VersionRow.version)
    named = exists().where(AliasRow.model == VersionRow.model, AliasRow.version == VersionRow.version)
    return select(column).where(or_(newest, named))


def _oldest(found: Iterable[Row[str, int]], excess: int) -> list[str]:
    """Take of what may go, the oldest first, until so many bytes are freed."""
    taken = []
    for identifier, n_bytes in found:
        if excess <= 0:
            break
        taken.append(identifier)
        excess -= n_bytes
    return taken
