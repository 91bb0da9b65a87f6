"""Tables in files: typed columns of any length, read by polars in parts, never all at once unless they are small."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PanicException, PolarsError

from service.data.canonical import canonical, value_faults
from service.data.kinds import date_text
from service.data.labels import label_keys
from service.data.names import check_types
from service.dataset import Dataset
from service.encoding import Column, Kind
from service.errors import MAX_FAULTS, Fault, InvalidDataset

STEM = "table"
ROWS_AT_ONCE = 2**17
VALUES_AT_ONCE = 2**24
FEWEST_ROWS_AT_ONCE = 2**10
PREVIEW_CHARACTERS = 300


@dataclass(frozen=True)
class Table:
    """A table of typed columns; `source` gives them as they are kept, maybe in other types (see `canonical`)."""

    columns: tuple[Column, ...]
    n_samples: int
    source: pl.LazyFrame

    @classmethod
    def in_folder(cls, folder: Path, columns: tuple[Column, ...], n_samples: int) -> "Table":
        """Give the table in the files `table*.arrow`, in the order of their names, or `table.parquet` of a folder.

        Raises:
            FileNotFoundError: when there are none.
        """
        files = sorted(folder.glob(f"{STEM}*"))
        if not files:
            raise FileNotFoundError(folder)
        return cls(columns, n_samples, scan_files(files))

    @classmethod
    def of_dataset(cls, dataset: Dataset, *, by_number: bool = False) -> "Table":
        """Give a dataset in memory as a table: features, then targets, by name; classes as their labels.

        Args:
            dataset: of which the columns are.
            by_number: call the columns 0, 1, 2 …, so that those of the same name can stand beside each other.

        Raises:
            InvalidDataset: when a feature and a target have the same name.
        """
        schema = dataset.schema
        twice = [] if by_number else sorted(set(schema.feature_names) & set(schema.target_names))
        if twice:
            said = "names a feature and a target: give them different names"
            raise InvalidDataset([Fault("/feature_names", f"{name!r} {said}") for name in twice])
        answers = dataset.targets.T if schema.classes is None else [_labels(dataset)]
        names = (*schema.feature_names, *schema.target_names)
        series = [
            pl.Series(str(number) if by_number else name, values)
            for number, (name, values) in enumerate(zip(names, [*dataset.features.T, *answers], strict=True))
        ]
        kinds: dict[Any, Kind] = {pl.Boolean: "boolean", pl.String: "category"}
        columns = tuple(Column(one.name, kinds.get(one.dtype, "number")) for one in series)
        return cls(columns, dataset.n_samples, pl.DataFrame(series).lazy())

    @cached_property
    def schema(self) -> pl.Schema:
        """The types of the columns as they are kept.

        Raises:
            InvalidDataset: when a file has been damaged since it was taken in.
        """
        with damage_as_fault():
            return self.source.collect_schema()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.columns)

    def kind_of(self, name: str) -> Kind:
        """Give the kind of a column that is there."""
        return next(column.kind for column in self.columns if column.name == name)

    def with_kinds(self, types: Mapping[str, Kind]) -> "Table":
        """Take some columns as of another kind; all values are looked at.

        Raises:
            InvalidDataset: for a column that is not there or cannot be of the kind as a whole, with pointers
                `/types/name`; or for up to 100 values that cannot be, with pointers `/rows/row/name`.
        """
        check_types(types, {name: self.schema[name] for name in self.names})
        changed = [Column(name, kind) for name, kind in types.items() if self.kind_of(name) != kind]
        first, faults = 0, []
        if changed:
            for frame in batches(self.source.select(column.name for column in changed), self.n_samples):
                faults += value_faults(frame, changed, first)
                first += len(frame)
                if len(faults) >= MAX_FAULTS:
                    break
        if faults:
            raise InvalidDataset(faults[:MAX_FAULTS])
        return replace(self, columns=tuple(Column(name, types.get(name, self.kind_of(name))) for name in self.names))

    def scan(self, names: Sequence[str] | None = None) -> pl.LazyFrame:
        """Give some columns, in their canonical types, to be read when they are collected; all when left out."""
        schema, wanted = self.schema, set(self.names if names is None else names)
        return self.source.select(
            canonical(column.name, column.kind, schema[column.name]) for column in self.columns if column.name in wanted
        )

    def frames(self, names: Sequence[str] | None = None, rows: int | None = None) -> Iterator[pl.DataFrame]:
        """Read some columns in parts of so many rows, in order, every part of a file once.

        When left out, parts have 131,072 rows, and fewer where the columns are many.

        Raises:
            InvalidDataset: when a file has been damaged since it was taken in.
        """
        return batches(self.scan(names), self.n_samples, rows)

    def preview(self, first: int, rows: int) -> list[dict[str, Any]]:
        """Give some rows as records of JSON values; a missing value is None, a date a text as RFC 3339 writes it.

        A text is cut after 300 characters, with `…` in the place of what follows, so that an answer stays small.
        """
        text = pl.col(pl.String)
        is_long = text.str.len_chars() > PREVIEW_CHARACTERS
        cut = pl.when(is_long).then(text.str.head(PREVIEW_CHARACTERS) + "…").otherwise(text)
        with damage_as_fault():
            records = self.scan().slice(first, rows).with_columns(cut.name.keep()).collect().to_dicts()
        return [{name: _as_json(value) for name, value in record.items()} for record in records]


def scan_files(files: Sequence[Path]) -> pl.LazyFrame:
    """Give files, all Parquet or all Arrow IPC, as one frame; what their paths look like does not matter."""
    scan = pl.scan_parquet if files[0].suffix == ".parquet" else pl.scan_ipc
    return scan(list(files), glob=False, hive_partitioning=False)


def batches(frame: pl.LazyFrame, n_rows: int, rows: int | None = None) -> Iterator[pl.DataFrame]:
    """Read a frame in parts of so many rows, in order, each part of its files once and only some of them at a time.

    When left out, parts have 131,072 rows, and fewer where the columns are many.

    Raises:
        InvalidDataset: when the files are damaged.
    """
    n_read = 0
    with damage_as_fault():
        if rows is None:
            n_columns = max(1, len(frame.collect_schema()))
            rows = max(FEWEST_ROWS_AT_ONCE, min(ROWS_AT_ONCE, VALUES_AT_ONCE // n_columns))
        running = frame.collect_batches(chunk_size=rows)
        for part in running:
            n_read += len(part)
            yield part
    # A panic inside of polars ends its batches early, in silence.
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


def _labels(dataset: Dataset) -> pl.Series:
    classes = dataset.schema.classes or ()
    codes = dataset.targets[:, 0].astype("int64")
    dtypes = {frozenset({bool}): np.bool_, frozenset({int}): np.int64}
    dtypes |= dict.fromkeys((frozenset({float}), frozenset({int, float})), np.float64)
    try:
        dtype = dtypes[frozenset(type(label) for label in classes)]
        return pl.Series(np.array(classes, dtype)[codes])
    except (KeyError, OverflowError):  # texts, different types, or a whole number too large for a column of numbers
        return pl.Series(label_keys(classes), dtype=pl.String).gather(codes)


def _as_json(value: Any) -> Any:
    return date_text(value) if isinstance(value, datetime) else value
