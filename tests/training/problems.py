"""Random problems for the tests of the core, and a plain torch loop as their oracle."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import lr_scheduler

from service.dataset import Dataset, Schema
from service.hyperparameters import Hyperparameters
from service.parameters import unflatten
from service.rules import is_frozen
from service.schedules import (
    CosineSchedule,
    ExponentialSchedule,
    InverseScalingSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    StepSchedule,
    schedule_of,
)
from service.tasks import TRAITS, Task
from service.training.epochs import EpochBlock, EpochColumns, join
from service.training.fit import Training, fit

Array = NDArray[np.float64]


def hyperparameters(**given: Any) -> Hyperparameters:
    """Take hyperparameters as a request would have them, in float64 unless told otherwise."""
    return Hyperparameters.model_validate({"dtype": "float64", "device": "cpu"} | given)


def random_dataset(
    task: Task,
    seed: int,
    n_samples: int = 20,
    n_features: int = 3,
    n_targets: int = 1,
    *,
    n_classes: int = 3,
    weighted: bool = False,
) -> Dataset:
    """Draw features from a normal distribution, and targets, or classes of about the same size, that depend on them."""
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(n_samples, n_features))
    outputs = features @ draw.normal(size=(n_features, n_targets)) + draw.normal(size=(n_samples, n_targets))
    weights = draw.uniform(0.1, 2, n_samples) if weighted else None
    names = tuple(f"x{n}" for n in range(n_features))
    if not TRAITS[task].classifies:
        return Dataset(features, outputs, Schema(names, tuple(f"y{n}" for n in range(n_targets))), weights)
    n_classes = 2 if task == "logistic_regression" else n_classes
    codes = np.floor(n_classes * outputs[:, 0].argsort().argsort() / n_samples)
    return Dataset(features, codes, Schema(names, ("y",), tuple("abcdefgh"[:n_classes])), weights)


def trained(task: Task, dataset: Dataset, given: Hyperparameters) -> EpochColumns:
    """Train to the end, and join the columns of all blocks."""
    return join([block.columns for block in fit(task, dataset, given)])


def ended(task: Task, dataset: Dataset, given: Hyperparameters) -> EpochBlock:
    """Train to the end, and give the last block with the columns of all, which are cut as the clock has it."""
    blocks = list(fit(task, dataset, given))
    return replace(blocks[-1], columns=join([block.columns for block in blocks]))


def parameters_of(columns: EpochColumns) -> NDArray[Any]:
    """Give the parameters of a training that was asked to record them."""
    assert columns.parameters is not None
    return columns.parameters


def gradients_of(columns: EpochColumns) -> NDArray[Any]:
    """Give the gradients of a training that was asked to record parameters."""
    assert columns.gradient is not None
    return columns.gradient


LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": lambda outputs, targets: (outputs - targets).square().mean(1),
    "half_mse": lambda outputs, targets: (outputs - targets).square().mean(1) / 2,
    "mae": lambda outputs, targets: functional.l1_loss(outputs, targets, reduction="none").mean(1),
    "huber": lambda outputs, targets: functional.huber_loss(outputs, targets, reduction="none").mean(1),
    "binary_cross_entropy": lambda outputs, targets: functional.binary_cross_entropy_with_logits(
        outputs, targets, reduction="none"
    )[:, 0],
    "cross_entropy": lambda outputs, targets: functional.cross_entropy(outputs, targets[:, 0].long(), reduction="none"),
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}


@dataclass(frozen=True)
class Oracle:
    """What autograd and torch.optim give, epoch by epoch, in float64."""

    train_loss: Array
    validation_loss: Array
    parameters: Array
    gradient: Array
    learning_rate: Array


def torch_descent(training: Training) -> Oracle:
    """Train from the same start on the same samples, with torch's classes and nothing of the service's core."""
    return _Loop(training).run()


@dataclass(frozen=True)
class _Part:
    features: Tensor
    targets: Tensor
    weights: Tensor

    def rows(self, rows: Tensor) -> "_Part":
        return _Part(self.features[rows], self.targets[rows], self.weights[rows])


class _Loop:
    """What one would write in a notebook: forward, backward, step."""

    def __init__(self, training: Training) -> None:
        plan, preparation = training.plan, training.examination.preparation
        self._given = given = plan.hyperparameters
        self._classifies = TRAITS[plan.task].classifies
        layers = unflatten(training.examination.start.copy(), plan.layout)
        self._weights = [torch.tensor(layer.weight, requires_grad=True) for layer in layers]
        self._biases = [torch.tensor(layer.bias, requires_grad=True) for layer in layers]
        self._parameters = [part for pair in zip(self._weights, self._biases, strict=True) for part in pair]
        prefixes = [""] if len(layers) == 1 else [f"{n}." for n in range(len(layers))]
        names = [prefix + kind for prefix in prefixes for kind in ("weight", "bias")]
        for name, parameter in zip(names, self._parameters, strict=True):
            parameter.requires_grad_(not is_frozen(given, name))
        self._learning = [parameter for parameter in self._parameters if parameter.requires_grad]
        everything = np.arange(training.dataset.n_samples)
        rows = everything if preparation.split.train is None else preparation.split.train
        self._train = self._part(training.dataset, rows, rows)
        self._validation = self._part(training.dataset, preparation.split.validation, rows)

    def _part(self, dataset: Dataset, rows: NDArray[np.int64], learn_from: NDArray[np.int64]) -> _Part:
        given = self._given
        features = _scale(dataset.features, learn_from, given.scale, given.fit_intercept)[rows]
        targets = _scale(dataset.targets, learn_from, given.scale_targets, given.fit_intercept)[rows]
        weights = np.ones(dataset.n_samples) if dataset.sample_weight is None else dataset.sample_weight
        if given.class_weight:
            codes = dataset.targets[:, 0]
            present, counts = np.unique(codes[learn_from], return_counts=True)
            balanced = dict(zip(present, len(learn_from) / (len(present) * counts), strict=True))
            weights = weights * np.array([balanced[code] for code in codes])
        its = weights[rows] / weights[rows].mean() if len(rows) else weights[rows]
        return _Part(torch.tensor(features), torch.tensor(targets), torch.tensor(its))

    def _loss(self, part: _Part) -> Tensor:
        values = part.features
        for number, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
            values = values if number == 0 else ACTIVATIONS[self._given.activation](values)
            values = functional.linear(values, weight, bias)
        assert self._given.loss is not None
        return (LOSSES[self._given.loss](values, part.targets) * part.weights).mean()

    def _differentiate(self, part: _Part) -> float:
        for parameter in self._parameters:
            parameter.grad = None
        loss = self._loss(part)
        squares = sum((weight.square().sum() for weight in self._weights), torch.zeros(()))
        sizes = sum((weight.abs().sum() for weight in self._weights), torch.zeros(()))
        torch.autograd.backward(loss + self._given.l2 / 2 * squares + self._given.l1 * sizes)
        return float(loss.detach())

    def run(self) -> Oracle:
        given = self._given
        optimizer = _optimizer(given, self._learning)
        scheduler = _scheduler(given, optimizer)
        order = torch.Generator().manual_seed(given.seed or 0)
        found: list[list[Any]] = [[], [], [], [], []]
        n_samples = len(self._train.features)
        for epoch in range(given.epochs + 1):
            loss = self._differentiate(self._train)
            with torch.no_grad():
                validation = float(self._loss(self._validation))
            if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) and epoch:
                scheduler.step(validation if len(self._validation.features) else loss)
            rate = optimizer.param_groups[0]["lr"]
            its = (loss, validation, _flat(self._parameters), _flat([p.grad for p in self._parameters]), rate)
            for column, value in zip(found, its, strict=True):
                column.append(value)
            if epoch == given.epochs:
                break
            rows = torch.randperm(n_samples, generator=order) if given.shuffle else torch.arange(n_samples)
            for some in torch.split(rows, given.batch_size or n_samples):
                self._step(optimizer, some)
            is_over = isinstance(scheduler, lr_scheduler.OneCycleLR) and epoch + 1 == given.epochs
            if scheduler is not None and not isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) and not is_over:
                scheduler.step()
        return Oracle(*(np.array(column) for column in found))

    def _step(self, optimizer: torch.optim.Optimizer, rows: Tensor) -> None:
        # The full batch in another order has another rounding; ours keeps its order.
        self._differentiate(self._train if len(rows) == len(self._train.features) else self._train.rows(rows))
        if self._given.clip_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self._learning, self._given.clip_gradient_norm)
        optimizer.step()


def _flat(parts: list[Any]) -> Array:
    """Put tensors behind each other; the gradient of what is frozen, None, is left for the caller to skip."""
    shapes = [np.zeros(0) if part is None else part.detach().numpy().ravel() for part in parts]
    return np.concatenate(shapes)


def _scale(table: Any, rows: NDArray[np.int64], how: str, centred: bool) -> Array:
    if how == "none":
        return np.asarray(table, dtype=np.float64)
    deviation = table[rows].std(axis=0) if how == "standard" else np.ones(table.shape[1])
    deviation = np.where(deviation > 1e-14, deviation, 1.0)
    return np.asarray((table - (table[rows].mean(axis=0) if centred else 0.0)) / deviation)


def _optimizer(given: Hyperparameters, learning: list[Tensor]) -> torch.optim.Optimizer:
    rate = float(given.learning_rate)
    match given.optimizer:
        case "sgd":
            momentum, dampening, nesterov = given.momentum, given.dampening, given.nesterov
            return torch.optim.SGD(learning, rate, momentum=momentum, dampening=dampening, nesterov=nesterov)
        case "adam":
            return torch.optim.Adam(learning, rate)
        case "adamw":
            return torch.optim.AdamW(learning, rate)
        case "rmsprop":
            return torch.optim.RMSprop(learning, rate)
        case "adagrad":
            return torch.optim.Adagrad(learning, rate)
    raise AssertionError(given.optimizer)


def _scheduler(given: Hyperparameters, optimizer: torch.optim.Optimizer) -> Any:
    match schedule_of(given.schedule):
        case StepSchedule() as step:
            return lr_scheduler.StepLR(optimizer, step.step_size, step.gamma)
        case ExponentialSchedule() as decay:
            return lr_scheduler.ExponentialLR(optimizer, decay.gamma)
        case CosineSchedule() as cosine:
            return lr_scheduler.CosineAnnealingLR(optimizer, given.epochs, cosine.eta_min)
        case OneCycleSchedule() as cycle:
            return lr_scheduler.OneCycleLR(
                optimizer,
                float(given.learning_rate),
                given.epochs,
                pct_start=cycle.pct_start,
                cycle_momentum=False,
                div_factor=cycle.div_factor,
                final_div_factor=cycle.final_div_factor,
            )
        case InverseScalingSchedule() as inverse:
            return lr_scheduler.LambdaLR(optimizer, lambda epoch: (epoch + 1) ** -inverse.power_t)
        case PlateauSchedule() as plateau:
            fields = plateau.model_dump(exclude={"kind", "min_learning_rate"})
            return lr_scheduler.ReduceLROnPlateau(optimizer, min_lr=plateau.min_learning_rate, **fields)
    return None
