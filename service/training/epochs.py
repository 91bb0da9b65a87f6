"""Blocks of consecutive epochs: what a training yields, and the buffer in which it fills them."""

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.hyperparameters import Hyperparameters

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


class NotFinite(Exception):
    """Raised at the first recorded epoch whose loss or gradient is not a finite number."""

    def __init__(self, epoch: int) -> None:
        super().__init__(epoch)
        self.epoch = epoch


class Recording:
    """Which epochs are kept, and at which one the descent has to stop; the same for every engine."""

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        assert isinstance(hyperparameters.record_every, int)
        self.every = hyperparameters.record_every
        self._epochs = hyperparameters.epochs
        self._learning_rate = float(hyperparameters.learning_rate)
        self._target_loss = hyperparameters.stop.target_loss

    @property
    def needs_every_epoch(self) -> bool:
        """Whether the loss must be known at every epoch, recorded or not."""
        return self._target_loss is not None

    def wants(self, epoch: int) -> bool:
        """Tell whether the loss must be known at an epoch."""
        return self.needs_every_epoch or epoch % self.every == 0 or epoch == self._epochs

    def block(self, columns: EpochColumns, progress: float) -> tuple[EpochBlock, NotFinite | None]:
        """Cut where the descent has to stop, and thin to what is to be recorded.

        Args:
            columns: evaluated epochs, in order, at least all that `wants` names.
            progress: epochs done.

        Returns:
            The block, and what to raise after it when the epoch behind it is not finite.
        """
        n_finite = _count_leading(np.isfinite(columns.train_loss) & np.isfinite(columns.gradient_norm))
        not_finite = NotFinite(int(columns.epoch[n_finite])) if n_finite < len(columns) else None
        end = n_finite
        stop_reason: StopReason | None = None
        if self._target_loss is not None:
            end = _count_leading(columns.train_loss[:n_finite] > self._target_loss)
        if end < n_finite:
            stop_reason, end = "target_loss_reached", end + 1
        elif end and not_finite is None and columns.epoch[-1] == self._epochs:
            stop_reason = "epochs_completed"
        is_cut = end < len(columns)
        kept = columns[:end]
        recorded = kept.epoch % self.every == 0
        if end and (stop_reason or is_cut):
            recorded[-1] = True
        if is_cut:
            progress = float(kept.epoch[-1]) if end else 0.0
        kept = kept if recorded.all() else kept[recorded]
        return EpochBlock(kept, self._learning_rate, progress, stop_reason), not_finite


def _count_leading(flags: NDArray[np.bool_]) -> int:
    """Count the entries before the first that is false."""
    return len(flags) if flags.all() else int(np.argmin(flags))


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
