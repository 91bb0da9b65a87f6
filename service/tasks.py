"""The tasks Descent trains, and what sets them apart."""

from dataclasses import dataclass
from typing import Literal, get_args

EngineName = Literal["exact", "analytic", "autograd"]
Task = Literal["linear_regression", "logistic_regression", "softmax_regression", "mlp_regressor", "mlp_classifier"]
StartName = Literal["zeros", "torch", "uniform"]
LossName = Literal["mse", "half_mse", "mae", "huber", "binary_cross_entropy", "cross_entropy"]

_REGRESSION: tuple[LossName, ...] = ("mse", "half_mse", "mae", "huber")


@dataclass(frozen=True)
class TaskTraits:
    """What a task asks of its dataset and hyperparameters; the first of `losses` is the default.

    `is_perceptron` tasks have hidden layers; the others are linear in their parameters, up to the link of the loss.
    """

    sentence: str
    losses: tuple[LossName, ...]
    classifies: bool
    is_perceptron: bool = False

    @property
    def engines(self) -> tuple[EngineName, ...]:
        """Those that can train it; the first is taken where the other hyperparameters allow it."""
        if self.is_perceptron:
            return ("autograd",)
        return ("analytic", "autograd") if self.classifies else ("exact", "analytic", "autograd")

    @property
    def starts(self) -> tuple[StartName, ...]:
        """The starts with a name that it can learn from; the first is the default."""
        return ("torch", "uniform") if self.is_perceptron else ("zeros", "torch", "uniform")


TRAITS: dict[Task, TaskTraits] = {
    "linear_regression": TaskTraits(
        sentence="predicts numbers as a weighted sum of the features",
        losses=_REGRESSION,
        classifies=False,
    ),
    "logistic_regression": TaskTraits(
        sentence="predicts one of two labels, and how probable each is",
        losses=("binary_cross_entropy",),
        classifies=True,
    ),
    "softmax_regression": TaskTraits(
        sentence="predicts one of several labels, and how probable each is",
        losses=("cross_entropy",),
        classifies=True,
    ),
    "mlp_regressor": TaskTraits(
        sentence="predicts numbers by a multi-layer perceptron",
        losses=_REGRESSION,
        classifies=False,
        is_perceptron=True,
    ),
    "mlp_classifier": TaskTraits(
        sentence="predicts one of several labels, and how probable each is, by a multi-layer perceptron",
        losses=("cross_entropy",),
        classifies=True,
        is_perceptron=True,
    ),
}

assert set(TRAITS) == set(get_args(Task))
