"""Mini-batches of a shuffled table that lies in a file, as larger datasets do, beside the same table in memory."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import descent
from benchmarks.measuring import Goal, Subject, Way
from benchmarks.tables import Table, classification
from service.training.threads import n_threads_for

BATCH_SIZE = 256


def subject(quick: bool) -> Subject:
    """Set up logistic regression, whose results have to be the same in every bit."""
    n_samples = 200_000 if quick else 10_000_000
    features, codes = classification(n_samples, 20, 2)
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    given = {"epochs": 1, "batch_size": BATCH_SIZE, "learning_rate": 0.1}

    def way(name: str, table: Table, goal: Goal | None = None) -> Way:
        training = descent.prepare("logistic_regression", descent.classes(table, codes, 2), **given)
        return Way(name, lambda: descent.learned(training), goal, epochs=n_samples / 1e6)

    ways = [
        way("Descent, a million rows from the map", _mapped(features, folder / "features.npy")),
        way("Descent, a million rows from memory", features, Goal("within", 1.3)),
    ]
    title = f"{n_samples:,} x 20 float32, an epoch in shuffled batches of {BATCH_SIZE}"
    return Subject(title, ways, 0, 3, n_threads_for(features.size))


def _mapped(table: Table, path: Path) -> Table:
    """Give the same table, mapped from a file that is on the disk and not in memory."""
    np.save(path, table)
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)
    mapped: Table = np.load(path, mmap_mode="r")
    return mapped
