"""Files of tables, of any format, into typed columns: what was understood of them, or every fault that was found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import polars as pl

from service.encoding import Column, Kind

Format = Literal["csv", "jsonl", "parquet", "arrow"]


@dataclass(frozen=True)
class ReadingOptions:
    """How a file is to be read, as far as its sender says.

    `types` overrides what columns would be taken as; `missing` are texts that stand for a missing value, beside the
    empty cell. The others are for CSV, and found out when they are None.
    """

    types: Mapping[str, Kind] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    delimiter: str | None = None
    decimal: Literal[".", ","] = "."
    header: bool | None = None
    encoding: str | None = None


class Source(Protocol):
    """A file that has been looked at: what its columns are, and its rows in parts."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Name and kind of each column."""
        ...

    @property
    def reading(self) -> dict[str, Any]:
        """How the file is read, as JSON values: for CSV the delimiter, the header, the encoding …"""
        ...

    def frames(self) -> Iterator[pl.DataFrame]:
        """Read the rows in parts, every column in its canonical type (see `tables.canonical`).

        Raises:
            InvalidDataset: with up to 100 faults, each naming row, column and value, when all rows have been looked at
                or so many faults found.
        """
        ...
