from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st

from service.dataset import Dataset, Schema
from service.errors import InvalidDataset, InvalidHyperparameters
from service.parameters import n_parameters, slices, unflatten
from service.plan import make_plan
from service.rules import part_sizes
from service.split import split_dataset
from service.tasks import Task
from service.training.examination import plan_of
from service.training.samples import Preparation, prepare
from tests.training.problems import hyperparameters, random_dataset


def prepared(task: Task, dataset: Dataset, **asked: Any) -> Preparation:
    return prepare(task, dataset, make_plan(task, dataset, hyperparameters(**asked)).hyperparameters)


@settings(max_examples=150, deadline=None)
@draw(
    n_samples=st.integers(3, 200),
    validation=st.sampled_from([0.0, 0.001, 0.1, 0.25, 0.5]),
    test=st.sampled_from([0.0, 0.001, 0.1, 0.3]),
    seed=st.integers(0, 1000),
    task=st.sampled_from(["linear_regression", "softmax_regression"]),
    stratify=st.booleans(),
)
def test_every_sample_has_one_part_and_each_part_the_size_that_was_asked_for(
    n_samples: int, validation: float, test: float, seed: int, task: Task, stratify: bool
) -> None:
    dataset = random_dataset(task, seed, n_samples)
    given = hyperparameters(validation_fraction=validation, test_fraction=test, stratify=stratify, seed=seed)
    n_train, n_validation, n_test = part_sizes(dataset, given)
    assert n_validation == (max(1, round(validation * n_samples)) if validation else 0)
    assert n_test == (max(1, round(test * n_samples)) if test else 0)
    split = split_dataset(task, dataset, given)
    train = np.arange(n_samples) if split.train is None else split.train
    assert (len(train), len(split.validation), len(split.test)) == (n_train, n_validation, n_test)
    assert sorted(np.concatenate([train, split.validation, split.test]).tolist()) == list(range(n_samples))
    assert all((np.diff(part) > 0).all() for part in (train, split.validation, split.test))
    again = split_dataset(task, dataset, given)
    np.testing.assert_array_equal(again.validation, split.validation)
    np.testing.assert_array_equal(again.test, split.test)
    assert (split.train is None) == (not validation and not test)


@settings(max_examples=150, deadline=None)
@draw(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=5),
    validation=st.sampled_from([0.0, 0.1, 0.25]),
    test=st.sampled_from([0.1, 0.3]),
    seed=st.integers(0, 1000),
)
def test_stratified_parts_have_every_class_in_its_share_but_for_one_sample(
    sizes: list[int], validation: float, test: float, seed: int
) -> None:
    codes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    dataset = Dataset(np.arange(len(codes)), codes, Schema(("x",), ("y",), tuple(range(len(sizes)))))
    given = hyperparameters(validation_fraction=validation, test_fraction=test, seed=seed)
    if part_sizes(dataset, given)[0] < 1:
        return
    split = split_dataset("softmax_regression", dataset, given)
    left = np.array(sizes)
    for part in (split.test, split.validation):
        counts = np.bincount(codes[part], minlength=len(sizes))
        assert (np.abs(counts - left * len(part) / left.sum()) < 1).all()
        left = left - counts


def test_the_split_is_drawn_from_the_seed_and_is_another_under_another() -> None:
    dataset = random_dataset("linear_regression", 0, n_samples=100)
    first, second = (
        split_dataset("linear_regression", dataset, hyperparameters(validation_fraction=0.3, seed=seed)).validation
        for seed in (1, 2)
    )
    assert not np.array_equal(first, second)
    assert 3 < len(np.intersect1d(first, second)) < 18  # nine of thirty by chance


def test_a_part_that_leaves_nothing_to_train_on_is_refused() -> None:
    dataset = random_dataset("linear_regression", 0, n_samples=4)
    with pytest.raises(InvalidHyperparameters, match="leave none to train on"):
        prepared("linear_regression", dataset, validation_fraction=0.5, test_fraction=0.5)


