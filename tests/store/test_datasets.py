from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sqlalchemy import func, select

from service.dataset import Dataset, Label, Schema
from service.errors import NotFound
from service.store import control, datasets
from service.store.columns import now
from service.store.database import Database
from service.store.datasets import StoredDataset
from service.store.tables import DatasetRow
from tests.store.queueing import TWICE, claim, enqueue

pytestmark = pytest.mark.both_systems

IN_FILES = StoredDataset(
    id="ds_houses",
    sha256="ab12",
    name="houses",
    origin="upload",
    format="csv",
    n_samples=7,
    columns=[{"name": "größe", "kind": "number"}],
    statistics={"größe": {"count": 7}},
    reading={"delimiter": ";"},
    n_bytes=1000,
    created_at=now(),
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def kept_and_loaded(database: Database, dataset: Dataset) -> Dataset:
    with database.writing() as session:
        identifier = datasets.keep(session, dataset)
    with database.reading() as session:
        return datasets.load(session, identifier)


@pytest.mark.parametrize(
    "classes",
    [(False, True), (0, 1), (7, -3, 2**60), (0.5, 1.0), ("no", "yes"), ("", "é\n\x00", "北京 🌍"), (1, "1", True, 1.5)],
)
def test_a_dataset_comes_back_with_its_labels_as_they_were_given(
    database: Database, classes: tuple[Label, ...]
) -> None:
    schema = Schema(("height in m", "größe"), ("kind",), classes)
    codes = np.arange(len(classes), dtype=float)
    given_one = Dataset(np.column_stack([codes, -codes]), codes, schema)
    loaded = kept_and_loaded(database, given_one)
    assert loaded.schema == schema
    assert [type(label) for label in loaded.schema.classes or ()] == [type(label) for label in classes]
    assert np.array_equal(loaded.targets, given_one.targets)


@given(
    features=st.tuples(st.integers(1, 6), st.integers(1, 4)).flatmap(lambda s: arrays(np.float64, s, elements=FINITE)),
    n_targets=st.integers(1, 3),
)
def test_numbers_come_back_bit_for_bit(features: NDArray[Any], n_targets: int) -> None:
    dataset = Dataset(features, np.tile(features[:, :1], n_targets))
    again = Dataset.from_content(dataset.content)
    assert again.features.tobytes() == dataset.features.tobytes()
    assert again.targets.tobytes() == dataset.targets.tobytes()
    assert (again.schema, again.sha256) == (dataset.schema, dataset.sha256)


def test_a_dataset_without_names_comes_back_with_those_it_was_given(database: Database) -> None:
    loaded = kept_and_loaded(database, Dataset([[1, 2], [3, 4]], [[5, 6, 7], [8, 9, 10]]))
    assert loaded.schema == Schema(("x1", "x2"), ("y1", "y2", "y3"))
    assert (loaded.n_samples, loaded.n_features, loaded.n_targets) == (2, 2, 3)


def test_the_same_dataset_is_kept_once_under_one_id(database: Database) -> None:
    identifiers = set()
    for features in ([1, 2, 3], [1.0, 2.0, 3.0], np.array([[1], [2], [3]], dtype=np.int8)):
        with database.writing() as session:
            identifiers.add(datasets.keep(session, Dataset(features, [1, 2, 3])))
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(DatasetRow)) == 1
    assert len(identifiers) == 1


@pytest.mark.parametrize(
    "other",
    [
        Dataset([1, 2], [3, 5]),
        Dataset([1, 9], [3, 4]),
        Dataset([1, 2], [3, 4], Schema(("age",), ("y",))),
        Dataset([1, 2], [3, 4], Schema(("x",), ("height",))),
        Dataset([[1, 2]], [[3, 4]]),
        Dataset(np.array([1, 2], dtype=np.float32), [3, 4]),
        Dataset([1, 2], [3, 4], sample_weight=[1, 1]),
    ],
)
def test_a_dataset_that_differs_in_anything_is_another(database: Database, other: Dataset) -> None:
    with database.writing() as session:
        assert datasets.keep(session, Dataset([1, 2], [3, 4])) != datasets.keep(session, other)


def test_labels_that_python_takes_for_equal_make_different_datasets(database: Database) -> None:
    kinds: list[tuple[Label, ...]] = [(0, 1), (False, True), ("0", "1"), (0.0, 1.0)]
    with database.writing() as session:
        found = {datasets.keep(session, Dataset([1, 2], [0, 1], Schema(("x",), ("y",), kind))) for kind in kinds}
    assert len(found) == len(kinds)


def test_what_is_known_of_a_dataset_stands_in_its_row(database: Database) -> None:
    dataset = Dataset([[1, 2], [3, 4], [5, 6]], [7, 8, 9])
    with database.writing() as session:
        row = session.get_one(DatasetRow, datasets.keep(session, dataset))
        assert (row.n_samples, row.sha256, row.origin) == (3, dataset.sha256, "inline")
        assert [column["name"] for column in row.columns] == ["x1", "x2", "y"]
        assert row.n_bytes == len(dataset.content)
        assert row.id == f"ds_{dataset.sha256[:32]}"


