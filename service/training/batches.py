"""Samples on the device of the training: in blocks that fit a cache, or in mini-batches of a shuffled order."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import torch
import torch.utils.dlpack
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from service.dataset import Table
from service.room import room_for, rows_of, slices_of
from service.training.epochs import ALIGNMENT_BYTES
from service.training.samples import Samples

BLOCK_BYTES = 2**21
"""Blocks of samples of this size stay in a core's cache while they serve two products."""
WHOLE_BYTES = 4 * BLOCK_BYTES
"""Samples up to this size are not cut into blocks."""
GATHERED_BYTES = 2**20
"""So much of a shuffled table is gathered at a time; mini-batches are views of it."""


@dataclass(frozen=True)
class Batch:
    """Samples that are evaluated together, as tensors on the device.

    `features` has shape (n, n_columns), and `columns` is its transpose; `targets` has the samples last, and is None
    where the features carry them; `weights` has shape (n,), or is None when all samples count alike.
    """

    features: Tensor
    columns: Tensor
    targets: Tensor | None
    weights: Tensor | None

    def __len__(self) -> int:
        return self.features.shape[0]


def samples_last(targets: Table, dtype: DTypeLike, of: Callable[[Table], Table] | None = None) -> Table:
    """Lay targets out with the samples last, (n_targets, n_samples), as they are where nothing has to be done for it.

    Args:
        targets: (n_samples, n_targets).
        dtype: to be of.
        of: what to make of each part of them, of the same shape.
    """
    if of is None and targets.shape[1] == 1 and targets.dtype == dtype and targets.flags.c_contiguous:
        return targets.T
    found = room_for(targets.shape[::-1], dtype)
    for part in slices_of(len(targets)):
        found[:, part] = (targets[part] if of is None else of(targets[part])).T
    return found


def weights_of(samples: Samples, dtype: DTypeLike) -> Tensor | None:
    """Give the weights of samples, if they have any."""
    return None if samples.weights is None else tensor_of(samples.weights, dtype)


def tensor_of(table: Table, dtype: DTypeLike) -> Tensor:
    """Share a table's memory with a tensor for reading, or that of a copy where it is of another dtype."""
    return to_tensor(table if table.dtype == dtype else rows_of(table, None, dtype))


def to_tensor(array: NDArray[Any]) -> Tensor:
    """Share an array's memory with a tensor, which is for reading only, as the array may be."""
    return torch.utils.dlpack.from_dlpack(array)  # from_numpy warns of read-only arrays


def aligned(table: Tensor) -> Tensor:
    """Give a table as it is, or a copy where its memory is not aligned, as small arrays of NumPy may happen to be."""
    return table if table.data_ptr() % ALIGNMENT_BYTES == 0 else table.clone()


class BatchSource:
    """A table of samples on the device, which gives out batches of itself.

    Args:
        features: (n, n_columns).
        targets: samples last, or None.
        weights: (n,), or None.
    """

    def __init__(self, features: Tensor, targets: Tensor | None, weights: Tensor | None) -> None:
        self._features = features
        self._targets = targets
        self._weights = weights
        self._gathered: dict[tuple[int, int], _Gathered] = {}

    def __len__(self) -> int:
        return self._features.shape[0]

    def whole(self) -> Batch:
        """Give all samples, in order."""
        return next(_cut(self._features, self._targets, self._weights, len(self)))

    def blocks(self) -> list[Batch]:
        """Cut all samples, in order, into blocks that stay in a cache; into one on a GPU, or where they do anyway."""
        n_bytes = self._features.numel() * self._features.element_size()
        is_whole = self._features.device.type != "cpu" or n_bytes <= WHOLE_BYTES
        rows = len(self) if is_whole else max(64, BLOCK_BYTES * len(self) // n_bytes)
        return list(_cut(self._features, self._targets, self._weights, rows))

    def batches(self, size: int, order: Tensor | None, n_done: int) -> Iterator[Batch]:
        """Cut the samples into batches of a size, the last maybe smaller, in an order, or as they are.

        What is yielded is overwritten by later batches. The batches of the first `n_done` samples are left out; the
        others are at the places in memory that they have anyway.
        """
        row_bytes = self._features.shape[1] * self._features.element_size()
        rows = max(1, GATHERED_BYTES // (row_bytes * size)) * size
        parts = self._parts(size, rows, order, n_done // rows)
        return islice(chain.from_iterable(parts), -(-(n_done % rows) // size), None)

    def _parts(self, size: int, rows: int, order: Tensor | None, n_done: int) -> Iterator[Iterable[Batch]]:
        """Give the batches of so many samples at a time, leaving out the first parts."""
        if order is None:
            for part in islice(_cut(self._features, self._targets, self._weights, rows), n_done, None):
                yield _cut(part.features, part.targets, part.weights, size)
            return
        for chosen in torch.split(order, rows)[n_done:]:
            key = (len(chosen), size)
            if key not in self._gathered:
                self._gathered[key] = _Gathered(self._features, self._targets, self._weights, *key)
            yield self._gathered[key].take(chosen)


class _Gathered:
    """Space for some samples of a table, and the batches it is cut into, which cost more to make than to fill."""

    def __init__(self, features: Tensor, targets: Tensor | None, weights: Tensor | None, n: int, size: int) -> None:
        its_features = features.new_empty(n, features.shape[1])
        its_targets = None if targets is None else targets.new_empty(*targets.shape[:-1], n)
        its_weights = None if weights is None else weights.new_empty(n)
        self._batches = list(_cut(its_features, its_targets, its_weights, size))
        tables = ((features, its_features, 0), (targets, its_targets, -1), (weights, its_weights, 0))
        self._tables = [(table, space, axis) for table, space, axis in tables if table is not None]

    def take(self, chosen: Tensor) -> list[Batch]:
        """Fill it with some rows, as many as it has space for, and give its batches."""
        for table, space, axis in self._tables:
            torch.index_select(table, axis, chosen, out=space)
        return self._batches


def _cut(features: Tensor, targets: Tensor | None, weights: Tensor | None, size: int) -> Iterator[Batch]:
    pieces, columns = torch.split(features, size), torch.split(features.T, size, 1)
    none = [None] * len(pieces)
    its_targets = none if targets is None else torch.split(targets, size, -1)
    its_weights = none if weights is None else torch.split(weights, size)
    for parts in zip(pieces, columns, its_targets, its_weights, strict=True):
        yield Batch(*parts)
