"""JSON lines: one object a line, all with the same fields, whose values are numbers, texts, booleans or null."""

import json
import re
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from service.data.chunks import CHUNK_BYTES, find_encoding, read_chunks
from service.data.json_objects import TEXT_MARK, are_alike, cell_of, field_faults, not_text, read_object
from service.data.kinds import Tally, cast, fault_sentence, is_fault
from service.data.names import check_names
from service.data.reading import ReadingOptions
from service.data.text_source import LOOK_BYTES, Piece, TextSource
from service.encoding import Kind
from service.errors import Fault, InvalidDataset
from service.room import Content

_NATURAL = {"number": (pl.Int64, pl.Float64), "boolean": (pl.Boolean,)}


@dataclass
class JsonTally:
    """What has been seen of a column's JSON values, from which its kind follows: that of most of them."""

    numbers: Tally = field(default_factory=Tally)
    texts: Tally = field(default_factory=Tally)
    n_booleans: int = 0

    @property
    def kind(self) -> Kind:
        """What the column is; text when it has no value at all."""
        most = max(self.numbers.n_values, self.texts.n_values, self.n_booleans)
        if self.numbers.n_values == most > 0:
            return "number"
        if self.texts.n_values == most:
            return self.texts.kind_of_words if most else "text"
        return "boolean"

    @property
    def is_whole(self) -> bool:
        """Whether all numbers are integers of 64 bits; those in texts among them."""
        return self.numbers.is_whole and self.texts.is_whole

    @property
    def needs_type(self) -> bool:
        """Whether the column is refused unless its type is said: values of two kinds are in it."""
        return sum(n > 0 for n in (self.numbers.n_values, self.texts.n_values, self.n_booleans)) > 1

    def add(self, cells: pl.Series) -> None:
        """Count cells."""
        cells = cells.drop_nulls()
        if cells.dtype.is_numeric():
            self.numbers.add(cells)
        elif cells.dtype == pl.Boolean:
            self.n_booleans += len(cells)
        else:
            is_text, is_boolean = cells.str.starts_with(TEXT_MARK), cells.is_in(["true", "false"])
            self.texts.add(cells.filter(is_text).str.strip_prefix(TEXT_MARK))
            self.n_booleans += int(is_boolean.sum())
            self.numbers.add(cells.filter(~is_text & ~is_boolean & ~cells.str.contains(r"^[\[{]")))


