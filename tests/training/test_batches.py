from typing import Any

import numpy as np
import pytest

from service import room
from service.training.batches import samples_last, weights_of
from service.training.samples import Samples

N = room.ROWS_AT_ONCE + 7
TARGETS = np.random.default_rng(0).integers(0, 5, (N, 2)).astype(np.float32)


@pytest.mark.parametrize("n_targets", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("of", [None, lambda codes: 1 - 2 * codes], ids=["as they are", "signs"])
def test_targets_of_any_number_of_samples_are_laid_out_with_the_samples_last(
    n_targets: int, dtype: Any, of: Any
) -> None:
    targets = TARGETS[:, :n_targets]
    found = samples_last(targets, dtype, of)
    assert (found.dtype, found.flags.c_contiguous) == (dtype, True)
    assert np.array_equal(found, (targets if of is None else of(targets)).T)


def test_targets_that_lie_so_already_are_not_copied() -> None:
    targets = np.ascontiguousarray(TARGETS[:, :1])
    targets.flags.writeable = False
    assert np.shares_memory(samples_last(targets, "float32"), targets)
    assert not np.shares_memory(samples_last(targets, "float32", lambda codes: 1 - 2 * codes), targets)


def test_large_copies_of_targets_and_weights_lie_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "IN_MEMORY_BYTES", 2**16)
    weights = np.linspace(0, 2, N)
    targets, its_weights = samples_last(TARGETS, np.int64), weights_of(Samples(TARGETS, TARGETS, weights), "float32")
    assert isinstance(targets.base, np.memmap)
    assert np.array_equal(targets, TARGETS.T)
    assert its_weights is not None
    assert np.array_equal(its_weights.numpy(), weights.astype(np.float32))
    assert weights_of(Samples(TARGETS, TARGETS), "float32") is None
