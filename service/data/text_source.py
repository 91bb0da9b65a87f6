"""Text files of any length, in flat memory: what the columns are follows from all rows, and so do their faults.

A file is read in chunks, fast where a chunk is beyond doubt and else with care. The first rows give a guess of what the
columns are. Where a later chunk contradicts it, the whole file is gone through, and the outcome is the same wherever
the chunks were cut: the columns as all their values make them, or the first 100 faults.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Container, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import polars as pl

from service.data.chunks import CHUNK_BYTES
from service.data.kinds import type_of
from service.data.names import check_types
from service.data.reading import LookedAgain, ReadingOptions
from service.data.records import Positions
from service.encoding import Column, Kind
from service.errors import MAX_FAULTS, Fault, InvalidDataset, escape
from service.files import FORMAT_NAMES, format_of_start, media_type_of
from service.room import Content, opened

LOOK_BYTES = 2**20
"""So much of a file is looked at to tell what its columns may be."""
N_CHUNKS_AHEAD = 2
ZIP = b"PK\x03\x04"
START_BYTES = 2**12
"""So much of a file is looked at to tell whether it is text."""


@dataclass(frozen=True)
class Piece:
    """What a chunk has, gone through with care: the cells of its good rows, and the faults of the others.

    `rows` and `lines` tell of each good row its number, from 0, and the line that it begins in, from 1. `faults` come
    with their rows. `n_rows` and `n_lines` count all that were gone through. With `is_end`, no more can be read.
    """

    cells: pl.DataFrame
    rows: Positions
    lines: Positions
    faults: list[tuple[int, Fault]]
    n_rows: int
    n_lines: int
    is_end: bool = False


class ColumnTally(Protocol):
    """What has been seen of a column, from which its kind follows."""

    @property
    def kind(self) -> Kind:
        """What the column is."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether all its numbers are integers of 64 bits."""
        ...

    @property
    def needs_type(self) -> bool:
        """Whether the column is refused unless its type is said."""
        ...


SomeTally = TypeVar("SomeTally", bound=ColumnTally)


def _check_start(content: Content) -> None:
    """Refuse a file that is of a format that is no text: one that begins as it does, and has what no text has."""
    with opened(content) as file:
        start = file.read(START_BYTES)
    if start.startswith(ZIP):
        raise InvalidDataset([Fault("", "this is a zip archive, as Excel writes: save it as CSV")])
    binary = format_of_start(start)
    if binary is not None and b"\0" in start:
        what, way = FORMAT_NAMES[binary], media_type_of(binary)
        raise InvalidDataset([Fault("", f"this is {what} and not text: name its format by Content-Type: {way}")])


