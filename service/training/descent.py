"""The descent itself: evaluate, record, step, and hand over what was recorded ten times a second."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.hyperparameters import Hyperparameters
from service.room import room_for
from service.schedules import PlateauSchedule, schedule_of
from service.training.checkpoint import Saved, State, part_of, to_tensor, within
from service.training.epochs import EpochBlock, EpochBuffer
from service.training.graph import captured
from service.training.optimizers import Optimizer
from service.training.rates import Plateau, Rates
from service.training.recording import Recording
from service.training.torch_optimizers import LBFGS

FORESEEN_EPOCHS = 4096
"""Learning rates are computed for so many epochs at once."""


class Model(Protocol):
    """What can be descended: an objective over a flat vector of parameters.

    `order` says where each entry of that vector is in the vector of the layout, or is None when it is in its place.
    `is_noisy` models have another gradient at each step, even with the full batch, drawn from their `generator`;
    `is_capturable` ones are so small, and on a CUDA device, that their evaluation is quicker as a graph.
    """

    order: NDArray[np.int64] | None
    frozen: Tensor | None
    n_samples: int
    batch_size: int
    validates: bool
    is_noisy: bool
    is_capturable: bool
    generator: torch.Generator | None

    def evaluate(self, parameters: Tensor, gradient: Tensor, loss: Tensor) -> None:
        """Write the mean loss of the training samples, a scalar, and the gradient of the objective there."""
        ...

    def validation_loss(self, parameters: Tensor, loss: Tensor) -> None:
        """Write the mean loss of the validation samples, a scalar."""
        ...

    def gradients(self, parameters: Tensor, gradient: Tensor, order: Tensor | None, n_done: int = 0) -> Iterator[int]:
        """Go through the training samples, but the first `n_done`, and write the gradient of each mini-batch.

        Yields:
            How many samples the batch has whose gradient has just been written.
        """
        ...

    def penalty(self, parameters: Tensor) -> Tensor:
        """Give what the objective has beyond the loss, a scalar."""
        ...


class Descent:
    """One descent of a model.

    Args:
        model: what to descend, on its device.
        optimizer: how a gradient becomes a step.
        parameters: the start, a flat vector in the order of the model; updated in place.
        hyperparameters: of the plan, with the learning rate settled.
        recording: which epochs to keep, and when to stop.
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer | LBFGS,
        parameters: Tensor,
        hyperparameters: Hyperparameters,
        recording: Recording,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._parameters = parameters
        self._epochs = hyperparameters.epochs
        self._rates = _LearningRates(hyperparameters)
        self._recording = recording
        self._order = torch.Generator().manual_seed(hyperparameters.seed or 0)
        self._before_order = self._order.get_state()
        """The state of the generator before the order of the present epoch was drawn."""
        self._epoch, self._is_evaluated, self._n_done = 0, False, 0
        """The present epoch, whether its start was evaluated, and how many samples its steps have gone through."""
        self._shuffles = hyperparameters.shuffle
        self._clip = hyperparameters.clip_gradient_norm
        self._full_batch = model.batch_size == model.n_samples and not model.is_noisy
        self._evaluate_all = captured(model.evaluate, parameters) if model.is_capturable else model.evaluate
        self._gradient = torch.empty_like(parameters)
        self._buffer = EpochBuffer(parameters, model.order, self._epochs + 1, validates=model.validates)

    def blocks(self) -> Iterator[EpochBlock]:
        """Descend, yielding blocks as they come due.

        Raises:
            NotFinite: after the block with the last finite epoch.
        """
        for progress in self._moments():
            if not (self._buffer.is_full or progress == self._epochs or self._recording.is_due):
                continue
            columns = self._buffer.take()
            columns.learning_rate[:] = self._rates.taken()
            for block in self._recording.take(columns, progress):
                yield block
                if block.stop_reason is not None:
                    return

    def state(self) -> State:
        """Give where the descent stands after a block."""
        found: State = {
            "parameters": self._parameters,
            "epoch": self._epoch,
            "is_evaluated": self._is_evaluated,
            "n_done": self._n_done,
            "order": self._before_order if self._n_done else self._order.get_state(),
            **within("optimizer", self._optimizer.state()),
            **within("rates", self._rates.state()),
        }
        return found if self._model.generator is None else {**found, "draws": self._model.generator.get_state()}

    def restore(self, saved: Saved) -> None:
        """Go on from a state."""
        cpu = torch.device("cpu")
        self._parameters.copy_(to_tensor(saved["parameters"], self._parameters.device))
        self._epoch, self._n_done = saved["epoch"].item(), saved["n_done"].item()
        self._is_evaluated = saved["is_evaluated"].item()
        self._order.set_state(to_tensor(saved["order"], cpu))
        if self._model.generator is not None:
            self._model.generator.set_state(to_tensor(saved["draws"], cpu))
        self._optimizer.restore(part_of(saved, "optimizer"), self._parameters)
        self._rates.restore(part_of(saved, "rates"))

    def _moments(self) -> Iterator[float]:
        """Do the work, pausing after each evaluation and each step; what is yielded counts the epochs done."""
        always = self._full_batch or self._rates.needs_loss
        for epoch in range(self._epoch, self._epochs + 1):
            is_last = epoch == self._epochs
            gradient = self._gradient
            if self._is_evaluated:  # before a checkpoint, and recorded then
                gradient = self._evaluate_again() if self._full_batch else gradient
            elif not self._n_done and (always or is_last or self._recording.wants(epoch)):
                gradient = self._evaluate(epoch)
                self._epoch, self._is_evaluated = epoch, True
                yield epoch
            if is_last:
                return
            self._is_evaluated = False
            rate = self._rates.of(epoch)
            if isinstance(self._optimizer, LBFGS):
                self._optimizer.step(self._parameters, self._objective, rate)
            elif self._full_batch:
                self._optimizer.step(self._parameters, self._clipped(gradient), rate)
            else:
                self._epoch = epoch
                for done in self._pass(self._optimizer, rate):
                    yield epoch + done

    def _evaluate(self, epoch: int) -> Tensor:
        """Fill a row of the buffer, and give its gradient, which stays as it is until the buffer is filled anew."""
        buffer, row = self._buffer, len(self._buffer)
        gradient = buffer.gradients[row]
        self._evaluate_all(self._parameters, gradient, buffer.train_losses[row])
        if self._model.validates:
            self._model.validation_loss(self._parameters, buffer.validation_losses[row])
        buffer.parameters[row].copy_(self._parameters)
        buffer.append(epoch)
        if self._rates.needs_loss:
            losses = buffer.validation_losses if self._model.validates else buffer.train_losses
            self._rates.observe(epoch, float(losses[row]))
        self._rates.note(epoch)
        return gradient

    def _evaluate_again(self) -> Tensor:
        """Give the gradient of an epoch whose row has been taken: the same, for the parameters are."""
        gradient = self._buffer.gradients[0]
        self._evaluate_all(self._parameters, gradient, self._buffer.train_losses[0])
        return gradient

    def _objective(self) -> tuple[Tensor, Tensor]:
        loss = torch.empty((), dtype=self._parameters.dtype, device=self._parameters.device)
        self._evaluate_all(self._parameters, self._gradient, loss)
        return loss + self._model.penalty(self._parameters), self._gradient

    def _pass(self, optimizer: Optimizer, rate: float) -> Iterator[float]:
        """Step once for each batch that is left, telling after each which share of the epoch is done."""
        n_samples = self._model.n_samples
        order = None
        if self._shuffles:
            self._before_order = self._order.get_state()
            order = _shuffled(n_samples, self._order).to(self._parameters.device)
        for n in self._model.gradients(self._parameters, self._gradient, order, self._n_done):
            optimizer.step(self._parameters, self._clipped(self._gradient), rate)
            self._n_done += n
            yield self._n_done / n_samples
        self._n_done = 0

    def _clipped(self, gradient: Tensor) -> Tensor:
        """Shorten a gradient as torch.nn.utils.clip_grad_norm_ does; the recorded one stays as it is."""
        if self._clip is None:
            return gradient
        share = (self._clip / (torch.linalg.vector_norm(gradient) + 1e-6)).clamp_(max=1.0)
        return torch.mul(gradient, share, out=self._gradient)


