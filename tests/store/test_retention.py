import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select, update

from service.dataset import Dataset
from service.parameters import Layer
from service.settings import Settings
from service.store import aliases, control, datasets, idempotency, jobs, models, retention
from service.store.columns import now
from service.store.database import Database, Session
from service.store.identifiers import first_identifier
from service.store.tables import HistoryBlockRow, HoldingRow, IdempotencyRow, JobRow
from tests.store.queueing import TWICE, claim, enqueue

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
        session.execute(update(HoldingRow).values(created_at=old))
        datasets.keep(session, new)
    retention.sweep(database, settings(tmp_path, dataset_retention_days=30))
    with database.reading() as session:
        found = {stored.sha256 for stored in datasets.page(session, limit=10)[0]}
    assert found == {one.sha256 for one in (used_lately, needed, new)}
    assert len(left(database)) == 3


def with_history(session: Session, days_ago: float, **given: Any) -> str:
    """Put in a job that has recorded 1000 epochs, in four columns of the same size."""
    job_id = made(session, days_ago, **given)
    sequence = session.scalars(select(JobRow.sequence).where(JobRow.id == job_id)).one()
    column = np.zeros(1000)
    columns = dict.fromkeys(("train_loss", "gradient_norm", "learning_rate"), column)
    session.add(
        HistoryBlockRow(
            job_sequence=sequence, first_epoch=0, last_epoch=999, n_epochs=1000, epoch=np.arange(1000), **columns
        )
    )
    return job_id


def publish(session: Session, job_id: str) -> None:
    """Let an ended job have given the newest version of its model."""
    job = jobs.get(session, job_id)
    layer = Layer(np.zeros((1, 1)), np.zeros(1))
    models.publish(session, job, TWICE.schema, (layer,), {}, scaled=None, scaling=None)


def test_of_histories_that_take_too_much_the_oldest_go_but_not_where_a_model_comes_from(
    database: Database, tmp_path: Path
) -> None:
    with database.writing() as session:
        oldest, second, third, fourth = (with_history(session, days) for days in (9, 8, 7, 6))
        running, last = with_history(session, 10, ended=False), with_history(session, 1 / 24)
        for job_id in (oldest, second):
            publish(session, job_id)
        n_bytes = session.scalars(select(func.sum(func.length(HistoryBlockRow.train_loss)))).one() * 4 // 6
    retention.sweep(database, settings(tmp_path, job_retention_bytes=6 * n_bytes))
    assert len(left(database)) == 6
    retention.sweep(database, settings(tmp_path, job_retention_bytes=5 * n_bytes))
    assert left(database) == {second, third, fourth, running, last}
    retention.sweep(database, settings(tmp_path, job_retention_bytes=1))
    assert left(database) == {second, running, last}


def test_where_a_version_that_an_alias_names_comes_from_stays(database: Database, tmp_path: Path) -> None:
    with database.writing() as session:
        aliased, replaced, newest = (with_history(session, days) for days in (9, 8, 7))
        for job_id in (aliased, replaced, newest):
            publish(session, job_id)
        aliases.assign(session, "twice", "best", 1)
    retention.sweep(database, settings(tmp_path, job_retention_bytes=1))
    assert left(database) == {aliased, newest}


def test_of_datasets_that_take_too_much_the_longest_unused_go_but_none_that_is_needed(
    database: Database, tmp_path: Path
) -> None:
    used_last, used_first, needed, of_a_model, lately, new = (Dataset([1.0, 2.0], [3.0, n]) for n in range(4, 10))
    with database.writing() as session:
        made(session, 40, dataset=used_first)
        made(session, 29, dataset=used_last)
        made(session, 50, dataset=needed, ended=False)
        publish(session, made(session, 60, dataset=of_a_model))
        made(session, 1 / 24, dataset=lately)
        session.execute(update(HoldingRow).values(created_at=now() - timedelta(days=70)))
        datasets.keep(session, new)
        n_bytes = len(new.content)

    def kept() -> set[str]:
        with database.reading() as session:
            return {stored.sha256 for stored in datasets.page(session, limit=10)[0]}

    retention.sweep(database, settings(tmp_path, dataset_retention_bytes=6 * n_bytes))
    assert len(kept()) == 6
    retention.sweep(database, settings(tmp_path, dataset_retention_bytes=5 * n_bytes))
    assert kept() == {one.sha256 for one in (used_last, needed, of_a_model, lately, new)}
    retention.sweep(database, settings(tmp_path, dataset_retention_bytes=1))
    assert kept() == {one.sha256 for one in (needed, of_a_model, lately, new)}
    assert len(left(database)) == 5


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
