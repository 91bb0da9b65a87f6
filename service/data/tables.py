"""Tables in files: typed columns of any length, read by polars in parts, never all at once unless they are small."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from service.encoding import Column, Kind

STEM = "table"
ROWS_AT_ONCE = 2**17


def canonical(name: str, kind: Kind, dtype: pl.DataType) -> pl.Expr:
    """Give a column in the type that stands for its kind, whatever type its file has.

    A number is an integer or a float without NaN, which is a missing value; a category or a text is a String; a
    boolean is Boolean; a date is a Datetime in UTC without a zone, in microseconds. What cannot be is null.
    """
    column = pl.col(name)
    if kind == "number":
        if dtype.is_integer():
            return column
        if dtype not in (pl.Float32, pl.Float64):
            column = column.cast(pl.Float64, strict=False)
        return column.fill_nan(None)
    if kind == "boolean":
        return column.cast(pl.Boolean, strict=False)
    if kind == "date":
        if isinstance(dtype, pl.Datetime) and dtype.time_zone:
            column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return column.cast(pl.Datetime("us"), strict=False)
    return column.cast(pl.String, strict=False)


@dataclass(frozen=True)
class Table:
    """A table of typed columns; `source` gives them as they are kept, maybe in other types (see `canonical`)."""

    columns: tuple[Column, ...]
    n_samples: int
    source: pl.LazyFrame

    @classmethod
    def in_folder(cls, folder: Path, columns: tuple[Column, ...], n_samples: int) -> "Table":
        """Give the table in the files `table*.arrow`, in the order of their names, or `table.parquet` of a folder."""
        files = sorted(folder.glob(f"{STEM}*"))
        source = pl.scan_parquet(files) if files[0].suffix == ".parquet" else pl.scan_ipc(files)
        return cls(columns, n_samples, source)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.columns)

    def kind_of(self, name: str) -> Kind:
        """Give the kind of a column that is there."""
        return next(column.kind for column in self.columns if column.name == name)

    def scan(self, names: Sequence[str] | None = None) -> pl.LazyFrame:
        """Give some columns, in their canonical types, to be read when they are collected; all when left out."""
        schema, wanted = self.source.collect_schema(), set(self.names if names is None else names)
        return self.source.select(
            canonical(column.name, column.kind, schema[column.name]) for column in self.columns if column.name in wanted
        )

    def frames(self, names: Sequence[str] | None = None, rows: int = ROWS_AT_ONCE) -> Iterator[pl.DataFrame]:
        """Read some columns in parts of so many rows, in order."""
        frame = self.scan(names)
        for first in range(0, self.n_samples, rows):
            yield frame.slice(first, rows).collect()
