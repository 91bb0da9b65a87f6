"""Loss and gradient of a linear model by torch's products: on a GPU, or where nothing was compiled.

With a column of ones beside the features, weight and bias go through one product each way. Nothing of the size of the
data is allocated at a step.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from service.hyperparameters import Hyperparameters
from service.training.batches import WHOLE_BYTES, Batch, BatchSource, samples_last, to_tensor, weights_of
from service.training.losses import LOSSES
from service.training.samples import Samples
from service.training.sweep import Sweep

COPIED_BYTES = 2**28
"""Features up to this size are copied beside a column of ones; larger ones are used as they are."""


class Products:
    """Goes through samples, all of them or in mini-batches, as `native.sweep.NativeSweep` does.

    Args:
        samples: scaled.
        hyperparameters: of the plan; loss, dtype and device are read.
        n_outputs: of the model.
        by_feature: whether only all samples are evaluated, so that they may be laid out feature by feature.
    """

    def __init__(self, samples: Samples, hyperparameters: Hyperparameters, n_outputs: int, *, by_feature: bool) -> None:
        self._given = hyperparameters
        self._n_outputs = n_outputs
        self._n_features = samples.features.shape[1]
        self._n_samples = len(samples)
        assert hyperparameters.loss is not None
        self._loss = LOSSES[hyperparameters.loss]
        self._terms = n_outputs if self._loss.per_output else 1
        self.dtype: torch.dtype = getattr(torch, hyperparameters.dtype)
        self.device = torch.device(hyperparameters.device)
        self._has_ones = len(samples) * (self._n_features + 1) * self.dtype.itemsize <= COPIED_BYTES
        self._source = self._laid_out(samples, by_feature=by_feature)
        sweeps = n_outputs == 1 and self.device.type == "cpu"
        blocks = self._source.blocks()
        self._sweep = Sweep(blocks, self._loss, has_ones=self._has_ones) if sweeps else None
        self._blocks = [] if sweeps else blocks
        self._block_loss = torch.empty((), dtype=self.dtype, device=self.device)
        self._space: dict[int, tuple[Tensor, Tensor]] = {}

    def loss_and_gradient(self, parameters: Tensor, gradient: Tensor | None, loss: Tensor) -> None:
        """Write the mean loss of all samples, and its gradient unless that is None.

        Args:
            parameters: of each output the weights, then the bias, (n_outputs · (n_features + 1),).
            gradient: of the same shape.
            loss: a scalar.
        """
        if self._sweep is not None:
            self._sweep.loss_and_gradient(parameters, gradient, loss)
            return
        parameters = self._matrix(parameters)
        gradient = None if gradient is None else self._matrix(gradient)
        for number, batch in enumerate(self._blocks):
            outputs, scratch = self._outputs(parameters, batch)
            its = self._block_loss if number else loss
            self._loss.value_(outputs, batch.targets, batch.weights, scratch, its)
            if number:
                loss.add_(its)
            if gradient is not None:
                self._backward(batch, outputs, gradient, self._n_samples, beta=float(number > 0))
        loss.div_(self._n_samples * self._terms)

    def gradients(
        self, parameters: Tensor, gradient: Tensor, size: int, order: Tensor | None, n_done: int
    ) -> Iterator[int]:
        """Write the mean gradient of one mini-batch after another, as `native.sweep.NativeSweep` does."""
        parameters, gradient = self._matrix(parameters), self._matrix(gradient)
        for batch in self._source.batches(size, order, n_done):
            outputs, _ = self._outputs(parameters, batch)
            self._loss.derivative_(outputs, batch.targets, batch.weights)
            self._backward(batch, outputs, gradient, len(batch), beta=0.0)
            yield len(batch)

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

    def _laid_out(self, samples: Samples, *, by_feature: bool) -> BatchSource:
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
