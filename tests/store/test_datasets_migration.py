"""The migration from the second schema to the third: datasets that came in requests become described inline ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from service.dataset import Dataset, Schema
from service.store import datasets, jobs
from service.store.database import Database
from service.store.migrations import migrate
from service.store.revision import is_migrated
from service.store.tables import DatasetRow
from tests.databases import place_of
from tests.store.test_training_core_migration import TIME, go_to, insert

OLD = {
    "ds_line": Dataset([[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0]),
    "ds_words": Dataset([1, 2], [0, 1], Schema(("größe",), ("kind",), ("no", "yes"))),
    "ds_truth": Dataset([1, 2], [1, 0], Schema(("x",), ("is_it",), (False, True))),
    "ds_counts": Dataset([1, 2], [[1, 2, 3], [4, 5, 6]], sample_weight=[1, 2]),
}
KINDS = {
    "ds_line": {"x1": "number", "x2": "number", "y": "number"},
    "ds_words": {"größe": "number", "kind": "category"},
    "ds_truth": {"x": "number", "is_it": "boolean"},
    "ds_counts": {"x": "number", "y1": "number", "y2": "number", "y3": "number"},
}


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Database]:
    """A database of the second schema, with datasets and a job in it."""
    database = Database(place_of(tmp_path, migrated=False))
    go_to(database, "0002")
    for identifier, dataset in OLD.items():
        about = {"sha256": dataset.sha256, "n_samples": 2, "n_features": dataset.n_features, "created_at": TIME}
        insert(database, "datasets", id=identifier, content=dataset.content, **about)
    made: dict[str, Any] = {"user_metadata": {}, "created_at": TIME, "warnings": [], "layout": [[1, 2]]}
    what = {"model": "old", "task": "linear_regression", "dataset_id": "ds_line", "requested": {}, "resolved": {}}
    insert(database, "jobs", sequence=1, id="job_1", status="queued", **made, **what)
    yield database
    database.close()


def old_rows(database: Database) -> list[Any]:
    with database.connection(writes=False) as connection:
        return [tuple(row) for row in connection.execute(text("SELECT * FROM datasets ORDER BY id"))]


def test_old_datasets_are_described_and_come_back_as_they_were(old: Database) -> None:
    migrate(old)
    assert is_migrated(old)
    with old.reading() as session:
        for identifier, dataset in OLD.items():
            found = datasets.get(session, identifier)
            assert {column["name"]: column["kind"] for column in found.columns} == KINDS[identifier]
            assert (found.origin, found.name, found.format) == ("inline", None, None)
            assert (found.statistics, found.reading) == (None, None)
            assert (found.n_samples, found.n_bytes) == (2, len(dataset.content))
            assert datasets.load(session, identifier).content == dataset.content
        assert datasets.total_bytes(session) == sum(len(dataset.content) for dataset in OLD.values())
        assert jobs.get(session, "job_1").dataset_id == "ds_line"


def test_what_is_described_is_what_a_new_one_would_be(old: Database) -> None:
    migrate(old)
    with old.writing() as session:
        for identifier, dataset in OLD.items():
            row = session.get_one(DatasetRow, datasets.keep(session, dataset))
            migrated = session.get_one(DatasetRow, identifier)
            assert (row.columns, row.n_bytes, row.origin) == (migrated.columns, migrated.n_bytes, migrated.origin)


def test_the_way_down_and_up_again_changes_nothing(old: Database) -> None:
    before = old_rows(old)
    migrate(old)
    up = old_rows(old)
    migrate(old, "0002")
    assert {frozenset(row) for row in before} == {frozenset(row) for row in old_rows(old)}
    with old.connection(writes=False) as connection:
        counted = connection.execute(text("SELECT id, n_features FROM datasets")).all()
    assert {row.id: row.n_features for row in counted} == {
        identifier: dataset.n_features for identifier, dataset in OLD.items()
    }
    migrate(old)
    assert old_rows(old) == up


def test_there_is_no_way_down_for_a_dataset_in_files(old: Database) -> None:
    migrate(old)
    values = {"columns": json.dumps([]), "n_samples": 1, "n_bytes": 1, "origin": "upload"}
    insert(old, "datasets", id="ds_file", sha256="0", format="csv", **values)
    insert(old, "holdings", dataset_id="ds_file", owner="local", created_at=TIME)
    with pytest.raises(ValueError, match="ds_file"):
        migrate(old, "0002")
    assert is_migrated(old)
