"""Which samples of a dataset are for training, which for validation, and which for test."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset, PartSizes, Table
from service.hyperparameters import Hyperparameters
from service.rules import part_sizes
from service.tasks import TRAITS, Task

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Which rows of the dataset are for what, in ascending order; None stands for all of them."""

    train: Rows | None
    validation: Rows
    test: Rows


def split_dataset(task: Task, dataset: Dataset, hyperparameters: Hyperparameters) -> Split:
    """Split a dataset, see `split_samples`."""
    sizes = part_sizes(dataset, hyperparameters)
    return split_samples(task, dataset.targets, dataset.parts, sizes, hyperparameters)


def split_samples(
    task: Task, targets: Table, parts: NDArray[np.int8] | None, sizes: PartSizes, hyperparameters: Hyperparameters
) -> Split:
    """Draw which samples are held out for validation and for test, from the seed; stratified for classes.

    Args:
        task: says whether the targets are classes.
        targets: (n_samples, n_targets).
        parts: what each sample is for, (n_samples,), where that is not for drawing; see `Dataset`.
        sizes: how many samples each part has.
        hyperparameters: the seed, and whether to stratify.
    """
    n_train, n_validation, n_test = sizes
    none = np.empty(0, dtype=np.int64)
    if not n_validation + n_test:
        return Split(None, none, none)
    if parts is not None:
        train, validation, test = (np.flatnonzero(parts == part) for part in range(3))
        return Split(train, validation, test)
    # A stream of its own, so that the seed's other draws are the same with and without a split.
    draws = np.random.default_rng([hyperparameters.seed or 0, 1])
    order = draws.permutation(n_train + n_validation + n_test)
    if TRAITS[task].classifies and hyperparameters.stratify:
        test = _stratified(order, targets[:, 0], n_test)
        order = order[~np.isin(order, test)]
        validation = _stratified(order, targets[:, 0], n_validation)
        train = order[~np.isin(order, validation)]
    else:
        test, validation, train = np.split(order, [n_test, n_test + n_validation])
    return Split(np.sort(train), np.sort(validation), np.sort(test))


def _stratified(order: Rows, codes: Table, n_wanted: int) -> Rows:
    """Take the first rows of each class in an order, as many as its share, the largest remainders rounded up."""
    of_class = [order[codes[order] == code] for code in np.unique(codes[order])]
    shares = np.array([len(rows) for rows in of_class]) * (n_wanted / max(1, len(order)))
    counts = np.floor(shares).astype(int)
    for index in np.argsort(-(shares - counts), kind="stable")[: n_wanted - counts.sum()]:
        counts[index] += 1
    return np.concatenate([rows[:count] for rows, count in zip(of_class, counts, strict=True)])
