"""The plan of a training: task, dataset and hyperparameters, checked to go together, with the gaps filled in."""

import math
import secrets
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from service.dataset import Dataset, Outline
from service.errors import Fault, Finding, InvalidDataset, InvalidHyperparameters
from service.hyperparameters import Hyperparameters
from service.parameters import Layout, n_parameters
from service.rules import faults, is_full_batch, part_sizes
from service.schedules import schedule_of
from service.tasks import TRAITS, EngineName, Task

CHEAP_EPOCHS = 100_000
"""`record_every: auto` records every epoch up to so many."""
CHEAP_BYTES = 64 * 2**20
"""`record_every: auto` spends at most so many bytes on recorded parameters and gradients."""
FEWEST_EPOCHS = 100
"""`record_parameters: auto` records no parameters when they would leave fewer epochs than this."""
LARGEST_EIGENBASIS = 1000
"""The exact engine takes up to so many features, whose eigenbasis is found in a fraction of a second."""
MAX_RECORDED_BYTES = 2**28
"""No training may record more than this; asking for it is an error."""
MAX_PARAMETERS = 10_000_000
"""No model may have more than this."""
SMALL_PERCEPTRON = [32]


@dataclass(frozen=True)
class Plan:
    """What will be trained, as far as it is known before the first step."""

    task: Task
    hyperparameters: Hyperparameters
    layout: Layout
    warnings: tuple[Finding, ...]

    @property
    def engine(self) -> EngineName:
        """How epochs are had."""
        engine = self.hyperparameters.engine
        assert engine != "auto"
        return engine


def layout_of(task: Task, dataset: Dataset | Outline, hyperparameters: Hyperparameters) -> Layout:
    """Give the shape of each layer that a task trains on a dataset."""
    traits, classes = TRAITS[task], dataset.schema.classes
    n_outputs = dataset.n_targets
    if traits.classifies:
        n_outputs = 1 if task == "logistic_regression" else len(classes or ())
    hidden = hyperparameters.hidden_layers or SMALL_PERCEPTRON if traits.is_perceptron else []
    sizes = [dataset.n_features, *hidden, n_outputs]
    return tuple((after, before) for before, after in pairwise(sizes))


def make_plan(task: Task, dataset: Dataset | Outline, hyperparameters: Hyperparameters) -> Plan:
    """Check that task, dataset and hyperparameters go together; fill in what they leave open.

    Filled in is all but the learning rate and the device: they take the curvature of the loss and the worker's
    hardware, see `service.training.examination.examine`.

    Raises:
        InvalidDataset: when the targets are not what the task needs.
        InvalidHyperparameters: with every hyperparameter that does not fit, and why.
    """
    if task not in TRAITS:
        raise InvalidHyperparameters([Fault("/task", f"there is no task {task!r}: the tasks are {', '.join(TRAITS)}")])
    _check_targets(task, dataset)
    layout = layout_of(task, dataset, hyperparameters)
    found = faults(task, dataset, hyperparameters, layout)
    traits = TRAITS[task]
    resolved = hyperparameters.model_copy(
        update={
            "loss": hyperparameters.loss or traits.losses[0],
            "seed": secrets.randbelow(2**31) if hyperparameters.seed is None else hyperparameters.seed,
            "start": hyperparameters.start or traits.starts[0],
        }
    )
    if traits.is_perceptron:
        resolved = resolved.model_copy(update={"hidden_layers": hyperparameters.hidden_layers or SMALL_PERCEPTRON})
    engine = _engine(task, dataset, resolved)
    if hyperparameters.engine == "exact" != engine and "exact" in traits.engines:
        detail = (
            "exact needs mse or half_mse without l1, the full batch, sgd at a constant learning rate, no clipping, and "
            f"at most {LARGEST_EIGENBASIS} features: use auto"
        )
        found.append(Fault("/engine", detail))
    every, with_parameters, recorded_bytes = _recording(resolved, layout)
    if recorded_bytes > MAX_RECORDED_BYTES:
        detail = (
            f"recording every {every} of {hyperparameters.epochs} epochs would take {recorded_bytes} bytes "
            f"and {MAX_RECORDED_BYTES} is the limit: use a larger record_every or auto"
        )
        found.append(Fault("/record_every", detail))
    if n_parameters(layout) > MAX_PARAMETERS:
        detail = f"the model would have {n_parameters(layout)} parameters and {MAX_PARAMETERS} is the limit"
        found.append(Fault("/hidden_layers", f"{detail}: use fewer units"))
    if found:
        raise InvalidHyperparameters(found)
    settled = {"engine": engine, "record_every": every, "record_parameters": with_parameters}
    return Plan(task, resolved.model_copy(update=settled), layout, tuple(_warnings(dataset, resolved)))


