import math

import numpy as np
import pytest
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.training.recurrence import Momentum, Steps, gradient_share_and_path
from service.training.spectrum import Spectrum, inverse, largest_eigenvalue, rate_for, stability_bound

RULES = st.one_of(
    st.just(Momentum()),
    st.builds(Momentum, st.floats(0.01, 0.99), st.one_of(st.just(0.0), st.floats(0, 0.95))),
    st.builds(Momentum, st.floats(0.01, 0.99), st.just(0.0), st.just(True)),
)


def _velocity_descent(step: float, rule: Momentum, n_steps: int) -> np.ndarray:
    """Iterate torch.optim.SGD's update on position² / 2 from position 1, and give the positions."""
    position, velocity, positions = 1.0, 0.0, [1.0]
    for k in range(n_steps):
        gradient = position
        velocity = gradient if k == 0 else rule.momentum * velocity + (1 - rule.dampening) * gradient
        position -= step * (gradient + rule.momentum * velocity if rule.nesterov else velocity)
        positions.append(position)
    return np.array(positions)


def _slowest(rate: float, curvatures: np.ndarray, rule: Momentum) -> float:
    """Give the largest root modulus of all modes, from numpy.roots."""
    moduli = []
    for x in rate * curvatures:
        if rule.nesterov:
            polynomial = [1, -(1 + rule.momentum) * (1 - x), rule.momentum * (1 - x)]
        else:
            polynomial = [1, -(1 + rule.momentum - (1 - rule.dampening) * x), rule.momentum]
        moduli.append(abs(np.roots(polynomial)).max())
    return float(max(moduli))


