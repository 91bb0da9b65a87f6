"""The library: datasets that are kept, as tables, wherever they are kept."""

from dataclasses import dataclass
from pathlib import Path

from service.data.tables import Table
from service.encoding import Column
from service.store import datasets
from service.store.database import Session


@dataclass(frozen=True)
class KeptTable:
    """A dataset that is kept, as a table; `folder` is its own, None where it is kept in the database."""

    dataset_id: str
    table: Table
    folder: Path | None


def kept_table(session: Session, datasets_path: Path, dataset_id: str) -> KeptTable:
    """Give a dataset as a table; one in files is read when it is gone through.

    Args:
        session: to read with.
        datasets_path: the folder that has one for each dataset whose table lies in files.
        dataset_id: of any dataset.

    Raises:
        NotFound: when there is none of this id.
        InvalidDataset: when it is no table, for a feature and a target have the same name.
    """
    stored = datasets.get(session, dataset_id)
    if stored.format is None:
        return KeptTable(dataset_id, Table.of_dataset(datasets.load(session, dataset_id)), None)
    columns, folder = (
        tuple(Column(column["name"], column["kind"]) for column in stored.columns),
        datasets_path / dataset_id,
    )
    return KeptTable(dataset_id, Table.in_folder(folder, columns, stored.n_samples), folder)
