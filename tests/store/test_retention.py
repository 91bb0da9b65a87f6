import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from service.dataset import Dataset
from service.settings import Settings
from service.store import control, datasets, idempotency, retention
from service.store.columns import now
from service.store.database import Database, Session
from service.store.identifiers import first_identifier
from service.store.tables import DatasetRow, IdempotencyRow, JobRow
from tests.store.queueing import claim, enqueue

pytestmark = pytest.mark.both_systems


def made(session: Session, days_ago: float, *, ended: bool = True, dataset: Dataset | None = None) -> str:
    """Put in a job that was made so many days ago, and ended an hour later if at all."""
    job = enqueue(session, dataset) if dataset else enqueue(session)
    moment = now() - timedelta(days=days_ago)
    values: dict[str, Any] = {"id": first_identifier("job_", moment), "created_at": moment}
    if ended:
        control.request_cancel(session, job.id)
        values["finished_at"] = moment + timedelta(hours=1)
    session.execute(update(JobRow).where(JobRow.id == job.id).values(**values))
    return str(values["id"])


def settings(folder: Path, **days: Any) -> Settings:
    return Settings(data_dir=folder, **days)


def left(database: Database) -> set[str]:
    with database.reading() as session:
        return set(session.scalars(select(JobRow.id)))


def test_jobs_that_ended_long_ago_are_deleted_and_no_others(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with database.writing() as session:
        old = made(session, 8)
        kept = {made(session, 8, ended=False), made(session, 7.02), made(session, 0)}
    with caplog.at_level(logging.INFO):
        retention.sweep(database, settings(tmp_path, job_retention_days=7))
    assert left(database) == kept
    (record,) = [record for record in caplog.records if record.getMessage() == "old job deleted"]
    assert vars(record)["job"] == old


def test_without_the_settings_nothing_is_deleted(database: Database, tmp_path: Path) -> None:
    with database.writing() as session:
        made(session, 1000)
    retention.sweep(database, settings(tmp_path))
    assert len(left(database)) == 1
    with database.reading() as session:
        assert len(datasets.page(session, limit=10)[0]) == 1


def test_a_sweep_deletes_some_at_a_time_the_oldest_first(database: Database, tmp_path: Path) -> None:
    n_jobs = retention.JOBS_AT_ONCE + 3
    with database.writing() as session:
        ids = [made(session, 100 - n / 1000) for n in range(n_jobs)]
    assert retention.sweep(database, settings(tmp_path, job_retention_days=1))
    assert left(database) == set(ids[-3:])
    assert not retention.sweep(database, settings(tmp_path, job_retention_days=1))
    assert left(database) == set()


def test_datasets_that_no_job_used_for_long_are_deleted_and_no_others(database: Database, tmp_path: Path) -> None:
    unused, used_lately, needed, new = (Dataset([1.0, 2.0], [3.0, last]) for last in (4.0, 5.0, 6.0, 7.0))
    with database.writing() as session:
        made(session, 40, dataset=unused)
        made(session, 29, dataset=used_lately)
        made(session, 50, dataset=needed, ended=False)
        old = now() - timedelta(days=60)
        session.execute(update(DatasetRow).values(created_at=old))
        datasets.keep(session, new)
    retention.sweep(database, settings(tmp_path, dataset_retention_days=30))
    with database.reading() as session:
        found = {stored.sha256 for stored in datasets.page(session, limit=10)[0]}
    assert found == {one.sha256 for one in (used_lately, needed, new)}
    assert len(left(database)) == 3


def test_keys_that_no_longer_count_are_removed(database: Database, tmp_path: Path) -> None:
    with database.writing() as session:
        enqueue(session)
        job = claim(session)
        for key, hours in {"old": 25, "young": 23}.items():
            idempotency.remember(session, key, "sha", job)
            aged = update(IdempotencyRow).where(IdempotencyRow.key == key)
            session.execute(aged.values(created_at=now() - timedelta(hours=hours)))
    retention.sweep(database, settings(tmp_path))
    with database.reading() as session:
        assert list(session.scalars(select(IdempotencyRow.key))) == ["young"]
