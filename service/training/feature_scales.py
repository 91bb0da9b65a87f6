"""Features of wildly different scale, or far from zero for how little they vary: told before the first step."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import Finding
from service.hyperparameters import Hyperparameters
from service.plan import Plan
from service.rules import is_frozen
from service.scaling import learn_scaling, varying
from service.tasks import TRAITS, Task
from service.training.advice import LearningRateAdvice
from service.training.findings import in_three_digits
from service.training.moments import Moments
from service.training.rates import DEFAULT_LEARNING_RATES
from service.training.samples import Samples
from service.training.spectrum import LARGEST_RATE
from service.training.way import WANTED, longest_way, n_steps_of, stop_in_deviations

BADLY_SCALED = 100.0
"""Scaling is suggested when it betters the limit or the condition number by so much."""
BADLY_SCALED_FOR_PERCEPTRONS = 30.0
"""How much scaling must lower the spread of the curvatures, for sgd: where by 45, iris, the loss fell to a seventh."""
BADLY_SCALED_FOR_OTHERS = 1000.0
"""The same for optimizers that scale each parameter's steps: below, on real data, as many lost by scaling as won."""
BADLY_SCALED_FOR_LBFGS = 1e4
"""The same for lbfgs and models without hidden layers: it brought the diabetes data, at 1,100, to their optimum."""
MEASURED_ROWS = 10_000
LONG = 10.0
"""A learning rate chosen for raw features is let be up to so many times torch's default."""