@settings(max_examples=100, deadline=None)
@draw(rule=RULES)
def test_a_step_converges_just_below_the_stability_bound_and_diverges_just_above(rule: Momentum) -> None:
    bound = stability_bound(rule)
    n_steps = 100 + int(3000 / (1 - rule.momentum))
    below = np.array([0.5, 0.99]) * bound
    with np.errstate(over="ignore", invalid="ignore"):
        curvatures = np.append(below, 1.01 * bound)
        shares, _ = gradient_share_and_path(curvatures, Steps(n_steps, 1, 1), rule, np.ones((2, 3, 1))).join()
    assert (abs(shares[:2]) < 1e-3).all()
    assert not abs(shares[2, 0]) < 1e3
    few = min(n_steps, 2000)
    positions = _velocity_descent(1.01 * bound, rule, few)
    assert abs(positions[-2:]).max() > abs(positions[few // 2 : few // 2 + 2]).max()


@settings(max_examples=100, deadline=None)
@draw(rule=RULES, condition=st.floats(1, 1e4), largest=st.floats(1e-6, 1e6), seed=st.integers(0, 100))
def test_no_rate_is_faster_than_the_fastest(rule: Momentum, condition: float, largest: float, seed: int) -> None:
    between = np.random.default_rng(seed).uniform(1 / condition, 1, size=3)
    curvatures = largest * np.sort([1 / condition, *between, 1])
    fastest = Spectrum(curvatures).fastest_rate(rule)
    best = _slowest(fastest, curvatures, rule)
    assert best < 1
    for rate in stability_bound(rule) / largest * np.linspace(0.001, 0.999, 97):
        assert best <= _slowest(float(rate), curvatures, rule) + 1e-7


def test_without_momentum_the_fastest_rate_is_two_over_the_sum_of_the_extreme_curvatures() -> None:
    assert Spectrum(np.array([1.0, 2.0, 7.0])).fastest_rate(Momentum()) == pytest.approx(2 / 8)


@settings(max_examples=100, deadline=None)
@draw(rule=RULES, condition=st.floats(1, 100), share=st.floats(0.05, 0.98), tolerance=st.sampled_from([1e-2, 1e-6]))
def test_epochs_to_tolerance_are_those_after_which_the_excess_stays_below(
    rule: Momentum, condition: float, share: float, tolerance: float
) -> None:
    curvatures = np.array([1 / condition, 1.0])
    rate = share * stability_bound(rule)
    found = Spectrum(curvatures).epochs_to_tolerance(rate, rule, tolerance)
    assert found is not None
    ones = np.ones((2, len(curvatures), 1))
    shares, _ = gradient_share_and_path(rate * curvatures, Steps(0, 1, 2 * found + 2), rule, ones).join()
    above = np.flatnonzero((shares**2 > tolerance * (1 + 1e-6)).any(axis=0))
    needed = int(above[-1]) + 1 if len(above) else 0
    assert needed <= found
    if rule.momentum == 0:
        assert found <= needed + 1
    else:
        # An oscillation may pass through nothing just then; one turn more is its envelope.
        assert found <= 1.5 * needed + 20 / (1 - rule.momentum)


def test_epochs_to_tolerance_follow_the_power_of_the_slowest_mode() -> None:
    spectrum = Spectrum(np.array([1e-6, 1.0]))
    assert spectrum.epochs_to_tolerance(1.0, Momentum(), 1e-6) == math.ceil(3 * math.log(10) / -math.log1p(-1e-6))
    assert Spectrum(np.array([0.0, 1.0]), rounding=1e-9).epochs_to_tolerance(1.0, Momentum()) == 1
    assert spectrum.epochs_to_tolerance(2.0, Momentum()) is None
    assert spectrum.epochs_to_tolerance(1e38, Momentum(0.9)) is None
    assert spectrum.epochs_to_tolerance(1e-20, Momentum()) is None
    assert Spectrum(np.zeros(2)).epochs_to_tolerance(1.0, Momentum()) == 0


def test_a_singular_spectrum_has_no_condition_number() -> None:
    assert Spectrum(np.array([2.0, 8.0])).condition_number == 4
    assert Spectrum(np.array([1e-17, 8.0]), rounding=1e-15).condition_number is None
    assert Spectrum(np.zeros(3)).condition_number is None


@pytest.mark.parametrize("n", [2, 50, 1300])
def test_products_are_enough_to_find_the_largest_eigenvalue(n: int) -> None:
    half = np.random.default_rng(0).normal(size=(n, n)) * np.logspace(0, -3, n)
    matrix = half.T @ half
    assert largest_eigenvalue(lambda vector: matrix @ vector, n) == pytest.approx(
        np.linalg.eigvalsh(matrix)[-1], rel=1e-8
    )


def test_the_largest_eigenvalue_of_an_odd_matrix_is_found_too() -> None:
    assert largest_eigenvalue(lambda vector: 2 * vector, 1200) == pytest.approx(2)
    assert largest_eigenvalue(lambda vector: 0 * vector, 3) == 0
    assert largest_eigenvalue(lambda vector: np.array([3.0, 1.0, -9.0]) * vector, 3) == pytest.approx(3)
    assert largest_eigenvalue(lambda vector: np.inf * abs(vector), 3) == math.inf


@pytest.mark.parametrize("curvature", [0.0, 5e-324, 1e-300, 1.0, 1e300, math.inf])
def test_rates_stay_within_what_a_user_might_give(curvature: float) -> None:
    for step in (1e-20, 1.0, 1e20):
        assert 0 < rate_for(step, curvature) <= 1e38
    assert inverse(1.0) == 1.0


def test_an_eigenvalue_after_few_products_is_one_from_below_and_a_good_part_of_the_largest() -> None:
    draw, asked = np.random.default_rng(0), list[None]()
    factor = draw.normal(size=(200, 200))
    matrix = factor @ factor.T

    def product(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        asked.append(None)
        return np.asarray(matrix @ vector)

    found = largest_eigenvalue(product, 200, 0.0, most_products=8)
    assert len(asked) == 8
    assert 0.8 < found / np.linalg.eigvalsh(matrix)[-1] <= 1
