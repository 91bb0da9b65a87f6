"""Files of tables, of any format, into typed columns: what was understood of them, or every fault that was found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import polars as pl

from service.encoding import Column, Kind


@dataclass(frozen=True)
class ReadingOptions:
    """How a file is to be read, as far as its sender says.

    `types` overrides what columns would be taken as; `missing` are texts that stand for a missing value, beside the
    empty cell. `encoding` is for text, the others are for CSV, and all are found out when they are None.
    """

    types: Mapping[str, Kind] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    delimiter: str | None = None
    decimal: Literal[".", ","] = "."
    header: bool | None = None
    encoding: str | None = None


class LookedAgain(Exception):
    """Raised by `Source.frames` when a later part shows a column to be something else than the first part made it seem.

    The frames given so far are void; `columns` is now that of the whole file, and `frames` is to be called again.
    """


class Source(Protocol):
    """A file that has been looked at: what its columns are, and its rows in parts."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Name and kind of each column; settled at the end of `frames` (until then category may become text)."""
        ...

    @property
    def reading(self) -> dict[str, Any]:
        """How the file is read, as JSON values, types apart: for CSV the delimiter, the header, the encoding …"""
        ...

    @property
    def types(self) -> dict[str, Kind]:
        """The types that were said, as far as they are others than the columns would be taken as; as `columns` is."""
        ...

    def frames(self) -> Iterator[pl.DataFrame]:
        """Read the rows in parts, every column in its canonical type (see `canonical`).

        Raises:
            InvalidDataset: with up to 100 faults, each naming row, column and value, when all rows have been looked at
                or so many faults found.
            LookedAgain: when the frames given so far are void and are to be read again, which happens once at most.
        """
        ...
