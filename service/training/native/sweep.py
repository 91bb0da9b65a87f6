"""The compiled sweep: loss and gradient of a model of one output over all samples, read once; see sweep.c."""

import ctypes
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from service.tasks import LossName
from service.training.batches import BLOCK_BYTES, Batch
from service.training.native.library import WHOLE_VECTOR, Library
from service.training.threads import n_threads_for

LOSSES: tuple[LossName, ...] = ("mse", "half_mse", "mae", "huber", "binary_cross_entropy")
"""As sweep.c numbers them."""
PANEL_ROWS = 128
"""Samples in a panel of packed features."""
LEAST_ROWS = 256
"""A block has at least so many, that what blocks write, in float64, is little beside the features."""


class _Table(ctypes.Structure):
    """The samples, as the compiled code takes them; addresses of contiguous arrays, or None.

    `features` (n_samples, n_columns), or (n_panels, n_columns, PANEL_ROWS) when `is_packed`. `targets` and `weights`
    (n_samples,); of binary cross-entropy targets are signs, None where the features carry them. `partials`
    (n_blocks, width), of which the last two columns are for the derivative by the bias, and the loss.
    """

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("features", "targets", "weights", "partials")),
        *((name, ctypes.c_int64) for name in ("width", "n_samples", "n_columns", "rows_per_block", "is_packed")),
        *((name, ctypes.c_int64) for name in ("has_bias", "loss")),
    )


def packed(features: Tensor) -> Tensor:
    """Copy features, (n, n_columns), into panels, (n_panels, n_columns, PANEL_ROWS), filled up with noughts."""
    n, n_columns = features.shape
    n_whole = n // PANEL_ROWS
    found = features.new_empty(-(-n // PANEL_ROWS), n_columns, PANEL_ROWS)
    found[:n_whole] = features[: n_whole * PANEL_ROWS].reshape(n_whole, PANEL_ROWS, n_columns).transpose(1, 2)
    found[n_whole:] = 0
    found[n_whole:, :, : n % PANEL_ROWS] = features[n_whole * PANEL_ROWS :].T
    return found


class NativeSweep:
    """Goes through samples as `sweep.Sweep` does, in compiled code.

    Args:
        batch: all samples, on the CPU; features of shape (n, n_columns).
        loss: of the model, one of LOSSES.
        has_bias: whether there is a bias beside the columns; else the last column may be of ones.
        packs: whether to copy the features to where they are gone through in less time.
        library: the compiled code.
        instructions: which the processor has; the best when None.
    """

    def __init__(
        self,
        batch: Batch,
        loss: LossName,
        *,
        has_bias: bool,
        packs: bool,
        library: Library,
        instructions: str | None = None,
    ) -> None:
        n_samples, n_columns = batch.features.shape
        features = packed(batch.features) if packs else batch.features.contiguous()
        rows = max(LEAST_ROWS, BLOCK_BYTES // (n_columns * features.element_size()) // PANEL_ROWS * PANEL_ROWS)
        width = -(-n_columns // WHOLE_VECTOR) * WHOLE_VECTOR + 2
        partials = torch.empty(-(-n_samples // rows), width, dtype=torch.float64)
        self._arrays = features, batch.targets, batch.weights, partials  # whose memory the table names
        addresses = [None if array is None else array.data_ptr() for array in self._arrays]
        self._table = _Table(*addresses, width, n_samples, n_columns, rows, packs, has_bias, LOSSES.index(loss))
        self._next = ctypes.c_int64()
        # By address: a number is passed in less time than a reference is made.
        self._at, self._next_at = ctypes.addressof(self._table), ctypes.addressof(self._next)
        dtype = str(features.dtype).removeprefix("torch.")
        address, number = ctypes.c_void_p, ctypes.c_int64
        self._go = library.function(
            f"sweep_{dtype}_{instructions or library.instructions}", address, address, number, address
        )
        self._finish = library.function(f"finish_{dtype}", address, address, address)
        self._n_others = min(n_threads_for(n_samples * n_columns), len(partials)) - 1
        self._others = ThreadPoolExecutor(self._n_others) if self._n_others else None

    def loss_and_gradient(self, parameters: Tensor, gradient: Tensor | None, loss: Tensor) -> None:
        """Write the mean loss of all samples, and its gradient unless that is None.

        Args:
            parameters: weights, then the bias, (n_features + 1,).
            gradient: of the same shape.
            loss: a scalar.
        """
        arguments = self._at, parameters.data_ptr(), gradient is not None, self._next_at
        self._next.value = 0  # the block that whoever is free takes
        others = (
            [] if self._others is None else [self._others.submit(self._go, *arguments) for _ in range(self._n_others)]
        )
        self._go(*arguments)
        for other in others:
            other.result()
        self._finish(self._at, None if gradient is None else gradient.data_ptr(), loss.data_ptr())
