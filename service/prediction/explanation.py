"""What each feature contributes to an output, in NumPy: shares that sum to the output's distance from a base.

The base is the output at the reference, the mean of the training samples. Of a linear output w·x + b feature j has the
share wⱼ (xⱼ - rⱼ), which is exact. Of a perceptron it has its integrated gradient along the straight line from the
reference r to the sample x, (xⱼ - rⱼ) ∫₀¹ ∂f/∂xⱼ(r + α (x - r)) dα (Sundararajan, Taly, Yan (2017), Axiomatic
Attribution for Deep Networks). With relu the gradient is constant between the points where a unit starts or ends to be
active; these are found, so that the integral is exact but for rounding. With smooth activations it is a Gauss-Legendre
quadrature whose nodes are doubled until the shares sum up.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.hyperparameters import ActivationName
from service.outputs import activate, affine, outputs_of
from service.parameters import Layer, Parameters

_Array = NDArray[np.float64]
Method = Literal["exact", "integrated_gradients"]

TOLERANCE = 1e-9
"""Shares may miss the output by this part of the largest of them; a quadrature is refined until they do not."""
FEWEST_NODES, MOST_NODES = 16, 1024
NUMBERS_AT_ONCE = 2**22
LEAST_WORK = 4 * 10**7
FORWARD_WORK = 10
"""For each number of the parameters, as multiplications of the way back."""


@dataclass(frozen=True)
class Explanation:
    """Shares of the features in each output, (n, n_outputs, n_features), and the output at the reference, (n_outputs,).

    `residual`, (n, n_outputs), is what the shares and the base fall short of the output.
    """

    method: Method
    base: _Array
    shares: _Array
    outputs: _Array

    @property
    def residual(self) -> _Array:
        """What is not accounted for: rounding, and what a quadrature misses."""
        found: _Array = self.outputs - self.base - self.shares.sum(axis=2)
        return found


def explain(parameters: Parameters, features: _Array, reference: _Array, activation: ActivationName) -> Explanation:
    """Share the outputs of a model out among its features.

    Args:
        parameters: the layers, in the units of the features.
        features: finite numbers of shape (n, n_features).
        reference: the sample that is compared with, (n_features,).
        activation: what follows each hidden layer.

    Returns:
        In float64; not finite where outputs overflow.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        outputs = outputs_of(parameters, features, activation)
        base = outputs_of(parameters, reference[None], activation)[0]
        away = features - reference
        if len(parameters) == 1:
            shares = away[:, None, :] * parameters[0].weight.astype(np.float64)
            return Explanation("exact", base, shares, outputs)
        shares = np.empty((*outputs.shape, features.shape[1]))
        for sample, output in enumerate(outputs):
            line = _Line(parameters, reference, away[sample], activation)
            shares[sample] = line.shares(output - base)
        return Explanation("integrated_gradients", base, shares, outputs)


def work(parameters: Parameters, activation: ActivationName) -> int:
    """Estimate how many multiplications it takes to explain a sample of a perceptron, in time that they take.

    Its layers are gone through forward, and backward for each output, which is quicker by far, at each place on the
    line: with relu about as many as there are units. What is small takes as long as the calls do.
    """
    *hidden, last = parameters
    n_places = sum(len(layer.bias) for layer in hidden) if activation == "relu" else 4 * FEWEST_NODES
    n_numbers = sum(layer.weight.size for layer in parameters)
    return max(LEAST_WORK, n_numbers * n_places * (FORWARD_WORK + len(last.bias)))


class _Line:
    """The straight line from a reference to a sample, `away` from it, through a perceptron."""

    def __init__(self, parameters: Parameters, reference: _Array, away: _Array, activation: ActivationName) -> None:
        self._layers = tuple(
            Layer(layer.weight.astype(np.float64), layer.bias.astype(np.float64)) for layer in parameters
        )
        self._reference, self._away, self._activation = reference, away, activation

    def shares(self, distance: _Array) -> _Array:
        """Integrate each output's gradient, (n_outputs, n_features), to sum to its `distance`, (n_outputs,)."""
        if self._activation == "relu":
            ends = self._kinks()
            return self._integral((ends[1:] + ends[:-1]) / 2, np.diff(ends))
        n_nodes = FEWEST_NODES
        while True:
            nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
            found = self._integral((nodes + 1) / 2, weights / 2)
            missed = np.abs(found.sum(axis=1) - distance)
            if n_nodes >= MOST_NODES or (missed <= TOLERANCE * np.abs(found).max(axis=1, initial=0.0)).all():
                return found
            n_nodes *= 2

    def _kinks(self) -> _Array:
        """Give the places on the line, 0 and 1 among them, between which no unit of a relu changes its side."""
        places = np.array([0.0, 1.0])
        for n_layers in range(1, len(self._layers)):
            sums = self._sums(places, n_layers)
            before, after = sums[:-1], sums[1:]
            gap, unit = np.nonzero(np.sign(before) * np.sign(after) < 0)
            low, high = before[gap, unit], after[gap, unit]
            crossings = places[gap] + (places[gap + 1] - places[gap]) * (low / (low - high))
            places = np.unique(np.concatenate([places, crossings]))
        return places

    def _sums(self, places: _Array, n_layers: int) -> _Array:
        """Give what the units of the last of some layers sum up, at these places, (n_places, n_units)."""
        values = self._reference + places[:, None] * self._away
        for layer in self._layers[: n_layers - 1]:
            values = activate(affine(values, layer), self._activation)
        return affine(values, self._layers[n_layers - 1])

    def _integral(self, places: _Array, weights: _Array) -> _Array:
        """Sum up weighted gradients at places on the line, times the way, some places at a time."""
        *hidden, last = self._layers
        widest = max(layer.weight.shape[0] for layer in hidden)
        at_once = max(1, NUMBERS_AT_ONCE // (widest * last.weight.shape[0]))
        total = np.zeros((last.weight.shape[0], len(self._away)))
        for first in range(0, len(places), at_once):
            some = slice(first, first + at_once)
            values, slopes = self._reference + places[some, None] * self._away, []
            for layer in hidden:
                sums = affine(values, layer)
                values = activate(sums, self._activation)
                slopes.append(_slope(sums, values, self._activation))
            gradient = np.broadcast_to(last.weight, (len(values), *last.weight.shape))
            for layer, slope in zip(hidden[:0:-1], slopes[:0:-1], strict=True):
                gradient = (gradient * slope[:, None, :]) @ layer.weight
            # The first layer is applied once, to the sum over all places.
            total += np.einsum("p,pou,pu->ou", weights[some], gradient, slopes[0]) @ hidden[0].weight
        return total * self._away


def _slope(sums: _Array, values: _Array, activation: ActivationName) -> _Array:
    """Give the derivative of an activation, by what went in and what came out."""
    if activation == "relu":
        return (sums > 0).astype(np.float64)
    return 1 - values**2 if activation == "tanh" else values * (1 - values)


def as_log_odds(parameters: Parameters) -> Parameters:
    """Turn a classifier of several logits into one of log-odds, of the same probabilities.

    Of two classes that is one output, the log-odds of the second; of more it is a logit each, less the mean of all:
    adding the same to all logits changes no probability, so it shall change no explanation.
    """
    *hidden, last = parameters
    weight, bias = last.weight.astype(np.float64), last.bias.astype(np.float64)
    if len(bias) == 2:
        return (*hidden, Layer(weight[1:] - weight[:1], bias[1:] - bias[:1]))
    if len(bias) > 2:
        return (*hidden, Layer(weight - weight.mean(axis=0), bias - bias.mean()))
    return parameters
