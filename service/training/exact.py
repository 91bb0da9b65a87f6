"""The exact engine: full-batch descent on a quadratic objective, evaluated at any epoch instead of iterated.

One pass over the data gives the Hessian, the gradient at the start and the loss at the optimum, which a second one
counts where it would be mostly rounding; from there on the price does not depend on the number of samples, and any
epoch can be had without those before it (see `path`).
"""

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.hyperparameters import Hyperparameters
from service.parameters import Layout
from service.training.checkpoint import Saved, State
from service.training.epochs import EpochBlock, EpochColumns, NotFinite
from service.training.optimum import Optimum
from service.training.path import Path
from service.training.quadratic import NEARLY_FLAT, Array, MeanSquares, Quadratic, QuadraticLoss
from service.training.recording import Recording
from service.training.recurrence import Steps
from service.training.samples import Samples
from service.training.spectrum import stability_bound
from service.training.trajectory import Objective, penalty, trajectory

BLOCK_BYTES = 2**21
BLOCK_EPOCHS = 16_384


class ExactDescent:
    """Evaluates a descent from its quadratic objective.

    Args:
        quadratic: the objective, from the moments of the training samples.
        mean_squares: gives the mean squared residual of the training samples.
        optimum: the lowest point of the objective, where it is known.
        validation: scaled samples, or None.
        start: the parameters before the first step, a flat float64 vector.
        frozen: which entries of the flat vector are never updated, a mask, or None.
        layout: one layer.
        hyperparameters: of the plan, with the learning rate settled.
        recording: which epochs to keep, and when to stop.

    Raises:
        NotFinite: when the numbers are so large that their squares overflow.
    """

    def __init__(
        self,
        quadratic: Quadratic,
        mean_squares: MeanSquares,
        optimum: Optimum | None,
        validation: Samples | None,
        start: Array,
        frozen: NDArray[np.bool_] | None,
        layout: Layout,
        hyperparameters: Hyperparameters,
        recording: Recording,
    ) -> None:
        self._path = path = Path(quadratic, start, frozen, layout, hyperparameters)
        if not path.is_finite:
            raise NotFinite(0)
        self._recording = recording
        self._next_epoch = 0
        self._epochs = hyperparameters.epochs
        second_derivative = quadratic.second_derivative
        self._validation = None if validation is None else QuadraticLoss(validation, second_derivative, path.start)
        curved = path.curvatures > NEARLY_FLAT * path.curvatures[-1]
        flat = ~curved
        if optimum is None or flat.any():
            lowest = self._lowest(curved, mean_squares, second_derivative, hyperparameters.l2)
        else:
            lowest = optimum.objective
        # The objective is counted above its lowest along curved modes, and below its start along flat ones.
        of_slope, of_change, of_square = factors = np.zeros((3, *path.slopes.T.shape))
        of_slope[:, curved] = 1 / (2 * path.curvatures[curved])
        of_change[:, flat], of_square[:, flat] = path.slopes.T[:, flat], path.curvatures[flat] / 2
        self._objective = Objective(lowest, factors, hyperparameters.l2)

    def _lowest(
        self, curved: NDArray[np.bool_], mean_squares: MeanSquares, second_derivative: float, l2: float
    ) -> float:
        """Give the objective at the lowest point along the curved modes, the others being where they start."""
        path = self._path
        lowest = path.start - path.modes[:, curved] @ (path.slopes[curved] / path.curvatures[curved, None])
        # Infinite where squares overflow, and then every loss is: the first epoch is not finite.
        with np.errstate(over="ignore", invalid="ignore"):
            return second_derivative / 2 * mean_squares(lowest) + float(penalty(lowest.T[:, :, None], l2)[0])

    def blocks(self) -> Iterator[EpochBlock]:
        """Evaluate the recorded epochs, yielding them in blocks.

        Raises:
            NotFinite: after the block with the last epoch that the dtype can hold.
        """
        every = 1 if self._recording.needs_every_epoch or self._grows() else self._recording.every
        rows = max(1, min(BLOCK_EPOCHS, BLOCK_BYTES // (2 * self._path.start.size * self._path.dtype.itemsize)))
        n_even = self._epochs // every + 1
        parts = [Steps(row * every, every, min(rows, n_even - row)) for row in range(0, n_even, rows)]
        if self._epochs % every:
            parts.append(Steps(self._epochs, 1, 1))
        # The same parts wherever it goes on from, for what is computed at once is rounded together.
        for steps in parts[bisect_left(parts, self._next_epoch, key=lambda steps: steps.first) :]:
            columns = self._columns(steps)
            self._next_epoch = int(columns.epoch[-1]) + 1
            for block in self._recording.take(columns, float(columns.epoch[-1])):
                yield block
                if block.stop_reason is not None:
                    return

    def state(self) -> State:
        """Give where it stands after a block: any epoch can be had without those before it."""
        return {"next_epoch": self._next_epoch}

    def restore(self, saved: Saved) -> None:
        """Go on from a state."""
        self._next_epoch = saved["next_epoch"].item()

    def _grows(self) -> bool:
        """Tell whether any mode grows without bound, so that an epoch may be too large to hold."""
        path = self._path
        return bool(path.rate * path.curvatures[-1] >= stability_bound(path.rule))

    def _columns(self, steps: Steps) -> EpochColumns:
        path, validation = self._path, self._validation
        with np.errstate(over="ignore", invalid="ignore"):
            dtype = path.dtype if validation is None else np.dtype(np.float64)
            found = trajectory(path, self._objective, steps, dtype)
            return EpochColumns(
                np.arange(steps.first, steps.first + steps.every * steps.count, steps.every),
                found.train_loss,
                found.gradient_norm,
                np.full(steps.count, path.rate),
                None if validation is None else validation.at(found.parameters),
                path.flat(found.parameters),
                path.flat(found.gradient),
            )
