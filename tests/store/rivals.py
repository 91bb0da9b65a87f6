"""Real processes that do the same thing at the same moment, and the things they do. Imports little, to start fast."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import BrokenBarrierError
from typing import TypeVar

from service.store import queue
from service.store.database import Database
from service.store.migrations import migrate
from service.store.revision import is_migrated
from service.store.tables import ModelRow

Result = TypeVar("Result")
START_SECONDS = 60

_everybody: Barrier


def at_once(n_processes: int, action: Callable[..., Result], *arguments: object) -> list[Result]:
    """Call a function of this module in so many fresh processes at the same moment; give what each returned."""
    context = get_context("spawn")
    barrier = context.Barrier(n_processes)
    with ProcessPoolExecutor(n_processes, context, initializer=_remember, initargs=(barrier,)) as processes:
        calls = [processes.submit(_when_all_are_there, action, *arguments) for _ in range(n_processes)]
    failures = [failure for failure in (call.exception() for call in calls) if failure is not None]
    for failure in sorted(failures, key=lambda failure: isinstance(failure, BrokenBarrierError)):
        raise failure  # rather the one that broke the barrier than those that waited at it
    return [call.result() for call in calls]


def _remember(barrier: Barrier) -> None:
    global _everybody  # a barrier reaches a process only while it starts
    _everybody = barrier


def _when_all_are_there(action: Callable[..., Result], *arguments: object) -> Result:
    try:
        _everybody.wait(START_SECONDS)
        return action(*arguments)
    except BaseException:
        _everybody.abort()
        raise


def migrate_fresh_files(folder: Path, n_files: int) -> int:
    """Migrate files that are not there yet, meeting the others before each; tell how many then were migrated."""
    n_migrated = 0
    for number in range(n_files):
        database = Database(folder / f"{number}.sqlite3")
        _everybody.wait(START_SECONDS)
        migrate(database)
        n_migrated += is_migrated(database)
        database.close()
    return n_migrated


def claim_all(place: Path | str, worker_id: str) -> list[str]:
    """Claim jobs until none is left; give their ids."""
    database = Database(place)
    claimed: list[str] = []
    while True:
        with database.writing() as session:
            job = queue.claim(session, worker_id, 60)
        if job is None:
            database.close()
            return claimed
        claimed.append(job.id)


def count_up(place: Path | str, name: str, n_threads: int, n_times: int) -> None:
    """Read a model's number and write one more, from several threads so many times each."""
    database = Database(place)

    def one_more(_: int) -> None:
        with database.writing() as session:
            row = session.get_one(ModelRow, name)
            time.sleep(0.001)  # so that others want to write meanwhile
            row.latest_version += 1

    with ThreadPoolExecutor(n_threads) as threads:
        list(threads.map(one_more, range(n_threads * n_times)))
    database.close()
