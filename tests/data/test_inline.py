from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.data.inline import dataset_from_records, dataset_from_rows
from service.errors import MAX_FAULTS, InvalidDataset
from service.tasks import TRAITS, Task

FINITE = st.floats(allow_nan=False, allow_infinity=False)
TABLES = arrays.arrays(np.float64, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6), elements=FINITE)


@pytest.mark.parametrize(
    ("features", "targets", "names", "pointer", "sentence"),
    [
        pytest.param([], [], None, "/features", "the dataset is empty: give at least one row", id="no rows"),
        pytest.param([[]], [1], None, "/features/0", "at least one number", id="a row of nothing"),
        pytest.param([[1, 2], [3]], [1, 2], None, "/features/1", "row 1 has 1 feature and row 0 has 2", id="ragged"),
        pytest.param([[1], 2], [1, 2], None, "/features/1", "row 1 is a single value", id="row and number"),
        pytest.param([[1.0], [np.nan]], [1, 2], None, "/features/1/0", "must be finite, not nan", id="NaN feature"),
        pytest.param([1, 2, 3, 4, 5], [1, 2, 3], None, "/targets", "3 targets for 5 rows", id="targets too few"),
        pytest.param([1], [1, 2], None, "/targets", "2 targets for 1 row", id="targets too many"),
        pytest.param([1, 2], [1, "high"], None, "/targets/1", 'not "high"', id="text target"),
        pytest.param([1, 2], [None, 1], None, "/targets/0", "not null", id="null target"),
        pytest.param([1, 2], [1, True], None, "/targets/1", "not true", id="boolean target"),
        pytest.param([1, 2], [1, [2]], None, "/targets/1", "not [2]", id="number and row of targets"),
        pytest.param([1, 2], [1, np.nan], None, "/targets/1", "not NaN", id="NaN target"),
        pytest.param([1, 2], [-np.inf, 1], None, "/targets/0", "not -Infinity", id="infinite target"),
        pytest.param([1, 2], [1, 10**400], None, "/targets/1", "finite number, not 1000", id="too large a target"),
        pytest.param([1, 2], [[1, 2], [3]], None, "/targets/1", "row 1 has 1 target ", id="ragged targets"),
        pytest.param([1, 2], [[1], 2], None, "/targets/1", "row 1 is a single value", id="row and single target"),
        pytest.param([1], [[]], None, "/targets/0", "at least one number", id="a row of no targets"),
        pytest.param([1, 2], [[1, 2], [3, "x"]], None, "/targets/1/1", 'not "x"', id="text in a row of targets"),
        pytest.param([[1, 2, 3]], [1], ["a", "b"], "/feature_names", "2 feature names for 3 features", id="few names"),
        pytest.param([1], [1], ["a", "b"], "/feature_names", "2 feature names for 1 feature", id="many names"),
        pytest.param([[1, 2]], [1], [], "/feature_names", "0 feature names for 2 features", id="no names"),
        pytest.param([[1, 2]], [1], ["a", "a"], "/feature_names", "'a' stands twice", id="name given twice"),
    ],
)
def test_rows_that_make_no_dataset_are_refused_with_the_place_and_the_value(
    features: Any, targets: list[Any], names: list[str] | None, pointer: str, sentence: str
) -> None:
    with pytest.raises(InvalidDataset) as refused:
        dataset_from_rows("linear_regression", features, targets, names)
    (fault,) = refused.value.faults
    assert fault.pointer == pointer
    assert sentence in fault.detail


