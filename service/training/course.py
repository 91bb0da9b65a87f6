"""How a training went that ended well: what kept it from going further, with the evidence and what to change."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from service.errors import Finding
from service.hyperparameters import MOST_EPOCHS
from service.parameters import slices
from service.schedules import schedule_of
from service.training.diagnosis import MANY_RISES
from service.training.epochs import EpochColumns, Learned
from service.training.examination import Examination
from service.training.findings import in_three_digits
from service.training.optimum import Optimum
from service.training.pace import LITTLE, above_floor, gentle_rate, late_share, named, rate_of, slower_schedule
from service.training.reach import STEADY, at_rate, far_above, on_the_way, steps_too_short
from service.training.separability import separable_classes
from service.training.stuck import no_better_than_constant
from service.training.trend import Trend

ENOUGH_MOMENTUM = 0.9
FASTER = 1.1
"""A learning rate is suggested for being faster when it is larger by this factor."""
ENDED_WELL = 1.05
"""A loss that oscillated has ended well when it is at most by this factor above the lowest on its way."""
SLOW = 10.0
"""A learning rate that is smaller than the suggested one by this factor may be too small."""
UNFINISHED = 0.05
"""Share of the start's excess over the optimum, or of its gradient, that is left when a training is not done."""
FLAT = 0.01
"""Share of the whole fall of the loss that falls to the second half of a training on a plateau."""


class _Course(NamedTuple):
    """The train loss at the start, after half of the epochs and at the end, and how much of the way is left."""

    first: float
    half: float
    last: float
    left: float
    what_is_left: str
    evidence: dict[str, Any]

    @property
    def is_flat(self) -> bool:
        """Whether hardly anything of the fall falls to the second half."""
        return self.half - self.last <= FLAT * (self.first - self.last)

    @property
    def is_steady(self) -> bool:
        """Whether the fall did not slow down, or there has been nothing at all."""
        fall = self.first - self.last
        return fall == 0 or self.half - self.last > STEADY * fall > 0


def findings_about_course(
    examination: Examination, trend: Trend, learned: Learned, optimum: Optimum | None
) -> list[Finding]:
    """Tell what kept a training that ended well from going further, if anything did."""
    found = [*separable_classes(examination, learned), *_oscillation(examination, trend)]
    target = examination.plan.hyperparameters.stop.target_loss
    if not found and (target is None or learned.train_loss > target):
        found = _hindrance(examination, trend, learned, optimum)
    given = examination.plan.hyperparameters
    return [dataclasses.replace(finding, suggestion=above_floor(given, finding.suggestion)) for finding in found]


def _hindrance(examination: Examination, trend: Trend, learned: Learned, optimum: Optimum | None) -> list[Finding]:
    """Tell of the first thing that kept steps from getting near the lowest point."""
    given, found = examination.plan.hyperparameters, list[Finding]()
    course = _course(examination, trend, optimum) if trend.n_steps >= 2 else None
    if course is not None:
        is_left = course.left >= UNFINISHED
        if given.loss == "mae":  # its gradient does not tell how far away the lowest point is
            is_left = far_above(examination, trend, learned, optimum) is not None
        found = _schedule_gone(examination, trend, course) if is_left else []
    found = found or steps_too_short(examination, trend, learned, optimum)
    found = found or no_better_than_constant(examination, trend, learned)
    found = found or _restlessness(examination, trend, learned, optimum)
    if not found and course is not None and course.left >= UNFINISHED and given.loss != "mae":
        found = _rate_too_small(examination, trend, course) or _plateau(examination, trend, course)
    return found or on_the_way(examination, trend, optimum)


def _course(examination: Examination, trend: Trend, optimum: Optimum | None) -> _Course:
    assert trend.first is not None
    assert trend.last is not None
    first, last = float(trend.first.train_loss[0]), float(trend.last.train_loss[0])
    epochs, losses = trend.curve
    half = float(np.interp(epochs[-1] / 2, epochs, losses))
    evidence = {"suggested": examination.advice.suggested, "first_loss": first, "last_loss": last, "loss_at_half": half}
    if optimum is not None:
        excess = first - optimum.train_loss
        left = (last - optimum.train_loss) / excess if excess > 0 else 0.0
        evidence |= {"share_left": left, "optimum": optimum.train_loss}
        return _Course(first, half, last, left, f"{left:.0%} of the way is left", evidence)
    left = float(_gradient_left(examination, trend.last) / max(trend.first.gradient_norm[0], 1e-300))
    said = f"the gradient still has {left:.0%} of its size"
    return _Course(first, half, last, left, said, evidence | {"share_of_gradient_left": left})


