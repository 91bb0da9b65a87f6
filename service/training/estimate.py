"""Learning rates far above what is estimated for a perceptron, and what makes it train instead."""

from typing import Any

from service.errors import Finding
from service.hyperparameters import Hyperparameters
from service.tasks import TRAITS, Task
from service.training.advice import LearningRateAdvice
from service.training.feature_scales import gain_by_scaling, scaled
from service.training.findings import in_three_digits
from service.training.samples import Samples
from service.training.way import longest_way, stop_in_deviations

FAR_ABOVE = 30.0
"""So many times the estimated limit no perceptron of relu trained on real data, and by 10 some did."""
FAR_ABOVE_FOR_SMOOTH = 300.0
"""The same for tanh and sigmoid, whose gradients get smaller where steps are too long: by 100 some did."""
UNSCALED = 10.0
"""Scaling is suggested when it lowers the spread of the curvatures by so much."""


def findings_about_estimate(
    task: Task, given: Hyperparameters, rate: float, train: Samples, advice: LearningRateAdvice
) -> list[Finding]:
    """Tell of a learning rate far above the limit estimated for a perceptron, where steps are as long as gradients."""
    is_plain = given.optimizer == "sgd" and given.clip_gradient_norm is None and TRAITS[task].is_perceptron
    far_above = FAR_ABOVE if given.activation == "relu" else FAR_ABOVE_FOR_SMOOTH
    if not is_plain or advice.limit is None or not rate > far_above * advice.limit:
        return []
    way_out, suggestion = slower(task, given, train, advice)
    detail = (
        f"the learning rate {rate:.3g} is far above {advice.limit:.3g}, an estimate of the rate up to which descent is "
        f"stable from this start: the loss may overflow, or units die and learn nothing; {way_out}"
    )
    evidence = {"learning_rate": rate, "limit": advice.limit}
    return [Finding("learning_rate_above_estimate", detail, evidence, suggestion)]


def slower(
    task: Task, given: Hyperparameters, train: Samples, advice: LearningRateAdvice
) -> tuple[str, dict[str, Any]]:
    """Advise on a smaller learning rate, in words and as hyperparameters, with scales at which it is not slow."""
    is_bounded = longest_way(given, 1) is not None and given.scale_targets != "standard"
    if is_unscaled(given, train) or (is_bounded and not TRAITS[task].classifies):
        suggestion = all_scaled(task, given, train, advice) | {"learning_rate": "auto"}
        return f"scale {what_is_scaled(suggestion)}, and let the learning rate be auto", suggestion
    rate = in_three_digits(advice.suggested)
    return f"try {rate:.3g}", {"learning_rate": rate}


def is_unscaled(given: Hyperparameters, train: Samples) -> bool:
    """Tell whether scaling the features would help."""
    return given.scale != "standard" and gain_by_scaling(train, given) > UNSCALED


def all_scaled(task: Task, given: Hyperparameters, train: Samples, advice: LearningRateAdvice) -> dict[str, Any]:
    """Give the hyperparameters that scale the features and, for regression, the targets."""
    suggestion = scaled(task, given, train, advice)
    if not TRAITS[task].classifies and given.scale_targets != "standard":
        suggestion |= {"scale_targets": "standard"} | stop_in_deviations(given, train)
    if given.scale == "standard":
        del suggestion["scale"]
    return suggestion


def what_is_scaled(suggestion: dict[str, Any]) -> str:
    """Name what a suggestion scales."""
    named = {"scale": "the features", "scale_targets": "the targets"}
    return " and ".join(called for name, called in named.items() if name in suggestion)
