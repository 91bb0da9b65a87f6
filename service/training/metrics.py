"""How good a model is on a dataset, in the field's usual numbers."""

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional import classification, regression

from service.dataset import Dataset
from service.parameters import Parameters
from service.tasks import Task
from service.training.losses import binary_cross_entropy


def penalty(parameters: Parameters, l2: float) -> float:
    """Give what the objective has beyond the loss: l2 / 2 · Σ weight²; infinite where squares overflow."""
    with np.errstate(over="ignore"):
        return l2 / 2 * sum(float(np.square(layer.weight, dtype=np.float64).sum()) for layer in parameters)


def evaluate(task: Task, dataset: Dataset, parameters: Parameters) -> dict[str, float | None]:
    """Give the metrics of parameters on a dataset, from outputs in float64.

    Returns:
        For regression `mse`, `mae` (in units of the targets) and `r2`, averaged over several targets; `r2` is None for
        fewer than two samples or targets that do not vary. For classification `accuracy` and `log_loss` (in nats).
    """
    (layer,) = parameters
    features, targets = torch.from_numpy(dataset.features), torch.from_numpy(dataset.targets)
    outputs = torch.addmm(torch.from_numpy(layer.bias).double(), features, torch.from_numpy(layer.weight).double().T)
    if task == "logistic_regression":
        return {
            "accuracy": float(classification.binary_accuracy(torch.sigmoid(outputs), targets.int())),
            "log_loss": float(binary_cross_entropy(outputs, targets)[0]),
        }
    return {
        "mse": _finite(regression.mean_squared_error(outputs, targets)),
        "mae": _finite(regression.mean_absolute_error(outputs, targets)),
        "r2": _r2(outputs, targets),
    }


def _r2(outputs: Tensor, targets: Tensor) -> float | None:
    varies = bool((targets != targets[0]).any(dim=0).all())
    return _finite(regression.r2_score(outputs, targets)) if varies else None


def _finite(value: Tensor) -> float | None:
    """Give a metric as a number; None when squaring enormous targets overflowed, for JSON has no word for it."""
    return float(value) if torch.isfinite(value) else None
