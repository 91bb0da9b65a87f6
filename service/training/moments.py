"""Moments of the data from one pass: means, and centred second moments, of features and residuals. NumPy only.

Everything that a quadratic objective or a bound on curvature needs to know of any number of samples. Residuals are
those of a plane that fits the first rows: near it, squared residuals follow from the moments with few digits lost, and
no second pass has to count them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.training.native.library import LIBRARY, Library
from service.training.native.moments import is_narrow, sums_of_products
from service.training.origin import Origin, Table, mean_of, origin_of
from service.training.threads import in_parallel, shares

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

CHUNK_BYTES = 2**20
"""A chunk of rows stays in a core's cache, beside its shift, while it is centred and multiplied."""
SMALL_TABLE = 2**22
"""Tables of up to so many numbers are multiplied in float64, whatever their dtype: it costs nothing."""
LEAST_VARIANCE = 1e-290
"""Of less than this too few digits are left in float64 to go by."""
ROUNDED = 1e-3
LEAST_CORRELATION = 0.1
"""Where the correlations, which are 1 on average, have no smaller eigenvalue, float32 has digits enough for them."""
LOST = 16.0
"""Squared residuals may come from terms up to so many times as large, which cancel."""


@dataclass(frozen=True)
class Moments:
    """Means and centred second moments of features and residuals, in float64; the moments are divided by n_samples.

    A residual is target - features · weight - bias with the weight and the bias of `plane`. With sample weights (of
    mean 1) each sample counts by its weight. `rounding` is the relative precision in which products were taken. Numbers
    whose squares overflow leave infinities or NaN behind.
    """

    feature_mean: Array  # (n_features,)
    plane: Array  # (n_features + 1, n_targets), the last row being the bias
    residual_mean: Array  # (n_targets,)
    feature_covariance: Array  # (n_features, n_features)
    cross_covariance: Array  # (n_features, n_targets), of features and residuals
    residual_variance: Array  # (n_targets,)
    rounding: float

    @cached_property
    def deviation(self) -> Array:
        """The features' standard deviations, (n_features,)."""
        return np.sqrt(np.maximum(self.feature_covariance.diagonal(), 0.0))

    @cached_property
    def second_moment(self) -> Array:
        """X̃ᵀX̃ / n_samples, X̃ being the features and a column of ones: (n_features + 1, n_features + 1)."""
        moment = np.ones((len(self.feature_mean) + 1,) * 2)
        moment[-1, :-1] = moment[:-1, -1] = mean = self.feature_mean
        with np.errstate(over="ignore", invalid="ignore"):
            np.add(self.feature_covariance, mean[:, None] * mean, out=moment[:-1, :-1])
        return moment

    @property
    def has_digits(self) -> bool:
        """Whether rounding of float32 is small even where the features vary least, but for their scales."""
        varies = self.deviation > 0
        size = self.deviation[varies, None]
        correlations = self.feature_covariance[np.ix_(varies, varies)] / (size * size.T)
        try:
            np.linalg.cholesky(correlations - LEAST_CORRELATION * np.eye(len(size)))
        except np.linalg.LinAlgError:
            return False
        return bool(np.isfinite(correlations).all())

    def mean_squares(self, parameters: Array) -> float | None:
        """Give the sum over targets of the mean squared residual at parameters of the shape of `plane`.

        Returns:
            Infinity where squares overflow. None where more than a digit would cancel: far from the plane for so small
            a residual. Then the samples have to be gone through.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            away = parameters - self.plane
            weight = away[:-1]
            mean = self.residual_mean - self.feature_mean @ weight - away[-1]
            moved = np.einsum("ft,ft->t", weight, self.feature_covariance @ weight - 2 * self.cross_covariance)
            squares = self.residual_variance + moved + np.square(mean)
            reach = self.deviation @ np.abs(weight)
            size = self.residual_variance + np.square(self.residual_mean) + np.square(reach)
            return float(squares.sum()) if (size <= LOST * squares).all() else None

    def is_standardised(self, varies: Mask, *, centred: bool) -> bool:
        """Tell whether `scale: standard` would change nothing, but for rounding: see `standardised`."""
        has_unit_scale = bool((np.abs(self.deviation[varies] - 1) < ROUNDED).all())
        return has_unit_scale and (not centred or bool((np.abs(self.feature_mean) < ROUNDED).all()))

    def standardised(self, by: "Moments", varies: Mask, *, centred: bool) -> "Moments":
        """Give the moments of the features after `scale: standard`.

        Args:
            by: the moments of the same data without sample weights, which scaling leaves out: its means are taken away,
                and what varies is divided by its standard deviations.
            varies: which features vary, (n_features,).
            centred: whether means are taken away.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            scale = 1 / np.where(varies, np.maximum(by.deviation, math.sqrt(LEAST_VARIANCE)), 1.0)
            taken = by.feature_mean if centred else np.zeros_like(by.feature_mean)
            weight, bias = self.plane[:-1], self.plane[-1:]
            return Moments(
                (self.feature_mean - taken) * scale,
                np.concatenate([weight / scale[:, None], bias + taken @ weight]),
                self.residual_mean,
                np.where(np.outer(varies, varies), self.feature_covariance * scale * scale[:, None], 0.0),
                self.cross_covariance * scale[:, None],
                self.residual_variance,
                self.rounding,
            )


