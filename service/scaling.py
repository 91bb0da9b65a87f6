"""Scaling: the units that training happens in, and the way between them and the original ones.

Features and targets become (value - mean) / scale, column by column. Both are affine, so a model of layers that learned
in scaled units is exactly one in original units: its first layer takes up the features' scaling, its last the targets'.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from service.dataset import Table
from service.hyperparameters import ScaleName
from service.parameters import Layout, unflatten
from service.room import room_for, slices_of

_Array = NDArray[np.float64]
Rows = NDArray[np.int64]

_READ_AT_ONCE = 2**18
_ROUNDING = 10 * float(np.finfo(np.float64).eps)
"""A standard deviation of up to this share of a column's largest number is put down to rounding."""
_SMALLEST = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Scaling:
    """Mean and scale of each feature, (n_features,), and of each target, (n_targets,), all float64.

    What is not scaled has mean 0 and scale 1: also the one column of class codes, whatever the number of classes.

    The methods take flat vectors of parameters or gradients, (..., n_parameters), many at once if need be, and give
    float64 of the same shape. What is beyond the largest number becomes infinite without a warning.
    """

    feature_mean: _Array
    feature_scale: _Array
    target_mean: _Array
    target_scale: _Array

    def scale_features(self, features: Table, dtype: DTypeLike, rows: Rows | None = None) -> Table:
        """Bring some rows of features, (n_samples, n_features), to scaled units, computed in float64; all when None."""
        return _scaled(features, rows, self.feature_mean, self.feature_scale, dtype)

    def scale_targets(self, targets: Table, dtype: DTypeLike, rows: Rows | None = None) -> Table:
        """Bring some rows of targets, (n_samples, n_targets), to scaled units, computed in float64; all when None."""
        return _scaled(targets, rows, self.target_mean, self.target_scale, dtype)

    def to_original(self, vectors: NDArray[Any], layout: Layout) -> _Array:
        """Give the parameters in original units of models in scaled units.

        The first layer becomes W / s and b - (W / s) m, with the features' m and s; the last one's outputs are then
        multiplied by the targets' scale and moved by their mean.
        """
        found, first_weight, first_bias, last_weight, last_bias = _ends(vectors, layout)
        with np.errstate(over="ignore", invalid="ignore"):
            first_weight /= self.feature_scale
            first_bias -= first_weight @ self.feature_mean
            last_weight *= self.target_scale[:, None]
            last_bias *= self.target_scale
            last_bias += self.target_mean
        return found

    def to_scaled(self, vectors: NDArray[Any], layout: Layout) -> _Array:
        """Give the parameters in scaled units of models in original units, the inverse of `to_original`."""
        found, first_weight, first_bias, last_weight, last_bias = _ends(vectors, layout)
        with np.errstate(over="ignore", invalid="ignore"):
            last_bias -= self.target_mean
            last_bias /= self.target_scale
            last_weight /= self.target_scale[:, None]
            first_bias += first_weight @ self.feature_mean
            first_weight *= self.feature_scale
        return found

    def gradient_to_original(self, gradients: NDArray[Any], layout: Layout) -> _Array:
        """Give the derivative by the parameters in original units from that by the scaled ones.

        The objective stays the one that was minimised, in scaled units; this is the chain rule through `to_scaled`.
        """
        found, first_weight, first_bias, last_weight, last_bias = _ends(gradients, layout)
        with np.errstate(over="ignore", invalid="ignore"):
            first_weight *= self.feature_scale
            first_weight += first_bias[..., None] * self.feature_mean
            last_weight /= self.target_scale[:, None]
            last_bias /= self.target_scale
        return found

    def to_json(self) -> dict[str, list[float]]:
        """Give the scaling as JSON values."""
        return {name: column.tolist() for name, column in asdict(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, list[float]]) -> "Scaling":
        """Read what `to_json` gave, to the last bit, also after a journey through JSON."""
        return cls(**{name: np.array(column, dtype=np.float64) for name, column in content.items()})


def learn_scaling(
    features: Table,
    targets: Table,
    scale: ScaleName,
    scale_targets: ScaleName,
    rows: Rows | None = None,
    *,
    centred: bool = True,
) -> Scaling | None:
    """Learn from the training samples how to bring features and targets to scale.

    Args:
        features: finite, (n_samples, n_features), at least one sample.
        targets: finite, (n_samples, n_targets).
        scale: of the features: `center` takes away the mean, `standard` also divides by the standard deviation (that
            of the samples, without Bessel's correction). A column that does not vary (see `varying`) is not divided.
        scale_targets: the same of the targets; `none` for class codes.
        rows: which samples are for training, at least one; all when None.
        centred: whether means are taken away. They are not from a model without an intercept: what is taken away in
            scaled units is a bias in original ones. `standard` then only divides.

    Returns:
        The scaling, or None when there is none to do.
    """
    if scale == scale_targets == "none":
        return None
    return Scaling(*_learn(features, rows, scale, centred), *_learn(targets, rows, scale_targets, centred))


