"""Random problems for the tests of the core, and torch's own optimizers as their oracle."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.dataset import Dataset, Schema
from service.hyperparameters import Hyperparameters
from service.tasks import Task
from service.training.epochs import EpochColumns
from service.training.fit import fit


def _half_mse(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.mse_loss(outputs, targets) / 2


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": torch.nn.functional.mse_loss,
    "half_mse": _half_mse,
    "binary_cross_entropy": torch.nn.functional.binary_cross_entropy_with_logits,
}


def random_dataset(task: Task, seed: int, n_samples: int = 20, n_features: int = 3, n_targets: int = 1) -> Dataset:
    """Draw features from a normal distribution, and targets that depend on them."""
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(n_samples, n_features))
    outputs = features @ draw.normal(size=(n_features, n_targets)) + draw.normal(size=(n_samples, n_targets))
    if task == "linear_regression":
        return Dataset(features, outputs)
    codes = (outputs > np.median(outputs)).astype(float)
    names = tuple(f"x{n}" for n in range(n_features))
    return Dataset(features, codes, Schema(names, ("y",), (False, True)))


def trained(task: Task, dataset: Dataset, hyperparameters: Hyperparameters) -> EpochColumns:
    """Train to the end, and join the columns of all blocks."""
    blocks = [block.columns for block in fit(task, dataset, hyperparameters)]
    names = ("epoch", "train_loss", "gradient_norm", "parameters", "gradient")
    return EpochColumns(*(np.concatenate([getattr(block, name) for block in blocks]) for name in names))


@dataclass(frozen=True)
class Oracle:
    """What autograd and torch.optim.SGD give, epoch by epoch."""

    train_loss: NDArray[np.float64]
    parameters: NDArray[np.float64]
    gradient: NDArray[np.float64]


def torch_descent(dataset: Dataset, hyperparameters: Hyperparameters, start: NDArray[np.float64]) -> Oracle:
    """Train with autograd and torch.optim.SGD from the same start, in float64 and in batches of the same order."""
    hp = hyperparameters
    assert hp.loss is not None
    assert isinstance(hp.learning_rate, float)
    features, targets = torch.from_numpy(dataset.features), torch.from_numpy(dataset.targets)
    n_outputs, n_samples = targets.shape[1], len(features)
    weight = torch.tensor(start[: n_outputs * features.shape[1]].reshape(n_outputs, -1), requires_grad=True)
    bias = torch.tensor(start[n_outputs * features.shape[1] :], requires_grad=True)
    optimizer = torch.optim.SGD([weight, bias], lr=hp.learning_rate, momentum=hp.momentum)
    loss_function = LOSSES[hp.loss]
    order = torch.Generator().manual_seed(hp.seed or 0)
    losses, parameters, gradients = [], [], []

    def gradient_on(rows: Tensor) -> float:
        optimizer.zero_grad()
        loss = loss_function(features[rows] @ weight.T + bias, targets[rows])
        torch.autograd.backward(loss + hp.l2 / 2 * weight.square().sum())
        return float(loss.detach())

    def flat(*parts: Tensor | None) -> NDArray[np.float64]:
        return np.concatenate([part.detach().numpy().ravel() for part in parts if part is not None])

    everything = torch.arange(n_samples)
    for epoch in range(hp.epochs + 1):
        losses.append(gradient_on(everything))
        parameters.append(flat(weight, bias).copy())
        gradients.append(flat(weight.grad, bias.grad))
        if epoch == hp.epochs:
            break
        if hp.batch_size is None:
            optimizer.step()
            continue
        shuffled = torch.randperm(n_samples, generator=order) if hp.shuffle else everything
        for rows in torch.split(shuffled, hp.batch_size):
            gradient_on(rows)
            optimizer.step()
    return Oracle(np.array(losses), np.array(parameters), np.array(gradients))
