"""The lowest point of a quadratic objective, in closed form: what a descent on it is on its way to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.parameters import Layout
from service.training.quadratic import Array, MeanSquares, Quadratic, to_columns

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
    quadratic: Quadratic,
    mean_squares: MeanSquares,
    start: NDArray[np.float64],
    frozen: NDArray[np.bool_] | None,
    layout: Layout,
) -> Optimum | None:
    """Solve for the lowest point of the objective over the parameters that learn.

    Args:
        quadratic: the objective, from the moments of the training samples.
        mean_squares: gives the mean squared residual of the training samples, see `quadratic.mean_squares`.
        start, frozen: flat vectors of shape (n_parameters,).
        layout: one layer.

    Returns:
        None when the numbers are so large that squares overflow.
    """
    if not quadratic.is_finite:
        return None
    ((n_outputs, _),) = layout
    lowest = to_columns(start, n_outputs)
    if frozen is None:
        lowest -= _away_from_centred(quadratic, lowest)
    else:
        free = ~to_columns(frozen, n_outputs)[:, 0]
        basis = _Basis(quadratic.among(free), quadratic.found.rounding)
        lowest[free] -= basis.solve(quadratic.gradient(lowest)[free])
    with np.errstate(over="ignore", invalid="ignore"):
        loss = quadratic.second_derivative / 2 * mean_squares(lowest)
        objective = loss + (quadratic.l2 / 2 * float(np.square(lowest[:-1]).sum()) if quadratic.l2 else 0.0)
    return Optimum(np.concatenate([lowest[:-1].T.ravel(), lowest[-1]]), loss, objective)


def _away_from_centred(quadratic: Quadratic, start: Array) -> Array:
    """Tell how far a start is from the nearest lowest point, of the shape of the start, (n_features + 1, n_outputs).

    With centred features the bias is by itself, so that an offset however large costs the weights no digits.
    """
    found, second_derivative = quadratic.found, quadratic.second_derivative
    hessian = second_derivative * found.feature_covariance
    if quadratic.l2:
        hessian[np.diag_indices(len(hessian))] += quadratic.l2
    weight = start[:-1] - found.plane[:-1]
    basis = _Basis(hessian, found.rounding)
    away = basis.solve(hessian @ weight - second_derivative * found.cross_covariance + quadratic.l2 * found.plane[:-1])
    bias = found.plane[-1] + found.residual_mean - found.feature_mean @ (weight - away)
    away = np.concatenate([away, [start[-1] - bias]])
    # Along directions in which the objective is flat, descent stays where it started.
    if not basis.curved.all():
        flat = basis.flat_directions
        flat = np.vstack([flat, -found.feature_mean @ flat])
        away -= flat @ np.linalg.lstsq(flat, away, rcond=None)[0]
    return away


class _Basis:
    """The eigenbasis of a Hessian whose columns are brought to the same size; `curved` says which modes are not flat.

    Args:
        hessian: (n, n).
        rounding: the precision of its entries.
    """

    def __init__(self, hessian: Array, rounding: float) -> None:
        diagonal = np.sqrt(np.maximum(hessian.diagonal(), 0.0))
        self._size = np.where(diagonal > 0, diagonal, 1.0)[:, None]
        self._curvatures, self._modes = np.linalg.eigh(hessian / (self._size * self._size.T))
        self.curved = self._curvatures > FLAT * rounding * len(hessian)

    def solve(self, gradient: Array) -> Array:
        """Solve hessian · away = gradient, both (n, n_outputs), leaving out what is flat."""
        curved = self.curved
        share = (self._modes.T @ (gradient / self._size))[curved] / self._curvatures[curved, None]
        away: Array = (self._modes[:, curved] @ share) / self._size
        return away

    @property
    def flat_directions(self) -> Array:
        """Directions along which the objective does not change, (n, n_flat)."""
        directions: Array = self._modes[:, ~self.curved] / self._size
        return directions
