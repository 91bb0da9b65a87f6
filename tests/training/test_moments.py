import numpy as np
import pytest
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.training import moments as module
from service.training.moments import Moments, largest_square, moments


def _problem(
    seed: int, n_samples: int, n_features: int, n_targets: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(n_samples, n_features)) * np.logspace(-2, 2, n_features)
    features += draw.normal(size=n_features) * 100
    targets = 7 + draw.normal(size=(n_samples, n_targets))
    weights = draw.uniform(0, 2, n_samples) + 1e-3
    return features, targets, weights / weights.mean()


def _compare(
    found: Moments, features: NDArray[np.float64], targets: NDArray[np.float64], rows: NDArray[np.float64]
) -> None:
    """Hold moments against those of NumPy, entries of a covariance by the deviations that they belong to."""
    both = np.hstack([features, targets])
    covariance = np.cov(both, rowvar=False, bias=True, aweights=rows).reshape(both.shape[1], -1)
    n, rounding = features.shape[1], max(20 * found.rounding, 1e-12)
    deviations = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(found.feature_mean, np.average(features, axis=0, weights=rows), rtol=rounding)
    np.testing.assert_allclose(found.target_mean, np.average(targets, axis=0, weights=rows), rtol=rounding)
    scaled = np.vstack([np.hstack([found.feature_covariance, found.cross_covariance])]) - covariance[:n]
    assert (abs(scaled) <= rounding * np.outer(deviations[:n], deviations)).all()
    np.testing.assert_allclose(found.target_variance, np.diag(covariance)[n:], rtol=rounding)


@settings(max_examples=60, deadline=None)
@draw(
    seed=st.integers(0, 10_000),
    n_samples=st.integers(2, 300),
    n_features=st.integers(1, 5),
    n_targets=st.integers(1, 3),
    weighted=st.booleans(),
)
def test_moments_are_those_of_numpy(seed: int, n_samples: int, n_features: int, n_targets: int, weighted: bool) -> None:
    features, targets, weights = _problem(seed, n_samples, n_features, n_targets)
    found = moments(features, targets, weights if weighted else None)
    _compare(found, features, targets, weights if weighted else np.ones(n_samples))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_chunks_in_the_features_own_precision_add_up(
    dtype: type[np.floating], weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SMALL_TABLE", 0)
    monkeypatch.setattr(module, "CHUNK_BYTES", 4000)
    features, targets, weights = (table.astype(dtype) for table in _problem(3, 5001, 4, 2))
    weights = weights.astype(np.float64)
    found = moments(features, targets, weights if weighted else None)
    assert found.rounding == np.finfo(dtype).eps
    _compare(found, features.astype(float), targets.astype(float), weights if weighted else np.ones(5001))


def test_a_weight_of_two_counts_as_the_sample_twice() -> None:
    features, targets, _ = _problem(0, 6, 2, 1)
    counts = np.array([1, 2, 1, 1, 3, 0])
    found = moments(features, targets, counts * 6 / counts.sum())
    repeated = moments(np.repeat(features, counts, axis=0), np.repeat(targets, counts, axis=0))
    np.testing.assert_allclose(found.second_moment(), repeated.second_moment(), rtol=1e-12)
    np.testing.assert_allclose(found.cross_covariance, repeated.cross_covariance, rtol=1e-10)


def test_the_second_moment_is_that_of_the_features_and_a_one() -> None:
    features, targets, weights = _problem(1, 40, 3, 1)
    inputs = np.hstack([features, np.ones((40, 1))])
    expected = (inputs * weights[:, None]).T @ inputs / 40
    np.testing.assert_allclose(moments(features, targets, weights).second_moment(), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("centred", [False, True])
def test_standardised_moments_are_those_of_standardised_features(weighted: bool, centred: bool) -> None:
    features, targets, weights = _problem(2, 50, 3, 2)
    features = np.hstack([features, np.full((50, 1), 12345.6789)])
    deviation = np.append(features[:, :3].std(axis=0), 1.0)
    scaled = (features - features.mean(axis=0)) / deviation
    given = weights if weighted else None
    plain = moments(features, targets)
    if not centred:
        scaled = features / deviation
    varies = np.array([True, True, True, False])
    found = moments(features, targets, given).standardised(plain, varies, centred=centred)
    expected = moments(scaled, targets, given)
    assert expected.is_standardised(varies, centred=centred) != weighted
    assert not plain.is_standardised(varies, centred=centred)
    np.testing.assert_allclose(found.second_moment(), expected.second_moment(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.cross_covariance, expected.cross_covariance, rtol=1e-9, atol=1e-9)


def test_numbers_whose_squares_overflow_leave_infinities_behind_without_a_warning() -> None:
    found = moments(np.array([[1e200], [-1e200]]), np.array([[1e308], [-1e308]]))
    assert not np.isfinite(found.second_moment()).all()
    assert not np.isfinite(found.standardised(found, np.array([True]), centred=True).second_moment()).all()
    assert largest_square(np.array([[1e200]]), None, 1.0) == np.inf


@pytest.mark.parametrize("weighted", [False, True])
def test_the_largest_square_is_that_of_the_longest_row(weighted: bool) -> None:
    features, _, weights = _problem(4, 1000, 4, 1)
    factors = weights if weighted else np.ones(1000)
    expected = (factors * (np.square(features).sum(axis=1) + 1)).max()
    assert largest_square(features, weights if weighted else None, 1.0) == pytest.approx(expected)
    assert largest_square(features[:, :0], weights if weighted else None, 1.0) == pytest.approx(factors.max())
