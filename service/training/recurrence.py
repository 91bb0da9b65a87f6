"""How far gradient descent with momentum is along one mode after k steps, in closed form.

Along an eigenvector of the Hessian, with eigenvalue λ, the gradient γ of a quadratic follows a linear recurrence of its
own. Without momentum, γₖ = (1 - ηλ)ᵏ γ₀. With it,

    γₖ₊₂ = T γₖ₊₁ - D γₖ,    so that γₖ is a sum of k-th powers of the roots of z² - T z + D,

two real ones, one double one, or a complex pair (Polyak 1964; O'Donoghue and Candès 2015, Adaptive Restart for
Accelerated Gradient Schemes, section 2). For each mode and each k, what is computed here is

    gradient share  Gₖ = γₖ / γ₀,    and    path  Sₖ = (1 - Gₖ) / ηλ,    so that qₖ = q₀ - η γ₀ Sₖ,

Sₖ being k for a flat mode (λ = 0), and computed without cancellation for nearly flat ones.

Powers of many consecutive k come from two short tables, rᵃ⁺ᵇ = rᵃ rᵇ, at a multiplication or two each.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FLATTEST = 1e-290
"""Curvature that stands for none: ratios with it neither overflow nor lose digits."""


@dataclass(frozen=True)
class Momentum:
    """torch.optim.SGD's velocity: v ← momentum · v + (1 - dampening) · gradient, and its Nesterov variant."""

    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False


