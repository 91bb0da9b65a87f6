"""What samples are counted from while their moments are taken, so that few digits cancel. NumPy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Table = NDArray[np.floating]

SMALL_MEAN = 0.5
"""Means of up to so many standard deviations may stay in what is multiplied: rounding grows by a quarter.

Then products take the table as it is, and no copy is made.
"""
ROWS_A_FEATURE = 8
"""A plane is fitted to so many rows for each feature, or not at all."""
RIDGE = 1e-5
"""Added to the correlations that a plane is solved from; above their rounding in float32, it keeps weights small."""


@dataclass(frozen=True)
class Origin:
    """What samples are counted from, so that what is multiplied is small; zeros where there is nothing to take away.

    A residual is target - target_shift - (features - shift) · weight.
    """

    shift: Table  # (n_features,)
    target_shift: Table  # (n_targets,)
    weight: Table  # (n_features, n_targets)

    @property
    def plane(self) -> Array:
        """The weight and the bias that residuals are those of, (n_features + 1, n_targets)."""
        weight, shift = self.weight.astype(np.float64), self.shift.astype(np.float64)
        return np.concatenate([weight, [self.target_shift - shift @ weight]])


def origin_of(features: Table, targets: Table, dtype: np.dtype[np.floating]) -> Origin:
    """Choose an origin from the first rows.

    Features are counted from their means, unless all of these are small; targets from a plane, by least squares with a
    small penalty, or from their means where there are too few rows. Any origin gives the same moments but for rounding.

    Args:
        features, targets: the first rows.
        dtype: that of the products.
    """
    mean, target_mean = mean_of(features), mean_of(targets)
    centred, answers = features - mean.astype(dtype), targets - target_mean
    covariance = np.dot(centred.T, centred).astype(np.float64) / len(features)
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    shift = np.zeros_like(mean) if (abs(mean) <= SMALL_MEAN * deviation).all() else mean
    size = np.where(deviation > 0, deviation, 1.0)[:, None]
    correlations = covariance / (size * size.T) + RIDGE * np.eye(len(size))
    weight = np.zeros((features.shape[1], targets.shape[1]))
    if len(features) >= ROWS_A_FEATURE * len(size) and np.isfinite(correlations).all():
        weight = np.linalg.solve(correlations, centred.T @ answers / len(features) / size) / size
    shift, weight = shift.astype(dtype), weight.astype(dtype)
    return Origin(shift, (target_mean - (mean - shift) @ weight).astype(dtype), weight)


def mean_of(table: Table) -> Array:
    """Give the mean of each column."""
    total: Array = np.add.reduce(table, axis=0, dtype=np.float64)
    return total / len(table)
