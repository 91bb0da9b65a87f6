"""How far the steps of an optimizer lead, where they are of bounded length. NumPy only."""

import math
from typing import Any

from service.hyperparameters import Hyperparameters
from service.training.advice import rule_of
from service.training.samples import Samples
from service.training.spectrum import long_step
from service.training.subgradients import spread

START_OF_RMSPROP = 138
"""How many steps of the learning rate its first ones make up for, 2 ln 2 / (1 - alpha): step t is 1 / √(1 - alphaᵗ)."""
WANTED = 2.0
"""How far steps should lead where features and targets have a standard deviation of 1."""


def longest_way(given: Hyperparameters, n_steps: int) -> float | None:
    """Tell how far so many steps along a gradient that stays the same move a parameter, in learning rates.

    Of mae and huber with sgd it is told of the bias, whose gradient is at most 1.

    Returns:
        None where steps are as long as the gradient, whatever that is.
    """
    match given.optimizer:
        case "adam" | "adamw":
            return float(n_steps)
        case "rmsprop":
            return float(n_steps + START_OF_RMSPROP)
        case "adagrad":
            return 2 * math.sqrt(n_steps)
        case "sgd" if given.clip_gradient_norm is not None:
            return n_steps * given.clip_gradient_norm / long_step(rule_of(given))
        case "sgd" if given.loss in ("mae", "huber"):
            return n_steps / long_step(rule_of(given))
    return None


def n_steps_of(given: Hyperparameters, n_train: int, epochs: int) -> int:
    """Count the steps of so many epochs."""
    return epochs * math.ceil(n_train / (given.batch_size or n_train))


def stop_in_deviations(given: Hyperparameters, train: Samples) -> dict[str, Any]:
    """Give the hyperparameter `stop` for targets that are scaled, where it has losses, which are then in their units.

    Args:
        given: of a training whose targets are not scaled.
        train: its samples.
    """
    stop = given.stop.model_dump(exclude_unset=True)
    unit = spread(train) ** (1 if given.loss in ("mae", "huber") else 2)
    changed = {name: stop[name] / unit for name in ("target_loss", "min_delta") if stop.get(name)}
    return {"stop": stop | changed} if changed else {}
