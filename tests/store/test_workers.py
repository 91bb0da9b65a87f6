from datetime import timedelta

import pytest
from sqlalchemy import select, update

from service.store import workers
from service.store.columns import now
from service.store.database import Database
from service.store.tables import WorkerRow
from tests.conftest import START_SECONDS

pytestmark = pytest.mark.both_systems


def test_a_worker_is_alive_from_its_start_to_its_end(database: Database) -> None:
    with database.writing() as session:
        assert not workers.any_alive(session, START_SECONDS)
        workers.register(session, "worker_a", "cpu")
        workers.register(session, "worker_b", "cuda")
        workers.remove(session, "worker_a")
        assert workers.any_alive(session, START_SECONDS)
        workers.remove(session, "worker_b")
        assert not workers.any_alive(session, START_SECONDS)


def test_a_worker_not_heard_of_within_the_lease_is_taken_for_dead_until_it_is(database: Database) -> None:
    with database.writing() as session:
        workers.register(session, "worker_a", "cpu")
        session.execute(update(WorkerRow).values(seen_at=now() - timedelta(seconds=2 * START_SECONDS)))
    with database.writing() as session:
        assert not workers.any_alive(session, START_SECONDS)
        assert workers.any_alive(session, 4 * START_SECONDS)
        workers.heartbeat(session, "worker_a", "cpu")
        assert workers.any_alive(session, START_SECONDS)


def test_a_worker_that_starts_forgets_those_of_the_day_before_yesterday(database: Database) -> None:
    with database.writing() as session:
        workers.register(session, "worker_old", "cpu")
        session.execute(update(WorkerRow).values(seen_at=now().replace(year=2020)))
        workers.register(session, "worker_new", "cpu")
        assert session.scalars(select(WorkerRow.id)).all() == ["worker_new"]


def test_the_oldest_worker_is_the_one_that_started_first_of_those_that_live(database: Database) -> None:
    names = ["worker_c", "worker_a", "worker_b"]
    for name in names:
        with database.writing() as session:
            workers.register(session, name, "cpu")
    while names:
        with database.writing() as session:
            oldest = [name for name in names if workers.is_oldest(session, name, START_SECONDS)]
            assert oldest == names[:1]
            workers.remove(session, names.pop(0))


def test_a_worker_may_register_twice(database: Database) -> None:
    with database.writing() as session:
        workers.register(session, "worker_a", "cpu")
        workers.register(session, "worker_a", "cuda")
        assert session.scalars(select(WorkerRow.device)).all() == ["cuda"]


def test_a_worker_that_was_forgotten_is_known_again_by_its_next_heartbeat(database: Database) -> None:
    with database.writing() as session:
        workers.heartbeat(session, "worker_a", "cpu")
        assert workers.any_alive(session, START_SECONDS)
