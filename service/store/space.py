"""Space: how much of the disk datasets may take, all together.

What they take is what their tables do. Encoded copies fit into what tables leave, at most half of what there may be,
and give way where a new table needs the space: so both together stay within the limit.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.orm import Session

from service import copies
from service.dataset import Dataset, id_of_content
from service.errors import StorageFull
from service.settings import Settings
from service.store import datasets
from service.store.datasets import Origin
from service.store.ownership import owner_of
from service.store.tables import Json

SHOWN_DATASETS = 3
NEARLY_FULL_BYTES = 2**26
"""With less of the disk left, a training may fail for it at any moment."""
LEAST_FREE_BYTES = 2**16
"""With less of it left, nothing can be recorded any more, whatever the settings say."""


@dataclass(frozen=True)
class Disk:
    """The disk that datasets lie on: `min_free_bytes` of it stay free, for which encoded copies give way.

    `max_bytes` is how much datasets and copies may take all together.
    """

    datasets_path: Path
    max_bytes: int
    min_free_bytes: int

    @property
    def free_bytes(self) -> int:
        """How much is free."""
        return shutil.disk_usage(self.datasets_path.parent).free

    def check_disk(self, n_more: int) -> None:
        """Check that so many bytes may be written to the disk, whatever becomes of them.

        Raises:
            StorageFull: when they may not; with the numbers, and what to delete.
        """
        if self.free_bytes - n_more < self.min_free_bytes:
            copies.trim(self.datasets_path, self.max_bytes, self.min_free_bytes + n_more)
        free = self.free_bytes
        if free - n_more < self.min_free_bytes:
            raise StorageFull(
                f"the disk has {free:,} bytes free, of which {self.min_free_bytes:,} stay so (see the setting "
                f"DESCENT_MIN_FREE_BYTES){f', and {n_more:,} are needed' if n_more else ''}: {self._way_out}"
            )

    @property
    def _way_out(self) -> str:
        return "delete datasets that are no longer needed with DELETE /datasets/ID"


@dataclass(frozen=True)
class Space(Disk):
    """What there is for one more dataset: `stored_bytes` of `max_bytes` are taken, by the `largest` among others."""

    stored_bytes: int
    largest: tuple[tuple[str, int], ...]

    @property
    def left_bytes(self) -> int:
        """How much a dataset may take at the most."""
        return max(0, min(self.max_bytes - self.stored_bytes, self.free_bytes - self.min_free_bytes))

    @property
    def for_copies(self) -> int:
        """How much the encoded copies of all datasets may take at the most."""
        return max(0, min(self.max_bytes // 2, self.max_bytes - self.stored_bytes))

    def check(self, n_bytes: int, n_unwritten: int = 0) -> None:
        """Check that a dataset may take so many bytes, all but some of which are on the disk already.

        Raises:
            StorageFull: when it may not; with the numbers, and what to delete.
        """
        if self.stored_bytes + n_bytes > self.max_bytes:
            raise StorageFull(
                f"the datasets here take {self.stored_bytes:,} of {self.max_bytes:,} bytes (setting "
                f"DESCENT_MAX_STORAGE_BYTES), and this one would take {n_bytes:,} or more: {self._way_out}"
            )
        self.check_disk(n_unwritten)

    def take(self, n_bytes: int, n_unwritten: int = 0) -> None:
        """Check that a dataset may take so many bytes, and remove the encoded copies that they leave no space for.

        Raises:
            StorageFull: as `check`.
        """
        self.check(n_bytes, n_unwritten)
        left = replace(self, stored_bytes=self.stored_bytes + n_bytes).for_copies
        if left < self.for_copies:
            copies.trim(self.datasets_path, left)

    @property
    def _way_out(self) -> str:
        if not self.largest:
            return "there is no dataset to delete"
        shown = ", ".join(f"{identifier} ({n_bytes:,} bytes)" for identifier, n_bytes in self.largest)
        return f"delete datasets with DELETE /datasets/ID; the largest are {shown}"


def disk(settings: Settings) -> Disk:
    """Give the disk, for what is not to stay there."""
    return Disk(settings.datasets_path, settings.max_storage_bytes, settings.min_free_bytes)


def space(session: Session, settings: Settings) -> Space:
    """Look how much space there is."""
    return Space(
        settings.datasets_path,
        settings.max_storage_bytes,
        settings.min_free_bytes,
        datasets.total_bytes(session),
        tuple(datasets.largest(session, SHOWN_DATASETS)),
    )


def reserve_bytes(settings: Settings) -> int:
    """Tell how much of the disk is to be free that trainings are served; uploads leave more to them."""
    return max(LEAST_FREE_BYTES, min(NEARLY_FULL_BYTES, settings.min_free_bytes))


def keep(
    session: Session, settings: Settings, dataset: Dataset, origin: Origin = "inline", recipe: Json | None = None
) -> str:
    """Keep a dataset in the database, unless it is here already; give its id.

    It may take what uploads leave of the disk, for trainings.

    Raises:
        StorageFull: when there is no space for it.
    """
    identifier = id_of_content(dataset.sha256)
    if datasets.is_held(session, identifier, owner_of(session)):
        return identifier
    if datasets.kept_among(session, [identifier]):
        return datasets.keep(session, dataset, origin, recipe)
    left = replace(space(session, settings), min_free_bytes=reserve_bytes(settings))
    datasets.keep(session, dataset, origin, recipe)
    n_bytes = len(dataset.content)
    left.take(n_bytes, n_unwritten=n_bytes if isinstance(settings.database_place, Path) else 0)  # else it is elsewhere
    return identifier
