"""What the samples of a dataset are for: training, validation, test; brought to scale and weighted for training."""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset, Table
from service.hyperparameters import Hyperparameters
from service.scaling import Scaling, learn_scaling, varying
from service.split import Rows, Split, split_dataset
from service.tasks import Task

Entry = TypeVar("Entry", bound=np.generic)


@dataclass(frozen=True)
class Samples:
    """Features (n_samples, n_features), targets (n_samples, n_targets), and weights (n_samples,) of mean 1 or None.

    `varies`, (n_features,), tells which features vary, asked before they were scaled; None where nobody has asked.
    """

    features: Table
    targets: Table
    weights: NDArray[np.float64] | None = None
    varies: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class Preparation:
    """A dataset made ready for training.

    `train` and `validation` are in scaled units, and in the dtype of the training unless nothing had to be done to
    them: then they are the dataset's own arrays. `scaling` leads back to original units; it is None when those are
    the same.
    """

    train: Samples
    validation: Samples | None
    scaling: Scaling | None
    split: Split
    n_classes: int | None

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """The class codes of the training samples, (n_samples,)."""
        return self.train.targets[:, 0].astype(np.int64)


def prepare(task: Task, dataset: Dataset, hyperparameters: Hyperparameters) -> Preparation:
    """Split a dataset, learn the scaling on the training samples, and weight the samples.

    Args:
        task: of the plan.
        dataset: as given.
        hyperparameters: of the plan; its seed draws the split.
    """
    split = split_dataset(task, dataset, hyperparameters)
    features, targets = _rows(dataset.features, split.train), _rows(dataset.targets, split.train)
    scaling = learn_scaling(
        features,
        targets,
        hyperparameters.scale,
        hyperparameters.scale_targets,
        centred=hyperparameters.fit_intercept,
    )
    varies = varying(features)
    dtype = np.dtype(hyperparameters.dtype)
    of_class = _class_weights(dataset, hyperparameters, split.train)

    def ready(features: Table, targets: Table, rows: Rows | None) -> Samples:
        if scaling is not None:
            features, targets = scaling.scale_features(features, dtype), scaling.scale_targets(targets, dtype)
        return Samples(features, targets, _weights(dataset, of_class, rows), varies)

    train = ready(features, targets, split.train)
    validation = None
    if len(split.validation):
        rows = split.validation
        validation = ready(dataset.features[rows], dataset.targets[rows], rows)
    classes = dataset.schema.classes
    return Preparation(train, validation, scaling, split, None if classes is None else len(classes))


def _class_weights(
    dataset: Dataset, hyperparameters: Hyperparameters, train: Rows | None
) -> NDArray[np.float64] | None:
    """Give how much a sample of each class counts, (n_classes,); None when all classes count alike."""
    if hyperparameters.class_weight is None:
        return None
    codes = dataset.targets[:, 0].astype(np.int64)
    counts = np.bincount(_rows(codes, train), minlength=codes.max() + 1)
    balanced: NDArray[np.float64] = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return balanced


def _weights(dataset: Dataset, of_class: NDArray[np.float64] | None, rows: Rows | None) -> NDArray[np.float64] | None:
    """Give how much each of these samples counts, with mean 1: its own weight times that of its class.

    None when all count alike, as they do where all weights are 0.
    """
    weights = None
    if dataset.sample_weight is not None:
        weights = _rows(dataset.sample_weight, rows).astype(np.float64)
        if not weights.any():
            return None
        weights /= weights.max()  # first, for the sum of large ones overflows
    if of_class is not None:
        by_class = of_class[_rows(dataset.targets[:, 0], rows).astype(np.int64)]
        weights = by_class if weights is None else by_class * weights
    return None if weights is None else weights / weights.mean()


def _rows(table: NDArray[Entry], rows: Rows | None) -> NDArray[Entry]:
    return table if rows is None else table[rows]
