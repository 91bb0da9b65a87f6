"""The tasks Descent trains, and what sets them apart."""

from dataclasses import dataclass
from typing import Literal, get_args

Task = Literal["linear_regression", "logistic_regression", "softmax_regression", "mlp_regressor", "mlp_classifier"]
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
