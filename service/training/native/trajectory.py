"""The compiled evaluation of many epochs of a descent on a quadratic; see trajectory.h."""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.training.native.library import WHOLE_VECTOR, Library
from service.training.recurrence import Array, Tables

MOST_MODES = 64
"""Of more modes BLAS takes the products in less time, and the compiled code, sweep.c, has no space for them."""


class _Trajectory(ctypes.Structure):
    """A descent, as the compiled code takes it; addresses of contiguous arrays, of float64 but for `vectors`.

    `coarse` (n_modes, n_coarse, n_terms) and `fine` (2, n_outputs, n_modes, n_terms, n_fine) are what slopes and
    changes along the modes are products of; `modes` (n_rows, n_modes); `start` (n_outputs, n_rows); `factors` (3,
    n_outputs, n_modes) are those of the objective. What comes of it goes to `measures`, (2, n_coarse · n_fine), and
    `vectors`, (2, n_outputs, n_rows, n_coarse · n_fine).
    """

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("coarse", "fine", "modes", "start", "factors", "measures", "vectors")),
        *((name, ctypes.c_double) for name in ("lowest", "half_l2", "largest")),
        *((name, ctypes.c_int64) for name in ("n_outputs", "n_rows", "n_modes", "n_terms", "n_coarse", "n_fine")),
    )


def is_for(tables: Tables) -> bool:
    """Tell whether the compiled code is for these tables: of few modes, and many epochs."""
    return len(tables.coarse) <= MOST_MODES and tables.fine.shape[-1] % WHOLE_VECTOR == 0


def evaluate(
    tables: Tables,
    modes: Array,
    start: Array,
    factors: Array,
    lowest: float,
    l2: float,
    largest: float,
    dtype: np.dtype[Any],
    library: Library,
    instructions: str | None = None,
) -> tuple[Array, NDArray[Any]]:
    """Evaluate all epochs of some tables.

    Args:
        tables: of the modes, for which `is_for` holds.
        modes: the eigenvectors, (n_features + 1, n_modes).
        start: parameters before the first step, (n_features + 1, n_outputs).
        factors, lowest, l2: as an `Objective` has them.
        largest: which a loss, or the norm of a gradient, may be.
        dtype: of the vectors that are given.
        library: the compiled code.
        instructions: which the processor has; the best when None.

    Returns:
        The loss, infinite where it or the norm is too large, and the norm of the gradient, (2, n), and gradient and
        parameters, (2, n_outputs, n_features + 1, n).
    """
    n_modes, n_coarse, n_terms = tables.coarse.shape
    n_outputs, n_fine = factors.shape[1], tables.fine.shape[-1]
    measures = np.empty((2, n_coarse * n_fine))
    vectors = np.empty((2, n_outputs, len(modes), n_coarse * n_fine), dtype)
    given = [np.ascontiguousarray(each) for each in (tables.coarse, tables.fine, modes, start.T, factors)]
    descent = _Trajectory(
        *(ctypes.addressof(ctypes.c_char.from_buffer(array.data)) for array in (*given, measures, vectors)),
        *(lowest, l2 / 2, largest),
        *(n_outputs, len(modes), n_modes, n_terms, n_coarse, n_fine),
    )
    name = f"evaluate_trajectory_float{8 * vectors.itemsize}_{instructions or library.instructions}"
    library.function(name, ctypes.c_void_p)(ctypes.addressof(descent))
    return measures[:, : tables.count], vectors[..., : tables.count]
