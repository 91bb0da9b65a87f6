import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from service import scaling as module
from service.hyperparameters import ActivationName, ScaleName
from service.parameters import Layout, n_parameters, unflatten
from service.prediction.forward import forward
from service.scaling import Scaling, learn_scaling, varying
from service.tasks import Task

Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """A model in scaled units, the samples that the scaling was learned from, and models along a trajectory."""

    features: Array
    targets: Array
    scaling: Scaling
    layout: Layout
    trajectory: Array  # (n_epochs, n_parameters)


@st.composite
def cases(draw: st.DrawFn, max_hidden: int = 3, classes: bool = False) -> Case:
    """Features and targets with offsets and spreads of their own, and up to `max_hidden` hidden layers."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_features, n_outputs = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    hidden = draw(st.lists(st.integers(1, 4), max_size=max_hidden))
    scales: list[ScaleName] = ["center", "standard"]

    def table(n_columns: int) -> Array:
        offset, spread = random.normal(size=n_columns) * 30, 10 ** random.uniform(-2, 2, size=n_columns)
        return offset + spread * random.normal(size=(12, n_columns))

    features = table(n_features)
    targets = random.integers(0, n_outputs, size=(12, 1)).astype(float) if classes else table(n_outputs)
    scaling = learn_scaling(features, targets, draw(st.sampled_from(scales)), "none" if classes else "standard")
    assert scaling is not None
    widths = [n_features, *hidden, n_outputs]
    layout = tuple(zip(widths[1:], widths[:-1], strict=True))
    return Case(features, targets, scaling, layout, random.normal(size=(3, n_parameters(layout))))


def predicted(task: Task, vector: Array, layout: Layout, features: Array, activation: ActivationName = "tanh") -> Array:
    found = forward(task, unflatten(vector, layout), features, activation)
    return found.values if found.probabilities is None else found.probabilities


@given(cases(), st.sampled_from(["relu", "tanh", "sigmoid"]))
def test_the_model_in_original_units_predicts_what_the_scaled_one_does(case: Case, activation: ActivationName) -> None:
    scaling, original = case.scaling, case.scaling.to_original(case.trajectory, case.layout)
    scaled_features = scaling.scale_features(case.features, np.float64)
    for scaled_vector, vector in zip(case.trajectory, original, strict=True):
        outputs = predicted("mlp_regressor", scaled_vector, case.layout, scaled_features, activation)
        expected = outputs * scaling.target_scale + scaling.target_mean
        found = predicted("mlp_regressor", vector, case.layout, case.features, activation)
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())


@given(cases(classes=True))
def test_a_classifier_in_original_units_gives_the_same_probabilities(case: Case) -> None:
    scaled_features = case.scaling.scale_features(case.features, np.float64)
    for vector in case.trajectory:
        expected = predicted("mlp_classifier", vector, case.layout, scaled_features)
        original = case.scaling.to_original(vector, case.layout)
        found = predicted("mlp_classifier", original, case.layout, case.features)
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


def test_one_layer_folds_as_the_formula_says() -> None:
    scaling = Scaling(np.array([10.0]), np.array([2.0]), np.array([100.0]), np.array([5.0]))
    # target = 100 + 5 (3 (x - 10) / 2 + 4) = 7.5 x + 45
    np.testing.assert_array_equal(scaling.to_original(np.array([3.0, 4.0]), ((1, 1),)), [7.5, 45.0])


@given(cases())
def test_parameters_come_back_from_original_units(case: Case) -> None:
    scaling, layout = case.scaling, case.layout
    original = scaling.to_original(case.trajectory, layout)
    np.testing.assert_allclose(scaling.to_scaled(original, layout), case.trajectory, rtol=1e-6, atol=1e-7)
    untouched = case.trajectory.copy()
    scaling.gradient_to_original(case.trajectory, layout)
    np.testing.assert_array_equal(case.trajectory, untouched)


@given(cases())
def test_a_trajectory_is_brought_over_as_each_of_its_epochs(case: Case) -> None:
    for bring in (case.scaling.to_original, case.scaling.to_scaled, case.scaling.gradient_to_original):
        at_once = bring(case.trajectory.astype(np.float32), case.layout)
        one_by_one = [bring(vector.astype(np.float32), case.layout) for vector in case.trajectory]
        assert at_once.dtype == np.float64
        np.testing.assert_allclose(at_once, np.array(one_by_one), rtol=1e-10, atol=1e-10)


def autograd_gradient(case: Case, vector: Array, features: Array, is_original: bool) -> Array:
    """Differentiate the loss in scaled units by parameters which take such features, and give such targets."""
    flat = torch.tensor(vector, requires_grad=True)
    values, end = torch.from_numpy(features), 0
    for number, (n_outputs, n_inputs) in enumerate(case.layout):
        values = torch.tanh(values) if number else values
        weight = flat[end : end + n_outputs * n_inputs].reshape(n_outputs, n_inputs)
        end += n_outputs * (n_inputs + 1)
        values = torch.nn.functional.linear(values, weight, flat[end - n_outputs : end])
    mean, scale = torch.from_numpy(case.scaling.target_mean), torch.from_numpy(case.scaling.target_scale)
    if is_original:
        values = (values - mean) / scale
    targets = (torch.from_numpy(case.targets) - mean) / scale
    torch.autograd.backward(torch.nn.functional.mse_loss(values, targets))
    assert flat.grad is not None
    return flat.grad.numpy()


@settings(max_examples=50)
@given(cases(max_hidden=2))
def test_the_gradient_in_original_units_is_what_autograd_finds_there(case: Case) -> None:
    scaling, layout, vector = case.scaling, case.layout, case.trajectory[0]
    features = scaling.scale_features(case.features, np.float64)
    gradient = scaling.gradient_to_original(autograd_gradient(case, vector, features, False), layout)
    expected = autograd_gradient(case, scaling.to_original(vector, layout), case.features, True)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(1, 5), st.sampled_from([np.float32, np.float64]))
def test_standard_is_what_the_standard_scaler_does(seed: int, n_samples: int, n_columns: int, dtype: Any) -> None:
    random = np.random.default_rng(seed)
    spread = 10 ** random.uniform(-30, 30, size=n_columns)
    table = (spread * (random.normal(size=(n_samples, n_columns)) + random.normal(size=n_columns))).astype(dtype)
    oracle = StandardScaler().fit(table.astype(np.float64))
    scaling = learn_scaling(table, table[:, :1], "standard", "standard")
    assert scaling is not None
    np.testing.assert_allclose(scaling.feature_mean, oracle.mean_, rtol=1e-12, atol=1e-14 * spread.min())
    np.testing.assert_allclose(scaling.feature_scale, oracle.scale_, rtol=1e-12)
    expected = oracle.transform(table.astype(np.float64))
    np.testing.assert_allclose(scaling.scale_features(table, np.float64), expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(scaling.scale_targets(table[:, :1], np.float64), expected[:, :1], rtol=1e-9, atol=1e-11)


def test_center_takes_away_the_mean_and_nothing_else() -> None:
    table = np.array([[1.0, 50.0], [2.0, 70.0], [6.0, 90.0]])
    scaling = learn_scaling(table, table, "center", "none")
    assert scaling is not None
    features, targets = (
        {"feature_mean": [3, 70], "feature_scale": [1, 1]},
        {"target_mean": [0, 0], "target_scale": [1, 1]},
    )
    assert scaling.to_json() == features | targets
    np.testing.assert_array_equal(scaling.scale_targets(table, np.float64), table)


def test_where_nothing_is_scaled_there_is_no_scaling() -> None:
    assert learn_scaling(np.ones((2, 1)), np.ones((2, 1)), "none", "none") is None


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e9, 1e-300, 5e-324, 1.7e308])
@pytest.mark.parametrize("n_samples", [1, 2, 7, 300_000])
def test_a_column_of_one_value_keeps_scale_1_and_becomes_exactly_0(value: float, n_samples: int) -> None:
    table = np.full((n_samples, 1), value)
    scaling = learn_scaling(table, table, "standard", "none")
    assert scaling is not None
    assert scaling.to_json()["feature_mean"] == [value]
    assert scaling.to_json()["feature_scale"] == [1.0]
    assert not scaling.scale_features(table, np.float64).any()


def test_a_spread_of_rounding_errors_is_none_for_us_and_for_the_standard_scaler() -> None:
    table = np.array([[0.1 + 0.2], [0.3], [0.3]])
    assert table.std() > 0
    scaling = learn_scaling(table, table, "standard", "none")
    assert scaling is not None
    assert scaling.to_json()["feature_scale"] == StandardScaler().fit(table).scale_.tolist() == [1.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6, -1e9])
def test_a_large_offset_costs_no_digits_of_the_spread(offset: float, dtype: Any) -> None:
    # Steps of 64 are exact beside every offset, in both precisions; many samples, so that parts are joined.
    steps = np.tile(np.array([[0.0, 64.0], [64.0, 64.0], [128.0, 256.0]]), (100_000, 1))
    table = (np.float64(np.float32(offset // 64 * 64)) + steps).astype(dtype)
    scaling = learn_scaling(table, table, "standard", "none")
    assert scaling is not None
    first = float(table[0, 0])
    np.testing.assert_allclose(scaling.feature_mean - first, [64, 128], rtol=1e-12, atol=2e-16 * abs(offset))
    np.testing.assert_allclose(scaling.feature_scale, [64 * np.sqrt(2 / 3), 64 * np.sqrt(2)], rtol=1e-12)


def test_one_outlier_costs_no_digits_of_the_mean_and_the_spread() -> None:
    table = np.zeros((1_000_000, 1), dtype=np.float32)
    table[0] = 1e30
    scaling = learn_scaling(table, table[:1], "standard", "none")
    assert scaling is not None
    outlier, n = float(table[0, 0]), len(table)
    assert scaling.feature_mean[0] == pytest.approx(outlier / n, rel=1e-9)
    assert scaling.feature_scale[0] == pytest.approx(outlier * np.sqrt((1 / n) * (1 - 1 / n)), rel=1e-9)


@given(arrays.arrays(np.float64, (6, 2), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_any_finite_table_has_a_finite_scaling_without_a_warning(table: Array) -> None:
    scaling = learn_scaling(table, table, "standard", "standard")
    assert scaling is not None
    assert np.isfinite(scaling.feature_mean).all()
    assert np.isfinite(scaling.feature_scale).all()
    assert (scaling.feature_scale > 0).all()
    for dtype in (np.float32, np.float64):
        assert scaling.scale_features(table, dtype).dtype == dtype
        assert not np.isnan(scaling.scale_features(table, dtype)).any()
    vectors = np.array([[1e300, -1e300, 1e300, 0, 1, 1e-300], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
    for bring in (scaling.to_original, scaling.to_scaled, scaling.gradient_to_original):
        assert bring(vectors, ((2, 2),)).shape == vectors.shape


@given(arrays.arrays(np.float64, (4, 3), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_a_scaling_comes_back_from_json_to_the_last_bit(columns: Array) -> None:
    again = Scaling.from_json(json.loads(json.dumps(Scaling(*columns).to_json())))
    found = (again.feature_mean, again.feature_scale, again.target_mean, again.target_scale)
    assert [column.tobytes() for column in found] == [column.tobytes() for column in columns]


@settings(max_examples=200)
@given(
    st.integers(0, 2**32),
    st.integers(1, 60),
    st.lists(st.sampled_from([0.0, 1e-15, 1e-12, 1e-3, 1.0]), min_size=1, max_size=5),
    st.sampled_from([1e-200, 1.0, 1.7e9, 1e200]),
    st.integers(1, 70),
    st.sampled_from([np.float32, np.float64]),
)
def test_a_column_varies_when_its_deviation_is_above_rounding_and_then_it_is_divided(
    seed: int, n_samples: int, spreads: list[float], size: float, at_once: int, dtype: Any
) -> None:
    random = np.random.default_rng(seed)
    steps = random.integers(-1, 2, size=(n_samples, len(spreads))) * spreads
    with np.errstate(over="ignore"):
        table = np.nan_to_num((size * (1 + steps)).astype(dtype))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_READ_AT_ONCE", at_once)
        found = varying(table)
        scaling = learn_scaling(table, table, "standard", "none")
    assert scaling is not None
    exact = table.astype(np.longdouble)
    deviation, largest = exact.std(axis=0), abs(exact).max(axis=0)
    rounding = np.maximum(10 * np.finfo(np.float64).eps * largest, np.finfo(np.float64).tiny)
    assert (deviation[found] > rounding[found] * (1 - 1e-9)).all()
    assert found[deviation > 50 * rounding].all()
    np.testing.assert_allclose(scaling.feature_scale, np.where(found, deviation.astype(float), 1.0), rtol=1e-9)


def test_without_centring_standard_only_divides() -> None:
    table = np.array([[1.0, 50.0, 3.0], [2.0, 70.0, 3.0], [6.0, 90.0, 3.0]])
    scaling = learn_scaling(table, table[:, :1], "standard", "standard", centred=False)
    assert scaling is not None
    assert not scaling.feature_mean.any()
    assert not scaling.target_mean.any()
    np.testing.assert_allclose(scaling.feature_scale, [*table[:, :2].std(axis=0), 1.0])
    np.testing.assert_allclose(scaling.target_scale, table[:, 0].std())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_learned_of_some_rows_is_what_is_learned_of_a_table_of_them(dtype: type[np.floating]) -> None:
    table = np.random.default_rng(3).normal(size=(300_001, 3)).astype(dtype)
    rows = np.flatnonzero(np.random.default_rng(4).random(len(table)) < 0.6)
    found = learn_scaling(table, table[:, :1], "standard", "standard", rows)
    expected = learn_scaling(table[rows], table[rows, :1], "standard", "standard")
    assert found is not None
    assert expected is not None
    assert found.to_json() == expected.to_json()
    np.testing.assert_array_equal(varying(table, rows), varying(table[rows]))
    scaled = found.scale_features(table, np.float32, rows)
    np.testing.assert_array_equal(scaled, expected.scale_features(table[rows], np.float32))
