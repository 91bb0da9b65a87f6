"""Threads for large tables: BLAS keeps to one, and what is worth more is cut into parts of our own.

NumPy's BLAS starts threads for every product, which for products of a cache's size costs more than it saves, ten times
as much on a busy machine; and what it computes depends on how many there are.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Given = TypeVar("Given")
Made = TypeVar("Made")

WORTH_THREADS = 2**23
"""From so many numbers on, threads save more than they cost to bring together."""
_BLAS = ThreadpoolController().select(internal_api="openblas")


class _OneThread:
    """The limit of one thread, which is the whole process's: the first to ask sets it, the last to leave lifts it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                self._before = [(library, library.num_threads) for library in _BLAS.lib_controllers]
                for library, _ in self._before:
                    library.set_num_threads(1)
            self._n_inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                for library, n_threads in self._before:
                    library.set_num_threads(n_threads)


single_threaded_blas = _OneThread()
"""Within it NumPy's products take one thread each, in all of the process; takes some microseconds."""


def n_threads_for(n_numbers: int) -> int:
    """Tell how many threads are worth their while for a table of so many numbers: one, or all there are."""
    return n_processors() if n_numbers >= WORTH_THREADS else 1


def n_processors() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shares(n_rows: int, at_once: int, n_numbers: int) -> list[range]:
    """Share out the chunks of a table, by the row that each begins with, among the threads that it is worth.

    Args:
        n_rows: of the table.
        at_once: rows in a chunk.
        n_numbers: in the table.
    """
    starts = range(0, n_rows, at_once)
    n_shares = min(len(starts), n_threads_for(n_numbers))
    return [starts[len(starts) * i // n_shares : len(starts) * (i + 1) // n_shares] for i in range(n_shares)]


def in_parallel(work: Callable[[Given], Made], parts: Sequence[Given]) -> list[Made]:
    """Do work on every part, each in a thread of its own; give what it made in the order of the parts."""
    if len(parts) == 1:
        return [work(parts[0])]
    with single_threaded_blas, ThreadPoolExecutor(len(parts)) as threads:
        return list(threads.map(work, parts))
