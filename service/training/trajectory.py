"""Many epochs of a descent on a quadratic at once: loss, gradient norm, gradient and parameters. NumPy only.

All of them follow from how far the modes are (see `path`). Few modes are taken in compiled code, a few epochs at a time
so that what is known of the modes never leaves the cache; many of them by NumPy, whose products take less time then.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.training.native.library import LIBRARY, Library
from service.training.native.trajectory import evaluate, is_for
from service.training.path import Path
from service.training.quadratic import Array
from service.training.recurrence import Steps


@dataclass(frozen=True)
class Objective:
    """What the objective is along the modes: lowest + Σ of_slope · slope² + of_change · change + of_square · change².

    Args:
        lowest: what it is where the slopes, and the changes that count, are 0.
        factors: of_slope, of_change and of_square, (3, n_outputs, n_modes).
        l2: the penalty, which the loss is without.
    """

    lowest: float
    factors: Array
    l2: float


@dataclass(frozen=True)
class Trajectory:
    """What is known of some epochs; with numbers that are not finite where a loss or a gradient is too large."""

    train_loss: Array  # (n,), infinite where the gradient is not finite too
    gradient_norm: Array  # (n,)
    gradient: NDArray[Any]  # (n_outputs, n_features + 1, n)
    parameters: NDArray[Any]  # (n_outputs, n_features + 1, n)


def trajectory(
    path: Path, objective: Objective, steps: Steps, dtype: np.dtype[Any], library: Library | None = LIBRARY
) -> Trajectory:
    """Evaluate some epochs; numbers that overflow give infinities or NaN, of NumPy with warnings.

    Args:
        path: of the descent.
        objective: which is descended.
        steps: the epochs.
        dtype: of gradient and parameters.
        library: the compiled code, which takes few modes; NumPy does all when None.
    """
    tables, largest = path.tables(steps), float(np.finfo(path.dtype).max)
    if library is not None and is_for(tables):
        measures, vectors = evaluate(
            tables, path.modes, path.start, objective.factors, objective.lowest, objective.l2, largest, dtype, library
        )
        return Trajectory(*measures, *vectors)
    along = tables.join()
    gradient, parameters = path.of_all(along)
    loss, square = _loss_and_square(objective, *along)
    if objective.l2:
        loss -= penalty(parameters, objective.l2)
    norm = np.sqrt(square, out=square)
    size = np.abs(loss)  # of a loss below 0, too: a penalty may be infinite where the objective is not yet
    if not np.maximum.reduce(np.maximum(size, norm)) <= largest:
        loss[~((size <= largest) & (norm <= largest))] = np.inf
    np.maximum(loss, 0.0, out=loss)  # below by rounding
    return Trajectory(loss, norm, gradient.astype(dtype, copy=False), parameters.astype(dtype, copy=False))


def penalty(parameters: Array, l2: float) -> Array:
    """Give l2 / 2 · Σ weight² for parameters of shape (n_outputs, n_features + 1, n): (n,)."""
    weight = parameters[:, :-1]
    found: Array = l2 / 2 * np.einsum("ofk,ofk->k", weight, weight)
    return found


def _loss_and_square(objective: Objective, slopes: Array, changes: Array) -> tuple[Array, Array]:
    """Give the objective and the squared norm of the gradient, both (n,), from slopes and changes along the modes.

    Both (n_outputs, n_modes, n); the slopes are written over.
    """
    n = slopes.shape[2]
    of_slope, of_change, of_square = objective.factors.reshape(3, -1)
    squares = np.square(slopes, out=slopes).reshape(-1, n)
    total: Array = of_slope @ squares
    flat = (of_change != 0) | (of_square != 0)  # a change of others may be infinite
    if flat.any():
        change = changes.reshape(-1, n)[flat]
        total += of_change[flat] @ change + of_square[flat] @ np.square(change)
    total += objective.lowest
    return total, np.add.reduce(squares)
