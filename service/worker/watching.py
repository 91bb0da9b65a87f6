"""Tables that are gone through with an eye on something else."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from service.data.tables import Table


@dataclass(frozen=True)
class WatchedTable(Table):
    """A table that looks up between its parts, so that what goes through a large one can be ended by an exception."""

    look_up: Callable[[], None]

    def frames(self, names: Sequence[str] | None = None, rows: int | None = None) -> Iterator[pl.DataFrame]:
        """Read some columns in parts, as every table does."""
        for frame in super().frames(names, rows):
            self.look_up()
            yield frame


def watched(table: Table, look_up: Callable[[], None]) -> WatchedTable:
    """Let a function be called between the parts of a table."""
    return WatchedTable(table.columns, table.n_samples, table.sources, look_up)
