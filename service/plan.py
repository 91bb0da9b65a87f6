"""The plan of a training: task, dataset and hyperparameters, checked to go together, with the gaps filled in."""

import math
import secrets
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset
from service.errors import Fault, InvalidDataset, InvalidHyperparameters
from service.hyperparameters import Hyperparameters, StartValues
from service.parameters import Layer, Layout, n_parameters
from service.tasks import TRAITS, Task

CHEAP_EPOCHS = 100_000
"""`record_every: auto` records every epoch up to so many."""
CHEAP_BYTES = 64 * 2**20
"""`record_every: auto` spends at most so many bytes on recorded parameters and gradients."""
LARGEST_EIGENBASIS = 1000
"""The exact engine takes up to so many features, whose eigenbasis is found in a fraction of a second."""
MAX_RECORDED_BYTES = 2**30
"""No training may record more than this; asking for it is an error."""


@dataclass(frozen=True)
class Advisory:
    """Something worth knowing about a training that does not stop it: a code and a sentence."""

    code: str
    detail: str


@dataclass(frozen=True)
class Plan:
    """What will be trained, as far as it is known before the first step."""

    task: Task
    hyperparameters: Hyperparameters
    layout: Layout
    warnings: tuple[Advisory, ...]


def layout_of(task: Task, dataset: Dataset) -> Layout:
    """Give the shape of each layer that a task trains on a dataset."""
    n_outputs = dataset.n_targets if task == "linear_regression" else 1
    return ((n_outputs, dataset.n_features),)


def make_plan(task: Task, dataset: Dataset, hyperparameters: Hyperparameters) -> Plan:
    """Check that task, dataset and hyperparameters go together; fill in what they leave open.

    Filled in are the loss, the seed and how often to record. The learning rate and the device stay as they are:
    they take the curvature of the loss and the worker's hardware, see `service.training.fit.resolve`.

    Raises:
        InvalidDataset: when the targets are not what the task needs.
        InvalidHyperparameters: with every hyperparameter that does not fit, and why.
    """
    if task not in TRAITS:
        raise InvalidHyperparameters([Fault("/task", f"there is no task {task!r}: the tasks are {', '.join(TRAITS)}")])
    _check_targets(task, dataset)
    layout = layout_of(task, dataset)
    faults = [*_loss_faults(task, hyperparameters), *_start_faults(hyperparameters, layout)]
    if set(hyperparameters.frozen) == {"weight", "bias"}:
        faults.append(Fault("/frozen", "weight and bias are both frozen, so there is nothing to train: free one"))
    engine = _engine(task, dataset, hyperparameters)
    if engine is None:
        faults.append(
            Fault(
                "/engine",
                f"exact needs a quadratic loss, the full batch, the CPU and at most {LARGEST_EIGENBASIS} features: "
                "use analytic, or auto",
            )
        )
    record_every, recorded_bytes = _recording(hyperparameters, layout)
    if recorded_bytes > MAX_RECORDED_BYTES:
        faults.append(
            Fault(
                "/record_every",
                f"recording every {record_every} of {hyperparameters.epochs} epochs would take {recorded_bytes} bytes "
                f"and {MAX_RECORDED_BYTES} is the limit: use a larger record_every or auto",
            )
        )
    if faults:
        raise InvalidHyperparameters(faults)
    resolved = hyperparameters.model_copy(
        update={
            "loss": hyperparameters.loss or TRAITS[task].losses[0],
            "seed": secrets.randbelow(2**31) if hyperparameters.seed is None else hyperparameters.seed,
            "record_every": record_every,
            "engine": engine,
        }
    )
    return Plan(task, resolved, layout, tuple(_warnings(dataset, hyperparameters)))


