"""Descent's own way: a training as the worker does it, without the store."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset, Schema, Table, default_names
from service.hyperparameters import Hyperparameters
from service.tasks import Task
from service.training.fit import Training


def prepare(task: Task, dataset: Dataset, **given: Any) -> Training:
    """Check and examine, with a seed of 0 and hyperparameters as they would come over the wire."""
    return Training(task, dataset, Hyperparameters.model_validate({"seed": 0, "device": "cpu", **given}))


def learned(training: Training) -> NDArray[Any]:
    """Train to the end, taking every block; give the last epoch's parameters, (n_parameters,)."""
    for block in training.blocks():
        last = block
    assert last.learned is not None
    return last.learned.parameters


def trajectory(training: Training) -> NDArray[Any]:
    """Train to the end; give the parameters of every epoch, (n_epochs, n_parameters)."""
    return np.concatenate([block.columns.parameters for block in training.blocks()])


def classes(features: Table, codes: Table, n_classes: int) -> Dataset:
    """Give a dataset of class codes, (n_samples,)."""
    schema = Schema(default_names("x", features.shape[1]), ("y",), tuple(range(n_classes)))
    return Dataset(features, codes.astype(features.dtype), schema)
