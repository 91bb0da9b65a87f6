"""Which epochs are kept, at which one a training stops, and what it has come to then; the same for every engine."""

import dataclasses
import math
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.hyperparameters import Hyperparameters
from service.training.epochs import EpochBlock, EpochColumns, Learned, NotFinite, StopReason, join

BLOCK_SECONDS = 0.1
"""A block is handed over after so long, so that a caller may stop there."""
PENDING_BYTES = 8 * 2**20
TREND_POINTS = 32
"""So many losses of each group of epochs are kept to tell how the training went."""


class Trend:
    """How a training went as a whole: its first and last epoch, and a thinned curve of the train loss."""

    def __init__(self) -> None:
        self.first: EpochColumns | None = None
        self.last: EpochColumns | None = None
        self.n_rises = 0
        self.n_steps = 0
        self._epochs: list[NDArray[np.int64]] = []
        self._losses: list[NDArray[np.float64]] = []

    def add(self, columns: EpochColumns) -> None:
        """Take in evaluated epochs, all finite, at least one."""
        losses = columns.train_loss
        if self.last is not None:
            self.n_rises += int(losses[0] > self.last.train_loss[0])
        self.n_rises += int(np.count_nonzero(losses[1:] > losses[:-1]))
        self.n_steps += len(columns) - (self.last is None)
        self.first = self.first or columns.row(0)
        self.last = columns.row(-1)
        some = np.linspace(0, len(columns) - 1, min(len(columns), TREND_POINTS), dtype=int)
        self._epochs.append(columns.epoch[some])
        self._losses.append(losses[some])

    @property
    def curve(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Epochs and their train losses, both (n,)."""
        return np.concatenate(self._epochs), np.concatenate(self._losses)


class Recording:
    """Takes evaluated epochs in order, and gives blocks of those that are recorded.

    Args:
        hyperparameters: of the plan.
    """

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        assert isinstance(hyperparameters.record_every, int)
        self.every = hyperparameters.record_every
        self.trend = Trend()
        self.needs_every_epoch = hyperparameters.stop.max_seconds is not None or any(
            limit is not None for limit in (hyperparameters.stop.target_loss, hyperparameters.stop.patience)
        )
        """Whether the loss must be known at every epoch, recorded or not."""
        self._with_parameters = bool(hyperparameters.record_parameters)
        self._epochs = hyperparameters.epochs
        self._stop = hyperparameters.stop
        self._started = time.monotonic()
        self._restores_best = self._stop.patience is not None and self._stop.restore_best
        self._best: EpochColumns | None = None
        self._is_best_put = True
        self._waits_for = math.inf
        self._waits_since = -1
        self._last_recorded = -1
        self._pending: list[EpochColumns] = []
        self._deadline = time.monotonic() + BLOCK_SECONDS

    def wants(self, epoch: int) -> bool:
        """Tell whether the loss must be known at an epoch."""
        return self.needs_every_epoch or epoch % self.every == 0 or epoch == self._epochs

    @property
    def is_due(self) -> bool:
        """Tell whether it is time to hand over what there is."""
        return time.monotonic() > self._deadline

    def take(self, columns: EpochColumns, progress: float) -> Iterator[EpochBlock]:
        """Take evaluated epochs, in order, at least all that `wants` names; yield a block if one is due.

        The last block has a stop reason.

        Raises:
            NotFinite: after the block with the last finite epoch.
        """
        n_finite = _count_leading(np.isfinite(columns.train_loss) & np.isfinite(columns.gradient_norm))
        if columns.validation_loss is not None:
            n_finite = min(n_finite, _count_leading(np.isfinite(columns.validation_loss)))
        not_finite = NotFinite(int(columns.epoch[n_finite])) if n_finite < len(columns) else None
        end, reason = self._judge(columns[:n_finite])
        last = self.trend.last
        if reason is None and not_finite is None and last is not None:
            reason = self._at_the_end(last)
        if end < n_finite:
            not_finite = None  # it stopped before that
        ends = reason is not None or not_finite is not None
        self._keep(columns[:end])
        if ends and last is not None:
            self._put_best()
            if last.epoch[0] != self._last_recorded:
                self._put(last)
            progress = min(progress, float(last.epoch[0])) if end < len(columns) else progress
        size = sum(part.parameters.nbytes * 2 for part in self._pending if part.parameters is not None)
        if ends or self.is_due or size > PENDING_BYTES:
            yield self._block(columns, progress, reason)
        if not_finite is not None:
            raise not_finite

    def _judge(self, columns: EpochColumns) -> tuple[int, StopReason | None]:
        """Tell how many of these epochs come before the end, and why it ends there."""
        ends: list[tuple[int, StopReason]] = []
        if self._stop.target_loss is not None:
            reached = _count_leading(columns.train_loss > self._stop.target_loss)
            if reached < len(columns):
                ends.append((reached + 1, "target_loss_reached"))
        if self._stop.patience is not None and len(columns):
            given_up = self._wait(columns[: ends[0][0]] if ends else columns)
            if given_up is not None:
                ends.append((given_up + 1, "no_improvement"))
        end, reason = min(ends, key=lambda end: end[0]) if ends else (len(columns), None)
        if end:
            self.trend.add(columns[:end])
        return end, reason

    def _at_the_end(self, last: EpochColumns) -> StopReason | None:
        if last.epoch[0] == self._epochs:
            return "epochs_completed"
        limit = self._stop.max_seconds
        return "max_seconds_reached" if limit is not None and time.monotonic() - self._started > limit else None

    def _wait(self, columns: EpochColumns) -> int | None:
        """Follow the loss that is to fall by min_delta; give the index at which patience ends, if it does."""
        assert self._stop.patience is not None
        epochs = columns.epoch.tolist()
        for index, loss in enumerate(columns.monitored.tolist()):
            if loss < self._waits_for - self._stop.min_delta or self._waits_since < 0:
                self._waits_for, self._waits_since = loss, epochs[index]
            elif epochs[index] - self._waits_since >= self._stop.patience:
                return index
        return None

    def _keep(self, columns: EpochColumns) -> None:
        """Put aside what is to be recorded of these epochs: those on the grid, and the best one between two of them.

        An epoch that a later one betters is not needed, so that the best so far is recorded only once the next epoch of
        the grid is due, which has to come after it.
        """
        if not len(columns):
            return
        # Mostly every epoch is recorded, and remainders take as long as the powers of a mode.
        recorded = np.ones(len(columns), dtype=bool) if self.every == 1 else columns.epoch % self.every == 0
        index = int(np.argmin(columns.monitored)) if self._restores_best else 0
        if self._restores_best and (self._best is None or columns.monitored[index] < self._best.monitored[0]):
            self._best = columns.row(index)
            self._is_best_put = bool(recorded[index:].any())
            recorded[index] = self._is_best_put
        elif recorded.any():
            self._put_best()
        if recorded.any():
            self._put(columns if recorded.all() else columns[recorded])

    def _put_best(self) -> None:
        """Put the best epoch so far, unless it has been."""
        if self._best is not None and not self._is_best_put:
            self._put(self._best)
            self._is_best_put = True

    def _put(self, columns: EpochColumns) -> None:
        self._last_recorded = int(columns.epoch[-1])
        self._pending.append(columns if self._with_parameters else _without_parameters(columns))

    def _block(self, columns: EpochColumns, progress: float, reason: StopReason | None) -> EpochBlock:
        nothing = columns[:0] if self._with_parameters else _without_parameters(columns[:0])
        block = join(self._pending or [nothing])
        self._pending = []
        self._deadline = time.monotonic() + BLOCK_SECONDS
        return EpochBlock(block, progress, reason, self._learned() if reason else None)

    def _learned(self) -> Learned:
        row = self.trend.last if self._best is None else self._best
        assert row is not None
        assert row.parameters is not None
        validation = None if row.validation_loss is None else float(row.validation_loss[0])
        return Learned(int(row.epoch[0]), float(row.train_loss[0]), validation, row.parameters[0].copy())


def _without_parameters(columns: EpochColumns) -> EpochColumns:
    return dataclasses.replace(columns, parameters=None, gradient=None)


def _count_leading(flags: NDArray[np.bool_]) -> int:
    """Count the entries before the first that is false."""
    return len(flags) if flags.all() else int(np.argmin(flags))
