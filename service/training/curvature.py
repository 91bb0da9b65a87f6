"""Second derivatives of a perceptron's loss, as products of its Hessian with vectors. NumPy only.

The Hessian itself is never formed. A product with it is the derivative of the gradient along a direction: every step of
the forward and of the backward pass is differentiated in turn (Pearlmutter 1994, Fast Exact Multiplication by the
Hessian; his R{·} is `..._along` here).
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from service.hyperparameters import ActivationName, Hyperparameters
from service.parameters import Layer, Layout, unflatten
from service.rules import frozen_mask
from service.tasks import LossName
from service.training.samples import Samples
from service.training.spectrum import MOST_PRODUCTS, largest_eigenvalue

Array = NDArray[np.float64]
Derivatives = tuple[Array, Callable[[Array], Array]]
"""The first derivative of the samples' losses by the outputs, and what turns a change of the outputs into its own."""


MOST_SAMPLES = 2000
SINGLE_SAMPLES = 16
MOST_WORK = 50_000_000
"""Samples times parameters in one product with the Hessian, a fraction of a second."""
MOST_SINGLE_WORK = 2_000_000
"""The same for samples that are looked at one by one."""
FEWEST_SAMPLES = 16
MOST_NUMBERS = 100_000_000
"""Parameters times products with the Hessian, after which an estimate is taken as it is, from below."""
FEWEST_PRODUCTS = 10
ESTIMATE_TOLERANCE = 0.02


class PerceptronHessian:
    """The Hessian of a perceptron's objective at one point, to be multiplied with vectors.

    The objective is the mean over samples of weight · loss, plus l2 / 2 · Σ weight² over all layers. Memory is some
    times n_samples times the units of all layers.

    Args:
        features: shape (n_samples, n_features).
        targets: shape (n_samples, n_outputs); class codes, (n_samples, 1), for cross_entropy.
        sample_weights: shape (n_samples,), of mean 1, or None.
        parameters: the point, a flat vector of shape (n_parameters,).
        layout: the shape of each layer.
        activation: what follows each layer but the last.
        loss: one for regression, a mean over outputs; or cross_entropy of the softmax of the outputs.
        l2: the penalty.

    `outputs` are those of the last layer, (n_samples, n_outputs).
    """

    def __init__(
        self,
        features: NDArray[np.floating],
        targets: NDArray[np.floating],
        sample_weights: Array | None,
        parameters: NDArray[np.floating],
        layout: Layout,
        activation: ActivationName,
        loss: LossName,
        l2: float = 0.0,
    ) -> None:
        self._layout, self._l2 = layout, l2
        self._layers = unflatten(parameters.astype(np.float64), layout)
        self._inputs = [features.astype(np.float64)]
        self._slopes: list[Array] = []  # of the activation, between each layer and the next
        self._bends: list[Array] = []
        for layer in self._layers[:-1]:
            hidden, slope, bend = _ACTIVATIONS[activation](self._inputs[-1] @ layer.weight.T + layer.bias)
            self._inputs.append(hidden)
            self._slopes.append(slope)
            self._bends.append(bend)
        self.outputs = self._inputs[-1] @ self._layers[-1].weight.T + self._layers[-1].bias
        errors, self._error_along = _LOSSES[loss](self.outputs, targets.astype(np.float64))
        self._shares = np.full((len(features), 1), 1.0) if sample_weights is None else sample_weights[:, None]
        self._shares = self._shares / len(features)
        # What is behind each layer, from the last one on: the gradient by its outputs, and by its inputs.
        self._errors, self._backs = [errors * self._shares], list[Array]()
        for layer, slope in zip(self._layers[:0:-1], self._slopes[::-1], strict=True):
            self._backs.insert(0, self._errors[0] @ layer.weight)
            self._errors.insert(0, self._backs[0] * slope)

    def __matmul__(self, vector: Array) -> Array:
        """Give the Hessian times a vector of shape (n_parameters,)."""
        directions = unflatten(vector, self._layout)
        outputs_along, inputs_along = self._forward_along(directions)
        # Written in place: where a layer has millions of weights, every copy of them counts.
        product = np.empty(len(vector))
        found = unflatten(product, self._layout)
        errors_along = self._error_along(outputs_along[-1]) * self._shares
        for number in reversed(range(len(directions))):
            direction, errors, inputs = directions[number], self._errors[number], self._inputs[number]
            if number:
                both, their_inputs = np.vstack([errors_along, errors]), np.vstack([inputs, inputs_along[number - 1]])
                np.matmul(both.T, their_inputs, out=found[number].weight)
            else:
                np.matmul(errors_along.T, inputs, out=found[number].weight)
            if self._l2:
                found[number].weight[...] += self._l2 * direction.weight
            errors_along.sum(axis=0, out=found[number].bias)
            if number:
                back_along = errors_along @ self._layers[number].weight + errors @ direction.weight
                errors_along = back_along * self._slopes[number - 1]
                errors_along += self._backs[number - 1] * self._bends[number - 1] * outputs_along[number - 1]
        return product

    def _forward_along(self, directions: tuple[Layer, ...]) -> tuple[list[Array], list[Array]]:
        """Give how the outputs of every layer change along the directions, and the inputs of all but the first."""
        outputs_along: list[Array] = []
        inputs_along: list[Array] = []
        for number, (direction, layer) in enumerate(zip(directions, self._layers, strict=True)):
            along = self._inputs[number] @ direction.weight.T + direction.bias
            if number:
                inputs_along.append(self._slopes[number - 1] * outputs_along[-1])
                along += inputs_along[-1] @ layer.weight.T
            outputs_along.append(along)
        return outputs_along, inputs_along


