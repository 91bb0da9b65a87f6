"""How a training went: why it diverged, or what kept it from going further, with the evidence and what to change."""

import math
import sys
from typing import Any

import numpy as np

from service.dataset import Dataset
from service.errors import Finding, TrainingDiverged
from service.hyperparameters import MOST_EPOCHS
from service.parameters import unflatten
from service.rules import is_full_batch
from service.training.epochs import EpochColumns, Learned
from service.training.examination import Examination
from service.training.findings import BADLY_SCALED, in_three_digits
from service.training.optimum import Optimum
from service.training.reach import STEADY, at_rate, far_above, loss_of_constant, on_the_way, steps_too_short
from service.training.separability import separable_classes
from service.training.stuck import no_better_than_constant
from service.training.trend import Trend

LEFT_BEHIND = 1.1
"""An objective that ends above its start by this factor has diverged, unless the learning rate is certain not to."""
NOISY = 10.0
"""The same for steps that are noisy, at a rate within the limit: noise alone doubled the loss of targets of noise."""
ENOUGH_MOMENTUM = 0.9
FASTER = 1.1
"""A learning rate is suggested for being faster when it is larger by this factor."""
MANY_RISES = 0.1
"""Share of epochs at which the loss rises, from which on it oscillates."""
SLOW = 10.0
"""A learning rate that is smaller than the suggested one by this factor may be too small."""
UNFINISHED = 0.05
"""Share of the start's excess over the optimum, or of its gradient, that is left when a training is not done."""
FLAT = 0.01
"""Share of the whole fall of the loss that falls to the second half of a training on a plateau."""


def not_finite(examination: Examination, dataset: Dataset, epoch: int) -> TrainingDiverged:
    """Give the error for a descent whose loss or gradient was not finite at an epoch.

    The usual culprit is a learning rate above what the data allows; otherwise, as before any step or where no rate is
    small enough, the numbers themselves are too large for the dtype.
    """
    rate, evidence = _rate(examination)
    given, advice = examination.plan.hyperparameters, examination.advice
    is_within = advice.limit is not None and rate <= advice.limit
    if epoch > 0 and not (is_within and (advice.is_certain or advice.limit == sys.float_info.min)):
        return TrainingDiverged(_rate_too_large(examination, epoch, f"the loss was no longer finite at epoch {epoch}"))
    start = examination.start
    with np.errstate(over="ignore"):
        tables = (dataset.features, dataset.targets, start)
        largest = max(float(abs(numbers).max()) for numbers in tables)
    evidence |= {"largest_number": largest, "dtype": given.dtype}
    when = f"at epoch {epoch}, though the learning rate {rate:.3g} is within the limit" if epoch else "before any step"
    detail = (
        f"the loss was not finite {when}: the numbers (up to {largest:.3g}, start included) are too large for "
        f"{given.dtype}; use smaller units"
    )
    suggestion: dict[str, Any] = {}
    if given.dtype == "float32":
        suggestion["dtype"] = "float64"
        detail += ", or float64"
    else:
        if given.scale != "standard":
            suggestion["scale"] = "standard"
        if examination.preparation.n_classes is None and given.scale_targets != "standard":
            suggestion["scale_targets"] = "standard"
        detail += ", or scale" if suggestion else ""
    return TrainingDiverged(Finding("numbers_too_large", detail, evidence, suggestion, epoch))


def left_behind(examination: Examination, trend: Trend, learned: Learned) -> TrainingDiverged | None:
    """Tell whether a descent that stayed finite has diverged all the same: its objective ended above its start.

    With a rate within a limit that is certain it cannot have. Where it is not certain that a rate is too large, an
    objective below that of parameters of 0 is no divergence either: noise, and the steps of adaptive optimizers, lead
    away from a very good start. Nor is one whose best epoch is given back, if that is better than the start.
    """
    assert trend.first is not None
    assert trend.last is not None
    if learned.epoch != trend.last.epoch[0] and learned.train_loss < trend.first.train_loss[0]:
        return None
    first, last = _objective(examination, trend.first), _objective(examination, trend.last)
    (rate, evidence), advice = _rate(examination), examination.advice
    is_within = advice.limit is not None and rate <= advice.limit
    best = first if advice.kind == "exact" else max(first, _loss_of_zeros(examination))
    factor = NOISY if is_within and _is_noisy(examination) else LEFT_BEHIND
    if last <= factor * best or (is_within and advice.is_certain) or first == 0:
        return None
    epoch = int(trend.last.epoch[0])
    name = "objective" if _is_penalised(examination) else "loss"
    evidence |= {f"first_{name}": first, f"last_{name}": last, "share_of_rises": _rises(trend)}
    rose = "the loss rose" if name == "objective" else "rose"
    said = (
        f"the {name} went from {first:.4g} to {last:.4g} in {epoch} epochs, and {rose} in {_rises(trend):.0%} of them"
    )
    finding = _rate_too_large(examination, epoch, said)
    code = "oscillation" if _rises(trend) < 1 - MANY_RISES else finding.code
    return TrainingDiverged(Finding(code, finding.detail, evidence, finding.suggestion, epoch))


