"""A quadratic objective, known from the moments of the data: its Hessian, and its gradient anywhere.

For each output, objective(p) = s/2 · mean (y - w·x - b)² + l2/2 · |w|², with p the weight w and the bias b, and s the
second derivative of a sample's loss (2 / n_outputs for mse, 1 / n_outputs for half_mse).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.hyperparameters import Hyperparameters
from service.training.moments import SMALL_TABLE, Moments, moments
from service.training.samples import Samples
from service.training.threads import in_parallel, shares

Array = NDArray[np.float64]
Entry = TypeVar("Entry", bound=np.generic)
MeanSquares = Callable[[Array], float]
"""From parameters, (n_features + 1, n_outputs), to the mean squared residual of the samples it is for."""

CHUNK_BYTES = 2**20
"""A chunk of rows stays in a core's cache."""
NEARLY_FLAT = 1e-8
"""Modes of less curvature than this share of the largest are followed from the start, the others from the optimum."""
ROUNDING = 8.0
"""What rounding of the products amounts to in an eigenvalue, in units of their precision and the sum of eigenvalues."""


@dataclass(frozen=True)
class Quadratic:
    """The objective; columns are outputs, the last row is the bias.

    Args:
        found: moments of the training samples.
        second_derivative: of a sample's loss by one of its outputs.
        l2: the penalty on the weights.
    """

    found: Moments
    second_derivative: float
    l2: float

    @cached_property
    def hessian(self) -> Array:
        """The Hessian, (n_features + 1, n_features + 1), the same for every output."""
        hessian = self.second_derivative * self.found.second_moment
        if self.l2:
            hessian[np.diag_indices(len(hessian) - 1)] += self.l2
        return hessian

    @cached_property
    def linear(self) -> Array:
        """The linear part, (n_features + 1, n_outputs): the gradient is hessian · (parameters - plane) - linear."""
        found = self.found
        of_weight = found.cross_covariance + found.feature_mean[:, None] * found.residual_mean
        linear = self.second_derivative * np.concatenate([of_weight, [found.residual_mean]])
        if self.l2:
            linear[:-1] -= self.l2 * found.plane[:-1]
        return linear

    @cached_property
    def is_finite(self) -> bool:
        """Whether no number is so large that squares overflow."""
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(np.isfinite(self.hessian).all() and np.isfinite(self.linear).all())

    @property
    def precision(self) -> float:
        """The precision of the products of centred features, in units of the Hessian's eigenvalues."""
        return self.found.rounding * self.second_derivative * float(self.found.feature_covariance.trace())

    @property
    def rounding(self) -> float:
        """Up to what an eigenvalue of the Hessian may come from the rounding of these products."""
        return ROUNDING * self.precision

    def among(self, free: NDArray[np.bool_]) -> Array:
        """Give the Hessian over those parameters alone that are free, (n_features + 1,)."""
        return self.hessian if free.all() else self.hessian[free][:, free]

    def gradient(self, parameters: Array) -> Array:
        """Give the gradient at parameters, both of shape (n_features + 1, n_outputs)."""
        return self.hessian @ (parameters - self.found.plane) - self.linear


def loss_curvature(hyperparameters: Hyperparameters, n_outputs: int) -> float:
    """Give the largest second derivative of a sample's loss by its outputs; for mae, without one, that of half_mse."""
    match hyperparameters.loss:
        case "binary_cross_entropy":
            return 0.25
        case "cross_entropy":
            return 0.5
        case "mse":
            return 2 / n_outputs
    return 1 / n_outputs


def quadratic_of(found: Moments, hyperparameters: Hyperparameters, n_outputs: int) -> Quadratic:
    """Give the objective of a model without hidden layers where it is quadratic, else one that is curved no less.

    Args:
        found: moments of the training samples.
        hyperparameters: with the loss resolved; the penalty l1, which is not curved, is left out.
        n_outputs: of the model.
    """
    return Quadratic(found, loss_curvature(hyperparameters, n_outputs), hyperparameters.l2)


