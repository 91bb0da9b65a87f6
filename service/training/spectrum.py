"""What follows from the eigenvalues of a Hessian: which learning rates converge, which is fastest, and how fast.

Along an eigenvector with eigenvalue λ the gradient shares Gₖ of `recurrence` are sums of k-th powers of the roots of
z² - T z + D, so that a rate η converges if and only if both roots are within the unit circle for every mode that is not
flat. With momentum μ and dampening d that is ηλ < 2(1 + μ) / (1 - d), and with Nesterov's ηλ < 2(1 + μ) / (1 + 2μ)
(Polyak 1964, Some methods of speeding up the convergence of iteration methods; both by Jury's criterion, |D| < 1 and
|T| < 1 + D).
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from service.training.recurrence import Momentum

Array = NDArray[np.float64]

MOST_PRODUCTS = 80
LARGEST_INVERSE = 1e37
"""So that every rate that follows from it is one that a user might give."""
LARGEST_RATE = 1e38
MOST_EPOCHS = 2**53
TOLERANCE = 1e-6
"""The share of the way to the lowest point that may be left when a descent counts as being there."""


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of a Hessian in ascending order, shape (n_modes,); those up to `rounding` may as well be 0."""

    curvatures: Array
    rounding: float = 0.0

    @cached_property
    def curved(self) -> Array:
        """The eigenvalues of the modes that are not flat."""
        return self.curvatures[self.curvatures > self.rounding]

    @property
    def largest(self) -> float:
        """λmax, and 0 for a loss that is flat everywhere."""
        return float(self.curved[-1]) if len(self.curved) else 0.0

    @property
    def condition_number(self) -> float | None:
        """λmax / λmin, or None for a singular Hessian, whose lowest point is no single one."""
        if len(self.curved) < len(self.curvatures):
            return None
        return float(self.curvatures[-1] / self.curvatures[0])

    def fastest_rate(self, rule: Momentum) -> float:
        """Give the rate at which the slowest mode that is not flat converges fastest.

        The largest root modulus first falls with ηλ and then rises, so that only λmax and λmin count.
        """
        if not len(self.curved):
            return 1.0
        low, high = float(self.curved[0]), float(self.curved[-1])
        if not rule.nesterov:
            return rate_for(stability_bound(rule) / 2, low / 2 + high / 2)
        ratio = low / high

        def slowness(high_x: float) -> float:
            at_high, at_low = _log_moduli(np.array([high_x, ratio * high_x]), rule).max(axis=0)
            return float(at_high - at_low)

        # At 1 the mode of λmax is solved in one step; at the limit it converges no more.
        return rate_for(_bisect(slowness, 1.0, stability_bound(rule)), high)

    def epochs_to_tolerance(self, learning_rate: float, rule: Momentum, tolerance: float = TOLERANCE) -> int | None:
        """Tell after how many epochs of full-batch descent every mode's excess is at most `tolerance` of its start.

        A mode's excess, what the objective is above its lowest along it, is proportional to Gₖ². What is given is
        exact without momentum, and with it the number after which the excess stays below, or slightly more.

        Returns:
            None when a mode does not converge, or takes more than 2⁵³ epochs.
        """
        x = learning_rate * self.curved
        if not len(x):
            return 0
        if x[-1] >= stability_bound(rule) or _log_moduli(x, rule).max() >= 0:
            return None
        goal = math.log(tolerance) / 2

        def reached(epochs: float) -> float:
            return goal - float(_log_share_bound(x, rule, epochs).max())

        if reached(0) >= 0:
            return 0
        end = 1.0
        while reached(end) < 0:
            end *= 2
            if end > MOST_EPOCHS:
                return None
        # A hair less, so that rounding does not turn a whole number of epochs into the next one.
        return max(1, math.ceil(_bisect(reached, end / 2 if end > 1 else 0.0, end) - 1e-9))


def inverse(curvature: float) -> float:
    """Give 1 / curvature; a flat loss, whose gradient is 0 everywhere, takes any rate, so 1 will do."""
    if curvature <= 0:
        return 1.0
    return min(max(1 / max(curvature, sys.float_info.min), sys.float_info.min), LARGEST_INVERSE)


def stability_bound(rule: Momentum) -> float:
    """Give what learning rate times λmax has to stay below for a descent on a quadratic to converge."""
    return 2 * (1 + rule.momentum) / (1 + 2 * rule.momentum if rule.nesterov else _slope(rule))


