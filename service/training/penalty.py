"""Which penalty on the weights makes an outcome unique and hardly changes the fit. NumPy only.

Along an eigenvector of the loss's Hessian over the weights, with eigenvalue λ, the lowest point with a penalty l2 is at
λ / (λ + l2) of the way to that without: a small share of the smallest λ that is not 0 takes next to nothing from any
direction that the data tells something about, and makes every other one curved. The penalty is not on the bias, so
that the Hessian is the one that is left when the bias follows the weights: that of centred features.
"""

import math
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import Finding
from service.hyperparameters import Hyperparameters
from service.plan import Plan
from service.room import slices_of
from service.rules import is_frozen
from service.tasks import TRAITS
from service.training.advice import LearningRateAdvice, rule_of
from service.training.digits import rounded_down
from service.training.moments import Moments
from service.training.quadratic import NEARLY_FLAT, loss_curvature
from service.training.samples import Samples
from service.training.spectrum import long_step
from service.training.subgradients import spread
from service.training.way import n_steps_of

Array = NDArray[np.float64]

SHARE = 0.01
"""Of the smallest eigenvalue that is not 0: what features explain of a quadratic loss then falls by 1e-4 at most."""
SHARE_OF_BOUND = 1e-4
"""The same where the Hessian only bounds a classifier's, whose curvature falls as it gets surer."""
SHARE_OF_TYPICAL = 1e-4
"""Of the mean eigenvalue, for wide data, whose eigenvalues are not taken."""
LARGEST_L2 = 1e6
LITTLE = 0.5
"""What learning rate times penalty may add up to over all steps for the weights to end about where they did."""
FAR_ABOVE = 10.0
"""Where no limit is known, a learning rate is too large for a lowest point when it is so many times the suggested."""


def penalty_for(plan: Plan, train: Samples, found: Moments | None, *, is_rescaled: bool) -> float | None:
    """Give the penalty l2, of two digits.

    Args:
        plan: of a model without hidden layers.
        train: the samples to train on.
        found: their moments; None for wide data.
        is_rescaled: whether it is for standardised features, whatever they are now.

    Returns:
        None where the weights do not learn, or squares overflow.
    """
    given = plan.hyperparameters
    if is_frozen(given, "weight"):
        return None
    # Findings about the course of these may suggest to scale the features, and the penalty has to do there too.
    in_both = given.optimizer != "sgd" or given.clip_gradient_norm is not None or given.loss in ("mae", "huber")
    units = [True] if is_rescaled else [False, True] if in_both else [False]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        smallest = min(_smallest_share(given, train, found, is_standard=is_standard) for is_standard in units)
        smallest *= loss_curvature(given, plan.layout[-1][0])
        if given.loss in ("mae", "huber"):  # a residual far from 0 adds no curvature, but for its share in the slope
            smallest /= max(1.0, spread(train))
    return in_two_digits(smallest)


def in_two_digits(penalty: float) -> float | None:
    """Give a penalty as it is suggested; None for one that is no penalty, or no number."""
    if not sys.float_info.min <= penalty < math.inf:
        return None
    return rounded_down(min(penalty, LARGEST_L2), 2)


def with_penalty(
    plan: Plan, n_samples: int, advice: LearningRateAdvice, penalty: float, rescaling: dict[str, Any]
) -> dict[str, Any]:
    """Give what to change for a training with a penalty to end well: also a learning rate that it would not stand.

    Args:
        plan: of the training without it.
        n_samples: to train on.
        advice: on its learning rate.
        penalty: l2.
        rescaling: what else is to be changed for standardised features, where the penalty is for those.
    """
    given, changes = plan.hyperparameters, {"l2": penalty} | rescaling
    if rescaling or given.learning_rate == "auto" or _stands(plan, n_samples, advice, penalty):
        return changes
    rate = "auto" if given.optimizer == "sgd" else rounded_down(FAR_ABOVE * advice.suggested, 3)
    return changes | {"learning_rate": rate}


def rescaling_among(findings: Iterable[Finding]) -> dict[str, Any]:
    """Give the suggestion to standardise features that were not; none where there is none."""
    return next((its.suggestion for its in findings if its.suggestion.get("scale") == "standard"), {})


def means_and_variances(train: Samples) -> tuple[Array, Array]:
    """Give both of each feature, (n_features,), in passes over the samples."""
    first, weights = train.features[0].astype(np.float64), train.weights
    sums, squares = np.zeros(len(first)), np.zeros(len(first))
    with np.errstate(over="ignore", invalid="ignore"):
        for part in slices_of(len(train), 2**10):
            its = train.features[part].astype(np.float64) - first
            counted = its if weights is None else its * weights[part, None]
            sums += counted.sum(axis=0)
            squares += np.einsum("ij,ij->j", counted, its)
        sums /= len(train)
        return first + sums, np.maximum(squares / len(train) - sums**2, 0.0)


def _smallest_share(given: Hyperparameters, train: Samples, found: Moments | None, *, is_standard: bool) -> float:
    """Give the share of the smallest eigenvalue that is not 0, for a loss whose second derivative is 1."""
    varies, has_bias = train.varies, not is_frozen(given, "bias")
    assert varies is not None
    if found is None:
        mean, variance = means_and_variances(train)
        squares = variance if has_bias else variance + mean**2
        if is_standard:
            squares = np.where(varies & (variance > 0), squares / variance, 0.0)
        return SHARE_OF_TYPICAL * float(squares.sum()) / min(len(train), len(squares))
    if is_standard and given.scale != "standard":
        found = found.standardised(found, varies, centred=given.fit_intercept)
    moment = found.feature_covariance if has_bias else found.second_moment[:-1, :-1]
    if not np.isfinite(moment).all():
        return math.nan
    values = np.linalg.eigvalsh(moment)
    curved = values[values > max(NEARLY_FLAT, 10 * len(values) * found.rounding) * values[-1]]
    bounds_only = given.loss in ("binary_cross_entropy", "cross_entropy")
    return (SHARE_OF_BOUND if bounds_only else SHARE) * float(curved[0]) if len(curved) else math.nan


def _stands(plan: Plan, n_samples: int, advice: LearningRateAdvice, penalty: float) -> bool:
    """Tell whether a training at the learning rate that it has ends with the penalty as well as without."""
    given, curvature = plan.hyperparameters, advice.curvature
    rate = float(given.learning_rate)
    if given.optimizer == "lbfgs":
        return True  # whose line search shortens a step
    if given.optimizer != "sgd":
        # At any rate a descent goes away from no lowest point; around one it does not stay at a rate too large.
        return not TRAITS[plan.task].classifies or rate <= FAR_ABOVE * advice.suggested
    if advice.limit is None or curvature is None or curvature.largest <= 0:
        return rate * penalty <= 1
    if rate <= advice.limit or advice.kind == "exact":
        return rate <= advice.limit * (curvature.largest / (curvature.largest + penalty))
    # Above the limit it has been without the penalty too, which changes the way little where it pulls little.
    return rate * penalty * n_steps_of(given, n_samples, given.epochs) / long_step(rule_of(given)) <= LITTLE
