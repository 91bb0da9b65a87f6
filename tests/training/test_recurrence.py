from collections.abc import Iterator

import numpy as np
import pytest
from mpmath import mp, mpf
from numpy.typing import NDArray

from service.training.recurrence import Momentum, Steps, gradient_share_and_path

RULES = [
    Momentum(),
    Momentum(0.5),
    Momentum(0.9),
    Momentum(0.99),
    Momentum(0.5, dampening=0.3),
    Momentum(0.9, dampening=0.9),
    Momentum(0.2, nesterov=True),
    Momentum(0.9, nesterov=True),
    Momentum(0.99, nesterov=True),
]


def iterate(curvature: float, n_steps: int, rule: Momentum) -> Iterator[tuple[float, float]]:
    """Take the steps of torch.optim.SGD along one mode with sixty digits, giving the gradient and the way so far."""
    mp.dps = 60
    x, mu, tau = mpf(curvature), mpf(rule.momentum), mpf(rule.dampening)
    gradient, moved, velocity = mpf(1), mpf(0), None
    for _ in range(n_steps + 1):
        yield float(gradient), float(moved)
        step = gradient
        if mu:
            velocity = gradient if velocity is None else mu * velocity + (1 - tau) * gradient
            step = gradient + mu * velocity if rule.nesterov else velocity
        moved += step
        gradient -= x * step


def share_and_path(curvatures: NDArray[np.float64], steps: Steps, rule: Momentum) -> NDArray[np.float64]:
    return gradient_share_and_path(curvatures, steps, rule, np.ones((2, len(curvatures), 1))).join()


def telling_curvatures(rule: Momentum) -> list[float]:
    """Give curvatures of every kind: flat, nearly flat, with double roots and close to them, diverging."""
    mu, slope = rule.momentum, 1 - rule.dampening
    double = [1 - 4 * mu / (1 + mu) ** 2] if rule.nesterov else [(1 - mu**0.5) ** 2 / slope, (1 + mu**0.5) ** 2 / slope]
    near = [value * factor for value in double for factor in (1, 1 + 1e-12, 1 - 1e-12, 1 + 1e-6, 1 - 1e-6, 1.01, 0.99)]
    return [0, 1e-16, 1e-13, 1e-9, 1e-6, 1e-3, 0.01, 0.1, 0.5, 0.9, 1.0, 1.3, 1.9, 2.01, 2.5, 3.0, 3.9, 4.1, *near]


@pytest.mark.parametrize("rule", RULES)
def test_the_closed_form_is_the_iteration_with_sixty_digits(rule: Momentum) -> None:
    n_steps, curvatures = 300, telling_curvatures(rule)
    with np.errstate(all="ignore"):
        share, path = share_and_path(np.array(curvatures), Steps(0, 1, n_steps + 1), rule)
    for row, curvature in enumerate(curvatures):
        gradient, moved = np.array(list(iterate(curvature, n_steps, rule))).T
        # Oscillation passes through zero, so that digits are counted from the largest so far.
        np.testing.assert_array_less(
            np.abs(share[row] - gradient),
            1e-10 * np.maximum(np.abs(gradient), 1e-3 * np.maximum.accumulate(np.abs(gradient))),
        )
        np.testing.assert_array_less(np.abs(path[row] - moved)[1:], 1e-10 * np.maximum.accumulate(np.abs(moved))[1:])


@pytest.mark.parametrize("rule", RULES)
def test_a_part_of_the_steps_is_what_all_of_them_have_there(rule: Momentum) -> None:
    curvatures = np.array([0, 1e-9, 0.1, 0.9])
    everything = share_and_path(curvatures, Steps(0, 1, 500), rule)
    part = share_and_path(curvatures, Steps(7, 13, 30), rule)
    for whole, some in zip(everything, part, strict=True):
        np.testing.assert_allclose(some, whole[:, 7 : 7 + 13 * 30 : 13], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_each_output_has_a_scale_of_its_own_for_each_mode(rule: Momentum) -> None:
    curvatures, steps = np.array([0, 1e-9, 0.1, 0.9, 2.5]), Steps(3, 2, 40)
    scales = np.random.default_rng(0).normal(size=(2, 3, len(curvatures), 1))
    found = gradient_share_and_path(curvatures, steps, rule, scales).join()
    expected = scales * share_and_path(curvatures, steps, rule)[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_a_million_steps_are_those_of_a_power() -> None:
    share, path = share_and_path(np.array([1e-6]), Steps(1_000_000, 1, 1), Momentum())
    assert share[0, 0] == pytest.approx(float((1 - mpf("1e-6")) ** 1_000_000), rel=1e-9)
    assert path[0, 0] == pytest.approx(float((1 - (1 - mpf("1e-6")) ** 1_000_000) * 10**6), rel=1e-9)