def _objective(examination: Examination, row: EpochColumns) -> float:
    """Give what was minimised at an epoch: the loss, and the penalties on the weights."""
    given, loss = examination.plan.hyperparameters, float(row.train_loss[0])
    if not _is_penalised(examination):
        return loss
    assert row.parameters is not None
    layers = unflatten(row.parameters[0].astype(np.float64), examination.plan.layout)
    weights = np.concatenate([layer.weight.ravel() for layer in layers])
    with np.errstate(over="ignore"):
        loss += given.l2 / 2 * float(weights @ weights) if given.l2 else 0.0
        return loss + (given.l1 * float(np.abs(weights).sum()) if given.l1 else 0.0)


def _is_penalised(examination: Examination) -> bool:
    return bool(examination.plan.hyperparameters.l1 or examination.plan.hyperparameters.l2)


def _is_noisy(examination: Examination) -> bool:
    """Tell whether steps are along a part of the objective at a time."""
    given = examination.plan.hyperparameters
    return bool(given.dropout) or not is_full_batch(len(examination.preparation.train), given)


def _loss_of_zeros(examination: Examination) -> float:
    """Give the loss of a model whose outputs are all 0."""
    if examination.preparation.n_classes is not None:
        return math.log(examination.preparation.n_classes)
    return loss_of_constant(examination, np.zeros(examination.preparation.train.targets.shape[1]))


def findings_about_course(
    examination: Examination, trend: Trend, learned: Learned, optimum: Optimum | None
) -> list[Finding]:
    """Tell what kept a training that ended well from going further, if anything did."""
    found = [*separable_classes(examination, learned), *_oscillation(examination, trend)]
    target = examination.plan.hyperparameters.stop.target_loss
    if target is not None and learned.train_loss <= target:
        return found
    found = found or steps_too_short(examination, trend, learned, optimum)
    found = found or no_better_than_constant(examination, trend, learned)
    found = found or _restlessness(examination, trend, learned, optimum)
    return found or _unfinished(examination, trend, optimum) or on_the_way(examination, trend, optimum)


def _rate(examination: Examination) -> tuple[float, dict[str, Any]]:
    rate = float(examination.plan.hyperparameters.learning_rate)
    advice = examination.advice
    return rate, {"learning_rate": rate, "limit": advice.limit, "kind": advice.kind}


def _rate_too_large(examination: Examination, epoch: int, said: str) -> Finding:
    rate, evidence = _rate(examination)
    advice, given = examination.advice, examination.plan.hyperparameters
    if advice.limit is None or rate <= advice.limit:
        smaller = max(min(advice.suggested, rate / 10), sys.float_info.min)
        way_out, suggestion = at_rate(examination, smaller)
        detail = f"{said}: the learning rate {rate:.3g} is too large; {way_out}"
        return Finding("learning_rate_too_large", detail, evidence, suggestion, epoch)
    times = rate / advice.limit
    shown = f"{times:.3g} times" if math.isfinite(times) else "far beyond"
    known = "up to which this data is known to converge" if advice.is_certain else "that the curvature allows"
    detail = (
        f"{said}: the learning rate {rate:.3g} is {shown} the {advice.limit:.3g} {known}; try {advice.suggested:.3g}"
    )
    suggestion = {"learning_rate": in_three_digits(advice.suggested)}
    scaled, scaled_rate = advice.scaled_limit, advice.scaled_suggested
    if given.scale == "none" and scaled is not None and scaled_rate and scaled > BADLY_SCALED * advice.limit:
        detail += f", or scale the features, which raises the limit to {scaled:.3g}"
        evidence |= {"scaled_limit": scaled}
        suggestion = {"learning_rate": in_three_digits(scaled_rate), "scale": "standard"}
    return Finding("learning_rate_too_large", detail, evidence, suggestion, epoch)


def _rises(trend: Trend) -> float:
    return trend.n_rises / max(1, trend.n_steps)


def _oscillation(examination: Examination, trend: Trend) -> list[Finding]:
    given, advice = examination.plan.hyperparameters, examination.advice
    is_full = is_full_batch(len(examination.preparation.train), given)
    rate, evidence = _rate(examination)
    is_large = advice.limit is not None and rate > advice.limit
    if not is_full or given.optimizer != "sgd" or not is_large or given.momentum or _rises(trend) < MANY_RISES:
        return []
    evidence |= {"share_of_rises": _rises(trend)}
    known = "up to which descent is known to be steady" if advice.is_certain else "that the curvature allows"
    detail = (
        f"the loss rose in {_rises(trend):.0%} of the epochs: the learning rate {rate:.3g} is above the "
        f"{advice.limit:.3g} {known}; try {advice.suggested:.3g}"
    )
    return [Finding("oscillation", detail, evidence, {"learning_rate": in_three_digits(advice.suggested)})]


def _restlessness(examination: Examination, trend: Trend, learned: Learned, optimum: Optimum | None) -> list[Finding]:
    """Tell of steps that are adaptive, noisy or of one length, and too long to get near the best that is known."""
    given = examination.plan.hyperparameters
    is_plain = given.optimizer == "lbfgs" or (
        given.optimizer == "sgd" and given.loss != "mae" and not _is_noisy(examination)
    )
    (rate, evidence), suggested = _rate(examination), examination.advice.suggested
    if is_plain or rate <= suggested or _rises(trend) < MANY_RISES:
        return []
    known = far_above(examination, trend, learned, optimum)
    if known is None:
        return []
    way_out, suggestion = at_rate(examination, suggested, optimum)
    detail = (
        f"{known[0]}, and rose in {_rises(trend):.0%} of the epochs: steps at the learning rate {rate:.3g} are too "
        f"long; {way_out}"
    )
    return [Finding("oscillation", detail, evidence | known[1] | {"share_of_rises": _rises(trend)}, suggestion)]


def _unfinished(examination: Examination, trend: Trend, optimum: Optimum | None) -> list[Finding]:
    """Tell of a rate that is far too small, or of a plateau, where there is still a good way to go."""
    given, advice = examination.plan.hyperparameters, examination.advice
    assert trend.first is not None
    assert trend.last is not None
    # The gradient of l1 and of mae does not vanish at the lowest point: it does not tell how far away that is.
    if given.optimizer == "lbfgs" or given.l1 or given.loss == "mae" or trend.n_steps < 2:
        return []
    first, last = float(trend.first.train_loss[0]), float(trend.last.train_loss[0])
    if optimum is not None:
        excess = first - optimum.train_loss
        left = (last - optimum.train_loss) / excess if excess > 0 else 0.0
    else:
        left = float(trend.last.gradient_norm[0] / max(trend.first.gradient_norm[0], 1e-300))
    what_is_left = f"{left:.0%} of the way is left" if optimum else f"the gradient still has {left:.0%} of its size"
    if left < UNFINISHED:
        return []
    rate, evidence = _rate(examination)
    evidence |= {"suggested": advice.suggested, "first_loss": first, "last_loss": last}
    evidence |= {"share_left" if optimum else "share_of_gradient_left": left}
    if optimum is not None:
        evidence |= {"optimum": optimum.train_loss}
    epochs, losses = trend.curve
    half = float(np.interp(epochs[-1] / 2, epochs, losses))
    # What keeps adaptive steps from being shorter is not the data: only a fall that does not slow down tells that.
    is_sgd = given.optimizer == "sgd"
    if rate * SLOW < advice.suggested and (is_sgd or half - last > STEADY * (first - last) > 0):
        known = "that this data allows" if is_sgd else f"that is torch's default for {given.optimizer}"
        detail = (
            f"the loss went from {first:.4g} to {last:.4g}, and {what_is_left}: the learning rate "
            f"{rate:.3g} is far below the {advice.suggested:.3g} {known}"
        )
        return [
            Finding("learning_rate_too_small", detail, evidence, {"learning_rate": in_three_digits(advice.suggested)})
        ]
    is_restless = _is_noisy(examination) and _rises(trend) >= MANY_RISES
    if not is_sgd or is_restless or len(epochs) < 4 or half - last > FLAT * (first - last):
        return []
    evidence |= {"loss_at_half": half}
    way, suggestion = _off_the_plateau(examination)
    detail = (
        f"the loss lies on a plateau: it fell from {half:.4g} to {last:.4g} in the second half of the epochs, and "
        f"{what_is_left}; {way}"
    )
    return [Finding("plateau", detail, evidence, suggestion)]


def _off_the_plateau(examination: Examination) -> tuple[str, dict[str, Any]]:
    """Give the first way to be faster that has not been taken, in words and as hyperparameters."""
    given, advice = examination.plan.hyperparameters, examination.advice
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
