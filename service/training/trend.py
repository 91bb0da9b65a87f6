"""How a training went as a whole, told by few numbers however many epochs it had."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from service.training.checkpoint import Saved, State, part_of, within
from service.training.epochs import EpochColumns, columns_from, state_of

CURVE_POINTS = 128
"""At most so many losses are kept, evenly spread, to tell how the training went."""


class Trend:
    """The first and last epoch of a training, how often its loss rose, and a thinned curve of the train loss.

    It is the same however many epochs are added at once. The first epoch is kept without its gradient.
    """

    def __init__(self) -> None:
        self.first: EpochColumns | None = None
        self.last: EpochColumns | None = None
        self.lowest = math.inf
        """The lowest train loss so far."""
        self.n_rises = 0
        self.n_steps = 0
        self._every = 1
        self._epochs = np.empty(0, dtype=np.int64)
        self._losses = np.empty(0)

    def add(self, columns: EpochColumns) -> None:
        """Take in evaluated epochs, all finite, at least one."""
        losses = columns.train_loss
        n_before = 0 if self.last is None else self.n_steps + 1
        if self.last is not None:
            self.n_rises += int(losses[0] > self.last.train_loss[0])
        self.n_rises += int(np.count_nonzero(losses[1:] > losses[:-1]))
        self.lowest = min(self.lowest, float(losses.min()))
        self.n_steps += len(columns) - (self.last is None)
        self.first = self.first or dataclasses.replace(columns.row(0), gradient=None)
        self.last = columns.row(-1)
        coarser = 1
        while self.n_steps // (self._every * coarser) >= CURVE_POINTS:
            coarser *= 2
        self._every *= coarser
        some = slice(-n_before % self._every, None, self._every)
        self._epochs = np.concatenate([self._epochs[::coarser], columns.epoch[some]])
        self._losses = np.concatenate([self._losses[::coarser], losses[some]])

    @property
    def share_of_rises(self) -> float:
        """At which share of the epochs the loss rose."""
        return self.n_rises / max(1, self.n_steps)

    @property
    def curve(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Epochs, the first and the last among them, and their train losses, both (n,)."""
        assert self.last is not None
        if self._epochs[-1] == self.last.epoch[0]:
            return self._epochs, self._losses
        return np.append(self._epochs, self.last.epoch), np.append(self._losses, self.last.train_loss)

    def state(self) -> State:
        """Give what it knows."""
        return {
            "lowest": self.lowest,
            "n_rises": self.n_rises,
            "n_steps": self.n_steps,
            "every": self._every,
            "epochs": self._epochs,
            "losses": self._losses,
            **within("first", state_of(self.first)),
            **within("last", state_of(self.last)),
        }

    def restore(self, saved: Saved) -> None:
        """Go on from a state."""
        self.n_rises, self.n_steps = saved["n_rises"].item(), saved["n_steps"].item()
        self._every, self._epochs, self._losses = saved["every"].item(), saved["epochs"], saved["losses"]
        # Checkpoints from before it was kept have the thinned losses only.
        self.lowest = saved["lowest"].item() if "lowest" in saved else float(self._losses.min(initial=math.inf))
        self.first, self.last = columns_from(part_of(saved, "first")), columns_from(part_of(saved, "last"))
