"""What was there before there were owners is everybody's who needs no key, and its own again on the way down."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text

from service.store import datasets, idempotency, jobs, models
from service.store.columns import now
from service.store.database import Database
from service.store.migrations import migrate
from service.store.ownership import Actor
from service.store.tables import LOCAL
from tests.store.queueing import TWICE, enqueue
from tests.store.test_datasets import IN_FILES


def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    with database.connection(writes=False) as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_what_was_there_is_local_after_the_way_down_and_up(database: Database) -> None:
    created_at = now() - timedelta(days=3)
    with database.writing() as session:
        job = enqueue(session)
        datasets.keep_table(session, replace(IN_FILES, created_at=created_at))
        datasets.keep_table(session, replace(IN_FILES, id="ds_gone"))
        datasets.delete(session, "ds_gone")
        idempotency.remember(session, "key", "0", job)
        before = datasets.page(session, limit=9)
    # What is of columns that were there before is a copy in the old schema.
    migrate(database, "0004")
    assert rows(
        database, "SELECT id, name, deleted_at IS NULL FROM datasets WHERE id <> 'ds_gone' ORDER BY id DESC"
    ) == [
        (IN_FILES.id, IN_FILES.name, 1),
        (job.dataset_id, None, 1),
    ]
    assert rows(database, "SELECT key, job_id FROM idempotency_keys") == [("key", job.id)]
    migrate(database)
    with database.reading() as session:
        assert datasets.page(session, limit=9) == before
        assert jobs.get(session, job.id) == job
        assert job.owner == LOCAL
        assert idempotency.find(session, "key", "0") == job
    with database.as_seen_by(Actor(LOCAL, sees_all=False)).reading() as session:
        assert datasets.get(session, IN_FILES.id).created_at == created_at
        assert models.page(session, limit=9) == ([], False)


def test_on_the_way_down_the_first_of_several_owners_stays(database: Database) -> None:
    for owner in ("alice", "bob"):
        with database.as_seen_by(Actor(owner)).writing() as session:
            datasets.keep(session, TWICE)
            job = enqueue(session, model=owner)
            idempotency.remember(session, "key", owner, job)
    migrate(database, "0004")
    assert rows(database, "SELECT count(*) FROM datasets") == [(1,)]
    assert rows(database, "SELECT count(*) FROM jobs") == [(2,)]
    assert rows(database, "SELECT * FROM idempotency_keys") == []
    migrate(database)
    assert rows(database, "SELECT DISTINCT owner FROM holdings") == [(LOCAL,)]