def to_columns(vector: NDArray[Entry], n_outputs: int) -> NDArray[Entry]:
    """Bring a flat vector, weights by output and then the biases, to shape (n_features + 1, n_outputs)."""
    weight, bias = vector[:-n_outputs], vector[-n_outputs:]
    return np.concatenate([weight.reshape(n_outputs, -1).T, bias[None]])


def mean_squares(samples: Samples, parameters: Array) -> float:
    """Give the sum over outputs of the mean squared residual, in one pass; infinite where squares overflow.

    Args:
        samples: in the dtype of the training; small tables are gone through in float64.
        parameters: shape (n_features + 1, n_outputs), the last row being the bias.
    """
    features, targets, weights = samples.features, samples.targets, samples.weights
    dtype = np.dtype(np.float64) if features.size <= SMALL_TABLE else features.dtype
    weight, bias = parameters[:-1].astype(dtype), parameters[-1].astype(dtype)
    rows = max(64, CHUNK_BYTES // (dtype.itemsize * features.shape[1]))

    def squares_from(starts: range) -> float:
        total = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for start in starts:
                part = slice(start, start + rows)
                outputs = features[part].astype(dtype, copy=False) @ weight
                residuals = targets[part].astype(dtype, copy=False) - outputs - bias
                squares = np.square(residuals, out=residuals)
                # Never a sum along the outputs: over rows of one number it takes longer than the product.
                sums = squares if weights is None else weights[part] @ squares
                total += float(sums.sum(dtype=np.float64))
        return total

    return sum(in_parallel(squares_from, shares(len(features), rows, features.size))) / len(features)


def known_or_counted(
    found: Moments,
    samples: Samples,
    parameters: Array,
    counted: Callable[[Samples, Array], float] = mean_squares,
) -> float:
    """Give the sum over outputs of the mean squared residual: from the moments of a large table that have the digits.

    Else it is counted in a pass, which costs next to nothing where the table is small.
    """
    known = found.mean_squares(parameters) if samples.features.size > SMALL_TABLE else None
    return counted(samples, parameters) if known is None else known


class QuadraticLoss:
    """The loss of a set of samples, at many parameters at once, without going through the samples for each.

    Args:
        samples: of any number.
        second_derivative: of a sample's loss by one of its outputs.
        start: of the descent, shape (n_features + 1, n_outputs); along modes that are nearly flat, for which a lowest
            point would be far away and mostly rounding, the loss is followed from there.
    """

    def __init__(self, samples: Samples, second_derivative: float, start: Array) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            found = moments(samples.features, samples.targets, samples.weights)
            quadratic = Quadratic(found, second_derivative, 0.0)
            self._is_finite = quadratic.is_finite
            if not self._is_finite:
                return
            curvatures, self._modes = np.linalg.eigh(quadratic.hessian)
            self._curvatures = np.maximum(curvatures, 0.0)
            curved = self._curvatures > NEARLY_FLAT * self._curvatures[-1]
            reach = (self._modes.T @ quadratic.gradient(start))[curved] / self._curvatures[curved, None]
            self._lowest = start - self._modes[:, curved] @ reach
            self._slopes = np.where(curved, 0.0, (self._modes.T @ quadratic.gradient(self._lowest)).T)
            self._lowest_loss = second_derivative / 2 * known_or_counted(found, samples, self._lowest)

    def at(self, parameters: Array) -> Array:
        """Give the loss, (n_steps,), at parameters of shape (n_outputs, n_features + 1, n_steps)."""
        if not self._is_finite:
            return np.full(parameters.shape[2], np.inf)
        away = self._modes.T @ (parameters - self._lowest.T[:, :, None])
        total: Array = self._lowest_loss + np.einsum("m,omk,omk->k", self._curvatures / 2, away, away)
        total += np.einsum("om,omk->k", self._slopes, away)
        return np.maximum(total, 0.0)  # rounding may take it below
