"""Random objectives for the tests of optimizers, in float64: each gives a start, and what evaluates."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From parameters to the objective and its gradient."""


def quadratic(seed: int, n_parameters: int = 7) -> tuple[Tensor, Evaluate]:
    """Draw a start and a quadratic with curvatures from 0.01 to 10 in directions of its own."""
    draw = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(draw.normal(size=(n_parameters, n_parameters)))
    hessian = torch.tensor(directions * np.geomspace(0.01, 10, n_parameters) @ directions.T)
    optimum = torch.tensor(draw.normal(size=n_parameters))

    def evaluate(parameters: Tensor) -> tuple[Tensor, Tensor]:
        away = parameters - optimum
        return away @ hessian @ away / 2, hessian @ away

    return torch.tensor(draw.normal(size=n_parameters) * 3), evaluate


def logistic(seed: int, n_samples: int = 30, n_features: int = 4) -> tuple[Tensor, Evaluate]:
    """Draw a start and the cross entropy of a logistic regression whose classes overlap."""
    draw = np.random.default_rng(seed)
    features = torch.tensor(draw.normal(size=(n_samples, n_features)))
    targets = torch.tensor(draw.integers(0, 2, n_samples).astype(float))

    def evaluate(parameters: Tensor) -> tuple[Tensor, Tensor]:
        outputs = features @ parameters
        loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs, targets)
        return loss, features.T @ (outputs.sigmoid() - targets) / n_samples

    return torch.tensor(draw.normal(size=n_features)), evaluate
