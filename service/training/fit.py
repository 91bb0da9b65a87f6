"""Train a model: `fit` is all that a notebook or the worker needs."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from service.dataset import Dataset
from service.errors import DeviceUnavailable
from service.hyperparameters import Hyperparameters
from service.plan import Advisory, Plan, make_plan
from service.tasks import Task
from service.training.advice import LearningRateAdvice, advise_learning_rate, loss_curvature
from service.training.descent import Descent
from service.training.diagnosis import explain_divergence
from service.training.epochs import EpochBlock, NotFinite
from service.training.exact import ExactDescent
from service.training.linear import LinearModel
from service.training.losses import LOSSES
from service.training.start import frozen_mask, start_vector

SMALL_TABLE = 2**22
"""Tables of up to so many numbers go through the exact engine in float64, whatever the dtype: it costs nothing."""


def resolve(task: Task, dataset: Dataset, hyperparameters: Hyperparameters) -> Plan:
    """Settle everything that the hyperparameters leave open, the learning rate and the device included.

    Raises:
        InvalidDataset, InvalidHyperparameters: when task, dataset and hyperparameters do not go together.
        DeviceUnavailable: when the device is not on this machine.
    """
    plan = make_plan(task, dataset, hyperparameters)
    settled = plan.hyperparameters
    device = "cpu" if settled.engine == "exact" else _device(settled.device)
    advice = advise_learning_rate(task, dataset, settled)
    rate = advice.suggested if settled.learning_rate == "auto" else float(settled.learning_rate)
    settled = settled.model_copy(update={"learning_rate": rate, "device": device})
    warnings = [*plan.warnings, *_rate_warnings(rate, advice)]
    return dataclasses.replace(plan, hyperparameters=settled, warnings=tuple(warnings))


def _rate_warnings(rate: float, advice: LearningRateAdvice) -> list[Advisory]:
    if advice.kind != "exact" or rate <= advice.limit:
        return []
    detail = (
        f"the learning rate {rate:.3g} is above {advice.limit:.3g}, beyond which descent on this data diverges: "
        f"the loss grows until it overflows; try {advice.suggested:.3g}"
    )
    return [Advisory("learning_rate_above_limit", detail)]


def fit(task: Task, dataset: Dataset, hyperparameters: Hyperparameters) -> Iterator[EpochBlock]:
    """Train a model on a dataset, yielding blocks of consecutive epochs.

    Work happens only when the next block is asked for, so a caller stops training by not asking; a block comes at
    least every tenth of a second, or after each step where a step takes longer.

    Args:
        task: what to train, which says what the targets must be.
        dataset: features of shape (n_samples, n_features) and targets of shape (n_samples, n_targets), finite.
        hyperparameters: how to train; `learning_rate` is per step, `batch_size` counts samples.

    Yields:
        Blocks whose epochs are numbered from 0, the start. `train_loss[k]` is the mean loss per sample at
        `parameters[k]`, in squared units of the targets for regression and in nats for classification.

    Raises:
        InvalidDataset, InvalidHyperparameters: at the call, before any work, when they do not go together.
        DeviceUnavailable: at the call, when the device is not on this machine.
        TrainingDiverged: when a loss or a gradient is not finite; it carries the diagnosis.
    """
    return _fit(dataset, resolve(task, dataset, hyperparameters))


def _fit(dataset: Dataset, plan: Plan) -> Iterator[EpochBlock]:
    engine = _exact if plan.hyperparameters.engine == "exact" else _analytic
    try:
        yield from engine(dataset, plan)
    except NotFinite as end:
        raise explain_divergence(plan.task, dataset, plan.hyperparameters, end.epoch) from None


def _exact(dataset: Dataset, plan: Plan) -> Iterator[EpochBlock]:
    hyperparameters = plan.hyperparameters
    precision = np.float64 if dataset.features.size <= SMALL_TABLE else np.dtype(hyperparameters.dtype)
    frozen = frozen_mask(hyperparameters, plan.layout)
    return ExactDescent(
        dataset.features.astype(precision, copy=False),
        dataset.targets.astype(precision, copy=False),
        start_vector(hyperparameters, plan.layout).numpy(),
        None if frozen is None else frozen.numpy(),
        loss_curvature(plan.task, dataset, hyperparameters),
        plan.layout,
        hyperparameters,
    ).blocks()


def _analytic(dataset: Dataset, plan: Plan) -> Iterator[EpochBlock]:
    hyperparameters, layout = plan.hyperparameters, plan.layout
    device, dtype = torch.device(hyperparameters.device), getattr(torch, hyperparameters.dtype)
    mask = frozen_mask(hyperparameters, layout)
    assert hyperparameters.loss is not None
    return Descent(
        LinearModel(
            layout, LOSSES[hyperparameters.loss], hyperparameters.l2, None if mask is None else mask.to(device)
        ),
        torch.from_numpy(dataset.features).to(device, dtype),
        torch.from_numpy(dataset.targets).to(device, dtype),
        start_vector(hyperparameters, layout).to(device, dtype),
        hyperparameters,
    ).blocks()


def _device(name: str) -> str:
    """Choose the device: a GPU when there is one for `auto`, else what was asked for, if it is there."""
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if n_gpus else "cpu"
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        if index >= n_gpus:
            raise DeviceUnavailable(f"device {name} was asked for and this worker has {n_gpus} GPUs: use auto or cpu")
    return name
