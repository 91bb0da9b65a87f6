"""The lowest point of a quadratic objective, in closed form: what a descent on it is on its way to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.parameters import Layout
from service.training.moments import Moments
from service.training.quadratic import Array, MeanSquares, quadratic_of, to_columns

FLAT = 8.0
"""Times the precision of the moments and the number of modes, what curvature has to exceed to be no rounding."""


@dataclass(frozen=True)
class Optimum:
    """Parameters in scaled units, a flat vector, with the loss and the objective there.

    Where many points are lowest, it is the one nearest to the start, which is where descent goes.
    """

    parameters: NDArray[np.float64]  # (n_parameters,)
    train_loss: float
    objective: float


def optimum_of(
    found: Moments,
    mean_squares: MeanSquares,
    start: NDArray[np.float64],
    frozen: NDArray[np.bool_] | None,
    second_derivative: float,
    l2: float,
    layout: Layout,
) -> Optimum | None:
    """Solve for the lowest point of the objective over the parameters that learn.

    Args:
        found: the moments of the training samples.
        mean_squares: gives the mean squared residual of the training samples, see `quadratic.mean_squares`.
        start, frozen: flat vectors of shape (n_parameters,).
        second_derivative: of a sample's loss by one of its outputs.
        l2: the penalty on the weights.
        layout: one layer.

    Returns:
        None when the numbers are so large that squares overflow.
    """
    ((n_outputs, n_features),) = layout
    quadratic = quadratic_of(found, second_derivative, l2)
    if not (np.isfinite(quadratic.hessian).all() and np.isfinite(quadratic.linear).all()):
        return None
    lowest = to_columns(start, n_outputs)
    free = np.ones(n_features + 1, dtype=bool) if frozen is None else ~to_columns(frozen, n_outputs)[:, 0]
    if free.all():
        lowest -= _away_from_centred(found, lowest, second_derivative, l2)
    else:
        lowest[free] -= _away(quadratic.hessian[np.ix_(free, free)], quadratic.gradient(lowest)[free], found.rounding)
    with np.errstate(over="ignore", invalid="ignore"):
        loss = second_derivative / 2 * mean_squares(lowest)
        objective = loss + l2 / 2 * float(np.square(lowest[:-1]).sum())
    return Optimum(np.concatenate([lowest[:-1].T.ravel(), lowest[-1]]), loss, objective)


def _away_from_centred(found: Moments, start: Array, second_derivative: float, l2: float) -> Array:
    """Tell how far a start is from the nearest lowest point, of the shape of the start, (n_features + 1, n_outputs).

    With centred features the bias is by itself, so that an offset however large costs the weights no digits.
    """
    hessian = second_derivative * found.feature_covariance
    hessian[np.diag_indices(len(hessian))] += l2
    weight = start[:-1]
    away = _away(hessian, hessian @ weight - second_derivative * found.cross_covariance, found.rounding)
    bias = found.target_mean - found.feature_mean @ (weight - away)
    away = np.vstack([away, start[-1] - bias])
    # Along directions in which the objective is flat, descent stays where it started.
    flat = _flat_directions(hessian, found.rounding)
    flat = np.vstack([flat, -found.feature_mean @ flat])
    if flat.shape[1]:
        away -= flat @ np.linalg.lstsq(flat, away, rcond=None)[0]
    return away


def _away(hessian: Array, gradient: Array, rounding: float) -> Array:
    """Solve hessian · away = gradient, leaving out directions whose curvature is no more than rounding."""
    size, curvatures, modes, curved = _modes(hessian, rounding)
    share = (modes.T @ (gradient / size[:, None]))[curved] / curvatures[curved, None]
    away: Array = (modes[:, curved] @ share) / size[:, None]
    return away


def _flat_directions(hessian: Array, rounding: float) -> Array:
    """Give directions along which the objective does not change, (n, n_flat)."""
    size, _, modes, curved = _modes(hessian, rounding)
    directions: Array = modes[:, ~curved] / size[:, None]
    return directions


def _modes(hessian: Array, rounding: float) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Give the eigenbasis of a Hessian whose columns are brought to the same size, and which modes are curved."""
    diagonal = np.sqrt(np.maximum(np.diag(hessian), 0.0))
    size = np.where(diagonal > 0, diagonal, 1.0)
    curvatures, modes = np.linalg.eigh(hessian / np.outer(size, size))
    return size, curvatures, modes, curvatures > FLAT * rounding * len(hessian)
