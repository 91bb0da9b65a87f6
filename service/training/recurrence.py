"""How far gradient descent with momentum is along one mode after k steps, in closed form.

Along an eigenvector of the Hessian, with eigenvalue λ, the gradient γ of a quadratic follows a linear recurrence of its
own. Without momentum, γₖ = (1 - ηλ)ᵏ γ₀. With it,

    γₖ₊₂ = T γₖ₊₁ - D γₖ,    so that γₖ is a sum of k-th powers of the roots of z² - T z + D,

two real ones, one double one, or a complex pair (Polyak 1964; O'Donoghue and Candès 2015, Adaptive Restart for
Accelerated Gradient Schemes, section 2). For each mode and each k, what is computed here is

    gradient share  Gₖ = γₖ / γ₀,    and    path  Sₖ = (1 - Gₖ) / ηλ,    so that qₖ = q₀ - η γ₀ Sₖ,

Sₖ being k for a flat mode (λ = 0), and computed without cancellation for nearly flat ones.

Powers of many consecutive k come from two short tables, rᵃ⁺ᵇ = rᵃ rᵇ: whatever is computed here is, mode by mode, a
product of two thin matrices.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.training.native.library import WHOLE_VECTOR

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

    def parts(self) -> tuple[Array, int]:
        """Give about √count coarse numbers, and behind them as many fine ones; every k is one of each, in order.

        Returns:
            All of them in one row, so that powers are taken at once, and how many are coarse. Where there are many, the
            fine ones fill whole vectors; there may be more than are asked for.
        """
        width = math.isqrt(self.count - 1) + 1 if self.count > 1 else 1
        if width >= WHOLE_VECTOR:
            width = -(-width // WHOLE_VECTOR) * WHOLE_VECTOR
        n_coarse = -(-self.count // width)
        coarse, fine = np.arange(n_coarse) * (self.every * width), np.arange(width) * self.every
        return np.concatenate([coarse, self.first + fine], dtype=float), n_coarse


@dataclass(frozen=True)
class Tables:
    """What Gₖ and Sₖ are products of: mode by mode, coarse @ fine has `count` of them in order, and maybe more."""

    coarse: Array  # (n_modes, n_coarse, n_terms)
    fine: Array  # (2, …, n_modes, n_terms, n_fine)
    count: int

    def join(self) -> Array:
        """Multiply them: (2, …, n_modes, count)."""
        product = self.coarse @ self.fine
        joined: Array = product.reshape(*product.shape[:-2], -1)[..., : self.count]
        return joined


def gradient_share_and_path(curvature: Array, steps: Steps, rule: Momentum, scales: Array) -> Tables:
    """Give Gₖ and Sₖ for every mode and k, each times a scale.

    Args:
        curvature: ηλ of each mode, shape (n_modes,), at least 0.
        steps: the k.
        rule: how the velocity is kept.
        scales: of Gₖ and of Sₖ, shape (2, …, n_modes, 1).

    Returns:
        What scaled Gₖ and Sₖ are products of; infinite or NaN where the descent has diverged too far.
    """
    x = np.maximum(curvature, FLATTEST)[:, None]
    if rule.momentum == 0:
        return _power_and_complement(x, steps, scales[0], scales[1] / x)
    mu = rule.momentum
    if rule.nesterov:
        first, slope, product = 1 + mu, 1.0, mu * (1 - x)
        trace_gap = 1 - mu + x * (1 + mu)  # 2 - T
    else:
        first, slope, product = 1.0, 1 - rule.dampening, np.full_like(x, mu)
        trace_gap = 1 - mu + x * slope
    discriminant = trace_gap**2 - 4 * x * slope
    separated = ((product < 0) | (discriminant > trace_gap**2 / 2))[:, 0]
    parts = []
    for some, formula in ((separated, _two_roots), (~separated, _close_roots)):
        if some.any():
            roots = _Roots(x[some], first, slope, trace_gap[some], discriminant[some], product[some])
            parts.append((some, formula(roots, steps, scales[..., some, :])))
    return parts[0][1] if len(parts) == 1 else _merged(parts)


def _merged(parts: list[tuple[NDArray[np.bool_], Tables]]) -> Tables:
    """Put the tables of some modes and of others together, with terms of 0 where they have fewer than those."""
    n_terms = max(tables.coarse.shape[2] for _, tables in parts)
    some, tables = parts[0]
    coarse = np.zeros((len(some), tables.coarse.shape[1], n_terms))
    fine = np.zeros((*tables.fine.shape[:-3], len(some), n_terms, tables.fine.shape[-1]))
    for some, tables in parts:
        its = slice(tables.coarse.shape[2])
        coarse[some, :, its], fine[..., some, its, :] = tables.coarse, tables.fine
    return Tables(coarse, fine, tables.count)


@dataclass(frozen=True)
class _Roots:
    """What the roots of some modes follow from; arrays of shape (n_modes, 1)."""

    x: Array  # ηλ
    first: float  # G₁ = 1 - first · x
    slope: float  # (1 - r₁)(1 - r₂) = slope · x
    trace_gap: Array  # 2 - T = (1 - r₁) + (1 - r₂)
    discriminant: Array  # T² - 4D
    product: Array  # D = r₁ r₂


def _power_and_complement(gap: Array, steps: Steps, of_power: Array, of_gone: Array) -> Tables:
    """Give of_power · rᵏ and of_gone · (1 - rᵏ) for r = 1 - gap, the latter without cancellation for r near 1."""
    numbers, n_coarse = steps.parts()
    powers = _direct_power(gap, numbers)
    coarse, (power, gone) = powers[:, :, :n_coarse], powers[:, :, n_coarse:]
    # (pq, 1 - pq) = (p, 1 - p) · [[q, 1 - q], [0, 1]]
    fine = np.zeros((2, *of_power.shape[:-1], 2, power.shape[1]))
    fine[0, ..., 0, :], fine[1, ..., 0, :], fine[1, ..., 1, :] = of_power * power, of_gone * gone, of_gone
    return Tables(coarse.transpose(1, 2, 0), fine, steps.count)


def _direct_power(gap: Array, k: Array) -> Array:
    """Give (1 - gap)ᵏ and 1 - (1 - gap)ᵏ."""
    is_far = gap >= 0.5
    exponent = k * np.log1p(-np.where(is_far, 0.0, gap))
    power = np.power(1 - gap, k, out=np.exp(exponent), where=is_far)
    return np.array([power, np.where(is_far, 1 - power, -np.expm1(exponent))])


def _two_roots(roots: _Roots, steps: Steps, scales: Array) -> Tables:
    """Gₖ = A r₁ᵏ + B r₂ᵏ, A + B = 1, for real roots far from each other, which is also what nearly flat modes have."""
    width = np.sqrt(roots.discriminant)
    per_x = 2 * roots.slope / (roots.trace_gap + width)  # (1 - r₁) / ηλ, without cancellation
    b_per_x = (roots.first - per_x) / width
    b = roots.x * b_per_x
    of_share, of_path = scales
    of_first = _power_and_complement(roots.x * per_x, steps, of_share * (1 - b), of_path * ((1 - b) / roots.x))
    of_second = _power_and_complement((roots.trace_gap + width) / 2, steps, of_share * b, of_path * b_per_x)
    return Tables(
        np.concatenate([of_first.coarse, of_second.coarse], axis=2),
        np.concatenate([of_first.fine, of_second.fine], axis=-2),
        steps.count,
    )


def _close_roots(roots: _Roots, steps: Steps, scales: Array) -> Tables:
    """Gₖ = Eₖ + (G₁ - m) Oₖ for roots m ± h, with Eₖ = (r₁ᵏ + r₂ᵏ) / 2 and Oₖ = (r₁ᵏ - r₂ᵏ) / 2h, h real or imaginary.

    They add up like cosine and sine: Eₐ₊ᵦ = Eₐ Eᵦ + h² Oₐ Oᵦ and Oₐ₊ᵦ = Eₐ Oᵦ + Oₐ Eᵦ.
    """
    middle = 1 - roots.trace_gap / 2
    numbers, n_coarse = steps.parts()
    table = _even_and_odd(roots, middle, numbers)
    (even, odd), fine = table[:, :, :n_coarse], table[:, :, n_coarse:].swapaxes(0, 1)
    of_odd = 1 - roots.first * roots.x - middle  # G₁ - m
    coarse = np.array([even + of_odd * odd, roots.discriminant / 4 * odd + of_odd * even, np.ones_like(even)])
    of_share, of_path = scales[..., None]
    of_path = of_path / roots.x[:, None]
    found = np.zeros((2, *of_share.shape[:-2], 3, fine.shape[2]))
    found[0, ..., :2, :], found[1, ..., :2, :], found[1, ..., 2:, :] = of_share * fine, -of_path * fine, of_path
    return Tables(coarse.transpose(1, 2, 0), found, steps.count)


def _even_and_odd(roots: _Roots, middle: Array, k: Array) -> Array:
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
    return np.array([sign * even, np.where(middle < 0, -sign, sign) * odd])
