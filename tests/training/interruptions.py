"""Trainings that are killed again and again, each time going on from what was last written down."""

import random
from dataclasses import dataclass, fields
from typing import Any

import pytest

from service.dataset import Dataset
from service.errors import TrainingDiverged
from service.hyperparameters import Hyperparameters
from service.tasks import Task
from service.training import recording
from service.training.checkpoint import Checkpoint
from service.training.epochs import EpochBlock, EpochColumns, join
from service.training.fit import Training
from service.training.result import outcome_of


@dataclass
class Course:
    """All that a training gave, as bytes and text, so that two of them are compared in every bit."""

    columns: dict[str, Any]
    end: str
    parameters: bytes | None
    n_attempts: int


def undisturbed(task: Task, dataset: Dataset, given: Hyperparameters) -> Course:
    """Train to the end with as few blocks as there can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "BLOCK_SECONDS", 1000.0)
        return _Attempts(task, dataset, given).course()


def interrupted(task: Task, dataset: Dataset, given: Hyperparameters, seed: int, patience: int = 8) -> Course:
    """Train in blocks that end at random moments; write down some of them, be killed after some, and go on.

    Args:
        task, dataset, given: as for `fit`.
        seed: of where all this happens.
        patience: after so many deaths it is left in peace.
    """
    with pytest.MonkeyPatch.context() as patch:
        return _Attempts(task, dataset, given, random.Random(seed), patience, patch).course()


class _Attempts:
    def __init__(
        self,
        task: Task,
        dataset: Dataset,
        given: Hyperparameters,
        chance: random.Random | None = None,
        patience: int = 0,
        patch: pytest.MonkeyPatch | None = None,
    ) -> None:
        self._given = task, dataset, given
        self._chance = chance
        self._patch = patch
        self._lives = patience
        self._kept: list[EpochColumns] = []
        self._saved: bytes | None = None
        self._n_saved = 0

    def course(self) -> Course:
        n_attempts, last = 1, self._attempt()
        while last is None:
            n_attempts, last = n_attempts + 1, self._attempt()
        columns, (training, end) = join(self._kept) if self._kept else None, last
        bits = {
            field.name: None if (column := getattr(columns, field.name)) is None else (column.dtype, column.tobytes())
            for field in fields(EpochColumns)
            if columns is not None
        }
        if isinstance(end, TrainingDiverged):
            return Course(bits, repr(end.finding), None, n_attempts)
        assert end.learned is not None
        result = outcome_of(training, end.learned).result
        told = repr((end.stop_reason, end.progress, end.findings, end.learned.epoch, result, training.plan))
        return Course(bits, told, end.learned.parameters.tobytes(), n_attempts)

    def _attempt(self) -> tuple[Training, EpochBlock | TrainingDiverged] | None:
        """Train until the end, or None when it was killed."""
        training = Training(*self._given)
        checkpoint = None if self._saved is None else Checkpoint.from_bytes(self._saved)
        if checkpoint is not None:
            assert training.fits(checkpoint)
            assert checkpoint.last_recorded == (self._kept[-1].epoch[-1] if self._kept else -1)
        block = None
        try:
            for block in training.blocks(checkpoint):
                if len(block.columns):
                    self._kept.append(block.columns)
                if self._is_killed_after(block):
                    del self._kept[self._n_saved :]
                    return None
        except TrainingDiverged as diverged:
            return training, diverged
        assert block is not None
        return training, block

    def _is_killed_after(self, block: EpochBlock) -> bool:
        if self._chance is None or self._patch is None or block.checkpoint is None:
            return False
        self._patch.setattr(recording, "BLOCK_SECONDS", self._chance.choice([0.0, 0.0001, 0.001]))
        if self._chance.random() < 0.3:
            self._saved, self._n_saved = block.checkpoint().to_bytes(), len(self._kept)
        if not self._lives or self._chance.random() > 0.1:
            return False
        self._lives -= 1
        return True
