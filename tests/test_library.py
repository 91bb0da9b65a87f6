from pathlib import Path

import numpy as np
import polars as pl
import pytest

from service.dataset import Dataset, Schema
from service.encoding import Column
from service.errors import InvalidDataset, NotFound
from service.library import kept_table
from service.store import datasets
from service.store.columns import now
from service.store.database import Database
from service.store.datasets import StoredDataset


def test_a_dataset_in_the_database_is_a_table_without_a_folder(database: Database, tmp_path: Path) -> None:
    schema = Schema(("a", "b"), ("kind",), ("low", "high"))
    with database.writing() as session:
        dataset_id = datasets.keep(session, Dataset([[1, 2], [3, 4]], [1, 0], schema))
        kept = kept_table(session, tmp_path, dataset_id)
    assert kept.folder is None
    assert kept.table.columns == (Column("a", "number"), Column("b", "number"), Column("kind", "category"))
    assert pl.concat(kept.table.frames()).rows() == [(1, 2, "high"), (3, 4, "low")]


def test_a_dataset_in_files_is_the_table_in_its_folder(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "ds_1"
    folder.mkdir()
    pl.DataFrame({"area": [50, 80], "kind": ["flat", None]}).write_parquet(folder / "table.parquet")
    columns = [{"name": "area", "kind": "number"}, {"name": "kind", "kind": "category"}]
    stored = StoredDataset("ds_1", "f" * 64, "houses", "upload", "parquet", 2, columns, {}, {}, 100, now())
    with database.writing() as session:
        datasets.keep_table(session, stored)
        kept = kept_table(session, tmp_path, "ds_1")
    assert (kept.dataset_id, kept.folder, kept.table.n_samples) == ("ds_1", folder, 2)
    assert pl.concat(kept.table.frames()).rows() == [(50, "flat"), (80, None)]


def test_a_dataset_that_is_not_there_or_deleted_is_not_found(database: Database, tmp_path: Path) -> None:
    with database.writing() as session:
        dataset_id = datasets.keep(session, Dataset(np.ones(2), np.ones(2)))
        datasets.delete(session, dataset_id)
        for identifier, said in (("ds_nowhere", "there is no dataset 'ds_nowhere'"), (dataset_id, "it was deleted")):
            with pytest.raises(NotFound, match=said):
                kept_table(session, tmp_path, identifier)


def test_a_dataset_whose_feature_and_target_have_one_name_is_no_table(database: Database, tmp_path: Path) -> None:
    with database.writing() as session:
        dataset_id = datasets.keep(session, Dataset([1, 2], [3, 4], Schema(("y",), ("y",))))
        with pytest.raises(InvalidDataset, match="'y' names a feature and a target"):
            kept_table(session, tmp_path, dataset_id)
