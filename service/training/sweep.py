"""A sweep over all samples on the CPU, for models of one output: outputs, loss and gradient of a block at a time.

It does the work of the compiled one, `native.sweep`, where Descent was installed without a C compiler. A block stays in
its core's cache from one product to the other. Threads share the blocks out as they go, and make few but long calls,
for while one of them is in Python the others wait. Products are NumPy's, whose BLAS is 1.7 times as fast here as
torch's on one thread (measured on AMD EPYC: 70 GB/s against 42 GB/s); what comes between them is torch's, which has
the faster exponentials.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.training.batches import Batch
from service.training.losses import Loss
from service.training.threads import n_threads_for

Array = NDArray[np.floating]

LONG_ROW = 64
"""Rows of so many numbers, in tables beyond the caches, are multiplied one by one, which reads memory in order.

It takes a third less time at 100 numbers, half of it at 200 (measured on AMD EPYC); shorter rows are quicker together.
"""


@dataclass(frozen=True)
class _Block:
    """Samples, and where their share of the result goes: a scalar, and a vector (n_parameters,)."""

    batch: Batch
    features: Array
    total: Tensor
    gradient: Array


class _Space:
    """Work space of one thread: outputs, as a tensor and as an array of the same memory, and as much beside them."""

    def __init__(self, like: Tensor, n: int) -> None:
        self._outputs, self._scratch = like.new_empty(n), like.new_empty(n)
        self._values = self._outputs.numpy()

    def of(self, n: int) -> tuple[Tensor, Array, Tensor]:
        """Give what n samples take of it."""
        if n == len(self._values):
            return self._outputs, self._values, self._scratch
        return self._outputs[:n], self._values[:n], self._scratch[:n]


class Sweep:
    """Goes through batches of samples.

    Args:
        batches: on the CPU, with features (n, n_columns).
        loss: of the model.
        has_ones: whether the last column of the features is of ones, so that it stands for the bias.
    """

    def __init__(self, batches: list[Batch], loss: Loss, *, has_ones: bool) -> None:
        self._loss = loss
        self._has_ones = has_ones
        features = batches[0].features
        n_columns = features.shape[1]
        n_samples = sum(map(len, batches))
        # Each block writes to a place of its own: what is summed depends on no thread.
        self._totals = features.new_empty(len(batches))
        self._gradients = features.new_empty(len(batches), n_columns + (not has_ones)).numpy()
        self._blocks = [
            _Block(batch, batch.features.numpy(), total, gradient)
            for batch, total, gradient in zip(batches, self._totals, self._gradients, strict=True)
        ]
        in_order = len(batches) > 1 and n_columns >= LONG_ROW and features.is_contiguous()
        self._product = np.vecdot if in_order else np.dot
        n_threads = min(n_threads_for(n_samples * n_columns), len(batches))
        self._spaces = [_Space(features, max(map(len, batches))) for _ in range(n_threads)]
        self._others = ThreadPoolExecutor(n_threads - 1) if n_threads > 1 else None
        self._share = 1 / n_samples
        self._shares = np.full(len(batches), self._share, self._gradients.dtype)
        # A number costs an operation more than a tensor without dimensions.
        self._share_tensor = torch.tensor(self._share, dtype=features.dtype)

    def loss_and_gradient(self, parameters: Tensor, gradient: Tensor | None, loss: Tensor) -> None:
        """Write the mean loss of all samples, and its gradient unless that is None.

        Args:
            parameters: weights, then the bias, (n_features + 1,).
            gradient: of the same shape.
            loss: a scalar.
        """
        its_gradient = None if gradient is None else gradient.numpy()
        # Here and in each other thread, for an error state is of one; what overflows is infinite.
        with np.errstate(over="ignore", invalid="ignore"):
            if len(self._blocks) == 1:
                self._evaluate(self._blocks[0], self._spaces[0], parameters.numpy(), its_gradient, loss)
                if its_gradient is not None:
                    np.multiply(its_gradient, self._share, out=its_gradient)
            else:
                self._go_all(parameters.numpy(), wants_gradient=gradient is not None)
                torch.sum(self._totals, (0,), out=loss)
                if its_gradient is not None:
                    np.dot(self._shares, self._gradients, out=its_gradient)
        loss.mul_(self._share_tensor)

    def _go_all(self, parameters: Array, *, wants_gradient: bool) -> None:
        blocks = iter(self._blocks)  # shared: whoever has done one takes the next

        def go(space: _Space) -> None:
            with np.errstate(over="ignore", invalid="ignore"):
                for block in blocks:
                    gradient = block.gradient if wants_gradient else None
                    self._evaluate(block, space, parameters, gradient, block.total)

        others = [] if self._others is None else [self._others.submit(go, space) for space in self._spaces[1:]]
        go(self._spaces[0])
        for other in others:
            other.result()

    def _evaluate(self, block: _Block, space: _Space, parameters: Array, gradient: Array | None, total: Tensor) -> None:
        """Write the summed loss of a block to `total` and its gradient, unless that is None."""
        batch = block.batch
        outputs, values, scratch = space.of(len(block.features))
        self._forward(block, parameters, values)
        self._loss.value_(outputs, batch.targets, batch.weights, scratch, total)
        if gradient is not None:
            self._backward(block, values, gradient)

    def _forward(self, block: _Block, parameters: Array, values: Array) -> None:
        if self._has_ones:
            self._product(block.features, parameters, out=values)
        else:
            self._product(block.features, parameters[:-1], out=values)
            np.add(values, parameters[-1], out=values)

    def _backward(self, block: _Block, values: Array, gradient: Array) -> None:
        if self._has_ones:
            np.dot(values, block.features, out=gradient)
        else:
            np.dot(values, block.features, out=gradient[:-1])
            gradient[-1] = values.sum()