def varying(table: Table, rows: Rows | None = None) -> NDArray[np.bool_]:
    """Tell which columns of some rows of a finite table, all when None, vary by more than rounding errors.

    Asked of the numbers themselves, for moments of float32 tables, and squares of tiny numbers, know it no more. Among
    n numbers with half the range h the standard deviation is at least h · √(2 / n); that must be above rounding. The
    table is read until no column is in doubt, which is soon.
    """
    most = math.sqrt((len(table) if rows is None else len(rows)) / 2)
    doubtful = np.arange(table.shape[1])
    low, high = np.full(len(doubtful), np.inf), np.full(len(doubtful), -np.inf)
    varies = np.ones(len(doubtful), dtype=bool)
    for _, part in _parts(table, rows):
        part = part if len(doubtful) == len(varies) else part[:, doubtful]
        low, high = np.minimum(low, np.minimum.reduce(part)), np.maximum(high, np.maximum.reduce(part))
        # More rows cannot undo it: what makes the largest number larger makes the range wider.
        is_rounding = high / 2 - low / 2 <= most * np.maximum(_ROUNDING * np.maximum(-low, high), _SMALLEST)
        doubtful, low, high = doubtful[is_rounding], low[is_rounding], high[is_rounding]
        if not len(doubtful):
            break
    varies[doubtful] = False
    return varies


def _learn(table: Table, rows: Rows | None, scale: ScaleName, centred: bool) -> tuple[_Array, _Array]:
    zeros, ones = np.zeros(table.shape[1]), np.ones(table.shape[1])
    if scale == "none":
        return zeros, ones
    mean, deviation = _moments(table, rows)
    scales = np.where(varying(table, rows), deviation, 1.0) if scale == "standard" else ones
    return mean if centred else zeros, scales


def _moments(table: Table, rows: Rows | None) -> tuple[_Array, _Array]:
    """Give the mean and the standard deviation of each column over some rows, all when None.

    Columns are moved to their middle and divided by half their range first, so that a large offset costs no digits and
    no square overflows; then parts are joined by the formula of Chan, Golub and LeVeque (1979).
    """
    lowest, highest = np.full(table.shape[1], np.inf), np.full(table.shape[1], -np.inf)
    for _, part in _parts(table, rows):
        lowest, highest = np.minimum(lowest, part.min(axis=0)), np.maximum(highest, part.max(axis=0))
    half_range = highest / 2 - lowest / 2
    middle = lowest + half_range
    unit = np.where(half_range > 0, half_range, 1.0)
    n, mean, squares = 0, np.zeros(table.shape[1]), np.zeros(table.shape[1])
    for _, part in _parts(table, rows):
        moved = (part.astype(np.float64) - middle) / unit
        n_part, part_mean = len(moved), moved.mean(axis=0)
        moved -= part_mean
        shift = part_mean - mean
        squares += (moved**2).sum(axis=0) + shift**2 * (n * n_part / (n + n_part))
        n += n_part
        mean += shift * (n_part / n)
    return middle + unit * mean, unit * np.sqrt(squares / n)


def _parts(table: Table, rows: Rows | None) -> Iterator[tuple[slice, Table]]:
    """Cut some rows of a table, all when None, into parts: nothing that is made of one is as large as the table."""
    n_rows = len(table) if rows is None else len(rows)
    for part in slices_of(n_rows, max(1, _READ_AT_ONCE // table.shape[1])):
        yield part, table[part if rows is None else rows[part]]


def _scaled(table: Table, rows: Rows | None, mean: _Array, scale: _Array, dtype: DTypeLike) -> Table:
    found: Table = room_for((len(table) if rows is None else len(rows), table.shape[1]), dtype)
    with np.errstate(over="ignore"):
        for place, part in _parts(table, rows):
            found[place] = (part.astype(np.float64) - mean) / scale
    return found


def _ends(vectors: NDArray[Any], layout: Layout) -> tuple[_Array, _Array, _Array, _Array, _Array]:
    """Copy flat vectors, and give the copy with views of its first layer and of its last, which may be the same."""
    found = np.array(vectors, dtype=np.float64)
    layers = unflatten(found, layout)
    first, last = layers[0], layers[-1]
    return found, first.weight, first.bias, last.weight, last.bias
