from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from service.hyperparameters import ActivationName
from service.parameters import Layer, Parameters
from service.prediction.forward import forward
from service.tasks import TRAITS, Task

Array = NDArray[Any]
MODERATE = st.floats(-1e3, 1e3)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
MODULES: dict[ActivationName, torch.nn.Module] = {
    "relu": torch.nn.ReLU(),
    "tanh": torch.nn.Tanh(),
    "sigmoid": torch.nn.Sigmoid(),
}


@st.composite
def layers(draw: st.DrawFn, n_outputs: st.SearchStrategy[int]) -> tuple[Layer, Array]:
    """A layer, and features that it takes."""
    outputs, n_features, n_samples = draw(n_outputs), draw(st.integers(1, 6)), draw(st.integers(0, 5))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    weight = draw(arrays.arrays(np.float64, (outputs, n_features), elements=MODERATE)).astype(dtype)
    bias = draw(arrays.arrays(np.float64, outputs, elements=MODERATE)).astype(dtype)
    return Layer(weight, bias), draw(arrays.arrays(np.float64, (n_samples, n_features), elements=MODERATE))


def torch_outputs(layer: Layer, features: Array) -> torch.Tensor:
    weight, bias = (torch.from_numpy(part.astype(np.float64)) for part in (layer.weight, layer.bias))
    return torch.nn.functional.linear(torch.from_numpy(features), weight, bias)


@given(layers(st.integers(1, 4)))
def test_a_linear_prediction_is_torch_s(layer_and_features: tuple[Layer, Array]) -> None:
    layer, features = layer_and_features
    found = forward("linear_regression", (layer,), features, "relu")
    assert found.probabilities is None
    assert found.values.dtype == np.float64
    largest = float(np.abs(layer.weight).max() * np.abs(features).max(initial=0)) * features.shape[1]
    expected = torch_outputs(layer, features).numpy()
    np.testing.assert_allclose(found.values, expected, rtol=1e-12, atol=1e-15 * (largest + 1e3))


@given(layers(st.just(1)))
def test_a_logistic_prediction_is_torch_s(layer_and_features: tuple[Layer, Array]) -> None:
    layer, features = layer_and_features
    probabilities = forward("logistic_regression", (layer,), features, "relu").probabilities
    assert probabilities is not None
    expected = torch.sigmoid(torch_outputs(layer, features)).numpy()
    np.testing.assert_allclose(probabilities[:, 1:], expected, rtol=1e-9, atol=1e-12)


@given(layers(st.just(1)))
def test_probabilities_sum_to_one_and_the_class_is_the_more_probable_one(
    layer_and_features: tuple[Layer, Array],
) -> None:
    layer, features = layer_and_features
    found = forward("logistic_regression", (layer,), features, "relu")
    assert found.probabilities is not None
    assert found.probabilities.shape == (len(features), 2)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-12)
    codes = found.values.astype(int)
    np.testing.assert_array_equal(codes, found.values)
    rows = np.arange(len(features))
    assert (found.probabilities[rows, codes] >= found.probabilities[rows, 1 - codes]).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-17, 1.0, 30.0, 36.8, 40.0, 100.0, 700.0, 745.0, 1e4, 1e300])
def test_extreme_logits_neither_overflow_nor_lose_small_probabilities(size: float, sign: float) -> None:
    logit = sign * size
    layer = Layer(np.array([[1.0]]), np.array([0.0]))
    probabilities = forward("logistic_regression", (layer,), np.array([[logit]]), "relu").probabilities
    assert probabilities is not None
    logits = torch.tensor([[-logit, logit]], dtype=torch.float64)
    expected = torch.nn.functional.logsigmoid(logits).exp().numpy()
    np.testing.assert_allclose(probabilities, expected, rtol=1e-12, atol=0)


@given(layers(st.integers(2, 5)))
def test_a_softmax_prediction_is_torch_s(layer_and_features: tuple[Layer, Array]) -> None:
    layer, features = layer_and_features
    found = forward("softmax_regression", (layer,), features, "relu")
    assert found.probabilities is not None
    outputs = torch_outputs(layer, features)
    largest = float(outputs.abs().max()) if len(features) else 0.0
    expected = torch.softmax(outputs, dim=1).numpy()
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-14 * (largest + 1e3), atol=1e-300)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-12)
    rows, codes = np.arange(len(features)), found.values.astype(int)
    np.testing.assert_array_equal(found.probabilities[rows, codes], found.probabilities.max(axis=1, initial=0))


def identity(n: int) -> Layer:
    return Layer(np.eye(n), np.zeros(n))


