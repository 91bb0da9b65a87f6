"""The losses: each gives the mean loss and its derivative by the outputs, derived by hand."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from service.tasks import LossName

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(outputs, targets), both (n_samples, n_outputs) → mean loss (a scalar), its derivative by the outputs."""


def mse(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over samples and outputs of (output - target)², in squared units of the targets."""
    residuals = outputs - targets
    return residuals.square().mean(), residuals.mul_(2 / residuals.numel())


def half_mse(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Half of `mse`: its gradient is the residual itself, without the 2."""
    residuals = outputs - targets
    return residuals.square().mean() / 2, residuals.div_(residuals.numel())


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of -log p(target) with p = sigmoid(output), in nats; stable for outputs of any size."""
    derivative = torch.sigmoid(outputs).sub_(targets).div_(targets.numel())
    return binary_cross_entropy_with_logits(outputs, targets), derivative


LOSSES: dict[LossName, Loss] = {"mse": mse, "half_mse": half_mse, "binary_cross_entropy": binary_cross_entropy}
