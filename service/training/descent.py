"""The descent itself: evaluate, record, step, and hand over what was recorded ten times a second."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from service.hyperparameters import Hyperparameters
from service.training.epochs import EpochBlock, EpochBuffer, Recording
from service.training.linear import LinearModel
from service.training.sgd import SGD

BLOCK_SECONDS = 0.1
"""A block is handed over after so long, in the middle of an epoch if need be, so that a caller may stop there."""


class Descent:
    """One descent over features and targets that are on their device already, in the dtype of the training.

    Args:
        model: evaluates loss and gradient.
        features, targets: tensors of shapes (n_samples, n_features) and (n_samples, n_outputs).
        parameters: the start, a flat vector; updated in place.
        hyperparameters: with every `auto` resolved.
    """

    def __init__(
        self,
        model: LinearModel,
        features: Tensor,
        targets: Tensor,
        parameters: Tensor,
        hyperparameters: Hyperparameters,
    ) -> None:
        assert isinstance(hyperparameters.learning_rate, float)
        self._model = model
        self._features = features
        self._targets = targets
        self._parameters = parameters
        self._epochs = hyperparameters.epochs
        self._recording = Recording(hyperparameters)
        self._shuffle = hyperparameters.shuffle
        n_samples = len(features)
        self._batch_size = min(hyperparameters.batch_size or n_samples, n_samples)
        self._order = torch.Generator().manual_seed(hyperparameters.seed or 0)
        self._optimizer = SGD(hyperparameters.learning_rate, hyperparameters.momentum)
        self._buffer = EpochBuffer(parameters)

    def blocks(self) -> Iterator[EpochBlock]:
        """Descend, yielding a block whenever one is full or has been filled for `BLOCK_SECONDS`.

        Raises:
            NotFinite: after the block with the last finite epoch.
        """
        deadline = time.monotonic() + BLOCK_SECONDS
        for progress in self._moments():
            if not (self._buffer.is_full or progress == self._epochs or time.monotonic() > deadline):
                continue
            block, not_finite = self._recording.block(self._buffer.take(), progress)
            yield block
            if block.stop_reason is not None:
                return
            if not_finite is not None:
                raise not_finite
            deadline = time.monotonic() + BLOCK_SECONDS

    def _moments(self) -> Iterator[float]:
        """Do the work, pausing after each evaluation and each step; what is yielded counts the epochs done."""
        full_batch = self._batch_size == len(self._features)
        for epoch in range(self._epochs + 1):
            is_last = epoch == self._epochs
            if full_batch or is_last or self._recording.wants(epoch):
                # A row of the buffer, which stays as it is until the next evaluation, also when the buffer is taken.
                gradient = self._evaluate(epoch)
                yield epoch
            if is_last:
                return
            if full_batch:
                self._optimizer.step(self._parameters, gradient)
            else:
                for done in self._pass_over_batches():
                    yield epoch + done

    def _evaluate(self, epoch: int) -> Tensor:
        gradient = self._buffer.next_gradient()
        loss = self._model.loss_and_gradient(self._parameters, self._features, self._targets, gradient)
        self._buffer.append(epoch, loss, self._parameters)
        return gradient

    def _pass_over_batches(self) -> Iterator[float]:
        """Step once for each batch, telling after each which share of the epoch is done."""
        n_samples = len(self._features)
        gradient = torch.empty_like(self._parameters)
        order = torch.randperm(n_samples, generator=self._order) if self._shuffle else torch.arange(n_samples)
        order = order.to(self._features.device)
        for first in range(0, n_samples, self._batch_size):
            rows = order[first : first + self._batch_size]
            self._model.loss_and_gradient(self._parameters, self._features[rows], self._targets[rows], gradient)
            self._optimizer.step(self._parameters, gradient)
            yield min(1.0, (first + self._batch_size) / n_samples)
