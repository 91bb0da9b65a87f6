"""The models that were used last, ready to predict."""

import threading
from collections import OrderedDict
from typing import Annotated

from fastapi import Depends, Request

from service.store import aliases, models
from service.store.database import Database
from service.store.models import TrainedModel

CACHED_MODELS = 4000
CACHED_BYTES = 512 * 2**20
CACHED_REFERENCES = 10_000

Key = tuple[str, int]


class ModelCache:
    """Models by the references that mean them, of one process.

    Versions never change, so that only what a reference means can be stale. The database tells in some microseconds
    whether anything was committed by anybody since it was last asked; only then is it read whether a name means
    something else now. So a reference means to a request what it meant when the request came, or later.

    Args:
        database: where the models are.
        max_bytes: what their parameters may take together; the model used last is kept also when it takes more.
    """

    def __init__(self, database: Database, max_bytes: int = CACHED_BYTES) -> None:
        self._database = database
        self._has_changed = database.changes()
        self._max_bytes = max_bytes
        self._models: OrderedDict[Key, TrainedModel] = OrderedDict()
        self._n_bytes = 0
        self._keys: dict[str, Key] = {}
        self._meaning = -1
        """How often names had changed their meaning when the keys were read."""
        self._n_commits = 0
        """How often something had been committed when it was last asked."""
        self._seen_commits = 0
        """The same when it was last read what has changed: with another number the keys may be stale."""
        self._lock = threading.Lock()

    def find(self, reference: str) -> TrainedModel:
        """Give the model that a reference means, out of the database only where that takes it; see `get`."""
        return self.ready(reference) or self.get(reference)

    def ready(self, reference: str) -> TrainedModel | None:
        """Give the model that a reference means when that takes no reading of the database; never waits."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if self._look() != self._seen_commits or reference not in self._keys:
                return None
            return self._used(self._keys[reference])
        finally:
            self._lock.release()

    def get(self, reference: str) -> TrainedModel:
        """Give the model that `NAME`, `NAME@latest`, `NAME@3` or `NAME@ALIAS` means.

        Raises:
            NotFound: when there is no such model, version or alias.
        """
        with self._lock:
            n_commits = self._look()
        with self._database.reading() as session:
            meaning = models.n_changes(session)
            key = aliases.resolve(session, reference)
            with self._lock:
                model = self._used(key)
            if model is None:
                model = models.load(session, *key)
        with self._lock:
            if n_commits >= self._seen_commits:
                self._learn(n_commits, meaning)
                self._keys[reference] = key
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


def _cache(request: Request) -> ModelCache:
    cache: ModelCache = request.app.state.models
    return cache


TheModels = Annotated[ModelCache, Depends(_cache)]


def _n_bytes(model: TrainedModel) -> int:
    return sum(layer.weight.nbytes + layer.bias.nbytes for layer in model.parameters)
