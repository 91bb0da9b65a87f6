"""The model behind linear, logistic and softmax regression, with its gradient derived by hand.

Its parameters are a matrix (n_outputs, n_features + 1) whose last column is the bias. On the CPU compiled code goes
through the samples, where there is any; else torch's products do.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.hyperparameters import Hyperparameters
from service.parameters import Layout
from service.training.batches import tensor_of, to_tensor, weights_of
from service.training.native.library import LIBRARY
from service.training.native.sweep import NativeSweep
from service.training.products import Products
from service.training.samples import Samples

CAPTURED_NUMBERS = 2**22
"""On a GPU, evaluating features of up to so many numbers takes less time than launching its operations."""
PACKED_BYTES = 2**28
"""Features up to this size are copied to where the full batch is gone through in less time."""


class LinearModel:
    """Evaluates loss and gradient at a flat vector of parameters, the matrix row by row; see `descent.Model`.

    Args:
        layout: one layer, (n_outputs, n_features).
        train, validation: scaled samples.
        hyperparameters: of the plan; loss, penalties, batch size, dtype and device are read.
        frozen: which parameters never learn, in the order of the layout, (n_parameters,); or None.
    """

    is_noisy = False
    generator: torch.Generator | None = None

    def __init__(
        self,
        layout: Layout,
        train: Samples,
        validation: Samples | None,
        hyperparameters: Hyperparameters,
        frozen: NDArray[np.bool_] | None,
    ) -> None:
        ((self._n_outputs, n_features),) = layout
        self._given = hyperparameters
        self.dtype: torch.dtype = getattr(torch, hyperparameters.dtype)
        self.device = torch.device(hyperparameters.device)
        n_weights = self._n_outputs * n_features
        weights = np.arange(n_weights).reshape(self._n_outputs, n_features)
        biases = n_weights + np.arange(self._n_outputs)[:, None]
        self.order: NDArray[np.int64] | None = np.hstack([weights, biases]).ravel()
        self.frozen = None if frozen is None else torch.from_numpy(frozen[self.order]).to(self.device)
        self.is_capturable = self.device.type == "cuda" and train.features.size <= CAPTURED_NUMBERS
        self.n_samples = len(train)
        self.batch_size = min(hyperparameters.batch_size or len(train), len(train))
        self.validates = validation is not None
        self._train = self._over(train, in_batches=self.batch_size < self.n_samples)
        self._validation = None if validation is None else self._over(validation, in_batches=False)

    def evaluate(self, parameters: Tensor, gradient: Tensor, loss: Tensor) -> None:
        """Write the mean loss of the training samples, a scalar, and the gradient of the objective there."""
        self._train.loss_and_gradient(parameters, gradient, loss)
        self._finish(parameters, gradient)

    def validation_loss(self, parameters: Tensor, loss: Tensor) -> None:
        """Write the mean loss of the validation samples, a scalar."""
        assert self._validation is not None, "there are no validation samples"
        self._validation.loss_and_gradient(parameters, None, loss)

    def gradients(self, parameters: Tensor, gradient: Tensor, order: Tensor | None, n_done: int = 0) -> Iterator[int]:
        """Go through the training samples, but the first `n_done`, and write the gradient of each mini-batch.

        Yields:
            How many samples the batch has whose gradient has just been written.
        """
        for n in self._train.gradients(parameters, gradient, self.batch_size, order, n_done):
            self._finish(parameters, gradient)
            yield n

    def penalty(self, parameters: Tensor) -> Tensor:
        """Give l2 / 2 · Σ weight² + l1 · Σ |weight|."""
        weight = parameters.view(self._n_outputs, -1)[:, :-1]
        return self._given.l2 / 2 * weight.square().sum() + self._given.l1 * weight.abs().sum()

    def _finish(self, parameters: Tensor, gradient: Tensor) -> None:
        """Add the gradient of the penalties on the weights, and clear that of what is frozen."""
        if self._given.l2 or self._given.l1:
            weight, its = (vector.view(self._n_outputs, -1)[:, :-1] for vector in (parameters, gradient))
            if self._given.l2:
                its.add_(weight, alpha=self._given.l2)
            if self._given.l1:
                its.add_(weight.sign(), alpha=self._given.l1)
        if self.frozen is not None:
            gradient.masked_fill_(self.frozen, 0.0)

    def _over(self, samples: Samples, *, in_batches: bool) -> NativeSweep | Products:
        """Prepare to go through samples, all of them or in mini-batches."""
        assert self._given.loss is not None
        if LIBRARY is None or self.device.type != "cpu":
            return Products(samples, self._given, self._n_outputs, by_feature=not in_batches)
        features, dtype = to_tensor(samples.features).to(self.dtype), self._given.dtype
        targets, weights = tensor_of(samples.targets, dtype), weights_of(samples, dtype)
        packs = self._n_outputs == 1 and not in_batches and features.nbytes <= PACKED_BYTES
        return NativeSweep(features, targets, weights, self._given.loss, self._n_outputs, packs=packs, library=LIBRARY)
