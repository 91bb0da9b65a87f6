"""The models that were used last, ready to predict."""

import threading
from collections import OrderedDict

from starlette.concurrency import run_in_threadpool

from service.store import aliases, models, registry
from service.store.database import Database
from service.store.models import TrainedModel
from service.store.ownership import Actor

CACHED_MODELS = 4000
CACHED_BYTES = 512 * 2**20
CACHED_REFERENCES = 10_000

Key = tuple[str, int]


class ModelCache:
    """Models by the references that mean them, of one process.

    Versions never change, so that only what a reference means can be stale. The database tells in some microseconds
    whether anything was committed by anybody since it was last asked; only then is it read whether a name means
    something else now. So a reference means to a request what it meant when the request came, or later, for its key
    was looked up before, which asks the database's server, if there is one. It is remembered for those who asked by it:
    to others it may mean nothing.

    Args:
        database: tells whether anything was committed.
        max_bytes: what their parameters may take together; the model used last is kept also when it takes more.
    """

    def __init__(self, database: Database, max_bytes: int = CACHED_BYTES) -> None:
        self._has_changed = database.changes(waits=False)
        self._max_bytes = max_bytes
        self._models: OrderedDict[Key, TrainedModel] = OrderedDict()
        self._n_bytes = 0
        self._keys: dict[tuple[str | None, str], Key] = {}
        self._meaning = -1
        """How often names had changed their meaning when the keys were read."""
        self._n_commits = 0
        """How often something had been committed when it was last asked."""
        self._seen_commits = 0
        """The same when it was last read what has changed: with another number the keys may be stale."""
        self._lock = threading.Lock()

    def ready(self, actor: Actor, reference: str) -> TrainedModel | None:
        """Give the model that a reference means to somebody when that takes no reading of the database; never waits."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            key = self._keys.get(_asked(actor, reference))
            return None if key is None or self._look() != self._seen_commits else self._used(key)
        finally:
            self._lock.release()

    async def find(self, database: Database, reference: str) -> TrainedModel:
        """Do as `get`, out of the event loop's way when the database is to be read."""
        found = self.ready(database.actor, reference)
        return found if found is not None else await run_in_threadpool(self._read, database, reference)

    def get(self, database: Database, reference: str) -> TrainedModel:
        """Give the model that `NAME`, `NAME@latest`, `NAME@3` or `NAME@ALIAS` means to whom the database is shown.

        Raises:
            NotFound: when there is no such model, version or alias.
        """
        found = self.ready(database.actor, reference)
        return found if found is not None else self._read(database, reference)

    def _read(self, database: Database, reference: str) -> TrainedModel:
        with self._lock:
            n_commits = self._look()
        with database.reading() as session:
            meaning = registry.n_changes(session)
            key = aliases.resolve(session, reference)
            with self._lock:
                model = self._used(key)
            if model is None:
                model = models.load(session, *key)
        with self._lock:
            if n_commits >= self._seen_commits:
                self._learn(n_commits, meaning)
                self._keys[_asked(database.actor, reference)] = key
            self._keep(key, model)
        return model

    def _learn(self, n_commits: int, meaning: int) -> None:
        """Take note of what was read after so many commits; what was read before the last time is no news."""
        if meaning < self._meaning:  # an older database was put in its place, with other versions maybe
            self._models.clear()
            self._n_bytes = 0
        if meaning != self._meaning or len(self._keys) >= CACHED_REFERENCES:
            self._keys.clear()
        self._meaning, self._seen_commits = meaning, n_commits

    def _look(self) -> int:
        """Give a number that is another one when something was committed meanwhile."""
        self._n_commits += self._has_changed()
        return self._n_commits

    def _used(self, key: Key) -> TrainedModel | None:
        model = self._models.get(key)
        if model is not None:
            self._models.move_to_end(key)
        return model

    def _keep(self, key: Key, model: TrainedModel) -> None:
        if key not in self._models:
            self._models[key] = model
            self._n_bytes += _n_bytes(model)
        while len(self._models) > CACHED_MODELS or (self._n_bytes > self._max_bytes and len(self._models) > 1):
            _, oldest = self._models.popitem(last=False)
            self._n_bytes -= _n_bytes(oldest)


def _asked(actor: Actor, reference: str) -> tuple[str | None, str]:
    return None if actor.sees_all else actor.owner, reference


def _n_bytes(model: TrainedModel) -> int:
    return sum(layer.weight.nbytes + layer.bias.nbytes for layer in model.parameters)