class TextSource(ABC, Generic[SomeTally]):
    """A text file that has been looked at (see `reading.Source`).

    How it is read is known at once; its values are looked at when somebody asks what the columns are. Cells are texts,
    null where missing, or values of a type that polars has read at once; their columns are named by their numbers, for
    names of the file may mean something to polars.
    """

    def __init__(self, content: Content, options: ReadingOptions, chunk_bytes: int = CHUNK_BYTES) -> None:
        _check_start(content)
        self._content, self._options, self._chunk_bytes = content, options, chunk_bytes
        self._names: tuple[str, ...] = ()
        self._kinds: list[Kind] = []
        self._types: list[pl.DataType] = []
        self._changed: dict[str, Kind] = {}
        self._is_settled = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """Name and kind of each column."""
        self._look()
        return tuple(Column(name, kind) for name, kind in zip(self._names, self._kinds, strict=True))

    @property
    def types(self) -> dict[str, Kind]:
        """The types that were said and that change something, for of itself the column is another or is refused."""
        self._look()
        return self._changed

    @property
    @abstractmethod
    def reading(self) -> dict[str, Any]:
        """How the file is read, as JSON values, types apart."""

    @abstractmethod
    def _bodies(self, n_bytes: int) -> Generator[bytes, None, None]:
        """Read chunks of whole rows, without a header."""

    @property
    @abstractmethod
    def _first_line(self) -> int:
        """The line that the first row begins in."""

    @abstractmethod
    def _tally(self) -> SomeTally:
        """Give a tally of a column of which nothing has been seen."""

    @abstractmethod
    def _count(self, cells: pl.DataFrame, tallies: Sequence[SomeTally]) -> None:
        """Add cells to the tallies of their columns."""

    @abstractmethod
    def _fast(self, body: bytes) -> pl.DataFrame | None:
        """Have polars read a chunk; None where it may have read it otherwise than with care."""

    @abstractmethod
    def _careful(self, body: bytes, row: int, line: int) -> Piece:
        """Go through a chunk that begins with this row and line of the file."""

    @abstractmethod
    def _cast(self, cell: pl.Expr, dtype: pl.DataType, *, guessed: bool) -> tuple[pl.Expr, pl.Expr]:
        """Give cells of text as values of a type, and tell which of them are none."""

    @abstractmethod
    def _sentence(self, cell: str, kind: Kind, *, guessed: bool) -> str:
        """Say why a cell is no value of its column's kind."""

    def _misread(self, tallies: Sequence[SomeTally]) -> dict[str, Fault]:  # noqa: ARG002
        """Tell of columns, by name, that are to be read in another way than they would be."""
        return {}

    def frames(self) -> Iterator[pl.DataFrame]:
        """Read the rows in parts, every column in its canonical type (see `reading.Source`)."""
        self._look()
        is_first = True
        try:
            for frame in self._parts():
                is_first = False
                yield frame
        except LookedAgain:
            if not is_first:
                raise
            yield from self._parts()

    def _call(self, names: Sequence[str]) -> None:
        """Name the columns, and refuse a type that is said of another one."""
        check_types(self._options.types, dict.fromkeys(names, pl.String()))
        self._names = tuple(names)

    def _look(self) -> None:
        """Guess what the columns are, unless it is known."""
        if self._types:
            return
        with closing(self._bodies(min(LOOK_BYTES, self._chunk_bytes))) as bodies:
            body = next(bodies, None)
        tallies = self._tallies()
        if body is not None:
            self._count(self._careful(body, 0, self._first_line).cells, tallies)
        self._take(tallies)

    def _parts(self) -> Iterator[pl.DataFrame]:
        tallies = self._tallies()
        for cells, frame in self._parsed():
            if frame is None:
                self._settle()
                raise LookedAgain
            if not self._is_settled:
                self._count(cells, tallies)
            yield frame
        if not self._is_settled:
            earlier = self._types
            self._take(tallies)
            if self._types != earlier or self._misread(tallies):
                self._settle()
                raise LookedAgain
            self._is_settled = True

    def _parsed(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame | None]]:
        """Read each chunk, some of them ahead."""
        with ThreadPoolExecutor(N_CHUNKS_AHEAD) as threads:
            pending: deque[Future[tuple[pl.DataFrame, pl.DataFrame | None]]] = deque()
            for body in self._bodies(self._chunk_bytes):
                pending.append(threads.submit(self._parse, body))
                if len(pending) > N_CHUNKS_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _parse(self, body: bytes) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """Read the cells of a chunk, and the values that they are; None when they are not what the columns are."""
        cells = self._fast(body)
        if cells is None:
            piece = self._careful(body, 0, self._first_line)
            cells = piece.cells
            if piece.faults:
                return cells, None
        values, wrong = self._values(cells)
        if wrong.width and wrong.select(pl.any_horizontal(pl.all().any())).item():
            return cells, None
        values.columns = list(self._names)
        return cells, values

    def _settle(self) -> None:
        """Go through the whole file for what its columns are, and for its faults.

        Raises:
            InvalidDataset: with the first faults, those of columns before those of rows, in the order of the file.
        """
        tallies = self._tallies()
        for piece in self._pieces():
            self._count(piece.cells, tallies)
        self._take(tallies)
        misread = self._misread(tallies)
        faults = list(misread.values())
        for piece in self._pieces():
            found = piece.faults + self._cell_faults(piece, misread)
            faults += [fault for _, fault in sorted(found, key=lambda fault: fault[0])]
            if len(faults) >= MAX_FAULTS:
                break
        if faults:
            raise InvalidDataset(faults[:MAX_FAULTS])
        self._is_settled = True

    def _pieces(self) -> Iterator[Piece]:
        row, line = 0, self._first_line
        for body in self._bodies(self._chunk_bytes):
            piece = self._careful(body, row, line)
            yield piece
            if piece.is_end:
                return
            row, line = row + piece.n_rows, line + piece.n_lines

    def _cell_faults(self, piece: Piece, misread: Container[str]) -> list[tuple[int, Fault]]:
        """Tell of the cells that are not what their columns are, columns that are misread as a whole apart."""
        _, wrong = self._values(piece.cells)
        found = wrong.select(pl.all().any()).to_dict(as_series=False).items()
        faulty = [name for name, (any_wrong,) in found if any_wrong and self._names[int(name)] not in misread]
        places = [(row, name) for name in faulty for row in wrong[name].arg_true()[:MAX_FAULTS].to_list()]
        faults = []
        for at, column in sorted(places, key=lambda place: (place[0], int(place[1])))[:MAX_FAULTS]:
            name, row = self._names[int(column)], int(piece.rows[at])
            cell, kind = piece.cells[column][at], self._kinds[int(column)]
            sentence = self._sentence(cell, kind, guessed=name not in self._options.types)
            place = f"line {piece.lines[at]}, column {name!r}"
            faults.append((row, Fault(f"/rows/{row}/{escape(name)}", f"{place}: {sentence}")))
        return faults

    def _values(self, cells: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Give cells as what the columns are, and tell of those columns that may have others which are none of it."""
        schema = cells.schema
        groups: dict[tuple[Any, ...], list[str]] = {}
        values, wrong = [], []
        for column, name, dtype in zip(cells.columns, self._names, self._types, strict=True):
            if schema[column] != pl.String:
                values.append(pl.col(column).cast(dtype))
            else:
                # One expression for many columns is quick; but that of dates takes several columns for alternatives.
                alone = column if dtype == pl.Datetime("us") else ""
                groups.setdefault((dtype, name not in self._options.types, alone), []).append(column)
        for (dtype, guessed, _), columns in groups.items():
            value, is_wrong = self._cast(pl.col(columns), dtype, guessed=guessed)
            values.append(value.name.keep())
            wrong.append(is_wrong.fill_null(value=False).name.keep())
        return cells.select(values).select(cells.columns), cells.select(wrong)

    def _tallies(self) -> list[SomeTally]:
        return [self._tally() for _ in self._names]

    def _take(self, tallies: Sequence[SomeTally]) -> None:
        """Make the columns what has been seen of them, or what they are said to be."""
        said, seen = self._options.types, dict(zip(self._names, tallies, strict=True))
        self._kinds = [said.get(name, tally.kind) for name, tally in seen.items()]
        self._changed = {name: kind for name, kind in said.items() if kind != seen[name].kind or seen[name].needs_type}
        self._types = [type_of(kind, whole=tally.is_whole) for kind, tally in zip(self._kinds, tallies, strict=True)]