def _check_targets(task: Task, dataset: Dataset | Outline) -> None:
    classes, traits = dataset.schema.classes, TRAITS[task]
    if not traits.classifies:
        if classes is not None:
            raise InvalidDataset([Fault("/targets", f"{task} needs numbers as targets, not labels")])
        return
    if classes is None:
        raise InvalidDataset([Fault("/targets", f"{task} needs labels as targets: give the dataset's classes")])
    shown = ", ".join(repr(label) for label in classes[:5]) + (", …" if len(classes) > 5 else "")
    if task == "logistic_regression" and len(classes) != 2:
        instead = "; softmax_regression takes more" if len(classes) > 2 else ""
        detail = f"{task} needs targets of exactly 2 classes, and these have {len(classes)}: {shown}{instead}"
        raise InvalidDataset([Fault("/targets", detail)])
    if len(classes) < 2:
        detail = f"{task} needs targets of at least 2 classes, and these have {len(classes)}: {shown}"
        raise InvalidDataset([Fault("/targets", detail)])


def _engine(task: Task, dataset: Dataset | Outline, given: Hyperparameters) -> EngineName:
    """Settle the engine: the first that can train this, unless another is asked for."""
    n_train, *_ = part_sizes(dataset, given)
    is_quadratic = task == "linear_regression" and given.loss in ("mse", "half_mse") and not given.l1
    is_plain = given.optimizer == "sgd" and schedule_of(given.schedule).kind == "constant"
    can_be_exact = (
        is_quadratic
        and is_plain
        and given.clip_gradient_norm is None
        and is_full_batch(n_train, given)
        and dataset.n_features <= LARGEST_EIGENBASIS
    )
    if can_be_exact and given.engine in ("auto", "exact"):
        return "exact"
    if given.engine == "autograd" or TRAITS[task].is_perceptron:
        return "autograd"
    return "analytic"


def _recording(given: Hyperparameters, layout: Layout) -> tuple[int, bool, int]:
    """Settle how often to record, and whether with parameters; tell how many bytes that takes."""
    loss_bytes = 5 * 8  # columns of numbers
    parameter_bytes = 2 * n_parameters(layout) * np.dtype(given.dtype).itemsize  # and the gradient
    n_with = min(CHEAP_EPOCHS, CHEAP_BYTES // (loss_bytes + parameter_bytes))
    asked = given.record_every
    if given.record_parameters == "auto":
        n_asked = given.epochs if asked == "auto" else given.epochs // asked
        with_parameters = min(n_asked, FEWEST_EPOCHS) <= n_with
    else:
        with_parameters = given.record_parameters
    n_cheap = max(2, n_with if with_parameters else CHEAP_EPOCHS)
    every = math.ceil(given.epochs / n_cheap) if asked == "auto" else asked
    epoch_bytes = loss_bytes + (parameter_bytes if with_parameters else 0)
    return every, with_parameters, (given.epochs // every + 2) * epoch_bytes


def _warnings(dataset: Dataset | Outline, given: Hyperparameters) -> list[Finding]:
    n_train, *_ = part_sizes(dataset, given)
    if given.batch_size is not None and given.batch_size > n_train:
        detail = f"batch_size {given.batch_size} is more than the {n_train} samples: each epoch is one full batch"
        return [Finding("batch_size_exceeds_samples", detail, {"batch_size": given.batch_size, "n_samples": n_train})]
    return []
