import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.dataset import Dataset, Schema
from service.errors import InvalidDataset

FINITE = st.floats(allow_nan=False, allow_infinity=False)
LABELS = st.one_of(st.booleans(), st.integers(), FINITE, st.text())
FEATURES, TARGETS = [[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0]
NAMED = Schema(("a", "b"), ("y",))


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    n_samples, n_features, n_targets = (draw(st.integers(1, 5)) for _ in range(3))
    features = draw(arrays.arrays(np.float64, (n_samples, n_features), elements=FINITE))
    names = draw(st.lists(st.text(), min_size=n_features, max_size=n_features, unique=True))
    classes = draw(st.none() | st.lists(LABELS, min_size=1, max_size=3).map(tuple))
    values = FINITE if classes is None else st.integers(0, len(classes) - 1).map(float)
    targets = draw(arrays.arrays(np.float64, (n_samples, n_targets), elements=values))
    return Dataset(features, targets, Schema(tuple(names), tuple(f"y{n}" for n in range(n_targets)), classes))


def test_one_dimensional_features_and_targets_are_a_column_each() -> None:
    dataset = Dataset([1, 2, 3], [4, 5, 6])
    assert dataset.features.tolist() == [[1], [2], [3]]
    assert dataset.targets.tolist() == [[4], [5], [6]]
    assert (dataset.n_samples, dataset.n_features, dataset.n_targets) == (3, 1, 1)
    assert dataset.schema == Schema(("x",), ("y",))


def test_the_shapes_are_samples_by_features_and_samples_by_targets() -> None:
    dataset = Dataset(np.zeros((7, 3)), np.ones((7, 2)))
    assert (dataset.n_samples, dataset.n_features, dataset.n_targets) == (7, 3, 2)
    assert dataset.schema == Schema(("x1", "x2", "x3"), ("y1", "y2"))


def test_numbers_of_any_other_kind_are_kept_as_float64() -> None:
    dataset = Dataset(np.array([[1, 2]], dtype=np.int16), np.array([0.1], dtype=np.float16))
    assert dataset.features.dtype == dataset.targets.dtype == np.float64
    assert dataset.targets[0, 0] == np.float16(0.1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_arrays_are_taken_as_they_are_and_cannot_be_written_to(dtype: type[np.floating]) -> None:
    features, targets = np.ones((3, 2), dtype), np.ones((3, 1), dtype)
    dataset = Dataset(features, targets)
    assert dataset.features.dtype == dtype
    assert np.shares_memory(dataset.features, features)
    assert np.shares_memory(dataset.targets, targets)
    with pytest.raises(ValueError, match="read-only"):
        dataset.features[0, 0] = 2
    features[0, 0] = 2  # the giver's own array stays as it was


def test_sample_weights_are_part_of_what_a_dataset_is_and_come_back_with_it() -> None:
    weighted = Dataset(FEATURES, TARGETS, NAMED, sample_weight=[1, 0.5])
    assert weighted.sha256 != Dataset(FEATURES, TARGETS, NAMED).sha256
    again = Dataset.from_content(weighted.content)
    assert again.sample_weight is not None
    assert again.sample_weight.tolist() == [1, 0.5]
    assert again.sha256 == weighted.sha256


@pytest.mark.parametrize(
    ("weights", "pointer", "sentence"),
    [
        ([1.0], "/sample_weight", "1 sample weight for 2 samples"),
        ([1.0, -1.0], "/sample_weight/1", "at least 0, not -1.0"),
        ([np.nan, 1.0], "/sample_weight/0", "must be finite"),
        ([0.0, 0.0], "/sample_weight", "all sample weights are 0"),
        (["a", "b"], "/sample_weight", "must be rows of numbers"),
        ([[1.0, 2.0], [3.0, 4.0]], "/sample_weight", "must be one number for each sample"),
    ],
)
def test_weights_that_weigh_nothing_are_refused(weights: list[Any], pointer: str, sentence: str) -> None:
    with pytest.raises(InvalidDataset, match=sentence) as refused:
        Dataset(FEATURES, TARGETS, NAMED, sample_weight=weights)
    assert refused.value.faults[0].pointer == pointer


@pytest.mark.parametrize(
    ("features", "targets", "schema", "pointer", "sentence"),
    [
        pytest.param(np.empty((0, 2)), [], None, "/features", "the dataset is empty", id="no samples"),
        pytest.param(np.empty((2, 0)), [1, 2], None, "/features", "the samples have no features", id="no features"),
        pytest.param([1, 2, 3, 4, 5], [1, 2, 3], None, "/targets", "3 targets for 5 samples", id="lengths"),
        pytest.param(FEATURES, [1, np.nan], None, "/targets/1/0", "targets must be finite, not nan", id="NaN target"),
        pytest.param([[1, 2], [3, -np.inf]], [1, 2], None, "/features/1/1", "must be finite, not -inf", id="infinite"),
        pytest.param([[1, 2], [3]], TARGETS, None, "/features", "all equally long", id="ragged"),
        pytest.param([[[1]], [[2]]], TARGETS, None, "/features", "shape (2, 1, 1)", id="too deep"),
        pytest.param([1, 2], [0, 2], Schema(("x",), ("y",), ("a", "b")), "/targets", "class codes, 0 to 1", id="code"),
        pytest.param([1, 2], [0, 0.5], Schema(("x",), ("y",), ("a", "b")), "/targets", "class codes", id="half a code"),
        pytest.param(FEATURES, TARGETS, Schema(("a", "\ud800"), ("y",)), "/feature_names", "Unicode", id="no Unicode"),
        pytest.param(FEATURES, TARGETS, Schema(("a",), ("y",)), "/feature_names", "1 feature name for 2", id="names"),
        pytest.param(FEATURES, TARGETS, Schema(("a", "a"), ("y",)), "/feature_names", "'a' stands twice", id="twice"),
        pytest.param(
            FEATURES, [1, 2], Schema(("a", "b"), ("y",), (1, 2)), "/targets", "class codes, 0 to 1", id="codes"
        ),
        pytest.param([[1, 2], [3]], [1, 2], None, "/features", "all equally long", id="ragged"),
        pytest.param(np.zeros((2, 2, 2)), [1, 2], None, "/features", "not of shape (2, 2, 2)", id="cube"),
    ],
)
def test_what_makes_no_dataset_is_refused_with_the_place_and_the_value(
    features: Any, targets: Any, schema: Schema | None, pointer: str, sentence: str
) -> None:
    with pytest.raises(InvalidDataset) as refused:
        Dataset(features, targets, schema)
    (fault,) = refused.value.faults
    assert fault.pointer == pointer
    assert sentence in fault.detail


def test_what_samples_are_for_is_part_of_what_a_dataset_is_and_comes_back_with_it() -> None:
    parts = np.array([0, 2], dtype=np.int8)
    split = Dataset(FEATURES, TARGETS, NAMED, [1, 0.5], parts)
    assert split.part_sizes == (1, 0, 1)
    assert split.sha256 != Dataset(FEATURES, TARGETS, NAMED, [1, 0.5]).sha256
    again = Dataset.from_content(split.content)
    assert again.parts is not None
    assert (again.parts.tolist(), again.parts.dtype) == ([0, 2], np.int8)
    assert again.sha256 == split.sha256


def test_a_dataset_that_does_not_say_what_samples_are_for_is_known_by_the_hash_that_it_always_had() -> None:
    digest = "3c42cb357ff6a7ffa435390a13eb03924a0cb6eecec99abea4cb773aacf47da8"
    assert Dataset(FEATURES, TARGETS, NAMED).sha256 == digest


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([0], "parts of shape (1,) for 2 samples: give exactly one"),
        ([[0, 1]], "parts of shape (1, 2) for 2 samples"),
        ([0, 3], "must be 0, 1 or 2"),
        ([0, -1], "must be 0, 1 or 2"),
        ([1, 2], "no sample is for training"),
    ],
)
def test_parts_that_make_no_split_are_refused(parts: Any, sentence: str) -> None:
    with pytest.raises(InvalidDataset) as refused:
        Dataset(FEATURES, TARGETS, NAMED, parts=np.array(parts, dtype=np.int8))
    (fault,) = refused.value.faults
    assert fault.pointer == "/split"
    assert sentence in fault.detail


