"""Room for arrays and files of any size: in memory while they are small, else in files that nobody else sees."""

import math
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

IN_MEMORY_BYTES = 2**28
"""Larger arrays lie in files."""
ROWS_AT_ONCE = 2**16
NUMBERS_AT_ONCE = 2**22

Content = bytes | Path
"""A file: what it has, or where it lies."""
Mapped = bytes | mmap.mmap
"""All bytes of a file: indexed for a byte, sliced for some."""


def room_for(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Make an array to be filled in, whose memory does not grow with its size.

    Up to 256 MiB it is `numpy.empty`. A larger one is a memory map of a temporary file without a name, in the folder
    of `tempfile`: the system writes out what it needs the memory for, and the file is gone with the array.

    Raises:
        OSError: when the disk has not so many bytes left.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if bytes_in_memory(n_bytes) == n_bytes:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n_bytes)  # here, for a map that finds the disk full ends the process
        return np.memmap(file, dtype, mode="r+", shape=shape).view(np.ndarray)


def bytes_in_memory(n_bytes: int) -> int:
    """Tell how much memory an array of so many bytes takes that `room_for` makes: none where it lies in a file."""
    return n_bytes if n_bytes <= IN_MEMORY_BYTES else 0


def keep_files_in(folder: Path) -> None:
    """Let temporary files lie in a folder, made when missing: the usual one, /tmp, may itself be memory."""
    folder.mkdir(exist_ok=True)
    tempfile.tempdir = str(folder)


def slices_of(n_rows: int, rows: int = ROWS_AT_ONCE) -> Iterator[slice]:
    """Cut so many rows into slices of some rows each, the last maybe of fewer."""
    for first in range(0, n_rows, rows):
        yield slice(first, min(first + rows, n_rows))


def rows_at_once(width: int) -> int:
    """Tell how many rows of so many numbers each are worked on at a time: enough for speed, and some MiB at most."""
    return max(1, min(ROWS_AT_ONCE, NUMBERS_AT_ONCE // max(1, width)))


def rows_of(table: NDArray[Any], rows: NDArray[np.int64] | None, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Copy some rows of a table, all when None, to a table of their own, a part at a time.

    Args:
        table: of any shape; its first axis is for rows.
        rows: which, each at least 0.
        dtype: of the copy; that of the table when left out.
    """
    n_rows = len(table) if rows is None else len(rows)
    found = room_for((n_rows, *table.shape[1:]), table.dtype if dtype is None else dtype)
    for part in slices_of(n_rows, rows_at_once(math.prod(table.shape[1:]))):
        found[part] = table[part if rows is None else rows[part]]
    return found


class Spool:
    """Takes what is written: in memory while it is little, else in a file, which is closed with the context.

    Args:
        place: tells where the file is to lie, once there is to be one.
        most_bytes: that are kept in memory.
    """

    def __init__(self, place: Callable[[], Path], most_bytes: int) -> None:
        self._place = place
        self._most_bytes = most_bytes
        self._pieces: list[bytes] = []  # a single one, as of most small files, is what was written without a copy
        self._n_bytes = 0
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, piece: bytes) -> None:
        """Take what comes next."""
        self._n_bytes += len(piece)
        if self._n_bytes <= self._most_bytes:
            self._pieces.append(piece)
            return
        if self._file is None:
            self._path = self._place()
            self._file = self._path.open("wb")
            self._file.writelines(self._pieces)
            self._pieces.clear()
        self._file.write(piece)

    @property
    def content(self) -> Content:
        """What was written so far."""
        if self._file is None or self._path is None:
            return b"".join(self._pieces)
        if not self._file.closed:
            self._file.flush()
        return self._path


def opened(content: Content) -> BinaryIO:
    """Open a file to be read, as much at a time as is asked for."""
    return BytesIO(content) if isinstance(content, bytes) else content.open("rb", buffering=0)


@contextmanager
def mapped(content: Content) -> Iterator[Mapped]:
    """Give all bytes of a file, none of which is read before it is looked at."""
    if isinstance(content, bytes) or not content.stat().st_size:
        yield content if isinstance(content, bytes) else b""
        return
    with content.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as found:
        yield found
