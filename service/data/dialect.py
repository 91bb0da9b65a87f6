"""How a CSV file is written: its delimiter, and its header or the names that stand for one."""

import csv
import io
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from service.data.kinds import as_booleans, as_dates, as_numbers, without_missing
from service.data.names import check_count, check_names
from service.data.reading import ReadingOptions
from service.data.records import first_stop
from service.errors import Fault, InvalidDataset

DELIMITERS = (",", ";", "\t", "|")
N_LINES_LOOKED_AT = 20
INDEX_WAY = ", or leave the column out where pandas wrote its index as one: to_csv(…, index=False)"


@dataclass(frozen=True)
class Dialect:
    """Delimiter and names; `header` is the row that has the names, as UTF-8, empty when there is none."""

    delimiter: str
    names: tuple[str, ...]
    header: bytes


def find_dialect(start: bytes, options: ReadingOptions) -> Dialect:
    """Find out how a file is written from its first lines, as far as the options do not say.

    Raises:
        InvalidDataset: for a delimiter that cannot be one, a first line that cannot be read or may be a header or not,
            too many columns, and names that cannot be (see `check_names`).
    """
    records = _first_records(start)
    if not records[0].strip(b"\r\n"):
        raise InvalidDataset([Fault("", "line 1 is blank: begin with the header or the first row")])
    delimiter = _checked(options.delimiter) if options.delimiter is not None else _find_delimiter(records, options)
    if (stop := first_stop(records[0], delimiter)) is not None:
        position, sentence = stop
        line = 1 + records[0].count(b"\n", 0, position)
        raise InvalidDataset([Fault("", f"line {line}{sentence}")])
    cells = _cells(records[0].decode(), delimiter)
    check_count(len(cells))
    has_header = _is_header(cells, records[1:], delimiter, options) if options.header is None else options.header
    if not has_header:
        return Dialect(delimiter, tuple(f"column_{number + 1}" for number in range(len(cells))), b"")
    check_names(cells, "line 1", INDEX_WAY if len(cells) > 1 else "")
    return Dialect(delimiter, tuple(cells), records[0])


def _first_records(start: bytes) -> list[bytes]:
    """Cut off the first records, with their line ends; a quote that is never closed makes all the rest one."""
    characters = np.frombuffer(start, np.uint8)
    is_end = (characters == ord("\n")) & (np.cumsum(characters == ord('"'), dtype=np.uint8) & 1 == 0)
    ends = [0, *(np.flatnonzero(is_end)[:N_LINES_LOOKED_AT] + 1).tolist()]
    if len(ends) == 1:
        ends.append(len(start))
    return [start[first:end] for first, end in pairwise(ends)]


def _checked(delimiter: str) -> str:
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0.+-' or delimiter.isalnum():
        sentence = f"{delimiter!r} cannot be a delimiter: give one ASCII character that is in no number, as ; or a tab"
        raise InvalidDataset([Fault("/delimiter", sentence)])
    return delimiter


def _find_delimiter(records: list[bytes], options: ReadingOptions) -> str:
    """Take the delimiter by which most lines have as many cells as the first, and of those that of the most cells."""
    best, found = (0, 0), DELIMITERS[0] if options.decimal != "," else DELIMITERS[1]
    for delimiter in DELIMITERS:
        if delimiter == options.decimal:
            continue
        counts = [b"".join(record.split(b'"')[::2]).count(delimiter.encode()) for record in records]
        score = (sum(count == counts[0] for count in counts), counts[0])
        if counts[0] and score > best:
            best, found = score, delimiter
    return found


def _cells(record: str, delimiter: str) -> list[str]:
    text = record.removesuffix("\n").removesuffix("\r")
    if "\r" in "".join(text.split('"')[::2]):
        sentence = "line 1 has a carriage return in it: end lines with a line feed, or with both"
        raise InvalidDataset([Fault("", sentence)])
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error:
        raise InvalidDataset([Fault("", "line 1 has a cell that is too long: is it CSV?")]) from None


def _is_header(cells: list[str], others: list[bytes], delimiter: str, options: ReadingOptions) -> bool:
    """Tell whether the first row has names: it has those that `types` tells of, or not all of its cells are numbers.

    Raises:
        InvalidDataset: when it may be either: its cells are numbers that follow each other, which as often are names;
            or not all of them are numbers, and some are values as stand below them.
    """
    if options.types and options.types.keys() <= set(cells):
        return True
    wholes = pl.DataFrame({"cell": cells}).select(as_numbers(pl.col("cell"), options.decimal, whole=True))["cell"]
    if len(cells) > 1 and not wholes.null_count() and (wholes.diff().drop_nulls() == 1).all():
        raise _ambiguous(cells)
    kinds = _kinds_of(cells, options)
    if set(kinds) == {"number"}:
        return False
    rows = _rows(others, delimiter, len(cells))
    places = [at for at, kind in enumerate(kinds) if kind not in (None, "word")]
    below = _kinds_of([row[at] for at in places for row in rows], options)
    alike = []
    for number, at in enumerate(places):
        found = [kind for kind in below[number * len(rows) : (number + 1) * len(rows)] if kind is not None]
        if 2 * sum(kind == kinds[at] for kind in found) >= len(found):
            alike.append(cells[at])
    if alike:
        raise _ambiguous(alike)
    return True


def _rows(records: list[bytes], delimiter: str, width: int) -> list[list[str]]:
    """Give the cells of the records that have so many."""
    text = io.StringIO(b"".join(records).decode(errors="replace"), newline="")
    found: list[list[str]] = []
    with suppress(csv.Error):  # of a cell that is too long, and the rest
        found.extend(row for row in csv.reader(text, delimiter=delimiter) if len(row) == width)
    return found


def _kinds_of(cells: list[str], options: ReadingOptions) -> list[str | None]:
    """Tell of each cell whether it is a number, boolean, date or word; None where it is missing."""
    cell = pl.col("cell")
    kind = (
        pl.when(as_numbers(cell, options.decimal, whole=False).is_not_null())
        .then(pl.lit("number"))
        .when(as_booleans(cell).is_not_null())
        .then(pl.lit("boolean"))
        .when(as_dates(cell).is_not_null())
        .then(pl.lit("date"))
        .when(cell.is_not_null())
        .then(pl.lit("word"))
    )
    frame = pl.DataFrame({"cell": cells}, schema={"cell": pl.String})
    return without_missing(frame, options.missing).select(kind.alias("kind"))["kind"].to_list()


def _ambiguous(cells: list[str]) -> InvalidDataset:
    listed = ", ".join(cells[:3]) + (" …" if len(cells) > 3 else "")
    sentence = f"line 1 has {listed}, which may be names of columns or the first row"
    return InvalidDataset([Fault("", f"{sentence}: upload with ?header=true if they are names, or ?header=false")])