@given(arrays.arrays(np.float64, (3, 4), elements=FINITE))
def test_the_softmax_of_finite_logits_of_any_size_is_torch_s(logits: Array) -> None:
    probabilities = forward("softmax_regression", (identity(4),), logits, "relu").probabilities
    assert probabilities is not None
    expected = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
    np.testing.assert_allclose(probabilities, expected, rtol=1e-12, atol=1e-320)


@st.composite
def perceptrons(draw: st.DrawFn) -> tuple[torch.nn.Sequential, Parameters, ActivationName, Array]:
    """A perceptron of torch's with its own start, the same as parameters, and features for it."""
    widths = draw(st.lists(st.integers(1, 6), min_size=3, max_size=5))
    activation = draw(st.sampled_from(sorted(MODULES)))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    size = draw(st.sampled_from([1.0, 10.0, 1000.0]))
    modules: list[torch.nn.Module] = []
    parameters = []
    for n_inputs, n_outputs in pairwise(widths):
        linear = torch.nn.Linear(n_inputs, n_outputs, dtype=torch.float64)
        for part in linear.parameters():
            torch.nn.init.normal_(part, std=size, generator=random)
        modules += [MODULES[activation]] * bool(modules) + [linear]
        parameters.append(Layer(linear.weight.detach().numpy(), linear.bias.detach().numpy()))
    features = torch.randn(draw(st.integers(0, 4)), widths[0], dtype=torch.float64, generator=random).numpy()
    return torch.nn.Sequential(*modules), tuple(parameters), activation, features


@given(perceptrons())
def test_a_perceptron_predicts_what_torch_s_does(
    case: tuple[torch.nn.Sequential, Parameters, ActivationName, Array],
) -> None:
    module, parameters, activation, features = case
    with torch.no_grad():
        outputs = module(torch.from_numpy(features))
    found = forward("mlp_regressor", parameters, features, activation)
    largest = float(outputs.abs().max()) if len(features) else 0.0
    assert found.probabilities is None
    np.testing.assert_allclose(found.values, outputs.numpy(), rtol=1e-9, atol=1e-12 * largest)
    classified = forward("mlp_classifier", parameters, features, activation)
    assert classified.probabilities is not None
    expected = torch.softmax(outputs, dim=1).numpy()
    np.testing.assert_allclose(classified.probabilities, expected, rtol=1e-6, atol=1e-12 * (largest + 1))


@given(arrays.arrays(np.float64, (2, 3), elements=FINITE), st.sampled_from(sorted(MODULES)))
def test_an_activation_of_any_finite_number_is_torch_s(features: Array, activation: ActivationName) -> None:
    found = forward("mlp_regressor", (identity(3), identity(3)), features, activation).values
    expected = MODULES[activation](torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-320)


@pytest.mark.parametrize("activation", sorted(MODULES))
@pytest.mark.parametrize("task", get_args(Task))
def test_a_sample_that_overflows_has_no_prediction_and_leaves_the_others_theirs(
    task: Task, activation: ActivationName
) -> None:
    n_outputs = 2 if task in ("softmax_regression", "mlp_classifier") else 1
    large = Layer(np.tile([[1e300, -1e300]], (n_outputs, 1)), np.zeros(n_outputs))
    after = (identity(n_outputs),) if TRAITS[task].is_perceptron else ()
    values = forward(task, (large, *after), np.array([[1e300, 1e300], [1e300, 0.0], [1.0, 0.5]]), activation).values
    assert np.isnan(values[:2]).all()
    assert np.isfinite(values[2]).all()


@given(arrays.arrays(np.float64, (3, 2), elements=FINITE), st.sampled_from(sorted(MODULES)))
def test_no_features_and_no_parameters_give_a_warning(numbers: Array, activation: ActivationName) -> None:
    layer = Layer(numbers[:2], numbers[2])
    assert forward("mlp_classifier", (layer, layer), numbers, activation).values.shape == (3,)
    assert forward("mlp_regressor", (layer, layer), numbers, activation).values.shape == (3, 2)


def test_parameters_of_a_float32_training_predict_in_float64() -> None:
    layer = Layer(np.array([[1 / 3, 0.1]], dtype=np.float32), np.array([0.7], dtype=np.float32))
    features = np.array([[1e6 + 0.125, 1.0]])
    found = forward("linear_regression", (layer,), features, "relu").values
    exact = float(layer.weight[0, 0]) * (1e6 + 0.125) + float(layer.weight[0, 1]) + float(layer.bias[0])
    assert found[0, 0] == pytest.approx(exact, rel=1e-15)