def long_step(rule: Momentum) -> float:
    """Give what makes up for momentum, by which steps get (1 - dampening) / (1 - momentum) times as long in the end."""
    return min(1.0, (1 - rule.momentum) / (1 - rule.dampening)) if rule.momentum else 1.0


def rate_for(step: float, curvature: float) -> float:
    """Give the rate that makes learning rate times curvature a given step, within what a user might ask for."""
    return min(max(step * inverse(curvature), sys.float_info.min), LARGEST_RATE)


def largest_eigenvalue(
    product: Callable[[Array], Array], size: int, tolerance: float = 1e-5, most_products: int = MOST_PRODUCTS
) -> float:
    """Give λmax of a large symmetric matrix from products with it, of which some tens are enough.

    Lanczos (1950). Vectors are not kept, and so not made orthogonal again: the price is that eigenvalues are found more
    than once, and the largest is none the worse for it (Paige 1980, Accuracy and effectiveness of the Lanczos
    algorithm).

    Args:
        product: multiplies a vector of shape (size,) with the matrix.
        size: of the matrix.
        tolerance: stop when some eigenvalue is known to be within this share of what is found; it is then far nearer,
            its distance being of second order.
        most_products: stop after so many products in any case.

    Returns:
        A number never above λmax, but for rounding; infinite when a product is not finite.
    """
    vector, previous = np.random.default_rng(0).normal(size=size), np.zeros(size)
    vector /= np.linalg.norm(vector)
    diagonal: list[float] = []
    beside: list[float] = []
    largest = 0.0
    for _ in range(most_products):
        with np.errstate(over="ignore", invalid="ignore"):
            image = product(vector)
            diagonal.append(float(image @ vector))
            image = image - diagonal[-1] * vector
            if beside:
                image -= beside[-1] * previous
            beside.append(float(np.linalg.norm(image)))
        if not math.isfinite(diagonal[-1] + beside[-1]):
            return math.inf
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1))
        largest = float(values[-1])
        if beside[-1] * abs(vectors[-1, -1]) <= tolerance * abs(largest) or beside[-1] <= 1e-12 * abs(values).max():
            break
        vector, previous = image / beside[-1], vector
    return largest


def _slope(rule: Momentum) -> float:
    # torch leaves dampening out where there is no momentum
    return 1 - rule.dampening if rule.momentum else 1.0


def _roots(x: Array, rule: Momentum) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Give 1 - r of both roots r, the one nearer to 1 first, computed without cancellation."""
    mu = rule.momentum
    slope = 1.0 if rule.nesterov else _slope(rule)
    gap = 1 - mu + x * (1 + mu if rule.nesterov else slope)  # 2 - T
    width = np.sqrt(gap**2 - 4 * slope * x + 0j)
    return 2 * slope * x / (gap + width), (gap + width) / 2


def _log_moduli(x: Array, rule: Momentum) -> Array:
    """Give log |r| of both roots for each ηλ, shape (2, n_modes), with a huge negative number for that of 0."""
    gone = np.stack(_roots(x, rule))
    with np.errstate(divide="ignore"):
        logs: Array = np.log1p(np.maximum(np.abs(gone) ** 2 - 2 * gone.real, -1.0)) / 2
    return np.maximum(logs, -1e250)


def _log_share_bound(x: Array, rule: Momentum, epochs: float) -> Array:
    """Give a bound on log |Gₖ| for each ηλ and k epochs, one that is reached, or nearly so.

    Gₖ = A r₁ᵏ + B r₂ᵏ is at most the sum of both moduli, and also at most ρᵏ + k |G₁ - r₁| ρᵏ⁻¹, ρ being the larger
    modulus; the latter is the better one where the roots are almost one.
    """
    nearer, farther = _roots(x, rule)
    nearer_log, farther_log = _log_moduli(x, rule)
    first = 1 + rule.momentum if rule.nesterov else 1.0
    behind = first * x - nearer  # r₁ - G₁
    b = behind / np.where(farther == nearer, 1e-150, farther - nearer)
    largest = np.maximum(nearer_log, farther_log)
    with np.errstate(divide="ignore"):
        apart = np.logaddexp(np.log(abs(1 - b)) + epochs * nearer_log, np.log(abs(b)) + epochs * farther_log)
        together = np.logaddexp(epochs * largest, np.log(epochs * abs(behind)) + (epochs - 1) * largest)
    bound: Array = np.minimum(apart, together)
    return bound


def _bisect(rising: Callable[[float], float], low: float, high: float) -> float:
    """Give where a rising function passes 0 between low and high, to the last digits."""
    for _ in range(100):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (low, middle) if rising(middle) >= 0 else (middle, high)
    return high