def moments(
    features: Table, targets: Table, weights: Array | None = None, library: Library | None = LIBRARY
) -> Moments:
    """Take the moments in one pass over the rows, at about the price of one product featuresᵀ · features, or less.

    What is multiplied is counted from an origin that the first chunk gives; products are taken in the features' own
    precision (see `in_digits_enough`), and summed across chunks in float64 (Chan, Golub and LeVeque 1983, Algorithms
    for Computing the Sample Variance). Memory beside the data is bounded, by some times CHUNK_BYTES and the result.

    Args:
        features: shape (n_samples, n_features), float32 or float64.
        targets: shape (n_samples, n_targets).
        weights: how much each sample counts, shape (n_samples,), of mean 1; None when all count alike.
        library: the compiled code, which takes narrow tables; NumPy does all when None.
    """

    def taken_in(dtype: np.dtype[Any]) -> Moments:
        rows = min(len(features), max(64, CHUNK_BYTES // (dtype.itemsize * (features.shape[1] + targets.shape[1]))))
        first = features[:rows], targets[:rows]
        if is_small:  # a second pass, which counts squared residuals to the last digit, costs next to nothing
            origin = Origin(mean_of(first[0]), mean_of(first[1]), np.zeros((features.shape[1], targets.shape[1])))
        else:
            origin = origin_of(*first, dtype)
        if library is not None and is_narrow(features, targets, dtype):
            square, cross, residual_sums = _compiled_sums(features, targets, weights, origin, library)
        else:
            square, cross, residual_sums = _sums(features, targets, weights, origin, rows)
        n = len(features)
        return moments_from(origin, square / n, cross / n, residual_sums / n)

    is_small = features.size <= SMALL_TABLE
    with np.errstate(over="ignore", invalid="ignore"):
        return in_digits_enough(taken_in, np.dtype(np.float64) if is_small else features.dtype)


def in_digits_enough(taken_in: Callable[[np.dtype[Any]], Moments], dtype: np.dtype[Any]) -> Moments:
    """Take moments in a precision, and in float64 where that lacks the digits.

    What is lost in the products is lost to all epochs of the exact engine, along the directions in which correlated
    features vary least. An iteration in float32 comes to no harm there: it takes the gradient anew at each step.
    """
    found = taken_in(dtype)
    return found if dtype == np.float64 or found.has_digits else taken_in(np.dtype(np.float64))


def moments_from(origin: Origin, square: Array, cross: Array, residual_sums: Array) -> Moments:
    """Centre mean products.

    Args:
        origin: what was multiplied is counted from there.
        square: those of features with features, (n_features, n_features).
        cross: of residuals, and last of ones, with features, (n_targets + 1, n_features).
        residual_sums: of residuals with ones and with themselves, (2, n_targets).
    """
    off, (mean, residual_square) = cross[-1], residual_sums
    return Moments(
        origin.shift + off,
        origin.plane,
        mean,
        square - off[:, None] * off,
        cross[:-1].T - off[:, None] * mean,
        np.maximum(residual_square - mean**2, 0.0),
        float(np.finfo(origin.shift.dtype).eps),
    )


def _compiled_sums(
    features: Table, targets: Table, weights: Array | None, origin: Origin, library: Library
) -> tuple[Array, Array, Array]:
    """Sum the products that `moments_from` takes the means of, in compiled code."""
    n_features = features.shape[1]
    sums = sums_of_products(features, targets, weights, origin, library)
    half = np.tril(sums[:n_features, :n_features])
    residual_sums = np.array([sums[-1, n_features:-1], sums.diagonal()[n_features:-1]])
    return half + np.tril(half, -1).T, sums[n_features:, :n_features], residual_sums


def _sums(
    features: Table, targets: Table, weights: Array | None, origin: Origin, rows: int
) -> tuple[Array, Array, Array]:
    """Sum the products that `moments_from` takes the means of, over chunks of so many rows."""
    sums = in_parallel(
        lambda starts: _sums_of_chunks(features, targets, weights, origin, rows, starts),
        shares(len(features), rows, features.size),
    )
    square, cross, residual_sums = (sum(parts[1:], parts[0]) for parts in zip(*sums, strict=True))
    return square, cross, residual_sums


def _sums_of_chunks(
    features: Table, targets: Table, weights: Array | None, origin: Origin, rows: int, starts: range
) -> tuple[Array, Array, Array]:
    """Sum the products over the chunks of so many rows that start there."""
    n_features, n_targets, dtype = features.shape[1], targets.shape[1], origin.shift.dtype
    # One for every row of a chunk: without broadcasting, short rows are centred at the speed of long ones.
    shifts, copied = np.full((rows, n_features), origin.shift), np.empty((rows, n_features), dtype)
    is_copied = weights is not None or dtype != features.dtype or bool(origin.shift.any())
    is_plane = bool(origin.weight.any())
    answers = np.ones((n_targets + 1, rows), dtype)  # the last row, of ones, makes products with it sums
    product, square = np.empty((n_features, n_features), dtype), np.zeros((n_features, n_features))
    cross, residual_sums = np.zeros((n_targets + 1, n_features)), np.zeros((2, n_targets))
    # Warnings are turned off thread by thread.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in starts:
            its, answer = features[start : start + rows], targets[start : start + rows]
            residuals = answers[:, : len(its)]
            np.subtract(answer.T, origin.target_shift[:, None], out=residuals[:-1])
            if is_copied:
                its = np.subtract(its, shifts[: len(its)], out=copied[: len(its)])
            if weights is not None:
                root = np.sqrt(weights[start : start + rows]).astype(dtype)
                its *= root[:, None]
                residuals[:-1] *= root
                residuals[-1] = root
            if is_plane:
                residuals[:-1] -= (its @ origin.weight).T
            square += np.dot(its.T, its, out=product)
            cross += residuals @ its
            residual_sums += np.vecdot(residuals[:-1], residuals[-1]), np.vecdot(residuals[:-1], residuals[:-1])
    return square, cross, residual_sums


def largest_square(features: Table, weights: Array | None, plus: float) -> float:
    """Give the largest weight · (|row|² + plus) over the rows of features; infinite where squares overflow."""
    rows = max(64, CHUNK_BYTES // (features.itemsize * max(1, features.shape[1])))
    largest = 0.0
    with np.errstate(over="ignore"):
        for start in range(0, len(features), rows):
            chunk = features[start : start + rows]
            squares = np.einsum("ij,ij->i", chunk, chunk) + plus
            if weights is not None:
                squares = squares * weights[start : start + rows]
            largest = max(largest, float(squares.max()))
    return largest