def start_layers(start: StartValues, layout: Layout) -> tuple[Layer, ...]:
    """Bring explicit start values into the layout's shapes, as float64.

    Raises:
        InvalidHyperparameters: when the shapes differ.
    """
    (n_outputs, n_features), *_ = layout
    faults = []
    weight = _array(start.weight)
    if n_outputs == 1 and weight.ndim == 1:
        weight = weight.reshape(1, -1)
    if weight.ndim == 0 and n_features == n_outputs == 1:
        weight = weight.reshape(1, 1)
    if weight.shape != (n_outputs, n_features):
        expected = f"{n_features} numbers" if n_outputs == 1 else f"{n_outputs} rows of {n_features} numbers"
        faults.append(Fault("/start/weight", f"the start's weight must have {expected}, one for each feature"))
    bias = np.atleast_1d(_array(start.bias))
    if bias.shape != (n_outputs,) and start.bias == 0.0:
        bias = np.zeros(n_outputs)
    if bias.shape != (n_outputs,):
        faults.append(Fault("/start/bias", f"the start's bias must have {n_outputs} numbers, one for each output"))
    if faults:
        raise InvalidHyperparameters(faults)
    return (Layer(weight, bias),)


def _array(values: float | list[float] | list[list[float]]) -> NDArray[np.float64]:
    try:
        return np.array(values, dtype=np.float64)
    except ValueError:  # rows of unequal length; no layout has this shape
        return np.empty((0, 0, 0))


def _check_targets(task: Task, dataset: Dataset) -> None:
    classes, wanted = dataset.schema.classes, TRAITS[task].n_classes
    if wanted is None:
        if classes is not None:
            raise InvalidDataset([Fault("/targets", f"{task} needs numbers as targets, not labels")])
        return
    if classes is None:
        raise InvalidDataset([Fault("/targets", f"{task} needs labels as targets: give the dataset's classes")])
    if len(classes) != wanted:
        shown = ", ".join(repr(label) for label in classes[:5]) + (", …" if len(classes) > 5 else "")
        detail = f"{task} needs targets of exactly {wanted} classes, and these have {len(classes)}: {shown}"
        raise InvalidDataset([Fault("/targets", detail)])


def _loss_faults(task: Task, hyperparameters: Hyperparameters) -> list[Fault]:
    allowed = TRAITS[task].losses
    if hyperparameters.loss in (None, *allowed):
        return []
    return [Fault("/loss", f"{task} cannot minimise {hyperparameters.loss}: use {' or '.join(allowed)}")]


def _start_faults(hyperparameters: Hyperparameters, layout: Layout) -> tuple[Fault, ...]:
    if isinstance(hyperparameters.start, StartValues):
        try:
            start_layers(hyperparameters.start, layout)
        except InvalidHyperparameters as invalid:
            return invalid.faults
    return ()


def _engine(task: Task, dataset: Dataset, hyperparameters: Hyperparameters) -> Literal["exact", "analytic"] | None:
    """Settle the engine; None when the exact one is asked for where it cannot be had."""
    full_batch = (hyperparameters.batch_size or dataset.n_samples) >= dataset.n_samples
    is_small = dataset.n_features <= LARGEST_EIGENBASIS and hyperparameters.device in ("auto", "cpu")
    can_be_exact = task == "linear_regression" and full_batch and is_small
    if hyperparameters.engine != "exact":
        return "analytic"
    return "exact" if can_be_exact else None


def _recording(hyperparameters: Hyperparameters, layout: Layout) -> tuple[int, int]:
    """Settle how often to record, and tell how many bytes that takes."""
    itemsize = np.dtype(hyperparameters.dtype).itemsize
    epoch_bytes = 2 * n_parameters(layout) * itemsize + 4 * 8  # parameters, gradient; four columns of numbers
    n_cheap = max(2, min(CHEAP_EPOCHS, CHEAP_BYTES // epoch_bytes))
    asked = hyperparameters.record_every
    every = math.ceil(hyperparameters.epochs / n_cheap) if asked == "auto" else asked
    return every, (hyperparameters.epochs // every + 2) * epoch_bytes


def _warnings(dataset: Dataset, hyperparameters: Hyperparameters) -> list[Advisory]:
    batch_size = hyperparameters.batch_size
    if batch_size is not None and batch_size > dataset.n_samples:
        detail = f"batch_size {batch_size} is more than the {dataset.n_samples} samples: each epoch is one full batch"
        return [Advisory("batch_size_exceeds_samples", detail)]
    return []
