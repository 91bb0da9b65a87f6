from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.impute import SimpleImputer

from service.data.encoder import encode_records, encode_rows
from service.data.fitting import dataset_of
from service.data.inline import dataset_from_rows
from service.data.outlines import outline_of
from service.data.tables import Table
from service.dataset import Dataset
from service.errors import InvalidDataset
from service.hyperparameters import Hyperparameters
from service.selection import Selection
from service.split import split_dataset
from service.tasks import Task
from tests.data.tables import SETTLED, mixed_tables, table_of

NUMBERS = arrays.arrays(
    np.float64,
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
    elements=st.floats(allow_nan=False, allow_infinity=False),
)
LABELS: list[st.SearchStrategy[Any]] = [
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0),  # no -0
    st.booleans(),
    st.text(st.characters(codec="utf-8"), max_size=3),
]


def dataset(table: Table, task: Task = "linear_regression", **selection: Any) -> Dataset:
    given_selection = Selection.model_validate({"target": "y", **selection})
    return dataset_of(table, given_selection, task, SETTLED, None)


def check_same(found: Dataset, expected: Dataset) -> None:
    """Check that two datasets are the same in every bit, types of labels included."""
    assert found.content == expected.content
    assert found.features.dtype == expected.features.dtype == np.float64
    kinds = [[type(label) for label in one.schema.classes or ()] for one in (found, expected)]
    assert kinds[0] == kinds[1]


@settings(deadline=None)
@given(NUMBERS, st.integers(1, 3))
def test_a_table_of_numbers_gives_the_dataset_of_the_same_values_in_a_request(
    numbers: np.ndarray[Any, Any], n_targets: int
) -> None:
    names = [f"x{column}" for column in range(numbers.shape[1])]
    targets = [f"y{column}" for column in range(n_targets)]
    rows, answers = numbers.tolist(), numbers[:, [0] * n_targets].tolist()
    table = table_of({**dict(zip(names, numbers.T, strict=True)), **dict.fromkeys(targets, numbers[:, 0])})
    given_answers = [row[0] for row in answers] if n_targets == 1 else answers
    expected = dataset_from_rows("linear_regression", rows, given_answers, names, targets)
    check_same(dataset(table, target=targets if n_targets > 1 else targets[0]), expected)


@settings(deadline=None)
@given(st.sampled_from(LABELS).flatmap(lambda labels: st.lists(labels, min_size=1, max_size=10)))
def test_a_column_of_labels_gives_the_dataset_of_the_same_labels_in_a_request(labels: list[Any]) -> None:
    rows = list(range(len(labels)))
    weights = [row + 0.5 for row in rows]
    table = table_of({"y": labels, "x": rows, "w": weights})
    expected = dataset_from_rows("softmax_regression", rows, labels, ["x"], ["y"], weights)
    check_same(dataset(table, "softmax_regression", sample_weight="w"), expected)


@pytest.mark.parametrize("load", [load_diabetes, load_iris, load_wine, load_breast_cancer])
def test_the_sets_of_scikit_learn_give_the_datasets_of_the_same_values_in_a_request(load: Any) -> None:
    data = load()
    names = list(data.feature_names)
    is_regression = load is load_diabetes
    answers = data.target.tolist() if is_regression else [str(data.target_names[code]) for code in data.target]
    task: Task = "linear_regression" if is_regression else "softmax_regression"
    table = table_of({**dict(zip(names, data.data.T, strict=True)), "y": answers})
    check_same(dataset(table, task), dataset_from_rows(task, data.data.tolist(), answers, names, ["y"]))


@pytest.mark.parametrize(("policy", "strategy"), [("mean", "mean"), ("median", "median"), ("most_frequent",) * 2])
@pytest.mark.parametrize("task", ["linear_regression", "logistic_regression"])
def test_numbers_are_filled_with_statistics_of_the_training_samples_alone(
    policy: str, strategy: str, task: Task
) -> None:
    random = np.random.default_rng(3)
    numbers = random.integers(0, 9, (60, 3)).astype(np.float64)
    numbers[random.random(numbers.shape) < 0.3] = np.nan
    columns = {
        f"x{column}": [None if np.isnan(value) else value for value in numbers[:, column]] for column in range(3)
    }
    table = table_of({**columns, "y": [row % 2 for row in range(60)]})
    held_out = Hyperparameters(seed=5, validation_fraction=0.2, test_fraction=0.3)
    found = dataset_of(table, Selection.model_validate({"target": "y", "missing": policy}), task, held_out, None)
    train = split_dataset(task, found, held_out).train
    assert train is not None
    oracle = SimpleImputer(strategy=strategy).fit(numbers[train])
    np.testing.assert_allclose(found.features, oracle.transform(numbers), rtol=1e-15)
    assert found.schema.encoding is not None
    fills = [float(column.fill or 0) for column in found.schema.encoding]
    np.testing.assert_allclose(fills, oracle.statistics_, rtol=1e-15)


