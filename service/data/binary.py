"""Parquet and Arrow IPC files, which know their types and may be larger than memory."""

import json
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import polars as pl

from service.data.arrow_files import arrow_metadata, arrow_parts, frame_of
from service.data.batches import WINDOW_BYTES, batches, damage_as_fault, scan_file
from service.data.canonical import canonical, finite_numbers, natural_kind, value_faults
from service.data.footers import BROKEN, parquet_parts
from service.data.kinds import MAX_CATEGORIES, MAX_CATEGORY_CHARACTERS, MIN_SAMPLES_OF_TEXT
from service.data.names import check_names, check_types
from service.data.reading import ReadingOptions
from service.encoding import Column, Kind
from service.errors import MAX_FAULTS, DatasetTooLarge, Fault, InvalidDataset, escape
from service.files import FORMAT_NAMES, MAGIC, Format, format_of_start
from service.room import Content, Mapped, mapped

LARGEST_PART_BYTES = 2**30
"""The most that a row group or record batch may take in memory, for such a part is read at once."""
LARGEST_TABLE_BYTES = 2**40
"""The most that all of them may take together where nothing else is said, so that reading comes to an end."""

_UNNAMED_INDEX = re.compile(r"__index_level_[0-9]+__")
_SMALLER = {"parquet": "row groups (row_group_size)", "arrow": "record batches (record_batch_size)"}


class BinarySource:
    """A Parquet or Arrow IPC file that has been looked at (see `reading.Source`).

    Args:
        content: the file.
        file_format: which of the two.
        options: `types` and `missing`; the others are for text.
        part_bytes: the most that a row group or record batch may take when decompressed.
        max_bytes: the most that all of them may take together.

    Raises:
        DatasetTooLarge: when it takes more, by its metadata; nothing is decompressed then.
        InvalidDataset: when the file is none of its format, truncated or damaged, when a part is too large, a column
            is of a type that no model can take, or an option does not fit.
    """

    def __init__(
        self,
        content: Content,
        file_format: Literal["parquet", "arrow"],
        options: ReadingOptions,
        part_bytes: int = LARGEST_PART_BYTES,
        max_bytes: int = LARGEST_TABLE_BYTES,
    ) -> None:
        self.format: Literal["parquet", "arrow"] = file_format
        self.options = options
        self.n_samples, n_bytes = _checked_size(content, file_format, part_bytes, max_bytes)
        self._raw = _rows_of(content, file_format, self.n_samples, n_bytes)
        with damage_as_fault():
            schema = self._raw.collect_schema()
            check_names(schema.names(), "in the file's schema")
        self._left_out = _unnamed_index(content, file_format, schema)
        self._schema = pl.Schema({name: dtype for name, dtype in schema.items() if name not in self._left_out})
        _check_schema(self._schema)
        check_types(options.types, self._schema)

    @property
    def reading(self) -> dict[str, Any]:
        """How the file is read, as JSON values, types apart: texts that stand for missing values.

        `left_out` names columns that are the unnamed index of a frame of pandas, where there is one. It numbers the
        rows as they once were, and would tell a model of their order.
        """
        reading = {"missing": list(self.options.missing)}
        return reading | ({"left_out": self._left_out} if self._left_out else {})

    @cached_property
    def types(self) -> dict[str, Kind]:
        """The types that were said and are others than the columns' own."""
        said = self.options.types
        own = self._own_kinds([name for name, kind in said.items() if kind in ("category", "text")])
        return {name: kind for name, kind in said.items() if kind != own.get(name, natural_kind(self._schema[name]))}

    @property
    def keeps_file(self) -> bool:
        """Whether the file can be kept as it is: not where some of its texts stand for missing values."""
        return not self.options.missing

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Name and kind of each column."""
        own = self._own_kinds([name for name in self._schema if name not in self.options.types])
        kinds = {**own, **self.options.types}
        return tuple(Column(name, kinds[name]) for name in self._schema)

    def _own_kinds(self, names: Sequence[str]) -> dict[str, Kind]:
        """Tell what columns are of themselves; those of texts are read to tell categories from text."""
        kinds = {name: kind for name in names if (kind := natural_kind(self._schema[name])) is not None}
        unsure = [name for name, kind in kinds.items() if kind == "category"]
        return {**kinds, **dict.fromkeys(self._free_texts(unsure), "text")}

    def frames(self) -> Iterator[pl.DataFrame]:
        """Read the rows in parts, every column in its canonical type.

        Raises:
            InvalidDataset: with up to 100 faults, for values that cannot be and for a damaged file.
        """
        first, faults = 0, []
        for frame in self._batches(list(self._schema)):
            finite = finite_numbers(frame, self.columns)
            faults += value_faults(frame, [column for column in self.columns if column.name not in finite], first)
            first += len(frame)
            if len(faults) >= MAX_FAULTS:
                break
            if not faults:
                yield frame if len(finite) == len(self.columns) else self._typed(frame, finite)
        if faults:
            raise InvalidDataset(faults[:MAX_FAULTS])

    def _typed(self, frame: pl.DataFrame, finite: set[str]) -> pl.DataFrame:
        """Give the columns in their canonical types, which those of finite numbers have."""
        schema = frame.schema
        with damage_as_fault():
            return frame.select(
                pl.col(column.name)
                if column.name in finite
                else canonical(column.name, column.kind, schema[column.name])
                for column in self.columns
            )

    def _batches(self, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Read some columns as the file has them, without the texts that stand for missing values."""
        missing = list(self.options.missing)
        if isinstance(self._raw, pl.DataFrame) and not missing:  # for even the simplest expression takes longer
            return iter([self._raw[names]] if self.n_samples else [])
        chosen = []
        for name in names:
            column = pl.col(name)
            if missing and natural_kind(self._schema[name]) == "category":
                text = column.cast(pl.String)
                column = pl.when(~text.is_in(missing)).then(text).alias(name)
            chosen.append(column)
        return batches([self._raw.lazy()], self.n_samples, chosen)

    def _free_texts(self, names: Sequence[str]) -> list[str]:
        """Tell which columns of texts are no categories: too many different values, or long ones, or none at all."""
        seen: dict[str, set[str]] = {name: set() for name in names}
        n_values, free = dict.fromkeys(names, 0), set()
        for part in self._batches(names):
            for name in [name for name in names if name not in free]:
                values = part[name].drop_nulls()
                different = values.unique().cast(pl.String)
                n_values[name] += len(values)
                is_long = (different.str.len_chars() > MAX_CATEGORY_CHARACTERS) | different.str.contains(r"[\r\n]")
                if not is_long.any():
                    seen[name].update(different.head(MAX_CATEGORIES + 1).to_list())
                if is_long.any() or len(seen[name]) > MAX_CATEGORIES:
                    free.add(name)
                    seen[name].clear()
        alike = {
            name
            for name, count in n_values.items()
            if count == 0 or (count >= MIN_SAMPLES_OF_TEXT and 2 * len(seen[name]) > count)
        }
        return [name for name in names if name in free | alike]


