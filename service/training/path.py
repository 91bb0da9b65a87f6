"""The path of full-batch descent on a quadratic objective: parameters and gradient after any number of steps.

In the eigenbasis of the Hessian every mode follows a recurrence of its own, whose k-th term is known in closed form
(see `recurrence`). NumPy only, so that the API may evaluate an epoch that no one recorded.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset
from service.hyperparameters import Hyperparameters
from service.parameters import Layout
from service.rules import frozen_mask
from service.tasks import Task
from service.training.moments import moments
from service.training.quadratic import Array, Quadratic, quadratic_of, to_columns
from service.training.recurrence import Momentum, Steps, Tables, gradient_share_and_path
from service.training.samples import prepare
from service.training.threads import single_threaded_blas


class Path:
    """Evaluates parameters and gradient from a quadratic objective.

    Args:
        quadratic: the objective, from the moments of the training samples, all of them finite.
        start: the parameters before the first step, a flat float64 vector.
        frozen: which entries of the flat vector are never updated, a mask, or None.
        layout: one layer.
        hyperparameters: of the plan, with the learning rate settled.

    `modes` are the eigenvectors of the Hessian among the parameters that learn, (n_features + 1, n_modes), 0 for the
    others, and `curvatures` its eigenvalues, (n_modes,), rising.
    """

    def __init__(
        self,
        quadratic: Quadratic,
        start: Array,
        frozen: NDArray[np.bool_] | None,
        layout: Layout,
        hyperparameters: Hyperparameters,
    ) -> None:
        ((self._n_outputs, n_features),) = layout
        self.rate = float(hyperparameters.learning_rate)
        self.rule = Momentum(hyperparameters.momentum, hyperparameters.dampening, hyperparameters.nesterov)
        self.dtype = np.dtype(hyperparameters.dtype)
        self.start = to_columns(start, self._n_outputs)
        """Shape (n_features + 1, n_outputs), the last row being the bias."""
        with np.errstate(over="ignore", invalid="ignore"):
            gradient = quadratic.gradient(self.start)
        self.is_finite = quadratic.is_finite and bool(np.isfinite(gradient).all())
        """Whether no number is so large that squares overflow; the rest is known only then."""
        if not self.is_finite:
            return
        learns = np.ones(n_features + 1, dtype=bool) if frozen is None else ~to_columns(frozen, self._n_outputs)[:, 0]
        curvatures, modes = np.linalg.eigh(quadratic.among(learns))
        self.modes = np.zeros((n_features + 1, len(curvatures)))
        self.modes[learns] = modes
        # What may be rounding of the products is no curvature, and what slopes there are along it none to follow.
        is_real = curvatures > quadratic.rounding
        self.curvatures = np.where(is_real, curvatures, 0.0)
        self.slopes = np.where(is_real[:, None], self.modes.T @ gradient, 0.0)
        """The gradient at the start along each mode, (n_modes, n_outputs)."""
        # Along a mode without a slope nothing moves, and powers that overflow would be nothing times infinity.
        self._steps = self.rate * np.where(self.slopes.any(axis=1), self.curvatures, 0.0)
        self._scales = np.array([self.slopes.T, -self.rate * self.slopes.T])[..., None]

    def tables(self, steps: Steps) -> Tables:
        """Give what the gradient along the modes, and what the parameters have changed by there, are products of."""
        return gradient_share_and_path(self._steps, steps, self.rule, self._scales)

    def of_all(self, along: Array) -> tuple[Array, Array]:
        """Give gradient and parameters, each (n_outputs, n_features + 1, n), from what they are along the modes.

        Args:
            along: the gradient, and what the parameters have changed by, (2, n_outputs, n_modes, n).
        """
        gradient, parameters = self.modes @ along
        parameters += self.start.T[:, :, None]
        return gradient, parameters

    def flat(self, by_output: Array) -> NDArray[Any]:
        """Bring (n_outputs, n_features + 1, n_steps) to flat vectors, (n_steps, n_parameters), of the right dtype."""
        weights = by_output[:, :-1].reshape(-1, by_output.shape[2])
        flat = by_output[0] if self._n_outputs == 1 else np.concatenate([weights, by_output[:, -1]])
        vectors: NDArray[Any] = flat.astype(self.dtype, copy=False).T  # in Fortran's order: nothing has to move
        return vectors


def evaluate_epoch(
    task: Task, dataset: Dataset, hyperparameters: Hyperparameters, layout: Layout, start: Array, epoch: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give parameters and gradient of a training by the exact engine after so many updates, in units of the descent.

    Takes a pass over the data, whatever the epoch.

    Args:
        task, dataset: what was trained on what.
        hyperparameters: of the training, resolved.
        layout: of the training.
        start: its parameters before the first step, a flat vector in units of the descent.
        epoch: one to which the descent came with finite numbers.

    Returns:
        Two flat vectors, (n_parameters,).
    """
    with single_threaded_blas, np.errstate(over="ignore", invalid="ignore"):
        train = prepare(task, dataset, hyperparameters).train
        found = moments(train.features, train.targets, train.weights)
        quadratic = quadratic_of(found, hyperparameters, layout[-1][0])
        frozen = frozen_mask(hyperparameters, layout)
        path = Path(quadratic, start.astype(np.float64), frozen, layout, hyperparameters)
        gradient, parameters = path.of_all(path.tables(Steps(epoch, 1, 1)).join())
        return path.flat(parameters)[0], path.flat(gradient)[0]
