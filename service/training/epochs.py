"""Blocks of consecutive epochs: what a training yields, and the buffer in which it fills them."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.errors import Finding
from service.training.checkpoint import Checkpoint, Saved, State

StopReason = Literal["epochs_completed", "target_loss_reached", "no_improvement", "max_seconds_reached"]

BLOCK_EPOCHS = 4096
BLOCK_BYTES = 8 * 2**20
ALIGNMENT_BYTES = 64
"""Products of torch are the same in every bit only from memory that is aligned alike."""


@dataclass(frozen=True)
class EpochColumns:
    """What is known of some epochs, a column each.

    `epoch` counts updates of the full batch, or passes, from 0, the start. The losses, `gradient_norm[k]` and
    `gradient[k]` are taken at `parameters[k]`, in scaled units; a loss is the mean per sample, and the gradient that of
    the objective, which is the loss and the penalties. `learning_rate[k]` leads from epoch k to the next. Columns that
    were not asked for are None.
    """

    epoch: NDArray[np.int64]  # (n,)
    train_loss: NDArray[np.float64]  # (n,)
    gradient_norm: NDArray[np.float64]  # (n,)
    learning_rate: NDArray[np.float64]  # (n,)
    validation_loss: NDArray[np.float64] | None  # (n,)
    parameters: NDArray[Any] | None  # (n, n_parameters)
    gradient: NDArray[Any] | None  # (n, n_parameters)

    def __len__(self) -> int:
        return len(self.epoch)

    def __getitem__(self, rows: slice | NDArray[Any]) -> "EpochColumns":
        return EpochColumns(
            self.epoch[rows],
            self.train_loss[rows],
            self.gradient_norm[rows],
            self.learning_rate[rows],
            None if self.validation_loss is None else self.validation_loss[rows],
            None if self.parameters is None else self.parameters[rows],
            None if self.gradient is None else self.gradient[rows],
        )

    def row(self, index: int) -> "EpochColumns":
        """Copy a single epoch, so that it neither keeps the memory of the others nor shares it."""
        return self[np.array([index])]

    @property
    def monitored(self) -> NDArray[np.float64]:
        """The loss that says whether training helps: on held-out samples where there are any."""
        return self.train_loss if self.validation_loss is None else self.validation_loss


def join(parts: list[EpochColumns]) -> EpochColumns:
    """Put the columns of several, at least one, behind each other."""
    if len(parts) == 1:
        return parts[0]
    columns: list[list[Any]] = [[getattr(part, column.name) for part in parts] for column in fields(EpochColumns)]
    joined: list[Any] = [None if column[0] is None else np.concatenate(column) for column in columns]
    return EpochColumns(*joined)


def state_of(columns: EpochColumns | None) -> State:
    """Give the columns there are, by name; none for None."""
    if columns is None:
        return {}
    found = {column.name: getattr(columns, column.name) for column in fields(EpochColumns)}
    return {name: column for name, column in found.items() if column is not None}


def columns_from(saved: Saved) -> EpochColumns | None:
    """Read what `state_of` gave."""
    return EpochColumns(*[saved.get(column.name) for column in fields(EpochColumns)]) if saved else None  # type: ignore[arg-type]


@dataclass(frozen=True)
class Learned:
    """What a training has come to: the parameters of its last epoch, or of its best one, in scaled units."""

    epoch: int
    train_loss: float
    validation_loss: float | None
    parameters: NDArray[Any]  # (n_parameters,)


@dataclass(frozen=True)
class EpochBlock:
    """The epochs recorded since the last block, maybe none, and how far the training is.

    `progress` counts the epochs done, with a fraction in the middle of one. The last block of a training that ends well
    has a `stop_reason`, what was `learned`, and the `findings` about it. `checkpoint` makes one to go on from after
    this block, until the next one is asked for; it is None where nothing comes after.
    """

    columns: EpochColumns
    progress: float
    stop_reason: StopReason | None = None
    learned: Learned | None = None
    findings: tuple[Finding, ...] = ()
    checkpoint: Callable[[], Checkpoint] | None = None


class NotFinite(Exception):
    """Raised at the first evaluated epoch whose loss or gradient is not a finite number."""

    def __init__(self, epoch: int) -> None:
        super().__init__(epoch)
        self.epoch = epoch


class EpochBuffer:
    """Tensors on the device that hold a block's epochs, so that nothing leaves it before the block is full.

    Args:
        parameters: of the training; only shape, dtype and device are read.
        order: where each entry of that vector is in the vectors to give, or None when it is in its place.
        n_epochs: how many will be put in at most.
        validates: whether there is a validation loss.
    """

    def __init__(self, parameters: Tensor, order: NDArray[np.int64] | None, n_epochs: int, *, validates: bool) -> None:
        size = parameters.numel()
        affordable = BLOCK_BYTES // (2 * size * parameters.element_size())
        self.capacity = max(1, min(BLOCK_EPOCHS, affordable, n_epochs))
        self._order = order
        self._validates = validates
        self._train_loss = parameters.new_empty(self.capacity)
        self._validation_loss = parameters.new_empty(self.capacity)
        # Every row begins at the same alignment: which row an epoch gets is a matter of time.
        at_once = ALIGNMENT_BYTES // parameters.element_size()
        width = -(-size // at_once) * at_once
        self._parameters = parameters.new_empty(self.capacity, width)[:, :size]
        self._gradient = parameters.new_empty(self.capacity, width)[:, :size]
        # Rows are made once: a view costs as much as a small product.
        self.train_losses = self._train_loss.unbind()
        self.validation_losses = self._validation_loss.unbind()
        self.parameters = self._parameters.unbind()
        self.gradients = self._gradient.unbind()
        self._epochs: list[int] = []

    def __len__(self) -> int:
        return len(self._epochs)

    @property
    def is_full(self) -> bool:
        """Tell whether the block must be taken before the next epoch."""
        return len(self._epochs) == self.capacity

    def append(self, epoch: int) -> None:
        """Count an epoch whose rows have been written."""
        self._epochs.append(epoch)

    def take(self) -> EpochColumns:
        """Empty the buffer into arrays of their own; the learning rates are for the caller to fill in."""
        n = len(self._epochs)
        epoch = np.array(self._epochs, dtype=np.int64)
        self._epochs.clear()
        gradient = self._in_order(self._gradient[:n].cpu().numpy())
        return EpochColumns(
            epoch,
            self._train_loss[:n].cpu().numpy().astype(np.float64),
            # Not on a GPU, where what a row sums up to depends on how many there are.
            torch.linalg.vector_norm(torch.from_numpy(gradient), dim=1, dtype=torch.float64).numpy(),
            np.full(n, np.nan),
            self._validation_loss[:n].cpu().numpy().astype(np.float64) if self._validates else None,
            self._in_order(self._parameters[:n].cpu().numpy()),
            gradient,
        )

    def _in_order(self, rows: NDArray[Any]) -> NDArray[Any]:
        ordered = np.empty(rows.shape, rows.dtype)
        ordered[:, slice(None) if self._order is None else self._order] = rows
        return ordered
