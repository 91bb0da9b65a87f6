"""The lowest point of a quadratic objective, in closed form: what a descent on it is on its way to."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.parameters import Layout
from service.training.moments import Moments
from service.training.quadratic import LEAST_CURVATURE, MeanSquares, quadratic_of

Entry = TypeVar("Entry", bound=np.generic)


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
    lowest = _columns(start, n_outputs)
    free = np.ones(n_features + 1, dtype=bool) if frozen is None else ~_columns(frozen, n_outputs)[:, 0]
    curvatures, modes = np.linalg.eigh(quadratic.hessian[np.ix_(free, free)])
    curved = curvatures > LEAST_CURVATURE * curvatures[-1]
    # In the order of operations of the exact engine, so that where both find the same point they do in every bit.
    slopes = modes.T @ quadratic.gradient(lowest)[free]
    lowest[free] -= modes[:, curved] @ (slopes[curved] / curvatures[curved, None])
    with np.errstate(over="ignore", invalid="ignore"):
        loss = second_derivative / 2 * mean_squares(lowest)
        objective = loss + l2 / 2 * float(np.square(lowest[:-1]).sum())
    return Optimum(np.concatenate([lowest[:-1].T.ravel(), lowest[-1]]), loss, objective)


def _columns(vector: NDArray[Entry], n_outputs: int) -> NDArray[Entry]:
    """Bring a flat vector, weights by output and then the biases, to shape (n_features + 1, n_outputs)."""
    weight, bias = vector[:-n_outputs], vector[-n_outputs:]
    return np.vstack([weight.reshape(n_outputs, -1).T, bias])
