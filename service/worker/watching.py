"""Tables that are gone through only as long as their job is this worker's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from service.data.tables import Table
from service.store import leases
from service.store.database import Database
from service.store.jobs import Job


@dataclass(frozen=True)
class WatchedTable(Table):
    """A table that looks up between its parts, so that to encode a large one ends when its job is taken away."""

    database: Database
    job: Job

    def frames(self, names: Sequence[str] | None = None, rows: int | None = None) -> Iterator[pl.DataFrame]:
        """Read some columns in parts, as every table does; raises LeaseLost when the job is no longer this worker's."""
        for frame in super().frames(names, rows):
            with self.database.reading() as session:
                leases.check(session, self.job)
            yield frame


def watched(table: Table, database: Database, job: Job) -> WatchedTable:
    """Let a table be gone through for a job."""
    return WatchedTable(table.columns, table.n_samples, table.source, database, job)
