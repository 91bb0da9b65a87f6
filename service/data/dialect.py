"""How a CSV file is written: its delimiter, and its header or the names that stand for one."""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from service.data.kinds import as_numbers
from service.data.reading import ReadingOptions
from service.data.records import first_stop
from service.errors import MAX_FAULTS, Fault, InvalidDataset, escape

MAX_NAME_CHARACTERS = 200
DELIMITERS = (",", ";", "\t", "|")
N_LINES_LOOKED_AT = 20


@dataclass(frozen=True)
class Dialect:
    """Delimiter and names; `header` is the row that has the names, as UTF-8, empty when there is none."""

    delimiter: str
    names: tuple[str, ...]
    header: bytes


def find_dialect(start: bytes, options: ReadingOptions) -> Dialect:
    """Find out how a file is written from its first lines, as far as the options do not say.

    Raises:
        InvalidDataset: for a delimiter that cannot be one, a first line that cannot be read, and names that are empty,
            there twice or too long.
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
    has_header = not _are_numbers(cells, options) if options.header is None else options.header
    if not has_header:
        return Dialect(delimiter, tuple(f"column_{number + 1}" for number in range(len(cells))), b"")
    check_names(cells, "line 1")
    return Dialect(delimiter, tuple(cells), records[0])


def check_names(names: list[str], where: str) -> None:
    """See that names of columns are there, differ, and are not too long.

    Raises:
        InvalidDataset: with a fault `/columns/{index}` for each that is not.
    """
    faults = []
    counts = Counter(names)
    for index, name in enumerate(names):
        if not name.strip():
            sentence = f"{where}: the name of column {index + 1} is empty: give each column a name"
        elif len(name) > MAX_NAME_CHARACTERS:
            length = f"has {len(name)} characters and may have {MAX_NAME_CHARACTERS}"
            sentence = f"{where}: the name of column {index + 1}, {name[:40]!r}…, {length}"
        elif counts[name] > 1 and names.index(name) < index:
            sentence = f"{where}: the columns {names.index(name) + 1} and {index + 1} are both named {name!r}"
        else:
            continue
        faults.append(Fault(f"/columns/{index}", sentence))
        if len(faults) == MAX_FAULTS:
            break
    if faults:
        raise InvalidDataset(faults)


def check_types(options: ReadingOptions, names: tuple[str, ...]) -> None:
    """See that types are given for columns that are there.

    Raises:
        InvalidDataset: with a fault `/types/{name}` for each that is not.
    """
    shown = ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
    unknown = [name for name in options.types if name not in names]
    if unknown:
        sentence = "a type is given for {!r}, but there is no such column: there are {}"
        faults = [Fault(f"/types/{escape(name)}", sentence.format(name, shown)) for name in unknown]
        raise InvalidDataset(faults)


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


def _are_numbers(cells: list[str], options: ReadingOptions) -> bool:
    numbers = pl.DataFrame({"cell": cells}, schema={"cell": pl.String}).select(
        as_numbers(pl.col("cell"), options.decimal, whole=False)
    )
    return numbers["cell"].null_count() == 0
