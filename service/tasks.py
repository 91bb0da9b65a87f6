"""The tasks Descent trains, and what sets them apart."""

from dataclasses import dataclass
from typing import Literal, get_args

Task = Literal["linear_regression", "logistic_regression"]
LossName = Literal["mse", "half_mse", "binary_cross_entropy"]


@dataclass(frozen=True)
class TaskTraits:
    """What a task asks of its dataset and hyperparameters; the first of `losses` is the default."""

    sentence: str
    losses: tuple[LossName, ...]
    n_classes: int | None


TRAITS: dict[Task, TaskTraits] = {
    "linear_regression": TaskTraits(
        sentence="predicts numbers as a weighted sum of the features",
        losses=("mse", "half_mse"),
        n_classes=None,
    ),
    "logistic_regression": TaskTraits(
        sentence="predicts one of two labels, and how probable each is",
        losses=("binary_cross_entropy",),
        n_classes=2,
    ),
}

assert set(TRAITS) == set(get_args(Task))
