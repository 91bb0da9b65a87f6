from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from service.parameters import Layer
from service.prediction.forward import forward

Array = NDArray[Any]
MODERATE = st.floats(-1e3, 1e3)


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
    found = forward("linear_regression", (layer,), features)
    assert found.probabilities is None
    assert found.values.dtype == np.float64
    largest = float(np.abs(layer.weight).max() * np.abs(features).max(initial=0)) * features.shape[1]
    expected = torch_outputs(layer, features).numpy()
    np.testing.assert_allclose(found.values, expected, rtol=1e-12, atol=1e-15 * (largest + 1e3))


@given(layers(st.just(1)))
def test_a_logistic_prediction_is_torch_s(layer_and_features: tuple[Layer, Array]) -> None:
    layer, features = layer_and_features
    probabilities = forward("logistic_regression", (layer,), features).probabilities
    assert probabilities is not None
    expected = torch.sigmoid(torch_outputs(layer, features)).numpy()
    np.testing.assert_allclose(probabilities[:, 1:], expected, rtol=1e-9, atol=1e-12)


@given(layers(st.just(1)))
def test_probabilities_sum_to_one_and_the_class_is_the_more_probable_one(
    layer_and_features: tuple[Layer, Array],
) -> None:
    layer, features = layer_and_features
    found = forward("logistic_regression", (layer,), features)
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
    probabilities = forward("logistic_regression", (layer,), np.array([[logit]])).probabilities
    assert probabilities is not None
    logits = torch.tensor([[-logit, logit]], dtype=torch.float64)
    expected = torch.nn.functional.logsigmoid(logits).exp().numpy()
    np.testing.assert_allclose(probabilities, expected, rtol=1e-12, atol=0)


def test_parameters_of_a_float32_training_predict_in_float64() -> None:
    layer = Layer(np.array([[1 / 3, 0.1]], dtype=np.float32), np.array([0.7], dtype=np.float32))
    features = np.array([[1e6 + 0.125, 1.0]])
    found = forward("linear_regression", (layer,), features).values
    exact = float(layer.weight[0, 0]) * (1e6 + 0.125) + float(layer.weight[0, 1]) + float(layer.bias[0])
    assert found[0, 0] == pytest.approx(exact, rel=1e-15)
