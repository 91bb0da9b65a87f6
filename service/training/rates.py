"""The learning rate of each epoch, by its schedule; knows no torch, so that any process may ask."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.hyperparameters import OptimizerName
from service.schedules import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    InverseScalingSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    StepSchedule,
)

DEFAULT_LEARNING_RATES: Mapping[OptimizerName, float] = {
    "adam": 1e-3,
    "adamw": 1e-3,
    "rmsprop": 1e-2,
    "adagrad": 1e-2,
    "lbfgs": 1.0,
}
"""torch.optim's defaults; sgd is not among them, for its learning rate comes from the curvature."""

SMALLEST_FALL = 1e-8
"""A plateau lowers the learning rate only by more than this, as ReduceLROnPlateau does by its default `eps`."""

ForeseeableSchedule = (
    ConstantSchedule | StepSchedule | ExponentialSchedule | CosineSchedule | OneCycleSchedule | InverseScalingSchedule
)
"""Every schedule but plateau, which waits for the losses."""


class Rates:
    """Learning rates that are known before the first step.

    Args:
        schedule: how they change.
        learning_rate: what the schedule starts from, or for one_cycle rises to.
        epochs: how many there will be.
    """

    def __init__(self, schedule: ForeseeableSchedule, learning_rate: float, epochs: int) -> None:
        self._schedule = schedule
        self._learning_rate = learning_rate
        self._epochs = epochs

    def at(self, epoch: int) -> float:
        """Give the rate of the steps that lead from `epoch` to `epoch + 1`."""
        return float(self.over(np.array([epoch]))[0])

    def over(self, epochs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give the rates at many epochs at once, each what torch's scheduler has after so many calls of its step.

        No step leads on from the last epoch, but it has a rate: one_cycle stays where its last step left it.

        Args:
            epochs: numbers from 0 to the number of epochs, of shape (n,).

        Returns:
            Rates of shape (n,).
        """
        rate, schedule = self._learning_rate, self._schedule
        passed = epochs.astype(np.float64)
        match schedule:
            case ConstantSchedule():
                return np.full(len(epochs), rate)
            case StepSchedule():
                return rate * schedule.gamma ** (passed // schedule.step_size)
            case ExponentialSchedule():
                return rate * schedule.gamma**passed
            case CosineSchedule():
                return _half_cosine(rate, schedule.eta_min, passed / self._epochs)
            case OneCycleSchedule():
                return _one_cycle(schedule, rate, self._epochs, passed)
            case InverseScalingSchedule():
                return rate / (passed + 1) ** schedule.power_t


class Plateau:
    """The learning rate of a schedule that waits for the losses: torch's ReduceLROnPlateau, which it equals.

    `rate` is that of the next steps. As in a torch loop, the first loss to observe is that after the first epoch.
    """

    def __init__(self, schedule: PlateauSchedule, learning_rate: float) -> None:
        self._schedule = schedule
        self._best = float("inf")
        self._n_bad_epochs = 0
        self._n_cooling_epochs = 0
        self.rate = learning_rate

    def state(self) -> dict[str, float]:
        """Give what later rates depend on."""
        return {
            "best": self._best,
            "n_bad_epochs": self._n_bad_epochs,
            "n_cooling_epochs": self._n_cooling_epochs,
            "rate": self.rate,
        }

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a state."""
        self._best, self.rate = saved["best"].item(), saved["rate"].item()
        self._n_bad_epochs, self._n_cooling_epochs = saved["n_bad_epochs"].item(), saved["n_cooling_epochs"].item()

    def observe(self, loss: float) -> None:
        """Take in the loss after an epoch, and lower `rate` when it has stayed for too long."""
        schedule = self._schedule
        if loss < self._best * (1 - schedule.threshold):
            self._best = loss
            self._n_bad_epochs = 0
        else:
            self._n_bad_epochs += 1
        if self._n_cooling_epochs > 0:
            self._n_cooling_epochs -= 1
            self._n_bad_epochs = 0
        if self._n_bad_epochs > schedule.patience:
            lower = max(self.rate * schedule.factor, schedule.min_learning_rate)
            if self.rate - lower > SMALLEST_FALL:
                self.rate = lower
            self._n_cooling_epochs = schedule.cooldown
            self._n_bad_epochs = 0


def _half_cosine(first: float, last: float, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Go from one value to another as the share of the way goes from 0 to 1."""
    return last + (first - last) * (1 + np.cos(np.pi * share)) / 2


def _one_cycle(
    schedule: OneCycleSchedule, peak: float, epochs: int, passed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Smith and Topin (2017), Super-convergence; as in torch, the peak falls between epochs when it must.

    A single epoch goes at the peak, where torch would give the smallest rate of all. When the peak is at epoch 0,
    torch divides by zero; here nothing rises.
    """
    if epochs == 1:
        return np.full(len(passed), peak)
    start = peak / schedule.div_factor
    top, last = schedule.pct_start * epochs - 1, epochs - 1
    passed = np.minimum(passed, last)
    falling = _half_cosine(peak, start / schedule.final_div_factor, (passed - top) / (last - top))
    if top <= 0:
        return falling
    return np.where(passed <= top, _half_cosine(start, peak, passed / top), falling)
