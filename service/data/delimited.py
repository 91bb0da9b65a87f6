"""CSV files: read by polars where it reads by the rules, and checked where it would not say so."""

import json
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import polars as pl

from service.data.chunks import CHUNK_BYTES, find_encoding, read_chunks
from service.data.dialect import find_dialect
from service.data.kinds import Tally, cast, count, fault_sentence, is_fault, is_written_otherwise, without_missing
from service.data.reading import ReadingOptions
from service.data.records import are_plain, has_leading_zero, n_delimiters, split_records
from service.data.text_source import LOOK_BYTES, Piece, TextSource
from service.encoding import Kind
from service.errors import Fault, InvalidDataset, escape
from service.room import Content

_OTHER_MARKS = {".": (",", "comma"), ",": (".", "point")}


class DelimitedSource(TextSource[Tally]):
    """A CSV file that has been looked at (see `reading.Source`).

    Raises:
        InvalidDataset: at once, for what cannot be read at all: an empty file, a header of no use, a wrong option.
    """

    def __init__(self, content: Content, options: ReadingOptions, chunk_bytes: int = CHUNK_BYTES) -> None:
        super().__init__(content, options, chunk_bytes)
        self._encoding = find_encoding(content, options.encoding)
        with closing(read_chunks(content, self._encoding, LOOK_BYTES, quoted=True)) as chunks:
            start = next(chunks, None)
        if start is None:
            raise InvalidDataset([Fault("", "the file has no rows: it has nothing but line breaks")])
        self._dialect = find_dialect(start, options)
        self._call(self._dialect.names)

    @property
    def reading(self) -> dict[str, Any]:
        """How the file is read, as JSON values, types apart."""
        return {
            "delimiter": self._dialect.delimiter,
            "header": bool(self._dialect.header),
            "decimal": self._options.decimal,
            "encoding": self._encoding,
            "missing": list(self._options.missing),
        }

    def _bodies(self, n_bytes: int) -> Generator[bytes, None, None]:
        n_skipped = len(self._dialect.header)
        # Of a single column, a blank line is a row whose cell is empty.
        blank_end = len(self._names) == 1
        for chunk in read_chunks(self._content, self._encoding, n_bytes, quoted=True, blank_end=blank_end):
            body = chunk[n_skipped:] if n_skipped else chunk
            n_skipped = 0
            if body:
                yield body

    @property
    def _first_line(self) -> int:
        return 1 + self._dialect.header.count(b"\n")

    def _tally(self) -> Tally:
        return Tally(self._options.decimal)

    def _count(self, cells: pl.DataFrame, tallies: Sequence[Tally]) -> None:
        count(cells, tallies)

    def _fast(self, body: bytes) -> pl.DataFrame | None:
        options, delimiter, width = self._options, self._dialect.delimiter, len(self._names)
        has_numbers = any(dtype.is_numeric() for dtype in self._types)
        if (
            not are_plain(body, delimiter)
            or (has_numbers and (has_leading_zero(body) or (options.decimal == "," and b"." in body)))
            or any('"' in text for text in options.missing)
        ):
            return None
        schema = {str(at): dtype if dtype.is_numeric() else pl.String() for at, dtype in enumerate(self._types)}
        try:
            frame = self._read(body, schema, list(options.missing) or None)
        except pl.exceptions.PolarsError:
            return None
        floats = [name for name, dtype in schema.items() if dtype == pl.Float64]
        if floats and not frame.select(pl.all_horizontal(pl.col(floats).is_finite().all())).item():
            return None
        # polars makes nulls of the cells that a row lacks: only the count of delimiters tells them from empty ones.
        expected = len(frame), len(frame) * (width - 1)
        if any(frame.null_count().row(0)) and n_delimiters(body, delimiter) != expected:
            return None
        return without_missing(frame, options.missing) if len(floats) < width else frame

    def _careful(self, body: bytes, row: int, line: int) -> Piece:
        records = split_records(body, self._dialect.delimiter, len(self._names), row, line)
        schema: dict[str, pl.DataType] = {str(at): pl.String() for at in range(len(self._names))}
        cells = self._read(records.content, schema) if records.content else pl.DataFrame(schema=schema)
        cells = without_missing(cells, self._options.missing)
        return Piece(
            cells, records.rows, records.lines, records.faults, records.n_rows, records.n_lines, records.is_end
        )

    def _read(
        self, content: bytes, schema: dict[str, pl.DataType], null_values: list[str] | None = None
    ) -> pl.DataFrame:
        return pl.read_csv(
            content,
            has_header=False,
            schema=schema,
            separator=self._dialect.delimiter,
            decimal_comma=self._options.decimal == ",",
            null_values=null_values,
            glob=False,
        )

    def _cast(self, cell: pl.Expr, dtype: pl.DataType, *, guessed: bool) -> tuple[pl.Expr, pl.Expr]:  # noqa: ARG002
        value = cast(cell, dtype, self._options.decimal)
        return value, is_fault(cell, value, dtype)

    def _sentence(self, cell: str, kind: Kind, *, guessed: bool) -> str:
        decimal = self._options.decimal
        sentence = fault_sentence(cell, kind, guessed=guessed, decimal=decimal)
        if kind == "number" and is_written_otherwise(cell, decimal):
            other, mark = _OTHER_MARKS[decimal]
            return f"{sentence}; if its decimals stand after a {mark}, upload with ?decimal={other}"
        return sentence

    def _misread(self, tallies: Sequence[Tally]) -> dict[str, Fault]:
        types, faults = self._options.types, {}
        other, mark = _OTHER_MARKS[self._options.decimal]
        for name, tally in zip(self._names, tallies, strict=True):
            if tally.is_misread and types.get(name, "number") == "number":
                way = json.dumps({name: "category"}, ensure_ascii=False)
                sentence = (
                    f"column {name!r} has numbers with {mark}s, such as {tally.otherwise!r}: write them without "
                    f"separators of thousands, and, if decimals stand after a {mark}, upload with ?decimal={other}; "
                    f"or, if they are texts, with types {way}"
                )
                faults[name] = Fault(f"/columns/{escape(name)}", sentence)
        return faults
