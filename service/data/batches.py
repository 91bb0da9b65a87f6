"""Rows of files in parts of so many, in order, in memory that grows with neither the files nor their own parts."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import polars as pl
from polars.exceptions import PanicException, PolarsError

from service.errors import Fault, InvalidDataset
from service.room import Content

ROWS_AT_ONCE = 2**17
VALUES_AT_ONCE = 2**24
FEWEST_ROWS_AT_ONCE = 2**10
FIRST_ROWS = 2**6
"""So many rows tell how large rows are, where the types do not."""
NUMBER_BYTES = 2**4
"""No number, date or boolean takes more."""
WINDOW_BYTES = 2**25
"""So much of a file is read at a time, as far as what was read before tells …"""
MOST_WINDOW_ROWS = 2**22
"""… and no more rows than these."""
GROWTH = 8
"""A window has at most so many times the rows of the one before, for later rows may be larger."""


def scan_file(content: Content, file_format: Literal["parquet", "arrow"] | None = None) -> pl.LazyFrame:
    """Give a Parquet or an Arrow IPC file, by its ending where nothing is said; its path may have any characters."""
    is_parquet = file_format == "parquet" or (
        file_format is None and isinstance(content, Path) and content.suffix == ".parquet"
    )
    scan = pl.scan_parquet if is_parquet else pl.scan_ipc
    return scan(content, glob=False, hive_partitioning=False)


def n_rows_of(source: pl.LazyFrame) -> int:
    """Count the rows of a file, which it says itself."""
    return int(source.select(pl.len()).collect().item())


def batches(
    sources: Sequence[pl.LazyFrame], n_rows: int, chosen: Sequence[pl.Expr], rows: int | None = None
) -> Iterator[pl.DataFrame]:
    """Read files, one after another, in parts of so many rows, in order.

    A file is read in windows of some 32 MiB, whatever its own parts are: one is worked on while the next is read.
    polars alone would read ahead as many parts of a file as it likes, each maybe of gigabytes.

    Args:
        sources: the files, all with the same columns; or frames in memory.
        n_rows: of all of them.
        chosen: what to read, each expression a column; each row's values follow from that row alone.
        rows: in a part, but for the last; 131,072 when left out, and fewer where the columns are many.

    Raises:
        InvalidDataset: when the files are damaged.
    """
    if not chosen:
        return  # frames without columns have no rows that could be counted
    if rows is None:
        rows = max(FEWEST_ROWS_AT_ONCE, min(ROWS_AT_ONCE, VALUES_AT_ONCE // max(1, len(chosen))))
    n_read = 0
    with damage_as_fault():
        for part in _cut(_ahead(_windows(sources, chosen), n_rows), rows):
            n_read += len(part)
            yield part
    if n_read != n_rows:
        detail = f"the file is damaged: {n_read:,} of its {n_rows:,} rows can be read; write it anew"
        raise InvalidDataset([Fault("", detail)])


@contextmanager
def damage_as_fault() -> Iterator[None]:
    """Turn what polars raises for a file that is not as it should be into a fault.

    Raises:
        InvalidDataset: for an error of polars, and for a panic inside of it, which is no Exception.
        OSError: for one of the system; polars raises one of its own, too, when a file ends early.
    """
    try:
        yield
    except (PolarsError, PanicException, OSError) as error:
        if isinstance(error, OSError) and (error.errno is not None or "os error" in str(error)):
            raise
        reason = " ".join(str(error).split())[:200]
        raise InvalidDataset([Fault("", f"the file is damaged: {reason}; write it anew")]) from None


def _windows(sources: Sequence[pl.LazyFrame], chosen: Sequence[pl.Expr]) -> Iterator[pl.DataFrame]:
    """Read as many rows at a time as take some 32 MiB, to judge by their types and by those before."""
    rows = _first_rows(sources[0].select(chosen).collect_schema())
    for source in sources:
        first, is_end = 0, False
        while not is_end:
            window = source.slice(first, rows).select(chosen).collect()
            is_end = len(window) < rows
            if not len(window):
                break
            yield window
            first += len(window)
            row_bytes = max(1, int(window.estimated_size()) // len(window))
            rows = max(1, min(WINDOW_BYTES // row_bytes, GROWTH * rows, MOST_WINDOW_ROWS))


def _first_rows(schema: pl.Schema) -> int:
    """Tell how many rows to begin with: a few, where a value may be of any size."""
    if not all(dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean for dtype in schema.dtypes()):
        return FIRST_ROWS
    return max(1, min(WINDOW_BYTES // (NUMBER_BYTES * max(1, len(schema))), MOST_WINDOW_ROWS))


def _ahead(frames: Iterator[pl.DataFrame], n_rows: int) -> Iterator[pl.DataFrame]:
    """Have a thread get the next frame while one is worked on, until there are so many rows."""
    frame, n_read = next(frames, None), 0
    with ThreadPoolExecutor(1) as thread:
        while frame is not None:
            n_read += len(frame)
            coming = thread.submit(next, frames, None) if n_read < n_rows else None
            yield frame
            frame = next(frames, None) if coming is None else coming.result()


def _cut(frames: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Cut frames anew into parts of so many rows, the last maybe of fewer."""
    rest = pl.DataFrame()
    for frame in frames:
        rest = pl.concat([rest, frame]) if len(rest) else frame
        while len(rest) >= rows:
            yield rest[:rows]
            rest = rest[rows:]
    if len(rest):
        yield rest