def _gradient_left(examination: Examination, row: EpochColumns) -> float:
    """Give the norm of the gradient; of l1, of the smallest subgradient at the bend where that is a step away.

    At the bend, where a weight is 0, l1 takes as much off the gradient of the loss as there is, up to its own size.
    """
    given = examination.plan.hyperparameters
    if not given.l1 or row.parameters is None or row.gradient is None:
        return float(row.gradient_norm[0])
    gradient, parameters = row.gradient[0].astype(np.float64), row.parameters[0].astype(np.float64)
    for weight, _ in slices(examination.plan.layout):
        values, of_loss = parameters[weight], gradient[weight] - given.l1 * np.sign(parameters[weight])
        is_near = np.abs(values) <= float(given.learning_rate) * (np.abs(of_loss) + given.l1)
        at_bend = np.maximum(np.abs(of_loss) - given.l1, 0.0)
        gradient[weight] = np.where(is_near, at_bend, gradient[weight])
    return float(np.linalg.norm(gradient))


def _schedule_gone(examination: Examination, trend: Trend, course: _Course) -> list[Finding]:
    """Tell of a schedule that took the learning rate to so little that the loss stayed where it was."""
    given = examination.plan.hyperparameters
    assert trend.last is not None
    epochs, last_rate = int(trend.last.epoch[0]), float(trend.last.learning_rate[0])
    late = late_share(given, epochs, last_rate)
    if late >= LITTLE or not course.is_flat:
        return []
    rate, evidence = rate_of(examination, epochs)
    way_out, suggestion = slower_schedule(examination)
    detail = (
        f"the loss fell from {course.half:.4g} to {course.last:.4g} in the second half of the epochs, and "
        f"{course.what_is_left}: the schedule {schedule_of(given.schedule).kind} left them {late:.2g} of the learning "
        f"rate {rate:.3g}; {way_out}"
    )
    return [Finding("schedule_too_fast", detail, evidence | course.evidence | {"late_share": late}, suggestion)]


def _oscillation(examination: Examination, trend: Trend) -> list[Finding]:
    """Tell of a rate above the limit where that did not end well: one that did got further than smaller ones."""
    given, advice = examination.plan.hyperparameters, examination.advice
    assert trend.last is not None
    is_plain = given.optimizer == "sgd" and not given.momentum and not examination.is_noisy
    rises, lowest, last = trend.share_of_rises, trend.lowest, float(trend.last.train_loss[0])
    if not is_plain or rises < MANY_RISES or last <= ENDED_WELL * lowest:
        return []
    rate, evidence = rate_of(examination, int(trend.last.epoch[0]))
    if advice.limit is None or rate <= advice.limit:
        return []
    evidence |= {"share_of_rises": rises, "lowest_loss": lowest, "last_loss": last}
    known = "up to which descent is known to be steady" if advice.is_certain else "that the curvature allows"
    if schedule_of(given.schedule).kind != "cosine":
        way_out, suggestion = "let it fall by the schedule cosine", dict[str, Any](schedule="cosine")
    else:
        smaller = in_three_digits(max(advice.suggested, rate / SLOW))
        way_out, suggestion = f"try {smaller:.3g}", {"learning_rate": smaller}
    detail = (
        f"the loss rose in {rises:.0%} of the epochs, and ended at {last:.4g} where it had been {lowest:.4g}: "
        f"{named(given, rate)} is above the {advice.limit:.3g} {known}; {way_out}"
    )
    return [Finding("oscillation", detail, evidence, suggestion)]


def _restlessness(examination: Examination, trend: Trend, learned: Learned, optimum: Optimum | None) -> list[Finding]:
    """Tell of steps that are adaptive, noisy or of one length, and too long to get near the best that is known."""
    given = examination.plan.hyperparameters
    assert trend.last is not None
    is_plain = given.optimizer == "lbfgs" or (
        given.optimizer == "sgd" and given.loss != "mae" and not examination.is_noisy
    )
    suggested, rises = examination.advice.suggested, trend.share_of_rises
    if is_plain or rises < MANY_RISES:
        return []
    rate, evidence = rate_of(examination, int(trend.last.epoch[0]))
    if rate <= suggested:
        return []
    known = far_above(examination, trend, learned, optimum)
    if known is None:
        return []
    way_out, suggestion = at_rate(examination, suggested, optimum)
    detail = f"{known[0]}, and rose in {rises:.0%} of the epochs: steps at {named(given, rate)} are too long; {way_out}"
    return [Finding("oscillation", detail, evidence | known[1] | {"share_of_rises": rises}, suggestion)]


def _rate_too_small(examination: Examination, trend: Trend, course: _Course) -> list[Finding]:
    given, advice = examination.plan.hyperparameters, examination.advice
    assert trend.last is not None
    rate, evidence = rate_of(examination, int(trend.last.epoch[0]))
    # What keeps adaptive steps from being shorter is not the data: only a fall that does not slow down tells that.
    is_told = given.optimizer in ("sgd", "lbfgs") or course.is_steady
    gentle = gentle_rate(examination)
    if rate * SLOW >= gentle or not is_told:
        return []
    is_default = given.optimizer != "sgd" and gentle == advice.suggested
    known = f"that is torch's default for {given.optimizer}" if is_default else "that this data allows"
    suggested = in_three_digits(gentle)
    detail = (
        f"the loss went from {course.first:.4g} to {course.last:.4g}, and {course.what_is_left}: {named(given, rate)} "
        f"is far below the {suggested:.3g} {known}"
    )
    evidence |= course.evidence
    return [Finding("learning_rate_too_small", detail, evidence, {"learning_rate": suggested})]


def _plateau(examination: Examination, trend: Trend, course: _Course) -> list[Finding]:
    given = examination.plan.hyperparameters
    assert trend.last is not None
    is_restless = examination.is_noisy and trend.share_of_rises >= MANY_RISES
    is_smooth = given.optimizer == "sgd" and not given.l1
    if not is_smooth or is_restless or len(trend.curve[0]) < 4 or not course.is_flat:
        return []
    _, evidence = rate_of(examination, int(trend.last.epoch[0]))
    way, suggestion = _off_the_plateau(examination)
    detail = (
        f"the loss lies on a plateau: it fell from {course.half:.4g} to {course.last:.4g} in the second half of the "
        f"epochs, and {course.what_is_left}; {way}"
    )
    return [Finding("plateau", detail, evidence | course.evidence, suggestion)]


def _off_the_plateau(examination: Examination) -> tuple[str, dict[str, Any]]:
    """Give the first way to be faster that has not been taken, in words and as hyperparameters."""
    given, advice = examination.plan.hyperparameters, examination.advice
    unscaled_numbers = [name for name in ("scale", "scale_targets") if getattr(given, name) != "standard"]
    is_bounded = given.clip_gradient_norm is not None or given.loss == "huber"
    can_scale = examination.preparation.n_classes is None and not (given.stop.target_loss or given.stop.min_delta)
    if is_bounded and can_scale and "scale_targets" in unscaled_numbers:
        said = "steps of bounded length go far where features and targets are scaled"
        return said, dict.fromkeys(unscaled_numbers, "standard") | {"learning_rate": "auto"}
    scaled, unscaled = advice.scaled_condition_number, advice.condition_number
    if given.scale == "none" and scaled is not None and (unscaled is None or scaled < unscaled / SLOW):
        return "scale the features", {"scale": "standard", "learning_rate": "auto"}
    if given.momentum < ENOUGH_MOMENTUM:
        return "use momentum", {"momentum": ENOUGH_MOMENTUM, "learning_rate": "auto"}
    if advice.fastest is not None and in_three_digits(advice.fastest) > FASTER * float(given.learning_rate):
        fastest = in_three_digits(advice.fastest)
        return f"the learning rate {fastest:.3g} is the fastest", {"learning_rate": fastest}
    if given.epochs < MOST_EPOCHS:
        return "train for more epochs", {"epochs": min(MOST_EPOCHS, 10 * given.epochs)}
    return "more momentum may help", {}
