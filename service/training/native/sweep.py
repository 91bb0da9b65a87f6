"""The compiled sweep: loss and gradient of a linear model over all samples or a mini-batch, read once; see sweep.c."""

import ctypes
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from service.tasks import LossName
from service.training.batches import BLOCK_BYTES
from service.training.native.library import WHOLE_VECTOR, Library
from service.training.threads import n_threads_for

LOSSES: tuple[LossName, ...] = ("mse", "half_mse", "mae", "huber", "binary_cross_entropy", "cross_entropy")
"""As sweep.c numbers them."""
PANEL_ROWS = 128
"""Samples in a panel of packed features."""
LEAST_ROWS = 256
"""A block has at least so many, that what blocks write, in float64, is little beside the features."""
ROWS_AN_OUTPUT = 32
"""And so many for each output, for the same reason."""


class _Table(ctypes.Structure):
    """The samples, as the compiled code takes them; addresses of contiguous arrays, or None.

    `features` (n_samples, n_columns), or (n_panels, n_columns, PANEL_ROWS) when `is_packed`; `targets` (n_samples,
    n_targets), one of classes, else one for each output; `weights` (n_samples,). `order` has numbers of rows, of 64
    bits when `is_wide`, else of 32; without it they come as they are. Those at its places from `first` on, `n` of them,
    are evaluated at `parameters`, (n_outputs, n_columns + 1): what comes of it goes to `gradient` and `mean_loss`.
    `partials` is (n_blocks, width), of which each output has `stride`, and the last is for the loss; `space` is
    (n_threads, space_width). `next` counts the blocks that are given out.
    """

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("features", "targets", "weights", "order", "parameters")),
        *((name, ctypes.c_void_p) for name in ("gradient", "mean_loss", "space", "partials")),
        *((name, ctypes.c_int64) for name in ("width", "stride", "space_width", "n_samples", "n_columns")),
        *((name, ctypes.c_int64) for name in ("n_outputs", "rows_per_block", "is_packed", "is_wide", "loss")),
        *((name, ctypes.c_int64) for name in ("first", "n", "next")),
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
    """Goes through samples as `sweep.Sweep` does, in compiled code, or through mini-batches of them.

    Args:
        features: (n, n_columns), on the CPU.
        targets: (n, n_outputs), of the same dtype; of classes their codes, (n, 1).
        weights: (n,), of the same dtype, or None when all samples count alike.
        loss: of the model.
        n_outputs: of the model.
        packs: whether to copy the features to where all of them are gone through in less time; for one output.
        library: the compiled code.
        instructions: which the processor has; the best when None.
    """

    def __init__(
        self,
        features: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        loss: LossName,
        n_outputs: int,
        *,
        packs: bool,
        library: Library,
        instructions: str | None = None,
    ) -> None:
        n, n_columns = features.shape
        in_cache = BLOCK_BYTES // (n_columns * features.element_size())
        rows = max(LEAST_ROWS, -(-max(in_cache, ROWS_AN_OUTPUT * n_outputs) // PANEL_ROWS) * PANEL_ROWS)
        stride = (n_columns // WHOLE_VECTOR + 1) * WHOLE_VECTOR
        width = n_outputs * stride + WHOLE_VECTOR
        space_width = n_outputs * stride + PANEL_ROWS * (stride + 2 * n_outputs + 2)
        partials = torch.empty(-(-n // rows), width, dtype=torch.float64)
        self._n_threads = min(n_threads_for(n * n_columns), len(partials))
        self._others = ThreadPoolExecutor(self._n_threads - 1) if self._n_threads > 1 else None
        space = features.new_empty(self._n_threads, space_width)
        features = packed(features) if packs else features.contiguous()
        self._n_samples = n
        self._arrays = features, targets.contiguous(), weights, partials, space  # whose memory the table names
        addresses = (None if array is None else array.data_ptr() for array in self._arrays)
        self._table = _Table(
            **dict(zip(("features", "targets", "weights", "partials", "space"), addresses, strict=True)),
            width=width,
            stride=stride,
            space_width=space_width,
            n_samples=n,
            n_columns=n_columns,
            n_outputs=n_outputs,
            rows_per_block=rows,
            is_packed=packs,
            loss=LOSSES.index(loss),
            n=n,
        )
        dtype = str(features.dtype).removeprefix("torch.")
        instructions, address = instructions or library.instructions, ctypes.c_void_p
        self._evaluate = library.function(f"evaluate_{dtype}_{instructions}", address)
        self._sweep = library.function(f"sweep_{dtype}_{instructions}", address, ctypes.c_int64)
        self._finish = library.function(f"finish_{dtype}", address)

    def loss_and_gradient(self, parameters: Tensor, gradient: Tensor | None, loss: Tensor) -> None:
        """Write the mean loss of all samples, and its gradient unless that is None.

        Args:
            parameters: of each output the weights, then the bias, (n_outputs · (n_features + 1),).
            gradient: of the same shape.
            loss: a scalar.
        """
        table = self._table
        table.parameters, table.mean_loss = parameters.data_ptr(), loss.data_ptr()
        table.gradient = None if gradient is None else gradient.data_ptr()
        self._go(table, self._n_threads)

    def gradients(
        self, parameters: Tensor, gradient: Tensor, size: int, order: Tensor | None, n_done: int
    ) -> Iterator[int]:
        """Write the mean gradient of one mini-batch after another.

        Args:
            parameters, gradient: as above; read and written anew for each.
            size: of a mini-batch, in samples; the last may have fewer.
            order: of the samples, (n,) of 32-bit or 64-bit integers; None for the one they are in.
            n_done: so many samples of the order are left out.

        Yields:
            How many samples the batch has whose gradient has just been written.
        """
        table = _Table.from_buffer_copy(self._table)  # its own, for all may be evaluated between two steps
        table.parameters, table.gradient, table.mean_loss = parameters.data_ptr(), gradient.data_ptr(), None
        if order is not None:
            table.order, table.is_wide = order.data_ptr(), order.element_size() == 8
        n_threads = min(n_threads_for(size * table.n_columns), self._n_threads)
        for first in range(n_done, self._n_samples, size):
            table.first, table.n = first, min(size, self._n_samples - first)
            self._go(table, n_threads)
            yield min(size, self._n_samples - first)

    def _go(self, table: _Table, n_threads: int) -> None:
        at = ctypes.addressof(table)  # a number is passed in less time than a reference is made
        if n_threads == 1 or self._others is None:
            self._evaluate(at)
            return
        table.next = 0  # the block that whoever is free takes
        others = [self._others.submit(self._sweep, at, number) for number in range(1, n_threads)]
        self._sweep(at, 0)
        for other in others:
            other.result()
        self._finish(at)
