import numpy as np
import pytest
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.training import moments as module
from service.training.moments import Moments, largest_square, moments
from service.training.native.library import LIBRARY, Library
from service.training.quadratic import Quadratic

LIBRARIES = [None] if LIBRARY is None else [None, LIBRARY]


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
    weight, bias = found.plane[:-1], found.plane[-1]
    target_mean = found.feature_mean @ weight + bias + found.residual_mean
    np.testing.assert_allclose(target_mean, np.average(targets, axis=0, weights=rows), rtol=rounding)
    with_targets = found.feature_covariance @ weight + found.cross_covariance
    scaled = np.hstack([found.feature_covariance, with_targets]) - covariance[:n]
    assert (abs(scaled) <= rounding * np.outer(deviations[:n], deviations)).all()
    variance = np.einsum("ft,ft->t", weight, with_targets + found.cross_covariance) + found.residual_variance
    np.testing.assert_allclose(variance, np.diag(covariance)[n:], rtol=rounding)


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


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_chunks_in_the_features_own_precision_add_up(
    dtype: type[np.floating], weighted: bool, library: Library | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SMALL_TABLE", 0)
    monkeypatch.setattr(module, "CHUNK_BYTES", 4000)
    features, targets, weights = (table.astype(dtype) for table in _problem(3, 5001, 4, 2))
    weights = weights.astype(np.float64)
    found = moments(features, targets, weights if weighted else None, library)
    assert found.rounding == np.finfo(dtype).eps
    _compare(found, features.astype(float), targets.astype(float), weights if weighted else np.ones(5001))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["plain", "offset", "sorted", "constant at first", "collinear", "few rows"])
def test_squared_residuals_follow_from_the_moments_wherever_the_first_rows_lie(
    kind: str, dtype: type[np.floating], weighted: bool, library: Library | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SMALL_TABLE", 0)
    monkeypatch.setattr(module, "CHUNK_BYTES", 40 if kind == "few rows" else 40_000)
    draw = np.random.default_rng(1)
    features, slopes = draw.normal(size=(9001, 20)), draw.normal(size=(20, 2))
    if kind == "offset":
        features += 1000
    elif kind == "sorted":
        features = features[np.argsort(features @ slopes[:, 0])]
    elif kind == "constant at first":
        features[:3000, 3] = 0
    elif kind == "collinear":
        features[:, 3] = features[:, :3].sum(axis=1)
    features = features.astype(dtype)
    targets = (features @ slopes + draw.normal(size=(9001, 2)) * [1, 0.1]).astype(dtype)
    weights = draw.uniform(0.1, 2, 9001) if weighted else np.ones(9001)
    weights /= weights.mean()
    found = moments(features, targets, weights if weighted else None, library)
    root = np.sqrt(weights)[:, None]
    inputs = np.hstack([features, np.ones((9001, 1))]).astype(float)
    for parameters in (np.linalg.lstsq(inputs * root, targets * root, rcond=None)[0], found.plane + 0.01):
        expected = np.square((targets - inputs @ parameters) * root).mean(axis=0).sum()
        known = found.mean_squares(parameters)
        assert known is not None or kind in ("collinear", "constant at first", "few rows")
        assert known is None or known == pytest.approx(expected, rel=20 * found.rounding + 1e-12)


def test_squared_residuals_that_would_be_rounding_are_not_told() -> None:
    features, targets, _ = _problem(0, 50, 3, 1)
    line = features @ np.ones((3, 1))
    weight, mean = np.ones((3, 1)), targets.mean()
    found = moments(features, line)
    assert found.mean_squares(np.vstack([weight, [[0.0]]])) is None
    assert found.mean_squares(np.vstack([weight * 0, [[line.mean()]]])) == pytest.approx(line.var())
    far = moments(features, targets)
    assert far.mean_squares(np.vstack([weight * 0, [[mean]]])) == pytest.approx(targets.var())
    assert moments(np.array([[1e200], [-1e200]]), np.ones((2, 1))).mean_squares(np.ones((2, 1))) == np.inf


def test_a_weight_of_two_counts_as_the_sample_twice() -> None:
    features, targets, _ = _problem(0, 6, 2, 1)
    counts = np.array([1, 2, 1, 1, 3, 0])
    found = moments(features, targets, counts * 6 / counts.sum())
    repeated = moments(np.repeat(features, counts, axis=0), np.repeat(targets, counts, axis=0))
    np.testing.assert_allclose(found.second_moment, repeated.second_moment, rtol=1e-12)
    np.testing.assert_allclose(found.cross_covariance, repeated.cross_covariance, rtol=1e-10)


def test_the_second_moment_is_that_of_the_features_and_a_one() -> None:
    features, targets, weights = _problem(1, 40, 3, 1)
    inputs = np.hstack([features, np.ones((40, 1))])
    expected = (inputs * weights[:, None]).T @ inputs / 40
    np.testing.assert_allclose(moments(features, targets, weights).second_moment, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("centred", [False, True])
def test_standardised_moments_are_those_of_standardised_features(
    weighted: bool, centred: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, targets, weights = _problem(2, 50, 3, 2)
    features = np.hstack([features, np.full((50, 1), 12345.6789)])
    deviation = np.append(features[:, :3].std(axis=0), 1.0)
    scaled = (features - features.mean(axis=0)) / deviation
    given = weights if weighted else None
    monkeypatch.setattr(module, "SMALL_TABLE", 0)
    plain = moments(features, targets)
    if not centred:
        scaled = features / deviation
    varies = np.array([True, True, True, False])
    found = moments(features, targets, given).standardised(plain, varies, centred=centred)
    expected = moments(scaled, targets, given)
    assert expected.is_standardised(varies, centred=centred) != weighted
    assert not plain.is_standardised(varies, centred=centred)
    np.testing.assert_allclose(found.second_moment, expected.second_moment, rtol=1e-9, atol=1e-9)
    gradient, its = (Quadratic(each, 2.0, 0.1).gradient(expected.plane + 1) for each in (expected, found))
    np.testing.assert_allclose(its, gradient, rtol=1e-9, atol=1e-9)


def test_numbers_whose_squares_overflow_leave_infinities_behind_without_a_warning() -> None:
    found = moments(np.array([[1e200], [-1e200]]), np.array([[1e308], [-1e308]]))
    assert not np.isfinite(found.second_moment).all()
    assert not np.isfinite(found.standardised(found, np.array([True]), centred=True).second_moment).all()
    assert largest_square(np.array([[1e200]]), None, 1.0) == np.inf


@pytest.mark.parametrize("weighted", [False, True])
def test_the_largest_square_is_that_of_the_longest_row(weighted: bool) -> None:
    features, _, weights = _problem(4, 1000, 4, 1)
    factors = weights if weighted else np.ones(1000)
    expected = (factors * (np.square(features).sum(axis=1) + 1)).max()
    assert largest_square(features, weights if weighted else None, 1.0) == pytest.approx(expected)
    assert largest_square(features[:, :0], weights if weighted else None, 1.0) == pytest.approx(factors.max())
