from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.hyperparameters import ActivationName
from service.outputs import outputs_of
from service.parameters import Layer, Parameters
from service.prediction.explanation import as_log_odds, explain
from service.prediction.forward import forward

Array = NDArray[np.float64]
ACTIVATIONS: dict[ActivationName, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def drawn(seed: int, *sizes: int) -> tuple[Parameters, Array, Array]:
    """Layers of these sizes, three samples and a reference, all drawn."""
    draws = np.random.default_rng(seed)
    pairs = pairwise(sizes)
    layers = tuple(
        Layer(draws.standard_normal((after, before)), draws.standard_normal(after)) for before, after in pairs
    )
    return layers, 3 * draws.standard_normal((3, sizes[0])), draws.standard_normal(sizes[0])


def path_integral(layers: Parameters, sample: Array, reference: Array, activation: ActivationName, n: int) -> Array:
    """The integrated gradient of the first output by torch's autograd, as the mean over n places on the line."""
    places = torch.from_numpy((np.arange(n) + 0.5) / n)[:, None]
    start, way = torch.from_numpy(reference), torch.from_numpy(sample - reference)
    values = features = (start + places * way).requires_grad_()
    for layer in layers[:-1]:
        values = ACTIVATIONS[activation](values @ torch.from_numpy(layer.weight).T + torch.from_numpy(layer.bias))
    output = values @ torch.from_numpy(layers[-1].weight).T
    (gradient,) = torch.autograd.grad(output[:, 0].sum(), features)
    return np.asarray((gradient.mean(dim=0) * way).numpy())


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 4))
def test_the_shares_of_a_linear_model_are_exact(seed: int, n_features: int, n_outputs: int) -> None:
    layers, samples, reference = drawn(seed, n_features, n_outputs)
    found = explain(layers, samples, reference, "relu")
    assert found.method == "exact"
    np.testing.assert_array_equal(found.outputs, outputs_of(layers, samples, "relu"))
    np.testing.assert_array_equal(found.shares, (samples - reference)[:, None, :] * layers[0].weight)
    np.testing.assert_allclose(found.base + found.shares.sum(axis=2), found.outputs, atol=1e-13 * 100)


@each_activation
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(1, 12), min_size=1, max_size=3), st.integers(1, 3))
def test_the_shares_of_a_perceptron_sum_to_its_outputs(
    activation: ActivationName, seed: int, hidden: list[int], n_outputs: int
) -> None:
    layers, samples, reference = drawn(seed, 4, *hidden, n_outputs)
    found = explain(layers, samples, reference, activation)
    assert found.method == "integrated_gradients"
    largest = np.abs(found.shares).max() + np.abs(found.outputs).max()
    assert np.abs(found.residual).max() <= 1e-8 * largest
    np.testing.assert_array_equal(found.outputs, outputs_of(layers, samples, activation))


@pytest.mark.parametrize("sizes", [(3, 5, 2), (4, 8, 6, 1)])
@each_activation
def test_the_shares_of_a_perceptron_are_torch_s_gradient_along_the_line(
    activation: ActivationName, sizes: tuple[int, ...]
) -> None:
    layers, samples, reference = drawn(3, *sizes)
    found = explain(layers, samples, reference, activation)
    tolerance = 0.01 if activation == "relu" else 1e-4  # of the oracle, which knows nothing of kinks
    for sample, shares in zip(samples, found.shares, strict=True):
        expected = path_integral(layers, sample, reference, activation, 20_000)
        np.testing.assert_allclose(shares[0], expected, atol=tolerance)


def test_the_reference_itself_has_nothing_to_explain() -> None:
    layers, _, reference = drawn(1, 3, 4, 2)
    found = explain(layers, reference[None], reference, "relu")
    assert not found.shares.any()
    assert not found.residual.any()


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_log_odds_have_the_probabilities_of_the_logits_whatever_is_added_to_these(n_classes: int) -> None:
    (layer,), samples, _ = drawn(5, 3, n_classes)
    probabilities = forward("softmax_regression", (layer,), samples, "relu").probabilities
    assert probabilities is not None
    odds = outputs_of(as_log_odds((layer,)), samples, "relu")
    if n_classes == 2:
        np.testing.assert_allclose(odds[:, 0], np.log(probabilities[:, 1] / probabilities[:, 0]))
    else:
        logs = np.log(probabilities)
        np.testing.assert_allclose(odds, logs - logs.mean(axis=1, keepdims=True), atol=1e-12)
    moved = as_log_odds((Layer(layer.weight + np.array([1.0, -2.0, 3.0]), layer.bias + 4.0),))
    np.testing.assert_allclose(outputs_of(moved, samples, "relu"), odds, atol=1e-12)
