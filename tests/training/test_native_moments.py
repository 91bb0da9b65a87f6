import numpy as np
import pytest
import torch
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.training import threads
from service.training.moments import moments
from service.training.native import moments as native
from service.training.native.library import Library
from service.training.native.moments import is_narrow, sums_of_products
from service.training.origin import Array, Origin, Table, origin_of
from tests.training.native import guarded, instruction_sets

PRECISIONS = [(np.float32, np.float32), (np.float32, np.float64), (np.float64, np.float64)]


def random_samples(seed: int, n: int, n_features: int, n_targets: int, dtype: type) -> tuple[Table, Table, Array]:
    draws = np.random.default_rng(seed)
    features = draws.normal(size=(n, n_features)) * draws.uniform(0.1, 3, n_features) + draws.normal(size=n_features)
    targets = features @ draws.normal(size=(n_features, n_targets)) + draws.normal(size=(n, n_targets))
    weights: Array = draws.uniform(0, 2, n)
    return features.astype(dtype), targets.astype(dtype), weights


def expected(features: Table, targets: Table, weights: Array | None, origin: Origin) -> Array:
    """Give what is to be summed, by NumPy in float64."""
    moved = features.astype(np.float64) - origin.shift
    residuals = targets.astype(np.float64) - origin.target_shift - moved @ origin.weight.astype(np.float64)
    columns = np.hstack([moved, residuals, np.ones((len(features), 1))])
    if weights is not None:
        columns *= np.sqrt(weights)[:, None]
    sums: Array = columns.T @ columns
    return sums


def lower(sums: NDArray[np.floating]) -> NDArray[np.floating]:
    return sums[np.tril_indices(len(sums))]


@settings(max_examples=60, deadline=None)
@draw(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 600),
    n_features=st.integers(1, 40),
    n_targets=st.integers(1, 3),
    precision=st.sampled_from(PRECISIONS),
    weighted=st.booleans(),
    has_plane=st.booleans(),
)
def test_the_sums_are_those_of_numpy_on_every_set_of_instructions(
    library: Library,
    seed: int,
    n: int,
    n_features: int,
    n_targets: int,
    precision: tuple[type, type],
    weighted: bool,
    has_plane: bool,
) -> None:
    of, products = precision
    features, targets, weights = random_samples(seed, n, n_features, n_targets, of)
    its_weights = weights if weighted else None
    origin = origin_of(features, targets, np.dtype(products))
    if not has_plane:
        origin = Origin(origin.shift, origin.target_shift, np.zeros_like(origin.weight))
    sums = expected(features, targets, its_weights, origin)
    size = np.sqrt(np.outer(sums.diagonal(), sums.diagonal()))
    # A residual is what is left of numbers that may be larger.
    moved = np.abs(features - origin.shift.astype(np.float64)) @ np.abs(origin.weight) + np.abs(targets)
    ratio = np.sqrt(n) * moved.max() / np.sqrt(sums.diagonal()[n_features:-1].min() + 1e-30)
    for instructions in instruction_sets(library):
        found = sums_of_products(features, targets, its_weights, origin, library, instructions)
        rounding = 20 * np.finfo(products).eps * size * max(1.0, ratio)
        assert (lower(abs(found - sums)) <= lower(rounding)).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_nothing_is_read_beyond_the_samples(library: Library, precision: tuple[type, type]) -> None:
    of, products = precision
    for n, n_features, n_targets in ((1, 1, 1), (31, 7, 2), (33, 16, 1), (129, 17, 3), (200, 20, 1), (130, 40, 2)):
        given = random_samples(4, n, n_features, n_targets, of)
        origin = origin_of(given[0], given[1], np.dtype(products))
        guards = [guarded(torch.from_numpy(array)) for array in given]
        features, targets, weights = (array.numpy() for array, _ in guards)
        for instructions in instruction_sets(library):
            found = sums_of_products(features, targets, weights, origin, library, instructions)
            same = sums_of_products(given[0], given[1], given[2], origin, library, instructions)
            np.testing.assert_array_equal(lower(found), lower(same))


def test_the_sums_are_the_same_in_every_bit_however_many_threads_share_the_blocks(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "WORTH_THREADS", 0)
    monkeypatch.setattr(native, "BLOCK_NUMBERS", 4000)
    features, targets, weights = random_samples(1, 3001, 20, 1, np.float32)
    origin = origin_of(features, targets, np.dtype(np.float32))
    found = []
    for n_threads in (1, 2, 5):
        monkeypatch.setattr(threads, "n_processors", lambda n=n_threads: n)
        found += [lower(sums_of_products(features, targets, weights, origin, library)) for _ in range(5)]
    assert all(np.array_equal(sums, found[0]) for sums in found)
    np.testing.assert_allclose(found[0], lower(expected(features, targets, weights, origin)), rtol=1e-4, atol=1e-2)


def test_numbers_whose_squares_overflow_are_no_smaller_for_it(library: Library) -> None:
    features, targets, _ = random_samples(2, 500, 20, 1, np.float32)
    features[300, 3] = 1e30
    origin = Origin(np.zeros(20, np.float32), np.zeros(1, np.float32), np.zeros((20, 1), np.float32))
    for instructions in instruction_sets(library):
        sums = sums_of_products(features, targets, None, origin, library, instructions)
        assert np.isinf(sums[3, 3])
        assert np.isfinite(np.delete(np.delete(sums, 3, 0), 3, 1)[np.tril_indices(21)]).all()


def test_residuals_that_overflow_leave_those_of_other_targets_alone(library: Library) -> None:
    features, targets, _ = random_samples(2, 500, 20, 2, np.float32)
    targets[300, 0] = 3e38
    origin = Origin(np.zeros(20, np.float32), np.array([-3e38, 0], np.float32), np.ones((20, 2), np.float32))
    for instructions in instruction_sets(library):
        sums = sums_of_products(features, targets, None, origin, library, instructions)
        assert not np.isfinite(sums[20, 20])
        assert np.isfinite(sums[21, 21])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_moments_are_those_that_numpy_takes(library: Library, dtype: type) -> None:
    features, targets, weights = random_samples(3, 5000, 12, 2, dtype)
    assert is_narrow(features, targets, np.dtype(np.float64))
    ours, others = moments(features, targets, weights, library), moments(features, targets, weights, None)
    for name in ("feature_mean", "residual_mean", "feature_covariance", "cross_covariance", "residual_variance"):
        np.testing.assert_allclose(getattr(ours, name), getattr(others, name), rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(ours.feature_covariance, ours.feature_covariance.T)


def test_tables_that_the_compiled_code_cannot_take_are_left_to_numpy() -> None:
    features, targets, _ = random_samples(5, 3000, 10, 1, np.float64)
    double = np.dtype(np.float64)
    assert is_narrow(features, targets, double)
    assert not is_narrow(features, targets, np.dtype(np.float32))
    assert not is_narrow(features, targets.astype(np.float32), double)
    assert not is_narrow(np.asfortranarray(features), targets, double)
    assert not is_narrow(features[:, ::2], targets, double)
    assert not is_narrow(features[:100], targets[:100], double)
    assert not is_narrow(np.zeros((3000, 100)), targets, double)
