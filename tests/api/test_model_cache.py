import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from service.api.model_cache import ModelCache
from service.dataset import Dataset
from service.errors import NotFound
from service.store import aliases, models
from service.store.database import Database
from service.store.keys import FINGERPRINT
from service.store.models import TrainedModel
from service.store.ownership import NOBODY, Actor
from tests.store.queueing import enqueue
from tests.store.recording import publish, random_vectors, start


def published(database: Database, name: str, n_features: int = 2) -> None:
    dataset = Dataset(np.ones((2, n_features)), [1.0, 2.0])
    with database.writing() as session:
        job = start(session, "linear_regression", dataset, model=name)
        publish(session, job, dataset, random_vectors(job, 1)[0], None)


@pytest.fixture
def elsewhere(database: Database) -> Iterator[Database]:
    """The same database as another process has it open."""
    other = Database(database.place)
    yield other
    other.close()


class AskedBefore(ModelCache):
    """A cache that is asked as requests do: the database, if it is a server, was asked before, for their keys."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._ask = database.changes(asks=FINGERPRINT)

    def ready(self, actor: Actor, reference: str) -> TrainedModel | None:
        self._ask()
        return super().ready(actor, reference)


def asked(cache: ModelCache, database: Database, reference: str) -> TrainedModel:
    return cache.ready(database.actor, reference) or cache.get(database, reference)


def test_a_model_that_was_used_is_ready_until_something_is_committed(database: Database, elsewhere: Database) -> None:
    published(database, "a")
    cache = AskedBefore(database)
    assert cache.ready(NOBODY, "a") is None
    model = cache.get(database, "a")
    assert cache.ready(NOBODY, "a") is model
    with elsewhere.writing() as session:
        enqueue(session)
    assert cache.ready(NOBODY, "a") is None
    assert cache.get(database, "a") is model
    assert cache.ready(NOBODY, "a") is model


def test_what_a_name_means_is_seen_by_the_next_request_of_another_process(
    database: Database, elsewhere: Database
) -> None:
    published(database, "a")
    published(database, "a")
    cache = AskedBefore(database)
    for version in (1, 2, 1, 2):
        with elsewhere.writing() as session:
            aliases.assign(session, "a", "best", version)
        assert [asked(cache, database, "a@best").version for _ in range(3)] == [version] * 3
    assert asked(cache, database, "a").version == 2
    published(elsewhere, "a")
    assert asked(cache, database, "a").version == asked(cache, database, "a@latest").version == 3
    assert asked(cache, database, "a@2") is asked(cache, database, "a@best")
    with elsewhere.writing() as session:
        aliases.remove(session, "a", "best")
        models.delete_version(session, "a", 2)
        models.delete_version(session, "a", 3)
    assert asked(cache, database, "a").version == 1
    for gone in ("a@best", "a@2", "a@3"):
        with pytest.raises(NotFound):
            asked(cache, database, gone)


def test_what_a_name_means_to_one_is_not_told_to_another(database: Database) -> None:
    published(database, "a")
    cache = AskedBefore(database)
    model = cache.get(database, "a")
    mine, theirs = (database.as_seen_by(Actor(owner, sees_all=False)) for owner in (NOBODY.owner, "another"))
    assert cache.ready(theirs.actor, "a") is None
    with pytest.raises(NotFound):
        cache.get(theirs, "a")
    assert cache.get(mine, "a") is cache.ready(mine.actor, "a") is model
    assert cache.ready(theirs.actor, "a") is None


def test_no_request_is_answered_by_a_version_that_was_left_behind_before_it_came(
    database: Database, elsewhere: Database
) -> None:
    versions = range(1, 41)
    for _ in versions:
        published(database, "a")
    cache = AskedBefore(database)
    named, stop = [0], Event()

    def ask() -> bool:
        """Ask until told to stop; tell whether each answer was as new as the alias was before it was asked for."""
        while not stop.is_set():
            before = named[0]
            if before and asked(cache, database, "a@best").version < before:
                return False
        return True

    with ThreadPoolExecutor(3) as threads:
        asking = [threads.submit(ask) for _ in range(3)]
        for version in versions:
            with elsewhere.writing() as session:
                aliases.assign(session, "a", "best", version)
            named[0] = version
            time.sleep(0.005)
        stop.set()
        assert all(one.result() for one in asking)


def test_models_of_more_memory_than_is_kept_are_read_again(database: Database) -> None:
    cache = ModelCache(database, max_bytes=20_000)
    for name in ("a", "b", "c"):
        published(database, name, n_features=2000)  # of 16 kB each
    kept = cache.get(database, "c")
    assert cache.get(database, "c@1") is kept
    assert [cache.get(database, name).model for name in ("a", "b")] == ["a", "b"]
    assert cache.ready(NOBODY, "c") is None
    assert cache.get(database, "c") is not kept
    kept = cache.get(database, "c")
    assert cache.get(database, "c@latest") is kept
