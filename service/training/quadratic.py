"""A quadratic objective, known from one pass over the data: its Hessian, and its gradient anywhere.

For each output, objective(p) = s/2 · mean (y - w·x - b)² + l2/2 · |w|², with p the weight w and the bias b, and s the
second derivative of a sample's loss (2 / n_outputs for mse, 1 / n_outputs for half_mse).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Table = NDArray[np.floating]

CHUNK_BYTES = 2 * 2**20
"""A chunk of rows stays in a core's cache while it is centred and multiplied."""


@dataclass(frozen=True)
class Moments:
    """Means and centred second moments of features and targets, in float64; the moments are divided by n_samples."""

    feature_mean: Array  # (n_features,)
    target_mean: Array  # (n_targets,)
    feature_covariance: Array  # (n_features, n_features)
    cross_covariance: Array  # (n_features, n_targets)


@dataclass(frozen=True)
class Quadratic:
    """Hessian and linear part of the objective; columns are outputs, the last row is the bias."""

    hessian: Array  # (n_features + 1, n_features + 1), the same for every output
    linear: Array  # (n_features + 1, n_outputs), so that the gradient is hessian · parameters - linear

    def gradient(self, parameters: Array) -> Array:
        """Give the gradient at parameters, both of shape (n_features + 1, n_outputs)."""
        return self.hessian @ parameters - self.linear


def quadratic_of(features: Table, targets: Table, second_derivative: float, l2: float) -> Quadratic:
    """Take the quadratic objective from one pass over the data.

    Args:
        features: shape (n_samples, n_features), float32 or float64.
        targets: shape (n_samples, n_outputs), of the same dtype.
        second_derivative: of a sample's loss by one of its outputs.
        l2: the penalty on the weights.
    """
    found = moments(features, targets)
    mean = np.append(found.feature_mean, 1.0)
    hessian = np.outer(mean, mean)
    linear = np.outer(mean, found.target_mean)
    hessian[:-1, :-1] += found.feature_covariance
    linear[:-1] += found.cross_covariance
    hessian *= second_derivative
    hessian[np.diag_indices(len(hessian) - 1)] += l2
    return Quadratic(hessian, second_derivative * linear)


def moments(features: Table, targets: Table) -> Moments:
    """Take the moments in one pass over the rows.

    Each chunk is shifted by the mean of the first one, so that what is multiplied is small; products are taken in the
    features' own precision, and summed across chunks in float64 (Chan, Golub and LeVeque 1983, Algorithms for Computing
    the Sample Variance).
    """
    n_samples, n_features = features.shape
    rows = max(64, CHUNK_BYTES // (features.itemsize * (n_features + targets.shape[1])))
    shift, target_shift = features[:rows].mean(axis=0), targets[:rows].mean(axis=0)
    feature_sum, target_sum = np.zeros(n_features), np.zeros(targets.shape[1])
    square, cross = np.zeros((n_features, n_features)), np.zeros((n_features, targets.shape[1]))
    for start in range(0, n_samples, rows):
        chunk, answers = features[start : start + rows] - shift, targets[start : start + rows] - target_shift
        feature_sum += chunk.sum(axis=0)
        target_sum += answers.sum(axis=0)
        square += chunk.T @ chunk
        cross += chunk.T @ answers
    off, target_off = feature_sum / n_samples, target_sum / n_samples
    return Moments(
        shift + off,
        target_shift + target_off,
        square / n_samples - np.outer(off, off),
        cross / n_samples - np.outer(off, target_off),
    )


def mean_squares(features: Table, targets: Table, parameters: Array) -> float:
    """Give the sum over outputs of the mean squared residual, in one pass; infinite where squares overflow."""
    weight, bias = parameters[:-1].astype(features.dtype), parameters[-1].astype(features.dtype)
    rows = max(64, CHUNK_BYTES // (features.itemsize * features.shape[1]))
    total = 0.0
    for start in range(0, len(features), rows):
        residuals = targets[start : start + rows] - features[start : start + rows] @ weight - bias
        total += float(np.square(residuals).sum(dtype=np.float64))
    return total / len(features)