def test_a_split_column_says_which_samples_the_statistics_are_of() -> None:
    parts = ["train", "test", "train", "validation", "train"]
    table = table_of({"x": [1.0, 100.0, None, None, 4.0], "part": parts, "y": [1, 2, 3, 4, 5]})
    found = dataset(table, missing="mean", split="part")
    assert found.parts is not None
    assert found.parts.tolist() == [0, 2, 0, 1, 0]
    assert found.features[:, 0].tolist() == [1.0, 100.0, 2.5, 2.5, 4.0]


def test_every_kind_of_column_is_filled_as_its_policy_says() -> None:
    dates = [datetime(2024, 1, 1), datetime(2024, 1, 3), None, datetime(2024, 1, 3)]
    columns = {"c": ["b", "a", None, "b"], "b": [True, None, True, False], "d": dates, "x": [3, None, 1, 5]}
    table = table_of({**columns, "y": [1, 2, 3, 4]})

    def fills(policy: str) -> list[Any]:
        encoding = dataset(table, missing=dict.fromkeys(columns, policy), dates={"d": ["day"]}).schema.encoding
        assert encoding is not None
        return [(column.fill, column.has_indicator) for column in encoding]

    frequent = [("b", False), (1.0, False), ("2024-01-03T00:00:00", False), (1.0, False)]
    assert fills("most_frequent") == frequent
    assert fills("indicator") == [(None, True), (0.0, True), ("2024-01-02T08:00:00", True), (3.0, True)]


def test_a_column_without_a_value_among_the_training_samples_cannot_be_filled() -> None:
    table = table_of({"x": [None, 1.0], "p": ["train", "test"], "y": [1, 2]})
    with pytest.raises(InvalidDataset, match="'x' has no value among the training samples, whose median"):
        dataset(table, missing="median", split="p")
    table = table_of({"x": [None, 1.7e308, 1.7e308], "y": [1, 2, 3]})
    with pytest.raises(InvalidDataset, match="the mean of column 'x' is beyond the largest number"):
        dataset(table, missing={"x": "mean"})


def test_what_an_outline_refuses_is_no_dataset_either() -> None:
    table = table_of({"x": [1.0, None], "k": ["a", None], "y": [1, 2]})
    for selection in ({"target": "z"}, {"features": ["x"]}, {"features": ["k"]}, {"target": "x", "features": ["y"]}):
        with pytest.raises(InvalidDataset):
            dataset(table, **selection)


@settings(max_examples=60, deadline=None)
@given(mixed_tables(min_rows=2), st.sampled_from(["most_frequent", "indicator"]), st.sampled_from([0.0, 0.3]))
def test_the_rows_of_a_table_predicted_one_by_one_have_the_features_that_the_training_saw(
    table: Table, policy: str, fraction: float
) -> None:
    dates = {column.name: ["year", "day_of_year", "timestamp"] for column in table.columns if column.kind == "date"}
    selection = Selection.model_validate({"target": "answer", "missing": policy, "dates": dates})
    settled = Hyperparameters(seed=1, test_fraction=fraction)
    try:
        found = dataset_of(table, selection, "linear_regression", settled, None)
    except InvalidDataset as refused:  # the only value of a column is held out
        assert "among the training samples" in refused.detail or "largest number" in refused.detail  # noqa: PT017
        return
    schema = found.schema
    assert schema.feature_names == outline_of(table, selection, "linear_regression").outline.schema.feature_names
    records = list(table.preview(0, table.n_samples))
    for row, record in enumerate(records):
        del record["answer"]
        assert encode_records(schema, [record]).tobytes() == found.features[row : row + 1].tobytes()
        assert encode_rows(schema, [list(record.values())]).tobytes() == found.features[row : row + 1].tobytes()
    assert encode_records(schema, records).tobytes() == found.features.tobytes()