def test_an_unknown_dataset_is_not_found_by_its_name(database: Database) -> None:
    with database.reading() as session, pytest.raises(NotFound, match="ds_nowhere"):
        datasets.load(session, "ds_nowhere")


@pytest.mark.parametrize(
    ("classes", "kind"),
    [
        (None, "number"),
        ((3, 7), "number"),
        ((0.5, 7), "number"),
        ((False, True), "boolean"),
        (("a", "b"), "category"),
        ((1, "b"), "category"),
        ((1, True), "category"),
    ],
)
def test_the_kind_of_the_target_is_that_of_its_labels(
    database: Database, classes: tuple[Label, ...] | None, kind: str
) -> None:
    with database.writing() as session:
        identifier = datasets.keep(session, Dataset([1, 2], [0, 1], Schema(("x",), ("y",), classes)))
        assert datasets.get(session, identifier).columns == [
            {"name": "x", "kind": "number"},
            {"name": "y", "kind": kind},
        ]


def test_what_is_known_of_a_table_in_files_comes_back(database: Database) -> None:
    with database.writing() as session:
        assert datasets.keep_table(session, IN_FILES)
        assert not datasets.keep_table(session, replace(IN_FILES, name="other"))
    with database.reading() as session:
        assert datasets.get(session, IN_FILES.id) == IN_FILES
        with pytest.raises(NotFound, match="in files"):
            datasets.load(session, IN_FILES.id)


def test_pages_go_through_all_datasets_newest_first_and_leave_out_deleted_ones(database: Database) -> None:
    moment = now()
    ages = {"ds_a": 3, "ds_b": 1, "ds_c": 1, "ds_d": 2, "ds_gone": 0}
    with database.writing() as session:
        for identifier, age in ages.items():
            datasets.keep_table(session, replace(IN_FILES, id=identifier, created_at=moment - timedelta(seconds=age)))
        datasets.delete(session, "ds_gone")
    found, after = [], "ds_gone"  # which is no longer there, and still has its place
    with database.reading() as session:
        for has_more in (True, True, True, False):
            page, more = datasets.page(session, limit=1, after=after)
            assert more is has_more
            found += [stored.id for stored in page]
            after = found[-1]
        assert found == ["ds_c", "ds_b", "ds_d", "ds_a"]
        assert [stored.id for stored in datasets.page(session, limit=9)[0]] == found
        assert datasets.page(session, limit=9, after="ds_a") == ([], False)
        with pytest.raises(NotFound, match="ds_nowhere"):
            datasets.page(session, limit=9, after="ds_nowhere")


def test_the_bytes_of_all_datasets_are_summed_up_without_those_of_deleted_ones(database: Database) -> None:
    with database.writing() as session:
        assert (datasets.total_bytes(session), datasets.largest(session, 3)) == (0, [])
        for identifier, n_bytes in {"ds_a": 5, "ds_b": 2**40, "ds_c": 7, "ds_d": 7}.items():
            datasets.keep_table(session, replace(IN_FILES, id=identifier, n_bytes=n_bytes))
        assert datasets.total_bytes(session) == 2**40 + 19
        datasets.delete(session, "ds_b")
        assert datasets.total_bytes(session) == 19
        assert datasets.largest(session, 2) == [("ds_d", 7), ("ds_c", 7)]
        assert datasets.kept_among(session, {"ds_a", "ds_b", "ds_x"}) == {"ds_a"}


def test_a_deleted_dataset_is_gone_until_the_same_is_kept_again(database: Database) -> None:
    with database.writing() as session:
        identifier = datasets.keep(session, TWICE)
        first = datasets.get(session, identifier)
        datasets.delete(session, identifier)
        for forget in (datasets.get, datasets.load, datasets.delete):
            with pytest.raises(NotFound, match="was deleted, and comes back"):
                forget(session, identifier)
    with database.writing() as session:
        row = session.get_one(DatasetRow, identifier)
        assert (row.content, row.deleted_at is None) == (None, False)
        assert datasets.keep(session, TWICE) == identifier
    with database.reading() as session:
        assert datasets.load(session, identifier).content == TWICE.content
        assert datasets.get(session, identifier).created_at > first.created_at


def test_jobs_in_need_of_a_dataset_are_those_that_have_not_ended(database: Database) -> None:
    with database.writing() as session:
        identifier = datasets.keep(session, TWICE)
        running, queued, cancelled = (enqueue(session).id for _ in range(3))
        enqueue(session, Dataset([1, 2], [3, 5]))
        claim(session)
        control.request_cancel(session, cancelled)
    with database.reading() as session:
        assert datasets.jobs_in_need(session, identifier) == [running, queued]
