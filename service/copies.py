"""Copies: encoded datasets in files, which are kept for as long as there is room for them.

A copy is the folder `encoded/KEY` in the folder of its dataset; while it is written it is `encoded/KEY.part`. Whoever
writes, maps or removes one holds the lock of the file `KEY.lock` beside it. A copy may be removed while it is in use:
the system keeps a file that is mapped into memory until the last map of it is gone, and only then has its bytes back.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from service.errors import StorageFull

FOLDER = "encoded"
PART, LOCK = ".part", ".lock"
_WAY_OUT = "delete datasets with DELETE /datasets/ID, or choose fewer features"


@dataclass(frozen=True)
class Copies:
    """The copies of one dataset, and what those of all datasets may take.

    `folder` is that of the dataset, beside those of the others; `min_free_bytes` of the disk stay free.
    """

    folder: Path
    max_bytes: int
    min_free_bytes: int

    @contextmanager
    def held(self, key: str) -> Iterator[Path]:
        """Give the place of a copy, there or not; nobody else writes or removes it meanwhile. Waits for those who do.

        Raises:
            FileNotFoundError: when the dataset has been deleted.
        """
        place = self.folder / FOLDER / key
        place.parent.mkdir(exist_ok=True)
        with _held(place):
            yield place
            if place.is_dir():
                os.utime(place)  # the last use of it

    @contextmanager
    def room(self, n_bytes: int) -> Iterator[None]:
        """Make room for a copy of so many bytes, to be taken within the block; copies long not used give way.

        Raises:
            StorageFull: when there is no such room.
        """
        with _alone(self.folder.parent):
            n_others = make_way(self.folder.parent, self.max_bytes - n_bytes, self.min_free_bytes + n_bytes)
            if n_others + n_bytes > self.max_bytes:
                under_way = f", and others that are being written {n_others:,}" if n_others else ""
                raise StorageFull(
                    f"the encoded dataset takes {n_bytes:,} bytes in files{under_way}, of {self.max_bytes:,} that "
                    f"there are for such: half of the setting DESCENT_MAX_STORAGE_BYTES at most; {_WAY_OUT}"
                )
            free = shutil.disk_usage(self.folder.parent).free
            if free - n_bytes < self.min_free_bytes:
                raise StorageFull(
                    f"the encoded dataset takes {n_bytes:,} bytes in files, and the disk has {free:,} bytes free, of "
                    f"which {self.min_free_bytes:,} stay so (setting DESCENT_MIN_FREE_BYTES): {_WAY_OUT}"
                )
            yield


def trim(datasets_path: Path, most_bytes: int, free_bytes: int = 0) -> None:
    """Remove copies, as `make_way` does, while nobody else makes room for any."""
    if datasets_path.exists():
        with _alone(datasets_path):
            make_way(datasets_path, most_bytes, free_bytes)


def make_way(datasets_path: Path, most_bytes: int, free_bytes: int) -> int:
    """Remove copies, those first that were not used for longest; tell what the others take.

    Args:
        datasets_path: the folder that has one for each dataset.
        most_bytes: what all copies may take then.
        free_bytes: what is to be free on the disk then.
    """
    copies = [(_used_at(place), place, _bytes_in(place)) for place in _places(datasets_path.glob(f"*/{FOLDER}/*"))]
    n_bytes = sum(size for _, _, size in copies)
    for _, place, size in sorted(copies):
        if n_bytes <= most_bytes and shutil.disk_usage(datasets_path).free >= free_bytes:
            break
        if _remove(place):
            n_bytes -= size
    return n_bytes


def bytes_of(folder: Path) -> int:
    """Sum up what the copies of a dataset take, those that are being written included."""
    return sum(_bytes_in(place) for place in _places((folder / FOLDER).glob("*")))


def sweep(datasets_path: Path) -> None:
    """Remove what processes that died while they wrote a copy have left behind."""
    for place in _places(datasets_path.glob(f"*/{FOLDER}/*{PART}")):
        _remove(place)
    for lock in datasets_path.glob(f"*/{FOLDER}/*{LOCK}"):
        with suppress(FileNotFoundError), _held(lock.with_suffix(""), at_once=True):
            pass


def _remove(place: Path) -> bool:
    """Remove a copy, or the beginning of one, unless somebody holds it; tell whether it is gone."""
    with suppress(FileNotFoundError), _held(place.with_suffix(""), at_once=True) as is_mine:
        if not is_mine:
            return False
        part = place.with_suffix(PART)
        if place != part:
            shutil.rmtree(part, ignore_errors=True)
            place.rename(part)  # so that half a copy is never taken for a whole one
        shutil.rmtree(part, ignore_errors=True)
    return not place.exists()


def _places(paths: Iterator[Path]) -> list[Path]:
    return [path for path in paths if path.is_dir()]


def _used_at(place: Path) -> int:
    with suppress(FileNotFoundError):
        return place.stat().st_mtime_ns
    return 0


def _bytes_in(place: Path) -> int:
    n_bytes = 0
    with suppress(FileNotFoundError):
        for file in place.iterdir():
            n_bytes += file.stat().st_size
    return n_bytes


@contextmanager
def _held(place: Path, *, at_once: bool = False) -> Iterator[bool]:
    """Hold the lock of a copy; with `at_once` only if nobody else does; tell whether it is held."""
    path = place.with_name(f"{place.name}{LOCK}")
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if at_once else 0))
        except BlockingIOError:
            os.close(lock)
            yield False
            return
        if _is_at(lock, path):  # who held it before has removed it, and somebody may have made another
            break
        os.close(lock)
    try:
        yield True
    finally:
        if _is_at(lock, path):
            path.unlink()
        os.close(lock)


def _is_at(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock that a folder stands for."""
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
