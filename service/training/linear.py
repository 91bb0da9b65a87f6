"""The model behind linear, logistic and softmax regression, with its gradient derived by hand.

Its parameters are a matrix (n_outputs, n_features + 1) whose last column is the bias: with a column of ones beside the
features, weight and bias go through one product each way. Nothing of the size of the data is allocated at a step.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.hyperparameters import Hyperparameters
from service.parameters import Layout
from service.training.batches import WHOLE_BYTES, Batch, BatchSource, samples_last, to_tensor, weights_of
from service.training.losses import LOSSES
from service.training.native.library import LIBRARY
from service.training.native.sweep import NativeSweep
from service.training.samples import Samples
from service.training.sweep import Sweep

CAPTURED_NUMBERS = 2**22
"""On a GPU, evaluating features of up to so many numbers takes less time than launching its operations."""
COPIED_BYTES = 2**28
"""Features up to this size are copied beside a column of ones; larger ones are used as they are."""


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
        ((self._n_outputs, self._n_features),) = layout
        self._given = hyperparameters
        assert hyperparameters.loss is not None
        self._loss = LOSSES[hyperparameters.loss]
        self.dtype: torch.dtype = getattr(torch, hyperparameters.dtype)
        self.device = torch.device(hyperparameters.device)
        n_weights = self._n_outputs * self._n_features
        weights = np.arange(n_weights).reshape(self._n_outputs, self._n_features)
        biases = n_weights + np.arange(self._n_outputs)[:, None]
        self.order: NDArray[np.int64] | None = np.hstack([weights, biases]).ravel()
        self.frozen = None if frozen is None else torch.from_numpy(frozen[self.order]).to(self.device)
        n_bytes = len(train) * (self._n_features + 1) * self.dtype.itemsize
        self.is_capturable = self.device.type == "cuda" and train.features.size <= CAPTURED_NUMBERS
        self.n_samples = len(train)
        self.batch_size = min(hyperparameters.batch_size or len(train), len(train))
        self._terms = self._n_outputs if self._loss.per_output else 1
        self.validates = validation is not None
        full, is_copied = self.batch_size == self.n_samples, n_bytes <= COPIED_BYTES
        self._sweeps = self._n_outputs == 1 and self.device.type == "cpu"
        self._library = LIBRARY if self._sweeps else None
        self._has_ones = is_copied and not (full and self._library)
        source = self._source(train, by_feature=full and self._library is None)
        self._sweep = self._sweep_over(source, packs=full and is_copied)
        self._train = None if full and self._library else source  # of which a packed copy may be all that is needed
        self._blocks = [] if self._sweeps else source.blocks()
        self._validation_sweep: Sweep | NativeSweep | None = None
        self._validation_blocks: list[Batch] = []
        if validation is not None:
            source = self._source(validation, by_feature=self._library is None)
            self._validation_sweep = self._sweep_over(source, packs=is_copied)
            self._validation_blocks = [] if self._sweeps else source.blocks()
        self._block_loss = torch.empty((), dtype=self.dtype, device=self.device)
        self._space: dict[int, tuple[Tensor, Tensor]] = {}

    def evaluate(self, parameters: Tensor, gradient: Tensor, loss: Tensor) -> None:
        """Write the mean loss of the training samples, a scalar, and the gradient of the objective there."""
        if self._sweep is not None:
            self._sweep.loss_and_gradient(parameters, gradient, loss)
        else:
            self._sum_losses(parameters, self._blocks, loss, gradient)
        self._finish(parameters, gradient)

    def validation_loss(self, parameters: Tensor, loss: Tensor) -> None:
        """Write the mean loss of the validation samples, a scalar."""
        if self._validation_sweep is not None:
            self._validation_sweep.loss_and_gradient(parameters, None, loss)
        else:
            self._sum_losses(parameters, self._validation_blocks, loss, None)

    def _sum_losses(self, parameters: Tensor, blocks: list[Batch], loss: Tensor, gradient: Tensor | None) -> None:
        """Write the mean loss of all samples, and its gradient unless that is None."""
        n = sum(map(len, blocks))
        parameters = self._matrix(parameters)
        gradient = None if gradient is None else self._matrix(gradient)
        for number, batch in enumerate(blocks):
            outputs, scratch = self._outputs(parameters, batch)
            its = self._block_loss if number else loss
            self._loss.value_(outputs, batch.targets, batch.weights, scratch, its)
            if number:
                loss.add_(its)
            if gradient is not None:
                self._backward(batch, outputs, gradient, n, beta=float(number > 0))
        loss.div_(n * self._terms)

    def gradients(self, parameters: Tensor, gradient: Tensor, order: Tensor | None, n_done: int = 0) -> Iterator[int]:
        """Go through the training samples, but the first `n_done`, and write the gradient of each mini-batch.

        Yields:
            How many samples the batch has whose gradient has just been written.
        """
        assert self._train is not None, "the full batch is evaluated"
        matrix, its_gradient = self._matrix(parameters), self._matrix(gradient)
        for batch in self._train.batches(self.batch_size, order, n_done):
            outputs, _ = self._outputs(matrix, batch)
            self._loss.derivative_(outputs, batch.targets, batch.weights)
            n = len(batch)
            self._backward(batch, outputs, its_gradient, n, beta=0.0)
            self._finish(parameters, gradient)
            yield n

    def penalty(self, parameters: Tensor) -> Tensor:
        """Give l2 / 2 · Σ weight² + l1 · Σ |weight|."""
        weight = parameters.view(self._n_outputs, -1)[:, :-1]
        return self._given.l2 / 2 * weight.square().sum() + self._given.l1 * weight.abs().sum()

    def _matrix(self, vector: Tensor) -> Tensor:
        """View a flat vector as products take it: as the matrix, or as it is for one output."""
        return vector if self._n_outputs == 1 else vector.view(self._n_outputs, -1)

    def _outputs(self, parameters: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Write the outputs, (n_outputs, n), or (n,) for one output; give them and as much work space."""
        n = len(batch)
        if n not in self._space:
            shape = (n,) if self._n_outputs == 1 else (self._n_outputs, n)
            self._space[n] = (
                torch.empty(shape, dtype=self.dtype, device=self.device),
                torch.empty(shape, dtype=self.dtype, device=self.device),
            )
        outputs, scratch = self._space[n]
        if self._n_outputs == 1:
            if self._has_ones:
                torch.mv(batch.features, parameters, out=outputs)
            else:
                torch.mv(batch.features, parameters[:-1], out=outputs)
                outputs.add_(parameters[-1])
        elif self._has_ones:
            torch.mm(parameters, batch.columns, out=outputs)
        else:
            torch.mm(parameters[:, :-1], batch.columns, out=outputs)
            outputs.add_(parameters[:, -1:])
        return outputs, scratch

    def _backward(self, batch: Batch, derivative: Tensor, gradient: Tensor, n: int, *, beta: float) -> None:
        """Write, or with beta 1 add, the gradient of the mean of n samples."""
        share = 1 / (n * self._terms)
        part = gradient if self._has_ones else gradient[..., :-1]
        if self._n_outputs == 1:
            torch.addmv(part, batch.columns, derivative, beta=beta, alpha=share, out=part)
        else:
            torch.addmm(part, derivative, batch.features, beta=beta, alpha=share, out=part)
        if not self._has_ones:
            bias = gradient.view(self._n_outputs, -1)[:, -1]
            sums = derivative.view(self._n_outputs, -1).sum(-1).mul_(share)
            bias.copy_(sums.add_(bias) if beta else sums)

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

    def _sweep_over(self, source: BatchSource, *, packs: bool) -> Sweep | NativeSweep | None:
        """Prepare to sweep over samples; None where there are several outputs, or another device."""
        assert self._given.loss is not None
        if not self._sweeps:
            return None
        if self._library is None:
            return Sweep(source.blocks(), self._loss, has_ones=self._has_ones)
        has_bias = not self._has_ones
        return NativeSweep(source.whole(), self._given.loss, has_bias=has_bias, packs=packs, library=self._library)

    def _source(self, samples: Samples, *, by_feature: bool) -> BatchSource:
        """Bring samples to the device, laid out so that the products go along memory.

        NumPy is quickest with the whole batch feature by feature; mini-batches are gathered row by row.
        """
        features = to_tensor(samples.features).to(self.device, self.dtype)
        targets: Tensor | None = self._targets(samples)
        if self._has_ones:
            n = len(samples)
            # Blocks of a table laid out by feature would be spread over all of it.
            by_feature &= n * (self._n_features + 1) * self.dtype.itemsize <= WHOLE_BYTES or self.device.type != "cpu"
            shape = (self._n_features + 1, n) if by_feature else (n, self._n_features + 1)
            table = torch.empty(shape, dtype=self.dtype, device=self.device)
            table = table.T if by_feature else table
            table[:, :-1] = features
            table[:, -1] = 1.0
            features = table
            if targets is not None and self._given.loss == "binary_cross_entropy":
                features.mul_(targets[:, None])
                targets = None
        weights = weights_of(samples, self._given.dtype)
        return BatchSource(features, targets, None if weights is None else weights.to(self.device))

    def _targets(self, samples: Samples) -> Tensor:
        """Bring targets into the form that the loss takes, samples last."""
        if self._given.loss == "binary_cross_entropy":
            targets = samples_last(samples.targets, self._given.dtype, lambda codes: 1 - 2 * codes)
        else:
            dtype = np.int64 if self._given.loss == "cross_entropy" else self._given.dtype
            targets = samples_last(samples.targets, dtype)
        return to_tensor(targets[0] if self._n_outputs == 1 else targets).to(self.device)
