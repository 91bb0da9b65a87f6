"""Which samples of a dataset are for training, which for validation, and which for test."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.dataset import TEST, TRAIN, VALIDATION, Dataset, Parts, PartSizes, Table
from service.hyperparameters import Hyperparameters
from service.room import room_for, slices_of
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
    task: Task, targets: Table, parts: Parts | None, sizes: PartSizes, hyperparameters: Hyperparameters
) -> Split:
    """Draw which samples are held out for validation and for test, from the seed; stratified for classes.

    Args:
        task: says whether the targets are classes.
        targets: (n_samples, n_targets).
        parts: what each sample is for, (n_samples,), where that is not for drawing; see `Dataset`.
        sizes: how many samples each part has.
        hyperparameters: the seed, and whether to stratify.
    """
    _, n_validation, n_test = sizes
    if not n_validation + n_test:
        none = np.empty(0, dtype=np.int64)
        return Split(None, none, none)
    if parts is None:
        parts = _drawn(task, targets, sizes, hyperparameters)
    return Split(_rows_in(parts, TRAIN), _rows_in(parts, VALIDATION), _rows_in(parts, TEST))


def _drawn(task: Task, targets: Table, sizes: PartSizes, hyperparameters: Hyperparameters) -> Parts:
    """Draw what each sample is for."""
    _, n_validation, n_test = sizes
    n_samples = sum(sizes)
    # A stream of its own, so that the seed's other draws are the same with and without a split.
    draws = np.random.default_rng([hyperparameters.seed or 0, 1])
    order = room_for((n_samples,), np.int64)
    for some in slices_of(n_samples):
        order[some] = np.arange(some.start, some.stop)
    draws.shuffle(order)
    parts = room_for((n_samples,), np.int8)
    parts[:] = TRAIN
    if TRAITS[task].classifies and hyperparameters.stratify:
        _stratify(order, targets[:, 0], parts, TEST, n_test)
        _stratify(order, targets[:, 0], parts, VALIDATION, n_validation)
    else:
        parts[order[:n_test]] = TEST
        parts[order[n_test : n_test + n_validation]] = VALIDATION
    return parts


def _stratify(order: Rows, codes: NDArray[np.floating], parts: Parts, part: int, n_wanted: int) -> None:
    """Put the first training samples of each class into a part, as many as its share, the largest remainders up.

    Args:
        order: of all samples.
        codes: the class of each sample, (n_samples,).
        parts: what each sample is for so far; written to.
        part: for which samples are taken.
        n_wanted: how many of them.
    """
    wanted = np.zeros(int(codes.max()) + 1, dtype=np.int64)
    for some in slices_of(len(codes)):
        wanted += np.bincount(codes[some][parts[some] == TRAIN].astype(np.int64), minlength=len(wanted))
    present = np.flatnonzero(wanted)
    shares = wanted[present] * (n_wanted / max(1, wanted.sum()))
    counts = np.floor(shares).astype(np.int64)
    for index in np.argsort(-(shares - counts), kind="stable")[: n_wanted - counts.sum()]:
        counts[index] += 1
    wanted[present] = counts
    for some in slices_of(len(order)):
        rows = order[some]
        rows = rows[parts[rows] == TRAIN]
        classes = codes[rows].astype(np.int64)
        by_class = np.argsort(classes, kind="stable")
        ordered = classes[by_class]
        n_before = np.arange(len(rows)) - np.searchsorted(ordered, ordered)  # of the same class
        taken = by_class[n_before < wanted[ordered]]
        parts[rows[taken]] = part
        wanted -= np.bincount(classes[taken], minlength=len(wanted))


def _rows_in(parts: Parts, part: int) -> Rows:
    """Give the rows of a part, in ascending order."""
    rows = room_for((int(np.count_nonzero(parts == part)),), np.int64)
    n_found = 0
    for some in slices_of(len(parts)):
        found = np.flatnonzero(parts[some] == part)
        rows[n_found : n_found + len(found)] = found + some.start
        n_found += len(found)
    return rows