def n_measured(n_samples: int, n_parameters: int) -> int:
    """Tell on how many of the samples a curvature is taken: at most 2,000, and fewer when the perceptron is large."""
    return min(n_samples, int(np.clip(MOST_WORK // n_parameters, FEWEST_SAMPLES, MOST_SAMPLES)))


def largest_curvature(samples: Samples, hyperparameters: Hyperparameters, start: NDArray[np.floating]) -> float:
    """Estimate λmax of the Hessian of a perceptron's objective at the start, over what learns.

    It is taken on as many samples as `n_measured` says, evenly spread, and with a large perceptron after few products
    with the Hessian, which bounds what it costs: ten where there are ten million parameters. Where the loss is
    straight, as mae is and huber far from the targets, its curvature says nothing, and that of half_mse at targets that
    are met, the Gauss-Newton matrix, is taken instead; for huber, the larger of both.

    Args:
        samples: to train on.
        hyperparameters: with loss and hidden layers resolved.
        start: a flat vector of shape (n_parameters,).
    """
    part = _evenly(samples, n_measured(len(samples), len(start)))
    loss = hyperparameters.loss
    assert loss is not None
    if loss not in ("mae", "huber"):
        return _largest(part, hyperparameters, start, loss)
    met = Samples(part.features, _hessian(part, hyperparameters, start, loss).outputs, part.weights)
    largest = _largest(met, hyperparameters, start, "half_mse")
    return largest if loss == "mae" else max(largest, _largest(part, hyperparameters, start, loss))


def largest_sample_curvature(samples: Samples, hyperparameters: Hyperparameters, start: NDArray[np.floating]) -> float:
    """Estimate the largest λmax that a single sample's loss has at the start, from a few of them."""
    few = _evenly(samples, min(len(samples), int(np.clip(MOST_SINGLE_WORK // len(start), 1, SINGLE_SAMPLES))))
    return max(
        largest_curvature(
            Samples(few.features[[row]], few.targets[[row]], None if few.weights is None else few.weights[[row]]),
            hyperparameters,
            start,
        )
        for row in range(len(few))
    )


def perceptron_layout(hyperparameters: Hyperparameters, n_features: int, n_parameters: int) -> Layout:
    """Give the shape of each layer; how many outputs there are follows from the number of parameters."""
    assert hyperparameters.hidden_layers is not None
    sizes = [n_features, *hyperparameters.hidden_layers]
    hidden = sum(after * (before + 1) for before, after in pairwise(sizes))
    sizes.append((n_parameters - hidden) // (sizes[-1] + 1))
    return tuple((after, before) for before, after in pairwise(sizes))


def _evenly(samples: Samples, n_rows: int) -> Samples:
    if n_rows == len(samples):
        return samples
    rows = np.linspace(0, len(samples) - 1, n_rows).astype(np.int64)
    return Samples(
        samples.features[rows], samples.targets[rows], None if samples.weights is None else samples.weights[rows]
    )


def _hessian(
    samples: Samples, given: Hyperparameters, start: NDArray[np.floating], loss: LossName
) -> PerceptronHessian:
    layout = perceptron_layout(given, samples.features.shape[1], len(start))
    tables = samples.features, samples.targets, samples.weights
    return PerceptronHessian(*tables, start, layout, given.activation, loss, given.l2)


def _largest(samples: Samples, given: Hyperparameters, start: NDArray[np.floating], loss: LossName) -> float:
    hessian = _hessian(samples, given, start, loss)
    frozen = frozen_mask(given, perceptron_layout(given, samples.features.shape[1], len(start)))
    most = int(np.clip(MOST_NUMBERS // len(start), FEWEST_PRODUCTS, MOST_PRODUCTS))
    if frozen is None:
        return largest_eigenvalue(hessian.__matmul__, len(start), ESTIMATE_TOLERANCE, most)
    learns = ~frozen
    return largest_eigenvalue(
        lambda vector: learns * (hessian @ (learns * vector)), len(start), ESTIMATE_TOLERANCE, most
    )


def _relu(z: Array) -> tuple[Array, Array, Array]:
    return np.maximum(z, 0.0), (z > 0).astype(np.float64), np.zeros_like(z)


def _tanh(z: Array) -> tuple[Array, Array, Array]:
    value = np.tanh(z)
    slope = 1 - value**2
    return value, slope, -2 * value * slope


def _sigmoid(z: Array) -> tuple[Array, Array, Array]:
    value = (1 + np.tanh(z / 2)) / 2
    slope = value * (1 - value)
    return value, slope, slope * (1 - 2 * value)


_ACTIVATIONS: dict[ActivationName, Callable[[Array], tuple[Array, Array, Array]]] = {
    "relu": _relu,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
}
"""Value, first and second derivative."""


def _mse(outputs: Array, targets: Array) -> Derivatives:
    each = 2 / targets.shape[1]
    return each * (outputs - targets), lambda along: each * along


def _half_mse(outputs: Array, targets: Array) -> Derivatives:
    each = 1 / targets.shape[1]
    return each * (outputs - targets), lambda along: each * along


def _mae(outputs: Array, targets: Array) -> Derivatives:
    return np.sign(outputs - targets) / targets.shape[1], np.zeros_like


def _huber(outputs: Array, targets: Array) -> Derivatives:
    residuals = outputs - targets
    each = (np.abs(residuals) < 1) / targets.shape[1]
    return np.clip(residuals, -1, 1) / targets.shape[1], lambda along: each * along


def _cross_entropy(outputs: Array, targets: Array) -> Derivatives:
    likely = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    likely /= likely.sum(axis=1, keepdims=True)
    errors = likely.copy()
    errors[np.arange(len(errors)), targets[:, 0].astype(np.int64)] -= 1

    def along(change: Array) -> Array:
        return np.asarray(likely * (change - (likely * change).sum(axis=1, keepdims=True)))

    return errors, along


_LOSSES: dict[LossName, Callable[[Array, Array], Derivatives]] = {
    "mse": _mse,
    "half_mse": _half_mse,
    "mae": _mae,
    "huber": _huber,
    "cross_entropy": _cross_entropy,
}
