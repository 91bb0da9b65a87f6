"""Retention: old jobs, unused datasets, expired idempotency keys, old entries of the audit: deleted a few at a time."""

import logging
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.errors import DatasetInUse, JobNotEnded, NotFound
from service.settings import Settings
from service.store import audit, control, folders, idempotency
from service.store.columns import now
from service.store.database import Database
from service.store.identifiers import first_identifier
from service.store.tables import DatasetRow, HoldingRow, JobRow

logger = logging.getLogger(__name__)

JOBS_AT_ONCE = 100
DATASETS_AT_ONCE = 10
KEYS_AT_ONCE = 1000
ENTRIES_AT_ONCE = 1000


def sweep(database: Database, settings: Settings) -> bool:
    """Delete what the settings do not keep, a bounded number of each kind; tell whether another sweep may find more.

    Every deletion is a transaction of its own, so that nobody waits long, and a line in the log.
    """
    with database.writing() as session:
        idempotency.forget_expired(session, KEYS_AT_ONCE)
        n_entries = audit.forget(session, settings.audit_retention_days, ENTRIES_AT_ONCE)
    n_jobs = _delete_jobs(database, settings.job_retention_days) if settings.job_retention_days else 0
    n_datasets = _delete_datasets(database, settings) if settings.dataset_retention_days else 0
    return n_jobs == JOBS_AT_ONCE or n_datasets == DATASETS_AT_ONCE or n_entries == ENTRIES_AT_ONCE


def _delete_jobs(database: Database, days: float) -> int:
    with database.reading() as session:
        old = _old_jobs(session, now() - timedelta(days=days))
    for job_id in old:
        try:
            with database.writing() as session:
                control.remove(session, job_id)
        except (NotFound, JobNotEnded):  # another worker's sweep was quicker
            continue
        logger.info("old job deleted", extra={"job": job_id, "retention_days": days})
    return len(old)


def _old_jobs(session: Session, since: datetime) -> list[str]:
    # Identifiers sort by time: only jobs that were made before are looked at.
    query = select(JobRow.id).where(JobRow.id < first_identifier("job_", since), JobRow.finished_at < since)
    return list(session.scalars(query.order_by(JobRow.id).limit(JOBS_AT_ONCE)))


def _delete_datasets(database: Database, settings: Settings) -> int:
    days = settings.dataset_retention_days
    with database.reading() as session:
        unused = _unused_datasets(session, now() - timedelta(days=days))
    for dataset_id in unused:
        try:
            folders.delete(database, settings, dataset_id)
        except (NotFound, DatasetInUse):  # another sweep was quicker, or a job came that needs it
            continue
        logger.info("unused dataset deleted", extra={"dataset": dataset_id, "retention_days": days})
    return len(unused)


def _unused_datasets(session: Session, since: datetime) -> list[str]:
    in_use = select(JobRow.dataset_id).where(or_(JobRow.finished_at.is_(None), JobRow.finished_at >= since))
    brought = select(HoldingRow.dataset_id).where(HoldingRow.created_at >= since)
    unused = DatasetRow.deleted_at.is_(None), DatasetRow.id.not_in(brought), DatasetRow.id.not_in(in_use)
    return list(session.scalars(select(DatasetRow.id).where(*unused).order_by(DatasetRow.id).limit(DATASETS_AT_ONCE)))
