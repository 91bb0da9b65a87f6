"""Learning rates where the objective has bends, at which its gradient does not get smaller. NumPy only."""

import math

import numpy as np

from service.hyperparameters import Hyperparameters
from service.training.recurrence import Momentum
from service.training.samples import Samples
from service.training.spectrum import long_step, rate_for

L1_SHARE = 0.01
"""How far above its lowest the steps of l1 may keep the objective, as a share of the loss of constant outputs."""


def rate_for_l1(samples: Samples, given: Hyperparameters, rule: Momentum, n_weights: int) -> float:
    """Give the largest learning rate at which the steps of l1 do not dominate a descent by sgd.

    However near the lowest point is, l1's part of the gradient has the size l1 · √n_weights, so that with steps of the
    rate η a descent ends up to η · l1² · n_weights / 2 above it (Shor 1985, Minimization Methods for Non-Differentiable
    Functions). That may be a hundredth, L1_SHARE, of about what the loss is where outputs do not depend on features.
    """
    loss = spread(samples)
    if given.loss in ("mse", "half_mse"):
        loss = loss * loss / (1 if given.loss == "mse" else 2)
    elif given.loss == "huber":
        loss = min(loss * loss / 2, loss)
    elif given.loss != "mae":
        loss = math.log(2)
    return rate_for(L1_SHARE * long_step(rule) * loss, given.l1 * given.l1 * n_weights / 2)


def spread(samples: Samples) -> float:
    """Give the standard deviation of the targets; 1 where there is none, or no number for it."""
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = math.sqrt(float(samples.targets.var(axis=0, dtype=np.float64).mean()))
    return deviation if 0 < deviation < math.inf else 1.0