@dataclass(frozen=True)
class Steps:
    """Evenly spaced numbers of steps: first, first + every, …"""

    first: int
    every: int
    count: int

    def tables(self) -> tuple[Array, Array]:
        """Split into b and a, columns of about √count numbers each, such that every k is one b plus one a, in order."""
        width = math.isqrt(self.count - 1) + 1 if self.count > 1 else 1
        fine = self.first + self.every * np.arange(width, dtype=float)
        coarse = self.every * width * np.arange(-(-self.count // width), dtype=float)
        return coarse, fine

    def join(self, table: Array) -> Array:
        """Bring a table of shape (n_modes, n_coarse, n_fine) to (n_modes, count)."""
        return table.reshape(len(table), -1)[:, : self.count]


def gradient_share_and_path(curvature: Array, steps: Steps, rule: Momentum) -> tuple[Array, Array]:
    """Give Gₖ and Sₖ for every mode and k.

    Args:
        curvature: ηλ of each mode, shape (n_modes,), at least 0.
        steps: the k.
        rule: how the velocity is kept.

    Returns:
        Gₖ and Sₖ, each of shape (n_modes, n_steps); infinite or NaN where the descent has diverged too far.
    """
    x = np.maximum(curvature, FLATTEST)[:, None]
    if rule.momentum == 0:
        power, complement = _power_and_complement(x, steps)
        return power, complement / x
    mu = rule.momentum
    if rule.nesterov:
        first, slope, product = 1 + mu, 1.0, mu * (1 - x)
        trace_gap = 1 - mu + x * (1 + mu)  # 2 - T
    else:
        first, slope, product = 1.0, 1 - rule.dampening, np.full_like(x, mu)
        trace_gap = 1 - mu + x * slope
    discriminant = trace_gap**2 - 4 * x * slope
    separated = ((product < 0) | (discriminant > trace_gap**2 / 2))[:, 0]
    share, path = np.empty((2, len(x), steps.count))
    for some, formula in ((separated, _two_roots), (~separated, _close_roots)):
        if some.any():
            roots = _Roots(x[some], first, slope, trace_gap[some], discriminant[some], product[some])
            share[some], path[some] = formula(roots, steps)
    return share, path


@dataclass(frozen=True)
class _Roots:
    """What the roots of some modes follow from; arrays of shape (n_modes, 1)."""

    x: Array  # ηλ
    first: float  # G₁ = 1 - first · x
    slope: float  # (1 - r₁)(1 - r₂) = slope · x
    trace_gap: Array  # 2 - T = (1 - r₁) + (1 - r₂)
    discriminant: Array  # T² - 4D
    product: Array  # D = r₁ r₂


def _power_and_complement(gap: Array, steps: Steps) -> tuple[Array, Array]:
    """Give rᵏ and 1 - rᵏ for r = 1 - gap, the latter without cancellation for r near 1."""
    (coarse, coarse_gone), (fine, fine_gone) = (_direct_power(gap, k) for k in steps.tables())
    power = coarse[:, :, None] * fine[:, None, :]
    gone = coarse[:, :, None] * fine_gone[:, None, :]
    gone += coarse_gone[:, :, None]  # 1 - pq = (1 - p) + p (1 - q)
    return steps.join(power), steps.join(gone)


def _direct_power(gap: Array, k: Array) -> tuple[Array, Array]:
    near = gap < 0.5
    exponent = k * np.log1p(-np.where(near, gap, 0.0))
    power = np.where(near, np.exp(exponent), np.power(1 - gap, k))
    return power, np.where(near, -np.expm1(exponent), 1 - power)


def _two_roots(roots: _Roots, steps: Steps) -> tuple[Array, Array]:
    """Gₖ = A r₁ᵏ + B r₂ᵏ, A + B = 1, for real roots far from each other, which is also what nearly flat modes have."""
    width = np.sqrt(roots.discriminant)
    per_x = 2 * roots.slope / (roots.trace_gap + width)  # (1 - r₁) / ηλ, without cancellation
    power_1, gone_1 = _power_and_complement(roots.x * per_x, steps)
    power_2, gone_2 = _power_and_complement((roots.trace_gap + width) / 2, steps)
    b_per_x = (roots.first - per_x) / width
    b = roots.x * b_per_x
    return (1 - b) * power_1 + b * power_2, (1 - b) / roots.x * gone_1 + b_per_x * gone_2


def _close_roots(roots: _Roots, steps: Steps) -> tuple[Array, Array]:
    """Gₖ = Eₖ + (G₁ - m) Oₖ for roots m ± h, with Eₖ = (r₁ᵏ + r₂ᵏ) / 2 and Oₖ = (r₁ᵏ - r₂ᵏ) / 2h, h real or imaginary.

    They add up like cosine and sine: Eₐ₊ᵦ = Eₐ Eᵦ + h² Oₐ Oᵦ and Oₐ₊ᵦ = Eₐ Oᵦ + Oₐ Eᵦ.
    """
    middle = 1 - roots.trace_gap / 2
    (even_b, odd_b), (even_a, odd_a) = (_even_and_odd(roots, middle, k) for k in steps.tables())
    square = roots.discriminant[:, :, None] / 4  # h²
    even = even_b[:, :, None] * even_a[:, None, :] + square * odd_b[:, :, None] * odd_a[:, None, :]
    odd = even_b[:, :, None] * odd_a[:, None, :] + odd_b[:, :, None] * even_a[:, None, :]
    share = steps.join(even) + (1 - roots.first * roots.x - middle) * steps.join(odd)
    return share, (1 - share) / roots.x


def _even_and_odd(roots: _Roots, middle: Array, k: Array) -> tuple[Array, Array]:
    """Give Eₖ = ρᵏ cosh kφ and Oₖ = ρᵏ sinh kφ / h, ρ = √D, tanh φ = h / m; cos and sin for imaginary h."""
    half, size = np.sqrt(np.abs(roots.discriminant)) / 2, np.abs(middle)
    half = np.maximum(half, 1e-150)  # a double root: sinh kφ / h has a limit, and reaches it
    is_real = roots.discriminant > 0
    log_radius = np.log(np.maximum(roots.product, 1e-300)) / 2  # at least half, squared
    ratio = np.where(is_real, np.minimum(half, size * (1 - 1e-15)) / np.where(is_real, size, 1.0), 0.0)
    turns = k * np.where(is_real, np.arctanh(ratio), np.arctan2(half, size))
    radius = np.exp(k * log_radius)
    hyperbolic = np.where(is_real, turns, 0.0)
    grow, shrink = np.exp(k * log_radius + hyperbolic), np.exp(k * log_radius - hyperbolic)
    sine = np.where(hyperbolic < 1, radius * np.sinh(np.minimum(hyperbolic, 1.0)), (grow - shrink) / 2)
    even = np.where(is_real, (grow + shrink) / 2, radius * np.cos(turns))
    odd = np.where(is_real, sine, radius * np.sin(turns)) / half
    # Negative roots are minus the roots of |m|, whose larger one is then the second.
    sign = np.where((middle < 0) & (k % 2 == 1), -1.0, 1.0)
    return sign * even, np.where(middle < 0, -sign, sign) * odd