def _checked_size(content: Content, file_format: Format, part_bytes: int, max_bytes: int) -> tuple[int, int]:
    """Check that it is a file of its format, and neither it nor a part of it decompresses into more than may be.

    Returns:
        How many rows it has, and the bytes that they take when they are read, as it says itself.
    """
    what, magic = FORMAT_NAMES[file_format], MAGIC[file_format]
    with mapped(content) as found:
        start, end, size = found[: len(max(MAGIC.values(), key=len))], found[-len(magic) :], len(found)
        if not start.startswith(magic):
            is_stream = file_format == "arrow" and start[:4] == b"\xff\xff\xff\xff"
            hint = "it is an Arrow IPC stream; write a file of it, as write_ipc does" if is_stream else _hint(start)
            raise InvalidDataset([Fault("", f"this is not {what}: {hint}")])
        if end != magic or size < 3 * len(magic):
            detail = f"this is {what} that is cut off or damaged: its end is missing; upload it again"
            raise InvalidDataset([Fault("", detail)])
        return _check_parts(found, file_format, part_bytes, max_bytes)


def _rows_of(
    content: Content, file_format: Literal["parquet", "arrow"], n_rows: int, n_bytes: int
) -> pl.LazyFrame | pl.DataFrame:
    """Give the rows of a file; those of a small one of Arrow that lies in memory are read at once."""
    if isinstance(content, bytes) and file_format == "arrow" and n_bytes <= WINDOW_BYTES:
        frame = frame_of(content)
        if frame is not None and len(frame) == n_rows:
            return frame
    return scan_file(content, file_format)


def _hint(start: bytes) -> str:
    known = format_of_start(start)
    return (
        f"it begins as {FORMAT_NAMES[known]} does"
        if known
        else "it does not begin as one; name its format by Content-Type"
    )


def _check_parts(content: Mapped, file_format: str, part_bytes: int, max_bytes: int) -> tuple[int, int]:
    parts, total, n_rows = parquet_parts(content) if file_format == "parquet" else arrow_parts(content), 0, 0
    try:
        for number, (its_rows, n_bytes) in enumerate(parts):
            total += n_bytes
            n_rows += its_rows
            if total > max_bytes:
                raise DatasetTooLarge(
                    f"the table takes {total:,} bytes or more when it is read, and {max_bytes:,} are accepted here "
                    "(setting DESCENT_MAX_UPLOAD_BYTES): leave rows or columns out"
                )
            if n_bytes > part_bytes:
                detail = (
                    f"part {number} of the file takes {n_bytes:,} bytes when it is read, and at most {part_bytes:,} "
                    f"can be: write it with smaller {_SMALLER[file_format]}"
                )
                raise InvalidDataset([Fault("", detail)])
    except BROKEN as error:
        raise InvalidDataset([Fault("", f"the file is damaged: {error}; write it anew")]) from None
    return n_rows, total


def _check_schema(schema: pl.Schema) -> None:
    if not schema:
        raise InvalidDataset([Fault("", "the file has no columns: give at least one feature and a target")])
    ways = "leave the column out, or write it as numbers of up to 64 bits, texts, booleans or dates"
    faults = [
        Fault(f"/columns/{escape(name)}", f"column {name!r} has type {dtype}, which no model can take: {ways}")
        for name, dtype in schema.items()
        if natural_kind(dtype) is None
    ]
    if faults:
        raise InvalidDataset(faults)


def _unnamed_index(content: Content, file_format: str, schema: pl.Schema) -> list[str]:
    """Name the columns that are, by the word of pandas in the file, a frame's index without a name of its own."""
    suspects = [name for name in schema if _UNNAMED_INDEX.fullmatch(name)]
    if not suspects:
        return []
    try:
        if file_format == "parquet":
            said: Any = pl.read_parquet_metadata(content).get("pandas", "{}")
        else:
            with mapped(content) as found:
                said = arrow_metadata(found).get(b"pandas", b"{}")
        index = json.loads(said)["index_columns"]
        return [name for name in suspects if name in index]
    except (*BROKEN, pl.exceptions.PolarsError):
        return []  # nothing that can be read says so: they are columns like others
