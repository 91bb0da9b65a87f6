"""Tables in files: typed columns of any length, read by polars in parts, never all at once unless they are small."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from service.data.batches import batches, damage_as_fault, n_rows_of, scan_file
from service.data.canonical import canonical, value_faults
from service.data.kinds import date_text
from service.data.labels import label_keys
from service.data.names import check_types
from service.dataset import Dataset
from service.encoding import Column, Kind
from service.errors import MAX_FAULTS, Fault, InvalidDataset

STEM = "table"
PREVIEW_CHARACTERS = 300


@dataclass(frozen=True)
class Table:
    """A table of typed columns; `sources` give its rows one after another, as they are kept.

    The sources are files, or frames in memory, all of the same types, which may be others than those of the columns
    (see `canonical`).
    """

    columns: tuple[Column, ...]
    n_samples: int
    sources: tuple[pl.LazyFrame, ...]

    @classmethod
    def in_folder(cls, folder: Path, columns: tuple[Column, ...], n_samples: int) -> "Table":
        """Give the table in the files `table*.arrow`, in the order of their names, or `table.parquet` of a folder.

        Raises:
            FileNotFoundError: when there are none.
        """
        files = sorted(folder.glob(f"{STEM}*"))
        if not files:
            raise FileNotFoundError(folder)
        return cls(columns, n_samples, tuple(map(scan_file, files)))

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
        return cls(columns, dataset.n_samples, (pl.DataFrame(series).lazy(),))

    @cached_property
    def schema(self) -> pl.Schema:
        """The types of the columns as they are kept.

        Raises:
            InvalidDataset: when a file has been damaged since it was taken in.
        """
        with damage_as_fault():
            return self.sources[0].collect_schema()

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
            chosen = [pl.col(column.name) for column in changed]
            for frame in batches(self.sources, self.n_samples, chosen):
                faults += value_faults(frame, changed, first)
                first += len(frame)
                if len(faults) >= MAX_FAULTS:
                    break
        if faults:
            raise InvalidDataset(faults[:MAX_FAULTS])
        return replace(self, columns=tuple(Column(name, types.get(name, self.kind_of(name))) for name in self.names))

    def frames(self, names: Sequence[str] | None = None, rows: int | None = None) -> Iterator[pl.DataFrame]:
        """Read some columns, all when left out, in their canonical types and in parts of so many rows; see `batches`.

        Raises:
            InvalidDataset: when a file has been damaged since it was taken in.
        """
        return batches(self.sources, self.n_samples, self._canonical(names), rows)

    def missing(self, names: Sequence[str]) -> dict[str, int]:
        """Count the missing values of some columns.

        Raises:
            InvalidDataset: when a file has been damaged since it was taken in.
        """
        counts = dict.fromkeys(names, 0)
        for frame in self.frames(names):
            for name in names:
                counts[name] += frame[name].null_count()
        return counts

    def preview(self, first: int, rows: int) -> list[dict[str, Any]]:
        """Give some rows as records of JSON values; a missing value is None, a date a text as RFC 3339 writes it.

        A text is cut after 300 characters, with `…` in the place of what follows, so that an answer stays small.
        """
        text = pl.col(pl.String)
        is_long = text.str.len_chars() > PREVIEW_CHARACTERS
        cut = pl.when(is_long).then(text.str.head(PREVIEW_CHARACTERS) + "…").otherwise(text)
        with damage_as_fault():
            shown = [
                source.select(self._canonical()).with_columns(cut.name.keep()) for source in self._rows(first, rows)
            ]
            records = [record for part in pl.collect_all(shown) for record in part.to_dicts()]
        return [{name: _as_json(value) for name, value in record.items()} for record in records]

    def _canonical(self, names: Sequence[str] | None = None) -> list[pl.Expr]:
        schema, wanted = self.schema, set(self.names if names is None else names)
        return [
            canonical(column.name, column.kind, schema[column.name]) for column in self.columns if column.name in wanted
        ]

    def _rows(self, first: int, rows: int) -> Iterator[pl.LazyFrame]:
        """Give some rows, from those sources that have them."""
        for source in self.sources:
            if rows <= 0:
                break
            n_rows = n_rows_of(source)
            if first < n_rows:
                yield source.slice(first, rows)
                rows -= min(rows, n_rows - first)
            first = max(0, first - n_rows)


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