def _shuffled(n_samples: int, draws: torch.Generator) -> Tensor:
    """Draw an order of the samples: the same in integers of 32 bits, which take half the room, as in those of 64."""
    dtype = np.int32 if n_samples <= np.iinfo(np.int32).max else np.int64
    order = torch.from_numpy(room_for((n_samples,), dtype))
    return torch.randperm(n_samples, generator=draws, dtype=order.dtype, out=order)


class _LearningRates:
    """The learning rate of each epoch, and those of the epochs evaluated since they were last taken."""

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        assert isinstance(hyperparameters.learning_rate, float)
        schedule, rate = schedule_of(hyperparameters.schedule), hyperparameters.learning_rate
        self._epochs = hyperparameters.epochs
        self._plateau: Plateau | None = None
        self._foreseen: list[float] = []
        self._first = 0
        if isinstance(schedule, PlateauSchedule):
            self._plateau = Plateau(schedule, rate)
        else:
            self._rates = Rates(schedule, rate, hyperparameters.epochs)
        self._noted: list[float] = []

    @property
    def needs_loss(self) -> bool:
        """Tell whether rates depend on the losses of the epochs before."""
        return self._plateau is not None

    def state(self) -> State:
        """Give what the rates depend on beside the epoch."""
        return {} if self._plateau is None else {**self._plateau.state()}

    def restore(self, saved: Saved) -> None:
        """Go on from a state."""
        if self._plateau is not None:
            self._plateau.restore(saved)

    def observe(self, epoch: int, loss: float) -> None:
        """Take in the loss at an epoch."""
        if self._plateau is not None and epoch:
            self._plateau.observe(loss)

    def of(self, epoch: int) -> float:
        """Give the rate of the steps that lead on from an epoch; epochs are asked for in order."""
        if self._plateau is not None:
            return self._plateau.rate
        if epoch >= self._first + len(self._foreseen):
            # Always the same epochs at once, wherever the descent began.
            self._first = epoch // FORESEEN_EPOCHS * FORESEEN_EPOCHS
            last = min(self._first + FORESEEN_EPOCHS, self._epochs + 1)
            self._foreseen = self._rates.over(np.arange(self._first, last)).tolist()
        return self._foreseen[epoch - self._first]

    def note(self, epoch: int) -> None:
        """Remember the rate of an evaluated epoch."""
        self._noted.append(self.of(epoch))

    def taken(self) -> list[float]:
        """Give the remembered rates, and forget them."""
        noted, self._noted = self._noted, []
        return noted
