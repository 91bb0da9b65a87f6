"""Folders: where the tables of datasets lie in files, and where uploads under way are worked on.

A folder of a dataset without its row is nobody's, and goes away at the next start. So a folder is put in its place
before the row that needs it is committed, and taken away after the deletion is; both under the database's write lock.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service import copies
from service.errors import DatasetInUse
from service.settings import Settings
from service.store import datasets
from service.store.database import Database
from service.store.datasets import StoredDataset
from service.store.space import space

LOCK = "lock"
SHOWN_JOBS = 5


@contextmanager
def workspace(settings: Settings) -> Iterator[Path]:
    """Give a new folder to work in, gone at the end; a process that dies leaves it to `sweep`."""
    uploads = settings.uploads_path
    uploads.mkdir(parents=True, exist_ok=True)
    everyone = _lock(uploads / LOCK)  # so that no sweep sees the folder before it is locked
    try:
        folder = Path(tempfile.mkdtemp(dir=uploads))
        mine = _lock(folder / LOCK)
    finally:
        os.close(everyone)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what cannot be removed now is for the next sweep
        os.close(mine)


def keep_table(
    database: Database, settings: Settings, stored: StoredDataset, folder: Path, aside: Path
) -> tuple[StoredDataset, bool]:
    """Keep a dataset whose table lies in a folder, which is moved, unless it is here; tell whether it is its owner's
    only from now on.

    Args:
        aside: where to move what stands in its place and belongs to nobody.

    Raises:
        StorageFull: when there is no space for it.
    """
    home = settings.datasets_path / stored.id
    home.parent.mkdir(exist_ok=True)
    with database.writing() as session:
        mine = datasets.held(session, stored.id)
        if mine is not None:
            return mine, False
        left = space(session, settings)
        if not datasets.keep_table(session, stored):
            return stored, True  # its files are here, for it is another's, too
        left.take(stored.n_bytes)
        if home.exists():
            home.rename(aside)
        folder.rename(home)
    return stored, True


def delete(database: Database, settings: Settings, dataset_id: str) -> None:
    """Delete a dataset and its folder.

    Raises:
        NotFound: when there is none of this id.
        DatasetInUse: while a queued or running job needs it.
    """
    with database.writing() as session:
        datasets.delete(session, dataset_id)
        needing = datasets.jobs_in_need(session, dataset_id)
        if needing:
            more = f" and {len(needing) - SHOWN_JOBS} more" if len(needing) > SHOWN_JOBS else ""
            jobs = f"{', '.join(needing[:SHOWN_JOBS])}{more}"
            raise DatasetInUse(f"dataset {dataset_id} is needed by {jobs}: cancel what needs it, or wait for its end")
    _remove_unowned(database, settings, {dataset_id})


def sweep(database: Database, settings: Settings) -> None:
    """Remove what processes that died have left behind, and nothing of those that live."""
    for folder, lock in _abandoned(settings.uploads_path):
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
    copies.sweep(settings.datasets_path)
    if settings.datasets_path.exists():
        found = {folder.name for folder in settings.datasets_path.iterdir()}
        with database.reading() as session:
            unowned = found - datasets.kept_among(session, found)
        if unowned:
            _remove_unowned(database, settings, unowned)


def _remove_unowned(database: Database, settings: Settings, names: set[str]) -> None:
    """Remove those of these folders that still belong to no dataset when nobody else can write."""
    with workspace(settings) as aside, database.writing() as session:
        for name in names - datasets.kept_among(session, names):
            if (settings.datasets_path / name).exists():
                (settings.datasets_path / name).rename(aside / name)


def _abandoned(uploads: Path) -> Iterator[tuple[Path, int]]:
    """Find the folders of uploads whose process has died; give each with its lock."""
    if not uploads.exists():
        return
    everyone = _lock(uploads / LOCK)
    try:
        found = []
        for folder in uploads.iterdir():
            with suppress(FileNotFoundError):  # its owner is about to remove it
                lock = _lock_at_once(folder / LOCK) if folder.is_dir() else None
                if lock is not None:
                    found.append((folder, lock))
    finally:
        os.close(everyone)
    yield from found


def _lock(path: Path) -> int:
    """Take the lock that a file stands for, when nobody else has it; give it, to be closed."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _lock_at_once(path: Path) -> int | None:
    """Take the lock that a file stands for, unless somebody has it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