@given(datasets())
def test_a_dataset_is_read_back_from_its_content(dataset: Dataset) -> None:
    again = Dataset.from_content(dataset.content)
    np.testing.assert_array_equal(again.features, dataset.features)
    np.testing.assert_array_equal(again.targets, dataset.targets)
    assert again.schema == dataset.schema
    assert list(map(type, again.schema.classes or ())) == list(map(type, dataset.schema.classes or ()))
    assert again.sha256 == dataset.sha256


@given(datasets())
def test_the_content_is_a_safetensors_file_that_others_can_read(dataset: Dataset) -> None:
    tensors = safetensors.numpy.load(dataset.content)
    np.testing.assert_array_equal(tensors["features"], dataset.features)
    np.testing.assert_array_equal(tensors["targets"], dataset.targets)


@given(datasets())
def test_a_schema_survives_the_journey_through_json(dataset: Dataset) -> None:
    assert Schema.from_json(json.loads(json.dumps(dataset.schema.to_json()))) == dataset.schema


@pytest.mark.parametrize(
    ("features", "targets", "schema"),
    [
        pytest.param([[1.0, 2.0], [3.0, 4.5]], TARGETS, NAMED, id="another feature"),
        pytest.param(FEATURES, [5.0, 6.5], NAMED, id="another target"),
        pytest.param(FEATURES[::-1], TARGETS[::-1], NAMED, id="another order of samples"),
        pytest.param([[2.0, 1.0], [4.0, 3.0]], TARGETS, NAMED, id="another order of features"),
        pytest.param(FEATURES, TARGETS, Schema(("b", "a"), ("y",)), id="other feature names"),
        pytest.param(FEATURES, TARGETS, Schema(("a", "b"), ("z",)), id="another target name"),
    ],
)
def test_different_datasets_have_different_hashes(features: Any, targets: Any, schema: Schema) -> None:
    assert Dataset(features, targets, schema).sha256 != Dataset(FEATURES, TARGETS, NAMED).sha256