class _Sizes(NamedTuple):
    """The numbers of those features that vary, their means and standard deviations; some samples tell."""

    which: NDArray[np.int64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


def findings_about_scales(
    plan: Plan, names: Sequence[str], train: Samples, found: Moments | None, advice: LearningRateAdvice
) -> list[Finding]:
    """Tell of scales that make a descent slow, or its steps too long for some features and too short for others.

    For models without hidden layers and sgd it is told by the curvature, else by what the features are themselves.

    Args:
        plan: with the learning rate as asked for.
        names: of the features.
        train: the samples to train on.
        found: their moments, where they were taken.
        advice: on the learning rate.
    """
    given = plan.hyperparameters
    if given.scale == "standard" or is_frozen(given, "weight") or is_frozen(given, "0.weight"):
        return []
    if given.optimizer == "sgd" and found is not None:
        changes, evidence = _changes(advice)
        sizes = _among(train, found.feature_mean, found.deviation) if changes else None
    else:
        gain = gain_by_scaling(train, given)
        changes, evidence = [], {"gain": gain}
        if gain > _least_gain(plan.task, given) and math.isfinite(gain):
            changes = [f"the spread of curvatures that they bring falls {gain:.3g}-fold"]
        sizes = _sizes(train) if changes else None
    if sizes is None:
        return []
    low, high = int(sizes.deviation.argmin()), int(np.hypot(sizes.mean, sizes.deviation).argmax())
    evidence |= {"smallest_deviation": float(sizes.deviation[low]), "largest_deviation": float(sizes.deviation.max())}
    evidence |= {"largest_mean": float(np.abs(sizes.mean).max())}
    ends = [
        f"{names[sizes.which[at]]} varies by {sizes.deviation[at]:.3g} around {sizes.mean[at]:.3g}"
        for at in (low, high)
    ]
    suggestion = scaled(plan.task, given, train, advice)
    way_out = "scale" if "scale_targets" not in suggestion else "scale (and scale_targets, for steps are short)"
    detail = (
        f"the features' scales make the descent slow ({' and '.join(dict.fromkeys(ends))}): with {way_out} standard "
        + " and ".join(changes)
    )
    return [Finding("feature_scales", detail, evidence, suggestion)]


def gain_by_scaling(train: Samples, given: Hyperparameters) -> float:
    """Tell how many times the spread of the curvatures that features bring is smaller with `scale: standard`.

    That is about the largest eigenvalue of their second moments (and the bias's), over the geometric mean of their
    variances. Steps by the inverse of the former are too short for features of the latter.
    """
    sizes = _sizes(train)
    if sizes is None:
        return 1.0
    unit = max(1.0, float(np.hypot(sizes.mean, sizes.deviation).max()))
    bias = 1.0 if given.fit_intercept else 0.0
    with np.errstate(over="ignore", under="ignore"):
        largest = bias / unit / unit + np.square(sizes.mean / unit).sum() + np.square(sizes.deviation / unit).max()
        after = 2.0 if given.fit_intercept else 1.0 + np.square(sizes.mean / sizes.deviation).sum()
        return float(np.exp(2 * np.log(unit / sizes.deviation).mean()) * largest / after)


def scaled(task: Task, given: Hyperparameters, train: Samples, advice: LearningRateAdvice) -> dict[str, Any]:
    """Give the hyperparameters that scale the features and let the steps there are lead far enough, then.

    Steps of bounded length that were just long enough for weights of large features are too short for those of scaled
    ones, unless the targets are scaled too.
    """
    suggestion: dict[str, Any] = {"scale": "standard"}
    way = longest_way(given, n_steps_of(given, len(train), given.epochs))
    if way is not None and not TRAITS[task].classifies and given.scale_targets != "standard":
        suggestion["scale_targets"] = "standard"
        suggestion |= stop_in_deviations(given, train)
    if given.optimizer == "sgd":
        rate = None if "scale_targets" in suggestion else advice.scaled_suggested
        return suggestion | {"learning_rate": "auto" if rate is None else in_three_digits(rate)}
    usual = DEFAULT_LEARNING_RATES[given.optimizer]
    rate = usual if given.learning_rate == "auto" else float(given.learning_rate)
    least = 0.0 if way is None else min(LARGEST_RATE, WANTED / way)
    fitting = min(max(rate, least), max(least, LONG * usual))
    return suggestion if fitting == rate else suggestion | {"learning_rate": in_three_digits(fitting)}


def _least_gain(task: Task, given: Hyperparameters) -> float:
    is_perceptron = TRAITS[task].is_perceptron
    match given.optimizer:
        case "sgd":
            return BADLY_SCALED_FOR_PERCEPTRONS if is_perceptron else BADLY_SCALED
        case "lbfgs" if not is_perceptron:
            return BADLY_SCALED_FOR_LBFGS
    return BADLY_SCALED_FOR_OTHERS


def _changes(advice: LearningRateAdvice) -> tuple[list[str], dict[str, Any]]:
    """Tell what scaling changes of the limit and of the condition number, if that is much."""
    gains, changes, evidence = [], [], dict[str, Any]()
    if advice.limit is not None:
        evidence |= {"limit": advice.limit}
    if advice.limit is not None and advice.scaled_limit is not None:
        gains.append(advice.scaled_limit / advice.limit)
        changes.append(f"the learning-rate limit goes from {advice.limit:.3g} to {advice.scaled_limit:.3g}")
        evidence |= {"scaled_limit": advice.scaled_limit}
    before, after = advice.condition_number, advice.scaled_condition_number
    if before is not None and after is not None:
        gains.append(before / after)
    if not any(gain > BADLY_SCALED for gain in gains):
        return [], {}
    if before is not None and after is not None and math.isfinite(before):
        evidence |= {"condition_number": before, "scaled_condition_number": after}
        changes.append(f"the condition number falls from {before:.3g} to {after:.3g}")
    return changes or ["the condition number falls"], evidence


def _sizes(train: Samples) -> _Sizes | None:
    n_samples = len(train)
    rows = None if n_samples <= MEASURED_ROWS else np.linspace(0, n_samples - 1, MEASURED_ROWS).astype(np.int64)
    learned = learn_scaling(train.features, train.targets, "standard", "none", rows)
    assert learned is not None
    return _among(train, learned.feature_mean, learned.feature_scale, varying(train.features, rows))


def _among(
    train: Samples,
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
    varies: NDArray[np.bool_] | None = None,
) -> _Sizes | None:
    """Leave out what does not vary; None where nothing does."""
    if train.varies is not None:
        varies = train.varies if varies is None else varies & train.varies
    if varies is None or not varies.any():
        return None
    return _Sizes(np.flatnonzero(varies), mean[varies], deviation[varies])
