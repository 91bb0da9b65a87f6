"""What a schedule makes of the learning rate: the largest that it comes to, and whether it falls too fast to arrive."""

import math
from typing import Any

import numpy as np

from service.hyperparameters import Hyperparameters
from service.schedules import ConstantSchedule, OneCycleSchedule, PlateauSchedule, floor_of, schedule_of
from service.training.examination import Examination
from service.training.rates import Rates
from service.training.reach import loss_of_constant
from service.training.spectrum import inverse

LITTLE = 0.1
"""Share of its largest value that a learning rate has to have in the second half of the epochs not to be little."""
SOME_EPOCHS = 1000
OF_L1 = 0.1
"""How far steps of l1 may keep the objective above its lowest, as a share of the loss of outputs that are all 0."""
FIRST_OF_RMSPROP = 10.0
"""How many learning rates long its first step is, 1 / √(1 - alpha); what that does is made up for if the rate stays."""
LINEAR_CLASSIFIERS = ("logistic_regression", "softmax_regression")


def largest_rate(given: Hyperparameters, epochs: int) -> float:
    """Give the largest learning rate of so many epochs' steps: a schedule may rise."""
    rate, schedule = float(given.learning_rate), schedule_of(given.schedule)
    if isinstance(schedule, ConstantSchedule | PlateauSchedule) or epochs < 1:
        return rate
    last, seen = epochs - 1, [0, epochs - 1]
    if isinstance(schedule, OneCycleSchedule):
        top = int(schedule.pct_start * given.epochs)
        seen += [min(last, max(0, epoch)) for epoch in (top - 1, top)]
    return float(Rates(schedule, rate, given.epochs).over(np.array(seen)).max())


def rate_of(examination: Examination, epochs: int) -> tuple[float, dict[str, Any]]:
    """Give the largest learning rate of so many epochs' steps, and the evidence about learning rates."""
    given, advice = examination.plan.hyperparameters, examination.advice
    rate = largest_rate(given, epochs)
    evidence = {"learning_rate": float(given.learning_rate), "limit": advice.limit, "kind": advice.kind}
    if rate != given.learning_rate:
        evidence["largest_learning_rate"] = rate
    return rate, evidence


def named(given: Hyperparameters, rate: float) -> str:
    """Name the learning rate of a step, by the way the schedule took it there where that is another one."""
    if rate == given.learning_rate:
        return f"the learning rate {rate:.3g}"
    if rate < float(given.learning_rate):
        return f"the learning rate {rate:.3g}, on its way to {given.learning_rate:.3g},"
    kind = schedule_of(given.schedule).kind
    return f"the learning rate {rate:.3g}, to which the schedule {kind} raises it from {given.learning_rate:.3g},"


def gentle_rate(examination: Examination) -> float:
    """Give the suggested rate, or for adaptive steps a smaller one where each of them would raise the objective.

    Where gradients do not get smaller, as at the bends of l1, every weight goes on by about the rate η: that may add
    l1 · n_weights · η to the objective, and n_weights · λmax · η² / 2 where steps do not average the gradients.
    """
    given, advice = examination.plan.hyperparameters, examination.advice
    rate, n_weights = advice.suggested, sum(n_outputs * n_inputs for n_outputs, n_inputs in examination.plan.layout)
    if given.optimizer in ("sgd", "lbfgs"):
        return rate
    loss = loss_of_zeros(examination)
    if given.l1 and loss > 0:
        rate = min(rate, OF_L1 * loss / (given.l1 * n_weights))
    if given.optimizer in ("rmsprop", "adagrad") and advice.curvature is not None and loss > 0:
        most = math.sqrt(2 * loss * inverse(n_weights * advice.curvature.largest))
        falls = given.optimizer == "rmsprop" and late_share(given, given.epochs, float(given.learning_rate)) < LITTLE
        rate = min(rate, most / FIRST_OF_RMSPROP if falls else most)
    return rate


def loss_of_zeros(examination: Examination) -> float:
    """Give the loss of a model whose outputs are all 0."""
    if examination.preparation.n_classes is not None:
        return math.log(examination.preparation.n_classes)
    return loss_of_constant(examination, np.zeros(examination.preparation.train.targets.shape[1]))


def late_share(given: Hyperparameters, epochs: int, last_rate: float) -> float:
    """Tell what the learning rates of the second half of so many epochs are on average, as a share of the largest.

    Args:
        given: with the learning rate settled.
        epochs: how many there were.
        last_rate: of the last steps, which is what is known of a schedule that waits for the losses.
    """
    schedule, largest = schedule_of(given.schedule), largest_rate(given, epochs)
    if isinstance(schedule, PlateauSchedule):
        return last_rate / largest
    some = np.linspace(epochs // 2, max(epochs // 2, epochs - 1), min(epochs, SOME_EPOCHS)).astype(np.int64)
    return float(Rates(schedule, float(given.learning_rate), given.epochs).over(some).mean()) / largest


def slower_schedule(examination: Examination) -> tuple[str, dict[str, Any]]:
    """Advise on a schedule that leaves the steps longer, in words and as hyperparameters.

    Where steps end in noise, or in the same size, it is one that falls at the end.
    """
    given, advice = examination.plan.hyperparameters, examination.advice
    is_smooth = given.optimizer in ("sgd", "lbfgs") and given.loss != "mae" and not given.l1
    rate = float(given.learning_rate)
    is_large = advice.limit is not None and rate > advice.limit
    # Along gradients that are bounded a rate above the limit leads farther than one within, if it falls at the end.
    is_bounded = given.clip_gradient_norm is not None or examination.plan.task in LINEAR_CLASSIFIERS
    is_bounded = is_bounded or given.loss == "huber"
    kind = "constant" if is_smooth and not examination.is_noisy and not (is_large and is_bounded) else "cosine"
    said, suggestion = f"use the schedule {kind}", dict[str, Any](schedule=kind)
    if given.optimizer == "sgd" and ((is_large and not is_bounded) or rate < LITTLE * advice.suggested):
        said += " and the learning rate auto"
        suggestion["learning_rate"] = "auto"
    return said, suggestion


def without_floor(given: Hyperparameters) -> dict[str, Any]:
    """Give the schedule that was asked for, falling to 0, as hyperparameters."""
    schedule = schedule_of(given.schedule)
    return {"schedule": schedule.model_dump(mode="json") | {floor_of(schedule)[0]: 0.0}}


def above_floor(given: Hyperparameters, suggestion: dict[str, Any]) -> dict[str, Any]:
    """Let the schedule fall to 0 where its floor is above the learning rate that is suggested."""
    rate = suggestion.get("learning_rate")
    if not isinstance(rate, float) or "schedule" in suggestion or rate >= floor_of(schedule_of(given.schedule))[1]:
        return suggestion
    return suggestion | without_floor(given)