@pytest.mark.parametrize("pair", [((1, 2), ("1", "2")), ((True, False), (1, 0)), ((1, 2), (1.5, 2))])
def test_labels_of_another_type_or_value_make_another_dataset(pair: tuple[tuple[Any, ...], tuple[Any, ...]]) -> None:
    first, second = (Dataset([1, 2], [0, 1], Schema(("x",), ("y",), classes)) for classes in pair)
    assert first.sha256 != second.sha256


def test_the_hash_depends_on_the_content_only_and_not_on_how_it_came() -> None:
    features, targets = np.array(FEATURES, order="F"), np.array(TARGETS)
    assert Dataset(features, targets, NAMED).sha256 == Dataset(FEATURES, TARGETS, NAMED).sha256
    assert Dataset(features[:, :], targets.reshape(-1, 1), NAMED).content == Dataset(FEATURES, TARGETS, NAMED).content


def test_another_process_gives_the_same_dataset_the_same_hash() -> None:
    program = (
        "from service.dataset import Dataset, Schema\n"
        "schema = Schema(('größe', 'b'), ('y',), ('ja', 1))\n"
        "print(Dataset([[0.1, 2], [3, 1e-300]], [0, 1], schema).sha256)"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout.strip()
        for seed in ("1", "2")
    }
    dataset = Dataset([[0.1, 2], [3, 1e-300]], [0, 1], Schema(("größe", "b"), ("y",), ("ja", 1)))
    assert hashes == {dataset.sha256}


def test_of_many_numbers_that_are_not_finite_a_hundred_are_named_in_order() -> None:
    features = np.zeros((3000, 1000))
    features[1500:, 3] = np.inf
    features[7, 9] = np.nan
    with pytest.raises(InvalidDataset) as refused:
        Dataset(features, np.zeros(3000))
    assert len(refused.value.faults) == 100
    assert [fault.pointer for fault in refused.value.faults[:2]] == ["/features/7/9", "/features/1500/3"]


def test_thirty_thousand_features_are_checked_in_a_moment() -> None:
    start = time.process_time()
    dataset = Dataset(np.ones((1, 30_000)), [1.0])
    assert dataset.n_features == 30_000
    assert time.process_time() - start < 2
