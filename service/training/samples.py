"""What the samples of a dataset are for: training, validation, test; brought to scale and weighted for training."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset, Table
from service.hyperparameters import Hyperparameters
from service.room import room_for, rows_of
from service.scaling import Scaling, learn_scaling, varying
from service.split import Rows, Split, split_dataset
from service.tasks import Task


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
    features, targets = dataset.features, dataset.targets
    scaling = learn_scaling(
        features,
        targets,
        hyperparameters.scale,
        hyperparameters.scale_targets,
        split.train,
        centred=hyperparameters.fit_intercept,
    )
    varies = varying(features, split.train)
    dtype = np.dtype(hyperparameters.dtype)
    of_class = _class_weights(dataset, hyperparameters, split.train)

    def ready(rows: Rows | None) -> Samples:
        weights = _weights(dataset, of_class, rows)
        if scaling is None:
            return Samples(_rows(features, rows), _rows(targets, rows), weights, varies)
        scaled = scaling.scale_features(features, dtype, rows), scaling.scale_targets(targets, dtype, rows)
        return Samples(*scaled, weights, varies)

    train = ready(split.train)
    validation = ready(split.validation) if len(split.validation) else None
    classes = dataset.schema.classes
    return Preparation(train, validation, scaling, split, None if classes is None else len(classes))


def _class_weights(
    dataset: Dataset, hyperparameters: Hyperparameters, train: Rows | None
) -> NDArray[np.float64] | None:
    """Give how much a sample of each class counts, (n_classes,); None when all classes count alike."""
    if hyperparameters.class_weight is None:
        return None
    counts = np.bincount(rows_of(dataset.targets[:, 0], train, np.int64), minlength=int(dataset.targets.max()) + 1)
    balanced: NDArray[np.float64] = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return balanced


def _weights(dataset: Dataset, of_class: NDArray[np.float64] | None, rows: Rows | None) -> NDArray[np.float64] | None:
    """Give how much each of these samples counts, with mean 1: its own weight times that of its class.

    None when all count alike, as they do where all weights are 0.
    """
    weights: NDArray[np.float64] | None = None
    if dataset.sample_weight is not None:
        weights = rows_of(dataset.sample_weight, rows, np.float64)
        if not weights.any():
            return None
        weights /= weights.max()  # first, for the sum of large ones overflows
    if of_class is not None:
        codes = rows_of(dataset.targets[:, 0], rows, np.int64)
        by_class = room_for(codes.shape, np.float64)
        np.take(of_class, codes, out=by_class, mode="clip")  # another mode makes a copy first
        weights = by_class if weights is None else np.multiply(by_class, weights, out=by_class)
    return None if weights is None else np.divide(weights, weights.mean(), out=weights)


def _rows(table: Table, rows: Rows | None) -> Table:
    return table if rows is None else rows_of(table, rows)