class JsonLinesSource(TextSource[JsonTally]):
    """A file of JSON lines that has been looked at (see `reading.Source`).

    Raises:
        InvalidDataset: at once, for what cannot be read at all: an empty file, a first line without fields.
    """

    def __init__(self, content: Content, options: ReadingOptions, chunk_bytes: int = CHUNK_BYTES) -> None:
        super().__init__(content, options, chunk_bytes)
        self._encoding = find_encoding(content, options.encoding)
        with closing(read_chunks(content, self._encoding, LOOK_BYTES, quoted=False)) as chunks:
            start = next(chunks, None)
        if start is None:
            raise InvalidDataset([Fault("", "the file has no rows: it has nothing but line breaks")])
        first = read_object(start.partition(b"\n")[0])
        if isinstance(first, str):
            raise InvalidDataset([Fault("/rows/0", f"line 1 {first}")])
        if not first:
            raise InvalidDataset([Fault("/rows/0", "line 1 has no fields: its fields are the columns")])
        names = [name for name, _ in first]
        check_names(names, "line 1")
        self._call(names)

    @property
    def reading(self) -> dict[str, Any]:
        """How the file is read, as JSON values, types apart."""
        return {"encoding": self._encoding, "missing": list(self._options.missing)}

    def _bodies(self, n_bytes: int) -> Generator[bytes, None, None]:
        return read_chunks(self._content, self._encoding, n_bytes, quoted=False)

    @property
    def _first_line(self) -> int:
        return 1

    def _tally(self) -> JsonTally:
        return JsonTally()

    def _count(self, cells: pl.DataFrame, tallies: Sequence[JsonTally]) -> None:
        for column, tally in zip(cells, tallies, strict=True):
            tally.add(column)

    def _fast(self, body: bytes) -> pl.DataFrame | None:
        # polars drops fields and changes types in silence: counts of what stands in the bytes tell.
        if b"\\\\" in body or re.search(rb"\\u[dD]", body):
            return None
        try:
            frame = pl.read_ndjson(body, infer_schema_length=None)
        except pl.exceptions.PolarsError:
            return None
        width = len(self._names)
        if set(frame.columns) != set(self._names) or not are_alike(body, len(frame), width):
            return None
        frame = pl.DataFrame({str(at): frame.get_column(name) for at, name in enumerate(self._names)})
        texts = frame.select(pl.selectors.string())
        n_texts = texts.width * len(frame) - sum(texts.null_count().row(0)) if texts.width else 0
        n_booleans = sum(len(column) - column.null_count() for column in frame if column.dtype == pl.Boolean)
        n_quotes = body.count(b'"') - body.count(b'\\"')
        if (
            n_quotes != 2 * (width * len(frame) + n_texts)
            or self._n_literals(body, texts, "null") != sum(frame.null_count().row(0))
            or self._n_literals(body, texts, "true") + self._n_literals(body, texts, "false") != n_booleans
        ):
            return None
        return self._as_cells(frame)

    def _n_literals(self, body: bytes, texts: pl.DataFrame, word: str) -> int:
        """Count a word outside of texts and names."""
        found = body.count(word.encode())
        if found:
            found -= sum(name.count(word) for name in self._names) * body.count(b"\n")
            found -= sum(int(column.str.count_matches(word, literal=True).sum()) for column in texts)
        return found

    def _as_cells(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        """Mark texts, and take numbers and booleans as they are; None where they are not what their column is."""
        cells = []
        for column, kind, dtype in zip(frame, self._kinds, self._types, strict=True):
            if column.dtype == pl.String:
                text = pl.concat_str(pl.lit(TEXT_MARK), pl.col(column.name))
                cells.append(self._unless_missing(text).alias(column.name))
            elif column.dtype == pl.Null:
                cells.append(pl.col(column.name).cast(dtype))
            elif column.dtype in _NATURAL.get(kind, ()) and not (dtype == pl.Int64 and column.dtype.is_float()):
                cells.append(pl.col(column.name))
            else:
                return None
        return frame.select(cells)

    def _careful(self, body: bytes, row: int, line: int) -> Piece:
        faults: list[tuple[int, Fault]] = []
        good: list[int] = []
        cells: list[list[str | None]] = [[] for _ in self._names]
        names = set(self._names)
        stop = not_text(body)
        lines = body.split(b"\n")[:-1] if stop is None else body[: stop[0]].split(b"\n")[:-1]
        for at, text in enumerate(lines):
            fields = read_object(text)
            found = [Fault("", fields)] if isinstance(fields, str) else field_faults(fields, self._names, names)
            faults += [
                (row + at, Fault(f"/rows/{row + at}{fault.pointer}", f"line {line + at} {fault.detail}"))
                for fault in found
            ]
            if not found and not isinstance(fields, str):
                good.append(at)
                values = dict(fields)
                for column, name in zip(cells, self._names, strict=True):
                    column.append(cell_of(values[name]))
        if stop is not None:
            at = row + len(lines)
            faults.append((at, Fault(f"/rows/{at}", f"line {line + len(lines)} {stop[1]}")))
        frame = pl.DataFrame({str(at): column for at, column in enumerate(cells)}, schema_overrides=self._texts_schema)
        frame = frame.select(self._unless_missing(pl.all()))
        numbers = np.array(good, dtype=np.int64)
        return Piece(frame, row + numbers, line + numbers, faults, len(lines), len(lines), stop is not None)

    @property
    def _texts_schema(self) -> dict[str, pl.DataType]:
        return {str(at): pl.String() for at in range(len(self._names))}

    def _unless_missing(self, cell: pl.Expr) -> pl.Expr:
        """Make null of the texts that stand for a missing value."""
        marked = [TEXT_MARK + text for text in self._options.missing]
        return pl.when(~cell.is_in(marked)).then(cell).name.keep() if marked else cell

    def _cast(self, cell: pl.Expr, dtype: pl.DataType, *, guessed: bool) -> tuple[pl.Expr, pl.Expr]:
        is_text, text = cell.str.starts_with(TEXT_MARK), cell.str.strip_prefix(TEXT_MARK)
        value = cast(text, dtype, ".")
        wrong = is_fault(text, value, dtype) | cell.str.contains(r"^[\[{]")
        if guessed:
            wrong |= is_text != pl.lit(dtype not in (pl.Int64, pl.Float64, pl.Boolean))
        return value, wrong

    def _sentence(self, cell: str, kind: Kind, *, guessed: bool) -> str:
        what = _what(cell)
        if what == "nested":
            return f"{cell} is nested: a value is a number, a text, a boolean or null"
        text = cell.removeprefix(TEXT_MARK)
        if what == "number" and kind == "number":
            return f"{text} is not finite: write null if the value is missing"
        expected = kind if kind in _NATURAL else "text"
        if not guessed or what == expected:
            return fault_sentence(text, kind, guessed=guessed)
        shown = json.dumps(text[:80], ensure_ascii=False) if what == "text" else text[:80]
        ways = "write null for a missing value, and all others alike, or upload with the column's type in `types`"
        return f"{shown} is a {what}, and the column is one of {expected}s: {ways}"


def _what(cell: str) -> str:
    """Tell what a cell is in JSON."""
    if cell[0] in "[{":
        return "nested"
    if cell[0] == TEXT_MARK:
        return "text"
    return "boolean" if cell in ("true", "false") else "number"
