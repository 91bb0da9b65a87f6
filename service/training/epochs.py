"""Blocks of consecutive epochs: what a training yields, and the buffer in which it fills them."""

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

StopReason = Literal["epochs_completed", "target_loss_reached"]

BLOCK_EPOCHS = 4096
BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class EpochColumns:
    """What is known of some epochs, a column each.

    `epoch` counts updates of the full batch, or passes, from 0, the start. `train_loss[k]`, `gradient_norm[k]` and
    `gradient[k]` are taken at `parameters[k]`; the loss is the mean per sample, and the gradient that of the objective,
    which is the loss and the penalties.
    """

    epoch: NDArray[np.int64]  # (n,)
    train_loss: NDArray[np.float64]  # (n,)
    gradient_norm: NDArray[np.float64]  # (n,)
    parameters: NDArray[Any]  # (n, n_parameters)
    gradient: NDArray[Any]  # (n, n_parameters)

    def __len__(self) -> int:
        return len(self.epoch)

    def __getitem__(self, rows: slice | NDArray[np.bool_]) -> "EpochColumns":
        return EpochColumns(*(getattr(self, column.name)[rows] for column in fields(self)))


@dataclass(frozen=True)
class EpochBlock:
    """The epochs recorded since the last block, maybe none, and how far the training is.

    `progress` counts the epochs done, with a fraction in the middle of one. `stop_reason` is set in the last block,
    whose last row is what was learned.
    """

    columns: EpochColumns
    learning_rate: float
    progress: float
    stop_reason: StopReason | None = None


class EpochBuffer:
    """Tensors on the device that hold a block's epochs, so that nothing leaves it before the block is full."""

    def __init__(self, parameters: Tensor) -> None:
        size = parameters.numel()
        self.capacity = max(1, min(BLOCK_EPOCHS, BLOCK_BYTES // (2 * size * parameters.element_size())))
        self._train_loss = parameters.new_empty(self.capacity)
        self._parameters = parameters.new_empty(self.capacity, size)
        self._gradient = parameters.new_empty(self.capacity, size)
        self._epochs: list[int] = []

    @property
    def is_full(self) -> bool:
        """Tell whether the block must be taken before the next epoch."""
        return len(self._epochs) == self.capacity

    def next_gradient(self) -> Tensor:
        """Give the row, (n_parameters,), into which the next epoch's gradient is to be written."""
        return self._gradient[len(self._epochs)]

    def append(self, epoch: int, train_loss: Tensor, parameters: Tensor) -> None:
        """Add an epoch, whose gradient is in its row already."""
        row = len(self._epochs)
        self._train_loss[row] = train_loss
        self._parameters[row] = parameters
        self._epochs.append(epoch)

    def take(self) -> EpochColumns:
        """Empty the buffer into arrays of their own."""
        n = len(self._epochs)
        epoch = np.array(self._epochs, dtype=np.int64)
        self._epochs.clear()
        norm = torch.linalg.vector_norm(self._gradient[:n], dim=1, dtype=torch.float64)
        return EpochColumns(
            epoch,
            self._train_loss[:n].cpu().numpy().astype(np.float64),
            norm.cpu().numpy(),
            self._parameters[:n].cpu().numpy().copy(),
            self._gradient[:n].cpu().numpy().copy(),
        )