@pytest.mark.parametrize("scale", ["center", "standard"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scaling_is_learned_on_the_training_samples_alone_and_done_to_all(scale: str, dtype: str) -> None:
    dataset = random_dataset("linear_regression", 1, n_samples=60, n_targets=2)
    asked = {"scale": scale, "scale_targets": scale, "dtype": dtype, "seed": 1}
    found = prepared("linear_regression", dataset, **asked, validation_fraction=0.2, test_fraction=0.2)
    assert found.validation is not None
    for name in ("features", "targets"):
        table, train = getattr(dataset, name), getattr(found.train, name)
        learned_from = table[found.split.train]
        deviation = learned_from.std(axis=0) if scale == "standard" else np.ones(table.shape[1])
        expected = (table - learned_from.mean(axis=0)) / deviation
        np.testing.assert_allclose(train, expected[found.split.train], atol=1e-6 if dtype == "float32" else 1e-13)
        held_out = getattr(found.validation, name)
        np.testing.assert_allclose(held_out, expected[found.split.validation], atol=1e-6)
        assert train.dtype == held_out.dtype == np.dtype(dtype)
    changed = dataset.features.copy()
    changed[found.split.validation] *= 100
    changed[found.split.test] *= 1000
    again = prepared(
        "linear_regression", Dataset(changed, dataset.targets), **asked, validation_fraction=0.2, test_fraction=0.2
    )
    np.testing.assert_array_equal(again.train.features, found.train.features)


def test_class_codes_are_never_scaled() -> None:
    dataset = random_dataset("softmax_regression", 1)
    found = prepared("softmax_regression", dataset, scale="standard")
    np.testing.assert_array_equal(found.train.targets, dataset.targets)
    np.testing.assert_array_equal(found.codes, dataset.targets[:, 0])
    assert found.n_classes == 3


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("weighted", [False, True])
def test_weights_have_mean_one_in_each_part_and_balance_the_classes_of_the_training_samples(
    class_weight: str | None, weighted: bool
) -> None:
    draw = np.random.default_rng(3)
    codes = draw.choice(3, size=90, p=[0.7, 0.2, 0.1]).astype(float)
    own = draw.uniform(0.5, 2, 90) if weighted else None
    dataset = Dataset(draw.normal(size=(90, 2)), codes, Schema(("a", "b"), ("y",), ("p", "q", "r")), own)
    found = prepared("softmax_regression", dataset, class_weight=class_weight, validation_fraction=0.3, seed=1)
    assert found.validation is not None
    if class_weight is None and not weighted:
        assert found.train.weights is None
        assert found.validation.weights is None
        return
    counts = np.bincount(found.codes, minlength=3)
    for samples, rows in ((found.train, found.split.train), (found.validation, found.split.validation)):
        assert samples.weights is not None
        assert samples.weights.mean() == pytest.approx(1, rel=1e-12)
        expected = np.ones(len(samples)) if own is None else own[rows].ravel()
        if class_weight:
            expected = expected / counts[codes[rows].astype(int).ravel()]
        np.testing.assert_allclose(samples.weights, expected / expected.mean(), rtol=1e-12)
    if class_weight and not weighted:
        assert found.train.weights is not None
        np.testing.assert_allclose(np.bincount(found.codes, found.train.weights), np.full(3, len(found.train) / 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("training", ["float32", "float64"])
def test_samples_are_the_datasets_own_arrays_when_nothing_is_to_be_done_to_them(
    dtype: type[np.floating], training: str
) -> None:
    features, targets = np.ones((5, 2), dtype), np.ones((5, 1), dtype)
    found = prepared("linear_regression", Dataset(features, targets), dtype=training)
    assert np.shares_memory(found.train.features, features)
    assert np.shares_memory(found.train.targets, targets)
    assert (found.train.weights, found.validation, found.scaling, found.split.train) == (None,) * 4


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e308])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_weights_of_any_size_count_by_their_ratio(size: float, class_weight: str | None) -> None:
    codes = np.tile([0.0, 1.0, 1.0], 10)
    dataset = Dataset(np.arange(30.0), codes, Schema(("x",), ("y",), ("a", "b")), np.full(30, size))
    found = prepared("logistic_regression", dataset, class_weight=class_weight, validation_fraction=0.3, seed=1)
    assert found.validation is not None
    for samples in (found.train, found.validation):
        assert samples.weights is not None
        assert samples.weights.mean() == pytest.approx(1, rel=1e-12)
        ratio = samples.weights[samples.targets[:, 0] == 0].min() / samples.weights[samples.targets[:, 0] == 1].min()
        assert ratio == pytest.approx(2 if class_weight else 1)


def test_a_sample_of_an_enormous_weight_in_one_part_does_not_count_in_the_other() -> None:
    weights = np.array([1e308] + [1e-300] * 29)
    dataset = Dataset(np.arange(30.0), np.arange(30.0), sample_weight=weights)
    found = prepared("linear_regression", dataset, validation_fraction=0.5, seed=1)
    assert found.validation is not None
    parts = [found.train, found.validation]
    (without,) = [samples for samples in parts if not (samples.features == 0).any()]
    assert without.weights is not None
    np.testing.assert_allclose(without.weights, 1)


@pytest.mark.parametrize("task", ["linear_regression", "mlp_regressor"])
def test_without_an_intercept_scaling_only_divides_so_that_the_bias_is_nought_in_original_units_too(task: Task) -> None:
    dataset = random_dataset(task, 1, n_targets=2)
    shifted = Dataset(dataset.features + 50, dataset.targets - 7)
    found = prepared(task, shifted, scale="standard", scale_targets="standard", fit_intercept=False)
    assert found.scaling is not None
    np.testing.assert_allclose(found.train.features, shifted.features / shifted.features.std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.train.targets, shifted.targets / shifted.targets.std(axis=0), rtol=1e-12)
    layout = make_plan(task, shifted, hyperparameters(hidden_layers=[4] if task == "mlp_regressor" else None)).layout
    vector = np.random.default_rng(0).normal(size=n_parameters(layout))
    for _, bias in slices(layout):
        vector[bias] = 0
    for bring in (found.scaling.to_original, found.scaling.to_scaled):
        assert all((layer.bias == 0).all() for layer in unflatten(bring(vector, layout), layout))


@pytest.mark.parametrize("scale", ["none", "standard"])
def test_a_dataset_that_says_what_its_samples_are_for_is_prepared_as_it_says(scale: str) -> None:
    drawn = random_dataset("linear_regression", 1, n_samples=6, weighted=True)
    parts = np.array([0, 2, 1, 0, 0, 2], dtype=np.int8)
    dataset = Dataset(drawn.features, drawn.targets, sample_weight=drawn.sample_weight, parts=parts)
    found = prepared("linear_regression", dataset, scale=scale)
    train, held_out = drawn.features[[0, 3, 4]], drawn.features[[2]]
    if scale == "standard":
        held_out = (held_out - train.mean(axis=0)) / train.std(axis=0)
        train = (train - train.mean(axis=0)) / train.std(axis=0)
    np.testing.assert_allclose(found.train.features, train, atol=1e-12)
    assert found.validation is not None
    np.testing.assert_allclose(found.validation.features, held_out, atol=1e-12)
    assert found.train.weights is not None
    assert drawn.sample_weight is not None
    own = drawn.sample_weight[[0, 3, 4]]
    np.testing.assert_allclose(found.train.weights, own / own.mean())


@pytest.mark.parametrize("field", ["validation_fraction", "test_fraction"])
def test_of_a_dataset_that_says_what_its_samples_are_for_none_are_drawn(field: str) -> None:
    dataset = Dataset(np.arange(3.0), np.arange(3.0), parts=np.array([0, 0, 1], dtype=np.int8))
    with pytest.raises(InvalidHyperparameters, match="the dataset has a split column: leave it out"):
        prepared("linear_regression", dataset, **{field: 0.2})


def test_samples_in_a_memory_map_are_prepared_as_those_in_memory(tmp_path: Path) -> None:
    dataset = random_dataset("softmax_regression", 2, n_samples=500)
    for name in ("features", "targets"):
        np.save(tmp_path / f"{name}.npy", getattr(dataset, name))
    features, targets = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("features", "targets"))
    asked = {"scale": "standard", "validation_fraction": 0.3, "class_weight": "balanced", "seed": 1}
    first = prepared("softmax_regression", dataset, **asked)
    second = prepared("softmax_regression", Dataset(features, targets, dataset.schema), **asked)
    np.testing.assert_array_equal(first.train.features, second.train.features)
    np.testing.assert_array_equal(first.train.targets, second.train.targets)
    assert first.train.weights is not None
    assert second.train.weights is not None
    np.testing.assert_array_equal(first.train.weights, second.train.weights)


def test_a_part_whose_samples_all_have_the_weight_nought_is_refused_where_the_dataset_says_the_parts() -> None:
    parts = np.array([0, 0, 1], dtype=np.int8)
    dataset = Dataset(np.arange(3.0), np.arange(3.0), sample_weight=[0, 0, 1], parts=parts)
    with pytest.raises(InvalidDataset, match="the samples for training all have the weight 0"):
        plan_of("linear_regression", dataset, hyperparameters())
