"""The forward pass in NumPy: features in, predictions out, without torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.parameters import Parameters
from service.tasks import Task


@dataclass(frozen=True)
class Forward:
    """What a model says of n samples: numbers, or class codes and their probabilities."""

    values: NDArray[np.float64]  # (n, n_targets) for regression, (n,) of class codes for classification
    probabilities: NDArray[np.float64] | None = None  # (n, n_classes)


def forward(task: Task, parameters: Parameters, features: NDArray[np.float64]) -> Forward:
    """Apply a model to features of shape (n, n_features), in float64.

    The logistic function is computed as exp(-log(1 + exp(-z))), which neither overflows nor loses small probabilities.
    """
    (layer,) = parameters
    with np.errstate(over="ignore", invalid="ignore"):  # too large a number is the caller's to refuse
        outputs = features @ layer.weight.T.astype(np.float64) + layer.bias
    if task == "linear_regression":
        return Forward(outputs)
    probabilities = np.exp(-np.logaddexp(0.0, np.hstack([outputs, -outputs])))
    return Forward((outputs[:, 0] > 0).astype(np.float64), probabilities)
