"""The compiled sums of products that moments are made of, for tables of few columns; see moments.h."""

import ctypes
from typing import Any

import numpy as np

from service.training.native.library import WHOLE_VECTOR, Library
from service.training.origin import Array, Origin, Table
from service.training.threads import in_parallel, n_threads_for

WIDEST = 64
"""Of more columns BLAS takes the products in less time."""
LEAST_NUMBERS = 2**14
"""With fewer in a table, the call costs more than it saves."""
BLOCK_NUMBERS = 2**20
MOST_BLOCKS = 1000
"""Threads take so many numbers of a table at a time, or a share of it: each block keeps sums of its own."""


class _Products(ctypes.Structure):
    """What sums are taken of, as the compiled code takes it; addresses of contiguous arrays, or None.

    `features` (n_samples, n_columns) and `targets` (n_samples, n_targets), both of float32 when `is_float32`, else of
    the products' precision; of that are `shift` (width,), `target_shift` (n_targets,) and `plane`
    (n_targets, width). `weights` (n_samples,) of float64. `sums` (n_blocks, width, width).
    """

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("features", "targets", "shift", "target_shift", "plane")),
        *((name, ctypes.c_void_p) for name in ("weights", "sums")),
        *((name, ctypes.c_int64) for name in ("n_samples", "n_columns", "n_targets", "width", "rows_per_block")),
        ("is_float32", ctypes.c_int64),
    )


def is_narrow(features: Table, targets: Table, dtype: np.dtype[Any]) -> bool:
    """Tell whether the compiled code is for these tables, and for products of that precision."""
    return (
        features.size >= LEAST_NUMBERS
        and features.shape[1] + targets.shape[1] < WIDEST
        and features.dtype == targets.dtype
        and features.dtype in (np.float32, dtype)
        and features.flags.c_contiguous
        and targets.flags.c_contiguous
    )


def sums_of_products(
    features: Table,
    targets: Table,
    weights: Array | None,
    origin: Origin,
    library: Library,
    instructions: str | None = None,
) -> Array:
    """Sum the products of all columns, each with each: of features, then residuals, then ones.

    Args:
        features, targets, weights: as `moments` takes them, where `is_narrow` holds.
        origin: what they are counted from, in the precision that products are to have.
        library: the compiled code.
        instructions: which the processor has; the best when None.

    Returns:
        Shape (n_columns, n_columns); what is above the diagonal means nothing.
    """
    n_samples, n_features = features.shape
    n_columns = n_features + targets.shape[1] + 1
    width = -(-n_columns // WHOLE_VECTOR) * WHOLE_VECTOR
    rows = max(BLOCK_NUMBERS // width, n_samples // MOST_BLOCKS)
    shift, plane = np.zeros(width, origin.shift.dtype), np.zeros((targets.shape[1], width), origin.shift.dtype)
    shift[:n_features], plane[:, :n_features] = origin.shift, origin.weight.T
    sums = np.empty((-(-n_samples // rows), width, width))
    its_weights = None if weights is None else np.ascontiguousarray(weights, np.float64)
    arrays = features, targets, shift, origin.target_shift, plane if plane.any() else None, its_weights, sums
    addresses = [None if array is None else array.ctypes.data for array in arrays]
    numbers = n_samples, n_features, targets.shape[1], width, rows, features.dtype == np.float32
    products, following = _Products(*addresses, *numbers), ctypes.c_int64()  # the block that whoever is free takes
    address = ctypes.c_void_p
    name = f"multiply_out_{shift.dtype}_{instructions or library.instructions}"
    go = library.function(name, address, address)
    n_threads = min(n_threads_for(features.size), len(sums))
    in_parallel(lambda _: go(ctypes.addressof(products), ctypes.addressof(following)), range(n_threads))
    total: Array = sums.sum(axis=0)
    return total[:n_columns, :n_columns]
