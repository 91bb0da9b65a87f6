"""Samples for every task, and descents on them by autograd and torch.optim.SGD, for the tests of the advice."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.hyperparameters import Hyperparameters
from service.tasks import Task
from service.training.samples import Samples

Array = NDArray[np.float64]

LOSS_OF_TASK: dict[Task, str] = {
    "linear_regression": "mse",
    "logistic_regression": "binary_cross_entropy",
    "softmax_regression": "cross_entropy",
    "mlp_regressor": "mse",
    "mlp_classifier": "cross_entropy",
}
_N_CLASSES = {"logistic_regression": 2, "softmax_regression": 3, "mlp_classifier": 3}
_LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": torch.nn.functional.mse_loss,
    "mae": torch.nn.functional.l1_loss,
    "huber": torch.nn.functional.huber_loss,
    "binary_cross_entropy": torch.nn.functional.binary_cross_entropy_with_logits,
    "cross_entropy": torch.nn.functional.cross_entropy,
}
_ACTIVATIONS: dict[str, type[torch.nn.Module]] = {
    "relu": torch.nn.ReLU,
    "tanh": torch.nn.Tanh,
    "sigmoid": torch.nn.Sigmoid,
}


def settled(task: Task, **given: Any) -> Hyperparameters:
    """Give hyperparameters as the plan resolves them: with a loss, and hidden layers for perceptrons."""
    hidden = {"hidden_layers": [16]} if task.startswith("mlp") else {}
    return Hyperparameters.model_validate({"loss": LOSS_OF_TASK[task]} | hidden | given)


def draw_samples(
    task: Task, seed: int, n: int = 20, n_features: int = 3, n_targets: int = 1, weighted: bool = False
) -> Samples:
    """Draw features from a normal distribution, and targets that depend on them."""
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(n, n_features))
    outputs = features @ draw.normal(size=(n_features, n_targets)) + draw.normal(size=(n, n_targets))
    if task in _N_CLASSES:
        outputs = np.floor(_N_CLASSES[task] * outputs[:, :1].argsort(axis=0).argsort(axis=0) / n)
    weights = draw.uniform(0, 2, size=n) if weighted else None
    return Samples(features, outputs, None if weights is None else weights / weights.mean())


def draw_start(given: Hyperparameters, n_features: int, n_outputs: int) -> Array:
    """Give torch's start under the seed, in float64, where `losses_by_torch` starts."""
    linears = _linears(given, n_features, n_outputs)
    parts = [part.detach().numpy().ravel() for linear in linears for part in (linear.weight, linear.bias)]
    return np.concatenate(parts)


def _linears(given: Hyperparameters, n_features: int, n_outputs: int) -> list[torch.nn.Linear]:
    torch.manual_seed(given.seed or 0)
    sizes = [n_features, *(given.hidden_layers or []), n_outputs]
    return [torch.nn.Linear(before, after, dtype=torch.float64) for before, after in pairwise(sizes)]


def losses_by_torch(samples: Samples, given: Hyperparameters, rate: float, epochs: int = 300) -> Array:
    """Train in float64 by autograd and torch.optim.SGD, and give the objective at every epoch."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so little work is done sooner by one
    try:
        return _losses_by_torch(samples, given, rate, epochs)
    finally:
        torch.set_num_threads(n_threads)


def _losses_by_torch(samples: Samples, given: Hyperparameters, rate: float, epochs: int) -> Array:
    features, targets = torch.from_numpy(samples.features), torch.from_numpy(samples.targets)
    weights = torch.ones(len(samples)) if samples.weights is None else torch.from_numpy(samples.weights)
    is_codes, batch_size = given.loss == "cross_entropy", given.batch_size or len(samples)
    n_outputs = int(targets.max()) + 1 if is_codes else targets.shape[1]
    linears = _linears(given, features.shape[1], n_outputs)
    parts = [part for linear in linears for part in (linear, _ACTIVATIONS[given.activation]())]
    model, each = torch.nn.Sequential(*parts[:-1]), _LOSSES[given.loss or ""]
    optimizer = torch.optim.SGD(
        model.parameters(), rate, momentum=given.momentum, dampening=given.dampening, nesterov=given.nesterov
    )

    def objective(rows: Tensor) -> Tensor:
        answers = targets[rows, 0].long() if is_codes else targets[rows]
        found = each(model(features[rows]), answers, reduction="none").reshape(len(rows), -1).mean(dim=1)
        penalty = torch.stack([linear.weight.square().sum() for linear in linears]).sum()
        return torch.mean(weights[rows] * found) + given.l2 / 2 * penalty

    everything = torch.arange(len(samples))
    losses = []
    for _ in range(epochs):
        losses.append(float(objective(everything).detach()))
        order = everything if given.batch_size is None else torch.randperm(len(samples))
        for rows in torch.split(order, batch_size):
            optimizer.zero_grad()
            torch.autograd.backward(objective(rows))
            optimizer.step()
    return np.array([*losses, float(objective(everything).detach())])
