"""Train a model: `fit` is all that a notebook needs; the worker takes the `Training` apart."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from service.dataset import Dataset
from service.errors import DeviceUnavailable
from service.hyperparameters import Hyperparameters
from service.plan import Plan
from service.rules import frozen_mask
from service.tasks import Task
from service.training import diagnosis
from service.training.checkpoint import Checkpoint, as_saved, part_of, within
from service.training.course import findings_about_course
from service.training.descent import Descent, Model
from service.training.epochs import EpochBlock, Learned, NotFinite
from service.training.exact import ExactDescent
from service.training.examination import Examination, examine
from service.training.gpu import mean_squares_on, moments_on
from service.training.linear import LinearModel
from service.training.modules import ModuleModel
from service.training.moments import SMALL_TABLE
from service.training.optimizers import make_optimizer
from service.training.optimum import Optimum, optimum_of
from service.training.quadratic import Quadratic, known_or_counted, mean_squares
from service.training.recording import Recording
from service.training.start import draw_start
from service.training.threads import single_threaded_blas
from service.training.torch_optimizers import LBFGS, make_torch_optimizer
from service.training.trend import Trend

Engine = Descent | ExactDescent
SAMPLED_ROWS = 1000


def fit(
    task: Task,
    dataset: Dataset,
    hyperparameters: Hyperparameters,
    trained: NDArray[np.float64] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Iterator[EpochBlock]:
    """Train a model on a dataset, yielding blocks of consecutive epochs.

    Work happens only when the next block is asked for, so a caller stops training by not asking; a block comes at
    least every tenth of a second, or after each step where a step takes longer.

    Args:
        task: what to train, which says what the targets must be.
        dataset: features of shape (n_samples, n_features) and targets of shape (n_samples, n_targets), finite.
        hyperparameters: how to train; `learning_rate` is per step, `batch_size` counts samples.
        trained: the parameters, in original units, of the model that `start` names, a flat vector.
        checkpoint: from a block of the same training, to go on after it: what is yielded then is, on the same machine
            and with the same versions, in every bit what would have come after that block.

    Yields:
        Blocks whose epochs are numbered from 0, the start. `train_loss[k]` is the mean loss per sample at
        `parameters[k]`, in squared units of the (scaled) targets for regression and in nats for classification.

    Raises:
        InvalidDataset, InvalidHyperparameters: at the call, before any work, when they do not go together.
        DeviceUnavailable: at the call, when the device is not on this machine.
        ValueError: at the call, when the checkpoint is one of another training.
        TrainingDiverged: when a loss or a gradient is not finite, or the loss has left its start behind for good; it
            carries the finding that explains it.
    """
    return Training(task, dataset, hyperparameters, trained).blocks(checkpoint)


class Training:
    """A training that is ready to start: everything settled, the learning rate and the device included.

    Args:
        task, dataset, hyperparameters, trained: as for `fit`.

    Raises:
        InvalidDataset, InvalidHyperparameters: when they do not go together.
        DeviceUnavailable: when the device is not on this machine.
    """

    def __init__(
        self,
        task: Task,
        dataset: Dataset,
        hyperparameters: Hyperparameters,
        trained: NDArray[np.float64] | None = None,
    ) -> None:
        device = _device(hyperparameters.device)
        is_worth_it = device != "cpu" and dataset.features.size > SMALL_TABLE
        self._device = torch.device(device if is_worth_it else "cpu")
        """Of passes over the whole data; not that of the steps."""
        take_moments = functools.partial(moments_on, self._device) if is_worth_it else None
        is_settled = device == hyperparameters.device
        settled = hyperparameters if is_settled else hyperparameters.model_copy(update={"device": device})
        with single_threaded_blas:
            self.examination: Examination = examine(task, dataset, settled, trained, draw_start, take_moments)
        self.dataset = dataset
        self._frozen = frozen_mask(settled, self.plan.layout)

    @property
    def plan(self) -> Plan:
        """What will be trained, with every hyperparameter settled."""
        return self.examination.plan

    @property
    def _quadratic(self) -> Quadratic | None:
        """The objective where it is quadratic, and few enough features to know it."""
        plan, given = self.plan, self.plan.hyperparameters
        is_quadratic = plan.task == "linear_regression" and given.loss in ("mse", "half_mse") and not given.l1
        return self.examination.quadratic if is_quadratic else None

    @functools.cached_property
    def optimum(self) -> Optimum | None:
        """The lowest point of the objective, where it is quadratic; None elsewhere, or when its numbers overflow."""
        if self._quadratic is None:
            return None
        return optimum_of(self._quadratic, self._mean_squares, self.examination.start, self._frozen, self.plan.layout)

    def _mean_squares(self, parameters: NDArray[np.float64]) -> float:
        """Give the mean squared residual of the training samples."""
        quadratic, train = self.examination.quadratic, self.examination.preparation.train
        assert quadratic is not None
        counted = mean_squares if self._device.type == "cpu" else functools.partial(mean_squares_on, self._device)
        return known_or_counted(quadratic.found, train, parameters, counted)

    @functools.cached_property
    def fingerprint(self) -> str:
        """What checkpoints know their training by: all that it depends on, of large tables a sample of the rows."""
        plan, dataset, scaling = self.plan, self.dataset, self.examination.preparation.scaling
        described = {
            "task": plan.task,
            "engine": plan.engine,
            "hyperparameters": plan.hyperparameters.model_dump(mode="json"),
            "schema": dataset.schema.to_json(),
            "shape": dataset.features.shape,
            "scaling": None if scaling is None else scaling.to_json(),
        }
        known_by = hashlib.sha256(json.dumps(described).encode())
        some = slice(None, None, dataset.n_samples // SAMPLED_ROWS + 1)
        tables = (dataset.features, dataset.targets, dataset.sample_weight, dataset.parts)
        for numbers in (self.examination.start, *(table[some] for table in tables if table is not None)):
            known_by.update(numbers.tobytes())
        return known_by.hexdigest()

    def fits(self, checkpoint: Checkpoint) -> bool:
        """Tell whether a checkpoint is one of this training."""
        return checkpoint.training == self.fingerprint

    def blocks(self, checkpoint: Checkpoint | None = None) -> Iterator[EpochBlock]:
        """Train, as `fit` does."""
        if checkpoint is not None and not self.fits(checkpoint):
            raise ValueError("the checkpoint is of another training: train from the start, or with what it was made of")
        return self._guarded(self._blocks(checkpoint))

    @staticmethod
    def _guarded(blocks: Iterator[EpochBlock]) -> Iterator[EpochBlock]:
        block = None
        while block is None or block.learned is None:
            with single_threaded_blas:
                block = next(blocks)
            yield block

    def _blocks(self, checkpoint: Checkpoint | None) -> Iterator[EpochBlock]:
        recording = Recording(self.plan.hyperparameters)
        try:
            engine = self._exact(recording) if self.plan.engine == "exact" else self._iterating(recording)
            if checkpoint is not None:
                recording.restore(part_of(checkpoint.state, "recording"))
                engine.restore(part_of(checkpoint.state, "engine"))
            for block in engine.blocks():
                if block.learned is None:
                    its = None if recording.has_ended else self._checkpoint(recording, engine, block.progress)
                    yield dataclasses.replace(block, checkpoint=its)
                    continue
                diverged = diagnosis.left_behind(self.examination, recording.trend, block.learned)
                if diverged is not None:
                    yield dataclasses.replace(block, stop_reason=None, learned=None)
                    raise diverged
                yield self._ended(block, block.learned, recording.trend)
                return
        except NotFinite as end:
            raise diagnosis.not_finite(self.examination, self.dataset, end.epoch) from None

    def _checkpoint(self, recording: Recording, engine: Engine, progress: float) -> Callable[[], Checkpoint]:
        n_blocks = recording.n_blocks

        def make() -> Checkpoint:
            if recording.n_blocks != n_blocks:
                raise ValueError("the training has gone on: a checkpoint is made before the next block is asked for")
            state = as_saved({**within("recording", recording.state()), **within("engine", engine.state())})
            return Checkpoint(self.fingerprint, progress, recording.last_recorded, state)

        return make

    def _ended(self, block: EpochBlock, learned: Learned, trend: Trend) -> EpochBlock:
        found = findings_about_course(self.examination, trend, learned, self.optimum)
        return EpochBlock(block.columns, block.progress, block.stop_reason, learned, tuple(found))

    def _exact(self, recording: Recording) -> ExactDescent:
        plan, examination = self.plan, self.examination
        assert self._quadratic is not None
        return ExactDescent(
            self._quadratic,
            self._mean_squares,
            self.optimum,
            examination.preparation.validation,
            examination.start,
            self._frozen,
            plan.layout,
            plan.hyperparameters,
            recording,
        )

    def _iterating(self, recording: Recording) -> Descent:
        plan, preparation = self.plan, self.examination.preparation
        given = plan.hyperparameters
        make = LinearModel if plan.engine == "analytic" else ModuleModel
        model: Model = make(plan.layout, preparation.train, preparation.validation, given, self._frozen)
        start = self.examination.start if model.order is None else self.examination.start[model.order]
        parameters = torch.from_numpy(start).to(torch.device(given.device), getattr(torch, given.dtype), copy=True)
        if given.optimizer == "lbfgs":
            return Descent(model, LBFGS(parameters), parameters, given, recording)
        if plan.engine == "analytic":
            optimizer = make_optimizer(given, model.frozen)
        else:
            optimizer = make_torch_optimizer(given, parameters, model.frozen)
        return Descent(model, optimizer, parameters, given, recording)


def _device(name: str) -> str:
    """Choose the device: a GPU when there is one for `auto`, else what was asked for, if it is there."""
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if n_gpus else "cpu"
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        if index >= n_gpus:
            raise DeviceUnavailable(f"device {name} was asked for and this worker has {n_gpus} GPUs: use auto or cpu")
    return name
