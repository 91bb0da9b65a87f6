"""The library: datasets that are kept, as tables, wherever they are kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.copies import Copies
from service.data.fitting import dataset_of
from service.data.tables import Table
from service.dataset import Dataset
from service.encoding import Column
from service.errors import NotFound
from service.hyperparameters import Hyperparameters
from service.selection import Selection
from service.settings import Settings
from service.store import datasets
from service.store.database import Database, Session
from service.store.space import space
from service.tasks import Task


@dataclass(frozen=True)
class KeptTable:
    """A dataset that is kept, as a table; `folder` is its own, None where it is kept in the database."""

    dataset_id: str
    table: Table
    folder: Path | None


@contextmanager
def while_files_are_there(dataset_id: str) -> Iterator[None]:
    """Work with the files of a dataset, which anybody may delete meanwhile.

    Raises:
        NotFound: when they are gone.
    """
    try:
        yield
    except FileNotFoundError:
        way = f"where it is still listed, DELETE /datasets/{dataset_id} and upload it again"
        raise NotFound(f"the files of dataset {dataset_id!r} are gone: it has just been deleted; {way}") from None


def kept_table(session: Session, datasets_path: Path, dataset_id: str, *, by_number: bool = False) -> KeptTable:
    """Give a dataset as a table; one in files is read when it is gone through.

    Args:
        session: to read with.
        datasets_path: the folder that has one for each dataset whose table lies in files.
        dataset_id: of any dataset.
        by_number: call the columns of one that came inside a request 0, 1, 2 … in place of their names.

    Raises:
        NotFound: when there is none of this id.
        FileNotFoundError: when its files are not there; see `while_files_are_there`.
        InvalidDataset: when it is no table, for a feature and a target have the same name.
    """
    stored = datasets.get(session, dataset_id)
    if stored.format is None:
        return KeptTable(dataset_id, Table.of_dataset(datasets.load(session, dataset_id), by_number=by_number), None)
    columns, folder = (
        tuple(Column(column["name"], column["kind"]) for column in stored.columns),
        datasets_path / dataset_id,
    )
    return KeptTable(dataset_id, Table.in_folder(folder, columns, stored.n_samples), folder)


def encoded(
    database: Database,
    settings: Settings,
    kept: KeptTable,
    selection: Selection,
    task: Task,
    given: Hyperparameters,
    look_up: Callable[[], None] = lambda: None,
) -> Dataset:
    """Encode a selection of a dataset that is kept, or find it encoded already; see `dataset_of`."""
    copies = None
    if kept.folder is not None:
        with database.reading() as session:
            max_bytes = space(session, settings).for_copies
        copies = Copies(kept.folder, max_bytes, settings.min_free_bytes)
    return dataset_of(kept.table, selection, task, given, copies, look_up)