@pytest.mark.parametrize(
    ("task", "records", "target", "pointer", "sentence"),
    [
        pytest.param("linear_regression", [], "y", "/records", "give at least one record", id="no records"),
        pytest.param("linear_regression", [{"a": 1, "b": 2}], "y", "/target", "no field 'y' to be", id="no target"),
        pytest.param("linear_regression", [{"y": 1}], "y", "/records", "at least one number", id="no features"),
        pytest.param(
            "linear_regression", [{"x": 1, "y": 1}, {"y": 1}], "y", "/records/1", "record 1 has no field 'x'", id="gap"
        ),
        pytest.param(
            "linear_regression", [{"x": 1, "y": 1}, {"x": 1}], "y", "/records/1", "no field 'y'", id="target missing"
        ),
        pytest.param(
            "linear_regression",
            [{"x": 1, "y": 1}, {"x": 1, "y": 1, "z": 1}],
            "y",
            "/records/1/z",
            "record 1 has a field 'z', which record 0 has not",
            id="field too many",
        ),
        pytest.param(
            "linear_regression", [{"x": "tall", "y": 1}], "y", "/records/0/x", "feature 'x' must be", id="text feature"
        ),
        pytest.param("linear_regression", [{"x": None, "y": 1}], "y", "/records/0/x", "not null", id="null feature"),
        pytest.param("linear_regression", [{"x": True, "y": 1}], "y", "/records/0/x", "not true", id="boolean feature"),
        pytest.param("linear_regression", [{"x": np.inf, "y": 1}], "y", "/records/0/x", "Infinity", id="infinite"),
        pytest.param("linear_regression", [{"x": 10**400, "y": 1}], "y", "/records/0/x", "finite", id="too large"),
        pytest.param("linear_regression", [{"x": 1, "y": "low"}], "y", "/records/0/y", '"low"', id="text target"),
        pytest.param("linear_regression", [{"x": 1, "a/b": "~"}], "a/b", "/records/0/a~1b", '"~"', id="target escaped"),
        pytest.param("linear_regression", [{"a/b~c": "", "y": 1}], "y", "/records/0/a~1b~0c", '""', id="name escaped"),
        pytest.param("logistic_regression", [{"x": 1, "y": None}], "y", "/records/0/y", "not null", id="null label"),
        pytest.param("logistic_regression", [{"x": 1, "y": [1]}], "y", "/records/0/y", "not [1]", id="list as label"),
    ],
)
def test_records_that_make_no_dataset_are_refused_with_the_place_and_the_value(
    task: Task, records: list[dict[str, Any]], target: str, pointer: str, sentence: str
) -> None:
    with pytest.raises(InvalidDataset) as refused:
        dataset_from_records(task, records, target)
    (fault,) = refused.value.faults
    assert fault.pointer == pointer
    assert sentence in fault.detail


def test_every_fault_is_told_of_at_once() -> None:
    records: list[dict[str, Any]] = [{"x": 1, "y": 1}, {"x": "a", "y": 1}, {"z": 1, "y": 1}]
    with pytest.raises(InvalidDataset) as refused:
        dataset_from_records("linear_regression", records, "y")
    assert [fault.pointer for fault in refused.value.faults] == ["/records/1/x", "/records/2", "/records/2/z"]
    for fault in refused.value.faults:
        assert fault.detail in refused.value.detail


@pytest.mark.parametrize("n_wrong", [MAX_FAULTS - 1, MAX_FAULTS, 10 * MAX_FAULTS])
def test_no_more_than_a_hundred_faults_are_told_of(n_wrong: int) -> None:
    expected = min(n_wrong, MAX_FAULTS)
    with pytest.raises(InvalidDataset) as rows_refused:
        dataset_from_rows("linear_regression", [1.0] * n_wrong, ["x"] * n_wrong)
    with pytest.raises(InvalidDataset) as records_refused:
        dataset_from_records("linear_regression", [{"x": "a", "y": 1}] * n_wrong, "y")
    with pytest.raises(InvalidDataset) as labels_refused:
        dataset_from_rows("logistic_regression", [1.0] * n_wrong, [None] * n_wrong)
    for refused in (rows_refused, records_refused, labels_refused):
        assert len(refused.value.faults) == expected


@given(TABLES)
def test_rows_become_the_features_and_targets_that_were_given(table: np.ndarray[Any, Any]) -> None:
    dataset = dataset_from_rows("linear_regression", table.tolist(), table.tolist())
    np.testing.assert_array_equal(dataset.features, table)
    np.testing.assert_array_equal(dataset.targets, table)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1))
