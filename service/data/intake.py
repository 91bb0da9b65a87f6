"""Intake: a file that was uploaded becomes a table in a folder, understood and checked, or nothing at all."""

import errno
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from service.data.binary import BinarySource
from service.data.delimited import DelimitedSource
from service.data.json_lines import JsonLinesSource
from service.data.reading import LookedAgain, ReadingOptions, Source
from service.data.statistics import Statistics
from service.data.tables import STEM
from service.encoding import Column
from service.errors import Fault, InvalidDataset, StorageFull
from service.files import Format
from service.room import Content

PART_BYTES = 32 * 2**20
"""A part of a table is written when it has so many bytes."""


@dataclass(frozen=True)
class Intake:
    """What was understood of a file: its columns, statistics by column, how it was read, and its bytes on disk.

    `reading` has, as `types`, those that were said and are others than the columns would have been taken as.
    """

    columns: tuple[Column, ...]
    n_samples: int
    statistics: dict[str, Any]
    reading: dict[str, Any]
    n_bytes: int


def take_in(
    path: Path, file_format: Format, options: ReadingOptions, folder: Path, max_bytes: int, max_table_bytes: int
) -> Intake:
    """Check all of a file, and put its table into a folder.

    CSV and JSON lines are written as Arrow IPC files of some ten megabytes, `table-00000.arrow` and so on, and so is
    a Parquet or Arrow file in which texts stand for missing values. Any other is moved there as it is, as
    `table.parquet` or `table-00000.arrow`. The folder is made when it is not there, on the file system of the file.

    Args:
        path: the file; it is gone when it was moved.
        max_bytes: the most that may be written.
        max_table_bytes: the most that a table may take that is packed inside of its file.

    Raises:
        InvalidDataset: for every fault of the file, up to 100. The folder has no table then, and the file is where it
            was; so too for any other error.
        DatasetTooLarge: when the table takes more than it may.
        StorageFull: when more than `max_bytes` would be written, or the disk is full.
    """
    source = source_of(path, file_format, options, max_table_bytes)
    moves = isinstance(source, BinarySource) and source.keeps_file
    with _all_or_nothing(folder):
        try:
            statistics, n_written = _read(source, None if moves else _Parts(folder, max_bytes))
        except LookedAgain:
            _remove_table(folder)
            statistics, n_written = _read(source, None if moves else _Parts(folder, max_bytes))
        if not statistics.n_samples:
            raise InvalidDataset([Fault("", "the table has no rows: give at least one sample")])
        reading = {**source.reading, "types": source.types}  # while the file is where it was
        if moves:
            n_written = path.stat().st_size
            path.rename(folder / (f"{STEM}.parquet" if file_format == "parquet" else _part_name(0)))
    return Intake(source.columns, statistics.n_samples, statistics.to_json(), reading, n_written)


def source_of(content: Content, file_format: Format, options: ReadingOptions, max_table_bytes: int) -> Source:
    """Look at a file.

    Raises:
        DatasetTooLarge: when it is packed inside, and its table takes more than so many bytes.
        InvalidDataset: when it is none of its format, or the options do not fit it.
    """
    if file_format == "csv":
        return DelimitedSource(content, options)
    if file_format == "jsonl":
        return JsonLinesSource(content, options)
    return BinarySource(content, file_format, options, max_bytes=max_table_bytes)


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[None]:
    """Leave no table in the folder, and no folder that was not there, when something goes wrong."""
    was_there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException as error:
        _remove_table(folder)
        if not was_there:
            folder.rmdir()
        if isinstance(error, OSError) and _is_full(error):
            raise StorageFull("the disk is full: delete datasets that are no longer needed") from None
        raise


def _is_full(error: OSError) -> bool:
    """Tell whether there is no space left; polars gives the number of an error in its text only."""
    codes = (errno.ENOSPC, errno.EDQUOT)
    return error.errno in codes or any(f"os error {code})" in str(error) for code in codes)


def _read(source: Source, parts: "_Parts | None") -> tuple[Statistics, int]:
    """Go through a file, and write it in parts, unless it stays as it is; give its statistics and the bytes written.

    A thread works on one frame while the next is read.
    """
    statistics = Statistics(source.columns)

    def take(frame: pl.DataFrame) -> None:
        statistics.add(frame)
        if parts is not None:
            parts.add(frame)

    with ThreadPoolExecutor(1) as thread:
        running: Future[None] | None = None
        for frame in source.frames():
            if running is not None:
                running.result()
            running = thread.submit(take, frame)
        if running is not None:
            running.result()
    if parts is None:
        return statistics, 0
    parts.write()
    return statistics, parts.n_bytes


def _remove_table(folder: Path) -> None:
    for file in folder.glob(f"{STEM}*"):
        file.unlink()


class _Parts:
    """The files of a table, one after another."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self.n_files = 0
        self.waiting: list[pl.DataFrame] = []
        self.n_waiting_bytes = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Take a frame to be written with the ones before, when they are enough for a file.

        Raises:
            StorageFull: when it is more than may be written.
        """
        self.waiting.append(frame)
        self.n_waiting_bytes += int(frame.estimated_size())
        if self.n_waiting_bytes >= PART_BYTES:
            self.write()

    def write(self) -> None:
        """Write what waits.

        Raises:
            StorageFull: when it is more than may be written.
        """
        if not self.waiting:
            return
        file = self.folder / _part_name(self.n_files)
        pl.concat(self.waiting).write_ipc(file, compression="uncompressed")
        self.n_bytes += file.stat().st_size
        self.n_files += 1
        self.waiting, self.n_waiting_bytes = [], 0
        if self.n_bytes > self.max_bytes:
            raise StorageFull(
                f"the table takes more than the {self.max_bytes:,} bytes that are left for datasets (settings "
                "DESCENT_MAX_STORAGE_BYTES and DESCENT_MIN_FREE_BYTES): delete datasets with DELETE /datasets/ID"
            )


def _part_name(number: int) -> str:
    return f"{STEM}-{number:05}.arrow"
