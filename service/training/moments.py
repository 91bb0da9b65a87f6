"""Moments of the data from one pass: means, and centred second moments, of features and targets. NumPy only.

Everything that a quadratic objective or a bound on curvature needs to know of any number of samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.training.threads import in_parallel, shares

Array = NDArray[np.float64]
Table = NDArray[np.floating]
Mask = NDArray[np.bool_]

CHUNK_BYTES = 2**20
"""A chunk of rows stays in a core's cache, beside its shift, while it is centred and multiplied."""
SMALL_TABLE = 2**22
"""Tables of up to so many numbers are multiplied in float64, whatever their dtype: it costs nothing."""
LEAST_VARIANCE = 1e-290
"""Of less than this too few digits are left in float64 to go by."""
ROUNDED = 1e-3


@dataclass(frozen=True)
class Moments:
    """Means and centred second moments of features and targets, in float64; the moments are divided by n_samples.

    With sample weights (of mean 1) each sample counts by its weight. `rounding` is the relative precision in which
    products were taken. Numbers whose squares overflow leave infinities or NaN behind.
    """

    feature_mean: Array  # (n_features,)
    target_mean: Array  # (n_targets,)
    feature_covariance: Array  # (n_features, n_features)
    cross_covariance: Array  # (n_features, n_targets)
    target_variance: Array  # (n_targets,)
    rounding: float

    def second_moment(self) -> Array:
        """Give X̃ᵀX̃ / n_samples, X̃ being the features and a column of ones: (n_features + 1, n_features + 1)."""
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.append(self.feature_mean, 1.0)
            moment = np.outer(mean, mean)
            moment[:-1, :-1] += self.feature_covariance
        return moment

    def is_standardised(self, varies: Mask, *, centred: bool) -> bool:
        """Tell whether `scale: standard` would change nothing, but for rounding: see `standardised`."""
        deviation = np.sqrt(np.maximum(np.diag(self.feature_covariance), 0.0))
        has_unit_scale = bool((np.abs(deviation[varies] - 1) < ROUNDED).all())
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
            scale = 1 / np.where(varies, np.sqrt(np.maximum(np.diag(by.feature_covariance), LEAST_VARIANCE)), 1.0)
            return Moments(
                (self.feature_mean - (by.feature_mean if centred else 0.0)) * scale,
                self.target_mean,
                np.where(np.outer(varies, varies), self.feature_covariance * scale * scale[:, None], 0.0),
                self.cross_covariance * scale[:, None],
                self.target_variance,
                self.rounding,
            )


def moments(features: Table, targets: Table, weights: Array | None = None) -> Moments:
    """Take the moments in one pass over the rows, at about the price of one product featuresᵀ · features.

    Each chunk is shifted by the mean of the first one, so that what is multiplied is small; products are taken in the
    features' own precision, and summed across chunks in float64 (Chan, Golub and LeVeque 1983, Algorithms for Computing
    the Sample Variance). Memory beside the data is bounded, by some times CHUNK_BYTES and the result.

    Args:
        features: shape (n_samples, n_features), float32 or float64.
        targets: shape (n_samples, n_targets).
        weights: how much each sample counts, shape (n_samples,), of mean 1; None when all count alike.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _moments(features, targets, weights)


def _moments(features: Table, targets: Table, weights: Array | None) -> Moments:
    n_samples = len(features)
    dtype = np.dtype(np.float64) if features.size <= SMALL_TABLE else features.dtype
    rows = min(n_samples, max(64, CHUNK_BYTES // (dtype.itemsize * (features.shape[1] + targets.shape[1]))))
    shift, target_shift = (_mean(table[:rows], dtype) for table in (features, targets))
    # One for every row of a chunk: without broadcasting, short rows are centred at the speed of long ones.
    shifts = np.full((rows, features.shape[1]), shift)
    sums = in_parallel(
        lambda starts: _sums(features, targets, weights, shifts, target_shift, starts),
        shares(n_samples, rows, features.size),
    )
    square, cross, target_sums = (sum(parts[1:], parts[0]) / n_samples for parts in zip(*sums, strict=True))
    off, (target_off, target_square) = cross[-1], target_sums
    return Moments(
        shift + off,
        target_shift + target_off,
        square - np.outer(off, off),
        cross[:-1].T - np.outer(off, target_off),
        np.maximum(target_square - target_off**2, 0.0),
        float(np.finfo(dtype).eps),
    )


def _sums(
    features: Table,
    targets: Table,
    weights: Array | None,
    shifts: Table,
    target_shift: Table,
    starts: range,
) -> tuple[Array, Array, Array]:
    """Sum the products of shifted rows over the chunks that start there; each chunk has as many rows as `shifts`.

    Gives those of features with features; of targets, and last of ones, with features, (n_targets + 1, n_features); and
    of targets with ones and with themselves, (2, n_targets).
    """
    (rows, n_features), n_targets, dtype = shifts.shape, targets.shape[1], shifts.dtype
    centred = np.empty((rows, n_features), dtype)
    answers = np.ones((n_targets + 1, rows), dtype)  # the last row, of ones, makes products with it sums
    product, square = np.empty((n_features, n_features), dtype), np.zeros((n_features, n_features))
    cross, target_sums = np.zeros((n_targets + 1, n_features)), np.zeros((2, n_targets))
    # Warnings are turned off thread by thread.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in starts:
            part = slice(start, start + rows)
            n = len(features[part])
            its, answer = centred[:n], answers[:, :n]
            np.subtract(features[part], shifts[:n], out=its)
            np.subtract(targets[part].T, target_shift[:, None], out=answer[:-1])
            if weights is not None:
                root = np.sqrt(weights[part]).astype(dtype)
                its *= root[:, None]
                answer[:-1] *= root
                answer[-1] = root
            square += np.dot(its.T, its, out=product)
            cross += answer @ its
            target_sums += np.vecdot(answer[:-1], answer[-1]), np.vecdot(answer[:-1], answer[:-1])
    return square, cross, target_sums


def _mean(table: Table, dtype: np.dtype[np.floating]) -> Table:
    mean: Table = table.mean(axis=0, dtype=np.float64).astype(dtype)
    return mean


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