def test_a_flat_list_is_a_single_feature(samples: list[tuple[float, float]]) -> None:
    features, targets = [feature for feature, _ in samples], [target for _, target in samples]
    flat = dataset_from_rows("linear_regression", features, targets)
    rows = dataset_from_rows("linear_regression", [[feature] for feature in features], targets)
    assert flat.content == rows.content
    assert flat.schema.feature_names == ("x",)


def test_features_without_names_are_numbered() -> None:
    dataset = dataset_from_rows("linear_regression", [[1, 2, 3]], [[4, 5]])
    assert dataset.schema.feature_names == ("x1", "x2", "x3")
    assert dataset.schema.target_names == ("y1", "y2")


@given(TABLES)
def test_records_are_the_same_dataset_as_rows(table: np.ndarray[Any, Any]) -> None:
    names = [f"feature {column}" for column in range(table.shape[1])]
    targets = table[:, 0].tolist()
    rows = zip(table.tolist(), targets, strict=True)
    records = [{"answer": target, **dict(zip(names, row, strict=True))} for row, target in rows]
    from_records = dataset_from_records("linear_regression", records, "answer")
    from_rows = dataset_from_rows("linear_regression", table.tolist(), targets, names, ["answer"])
    assert from_records.content == from_rows.content


def test_the_order_of_a_later_record_s_fields_does_not_matter() -> None:
    dataset = dataset_from_records("linear_regression", [{"a": 1, "b": 2, "y": 3}, {"y": 6, "b": 5, "a": 4}], "y")
    assert dataset.features.tolist() == [[1, 2], [4, 5]]
    assert dataset.targets.tolist() == [[3], [6]]


def test_labels_become_class_codes_with_the_labels_in_the_schema() -> None:
    dataset = dataset_from_rows("logistic_regression", [1, 2, 3], ["setosa", "virginica", "setosa"])
    assert dataset.schema.classes == ("setosa", "virginica")
    assert dataset.targets.tolist() == [[0], [1], [0]]


@pytest.mark.parametrize("task", TRAITS)
def test_every_task_that_classifies_takes_numbers_as_labels_and_no_other_does(task: Task) -> None:
    dataset = dataset_from_rows(task, [1, 2, 3], [7, 5, 7])
    assert dataset.schema.classes == ((5, 7) if TRAITS[task].classifies else None)
    assert dataset.targets.tolist() == ([[1], [0], [1]] if TRAITS[task].classifies else [[7], [5], [7]])


def test_sample_weights_come_with_rows_and_with_records_alike() -> None:
    rows = dataset_from_rows("linear_regression", [1, 2], [3, 4], ["x"], ["y"], [0.5, 2])
    records = dataset_from_records("linear_regression", [{"x": 1, "y": 3}, {"x": 2, "y": 4}], "y", [0.5, 2])
    assert rows.sample_weight is not None
    assert rows.sample_weight.tolist() == [0.5, 2]
    assert rows.content == records.content
    assert rows.content != dataset_from_rows("linear_regression", [1, 2], [3, 4], ["x"], ["y"]).content


@pytest.mark.parametrize(
    ("sample_weight", "pointer", "sentence"),
    [
        ([1], "/sample_weight", "1 sample weight for 2 samples: give exactly one per row of features"),
        ([], "/sample_weight", "0 sample weights for 2 samples"),
        ([0, 0], "/sample_weight", "all sample weights are 0: at least one sample must count"),
        ([1, -1], "/sample_weight/1", "must be finite and at least 0, not -1"),
        ([np.inf, 1], "/sample_weight/0", "must be finite and at least 0, not inf"),
    ],
)
def test_sample_weights_that_cannot_be_are_refused(sample_weight: list[float], pointer: str, sentence: str) -> None:
    with pytest.raises(InvalidDataset) as of_rows:
        dataset_from_rows("linear_regression", [1, 2], [3, 4], sample_weight=sample_weight)
    with pytest.raises(InvalidDataset) as of_records:
        dataset_from_records("linear_regression", [{"x": 1, "y": 3}, {"x": 2, "y": 4}], "y", sample_weight)
    for refused in (of_rows, of_records):
        (fault,) = refused.value.faults
        assert fault.pointer == pointer
        assert sentence in fault.detail
