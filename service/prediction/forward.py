"""The forward pass in NumPy: features in, predictions out, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dataset import Label
from service.hyperparameters import ActivationName
from service.outputs import logistic, outputs_of
from service.parameters import Parameters
from service.tasks import TRAITS, Task

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Forward:
    """What a model says of n samples: numbers, or class codes and their probabilities.

    A sample that overflows anywhere on the way has values that are not a number, whatever the task: what came after
    an infinite sum may be wrong and look right.
    """

    values: _Array  # (n, n_targets) for regression, (n,) of class codes for classification
    probabilities: _Array | None = None  # (n, n_classes)

    def answers(self, classes: Sequence[Label] | None) -> list[Any]:
        """Give what is said of each sample: its label, a number, or for several targets a list of them."""
        if classes is not None:
            return [classes[code] for code in self.values.astype(np.int64).tolist()]
        found: list[Any] = (self.values[:, 0] if self.values.shape[1] == 1 else self.values).tolist()
        return found


def forward(task: Task, parameters: Parameters, features: _Array, activation: ActivationName) -> Forward:
    """Apply a model to features of shape (n, n_features), in float64.

    Args:
        task: what the outputs of the last layer are: predictions, or logits of classes.
        parameters: the layers, in the units of the features; several for perceptrons.
        features: finite numbers.
        activation: what follows each hidden layer; nothing follows the last one.
    """
    return said_by(task, outputs_of(parameters, features, activation))


def said_by(task: Task, outputs: _Array) -> Forward:
    """Read the outputs of the last layer, (n, n_outputs): predictions, or logits of classes."""
    if not TRAITS[task].classifies:
        return Forward(outputs)
    with np.errstate(over="ignore", invalid="ignore"):  # too large a number is the caller's to refuse
        if task == "logistic_regression":
            probabilities = logistic(np.hstack([-outputs, outputs]))
            codes = (outputs[:, 0] > 0).astype(np.float64)
        else:
            probabilities = _softmax(outputs)
            codes = outputs.argmax(axis=1).astype(np.float64)
    codes[np.isnan(outputs).any(axis=1)] = np.nan
    return Forward(codes, probabilities)


def _softmax(logits: _Array) -> _Array:
    """Share out 1 among the classes by exp(z), all divided by the largest of them, so that none overflows."""
    powers: _Array = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers
