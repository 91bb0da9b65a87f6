"""Which epochs are kept, at which one a training stops, and what it has come to then; the same for every engine."""

import dataclasses
import math
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.hyperparameters import Hyperparameters
from service.training.checkpoint import Saved, State, part_of, within
from service.training.epochs import (
    EpochBlock,
    EpochColumns,
    Learned,
    NotFinite,
    StopReason,
    columns_from,
    join,
    state_of,
)
from service.training.trend import Trend

BLOCK_SECONDS = 0.1
"""A block is handed over after so long, so that a caller may stop there."""
PENDING_BYTES = 8 * 2**20


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
        self.last_recorded = -1
        self._pending: list[EpochColumns] = []
        self._deadline = time.monotonic() + BLOCK_SECONDS
        self.n_blocks = 0
        self.has_ended = False
        """Whether what was taken last led to an end, good or bad, so that nothing goes on from there."""

    def state(self) -> State:
        """Give what later epochs are taken by; complete after a block, when nothing is pending."""
        return {
            "elapsed_seconds": time.monotonic() - self._started,
            "is_best_put": self._is_best_put,
            "waits_for": self._waits_for,
            "waits_since": self._waits_since,
            "last_recorded": self.last_recorded,
            **within("best", state_of(self._best)),
            **within("trend", self.trend.state()),
        }

    def restore(self, saved: Saved) -> None:
        """Go on from a state."""
        self._started = time.monotonic() - saved["elapsed_seconds"].item()
        self._is_best_put = bool(saved["is_best_put"])
        self._waits_for, self._waits_since = saved["waits_for"].item(), saved["waits_since"].item()
        self.last_recorded = saved["last_recorded"].item()
        self._best = columns_from(part_of(saved, "best"))
        self.trend.restore(part_of(saved, "trend"))

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
        finite = columns if not_finite is None else columns[:n_finite]
        end, reason = self._judge(finite)
        last, is_judged = self.trend.last, reason is not None
        if reason is None and not_finite is None and last is not None:
            reason = self._at_the_end(last)
        if end < n_finite:
            not_finite = None  # it stopped before that
        self.has_ended = ends = reason is not None or not_finite is not None
        self._keep(finite if end == n_finite else columns[:end])
        if ends and last is not None:
            self._put_best()
            if last.epoch[0] != self.last_recorded:
                self._put(last)
            if is_judged or end < len(columns):  # what was done after that does not count
                progress = float(last.epoch[0])
        elif ends:
            progress = 0.0  # not even the start is finite, whatever was done after it
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

        The best so far is recorded when the next epoch of the grid is due, unless it is bettered until then, that epoch
        included: what is recorded does not depend on how many epochs come at once.
        """
        if not len(columns):
            return
        # Mostly every epoch is recorded, and remainders take as long as the powers of a mode.
        recorded = np.ones(len(columns), dtype=bool) if self.every == 1 else columns.epoch % self.every == 0
        if self._restores_best:
            self._follow_best(columns, recorded)
        n_recorded = np.count_nonzero(recorded)
        if n_recorded:
            self._put(columns if n_recorded == len(columns) else columns[recorded])

    def _follow_best(self, columns: EpochColumns, recorded: NDArray[np.bool_]) -> None:
        """Mark those that are to be recorded for having been the best when the grid's next epoch was due."""
        before = math.inf if self._best is None else float(self._best.monitored[0])
        lowest = np.minimum.accumulate(np.append(before, columns.monitored))
        better, grid = np.flatnonzero(lowest[1:] < lowest[:-1]), np.flatnonzero(recorded)
        if len(grid) and not (len(better) and better[0] <= grid[0]):
            self._put_best()
        if not len(better):
            return
        # Of each that was better: the grid's next epoch, itself maybe, and the next one that was better still.
        due = np.append(grid, len(columns))[np.searchsorted(grid, better)]
        bettered = np.append(better[1:], len(columns))
        recorded[better[(due < len(columns)) & (bettered > due)]] = True
        self._best = columns.row(int(better[-1]))
        self._is_best_put = bool(due[-1] < len(columns))

    def _put_best(self) -> None:
        """Put the best epoch so far, unless it has been."""
        if self._best is not None and not self._is_best_put:
            self._put(self._best)
            self._is_best_put = True

    def _put(self, columns: EpochColumns) -> None:
        self.last_recorded = int(columns.epoch[-1])
        self._pending.append(columns if self._with_parameters else _without_parameters(columns))

    def _block(self, columns: EpochColumns, progress: float, reason: StopReason | None) -> EpochBlock:
        if not self._pending:
            self._pending.append(columns[:0] if self._with_parameters else _without_parameters(columns[:0]))
        block, self._pending = join(self._pending), []
        self.n_blocks += 1
        self._deadline = time.monotonic() + BLOCK_SECONDS
        return EpochBlock(block, float(progress), reason, self._learned() if reason else None)

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
    return len(flags) if np.count_nonzero(flags) == len(flags) else int(np.argmin(flags))
