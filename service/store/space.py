"""Space: how much of the disk datasets may take, all together."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from service.errors import StorageFull
from service.settings import Settings
from service.store import datasets

SHOWN_DATASETS = 3


@dataclass(frozen=True)
class Space:
    """What there is for one more dataset: `stored_bytes` of `max_bytes` are taken, `min_free_bytes` stay free."""

    folder: Path
    max_bytes: int
    min_free_bytes: int
    stored_bytes: int
    largest: tuple[tuple[str, int], ...]

    @property
    def left_bytes(self) -> int:
        """How much a dataset may take at the most."""
        return max(0, min(self.max_bytes - self.stored_bytes, self._free_bytes - self.min_free_bytes))

    @property
    def _free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free

    def check(self, n_bytes: int, n_more: int = 0) -> None:
        """Check that a dataset may take so many bytes, of which the last `n_more` are not written yet.

        Raises:
            StorageFull: when it may not; with the numbers, and what to delete.
        """
        if self.stored_bytes + n_bytes > self.max_bytes:
            raise StorageFull(
                f"the datasets here take {self.stored_bytes:,} of {self.max_bytes:,} bytes (setting "
                f"DESCENT_MAX_STORAGE_BYTES), and this one would take {n_bytes:,} or more: {self._way_out}"
            )
        free = self._free_bytes
        if free - n_more < self.min_free_bytes:
            raise StorageFull(
                f"the disk has {free:,} bytes free, of which {self.min_free_bytes:,} stay so (setting "
                f"DESCENT_MIN_FREE_BYTES): {self._way_out}"
            )

    @property
    def _way_out(self) -> str:
        if not self.largest:
            return "there is no dataset to delete"
        shown = ", ".join(f"{identifier} ({n_bytes:,} bytes)" for identifier, n_bytes in self.largest)
        return f"delete datasets with DELETE /datasets/ID; the largest are {shown}"


def space(session: Session, settings: Settings) -> Space:
    """Look how much space there is."""
    return Space(
        settings.data_dir,
        settings.max_storage_bytes,
        settings.min_free_bytes,
        datasets.total_bytes(session),
        tuple(datasets.largest(session, SHOWN_DATASETS)),
    )
