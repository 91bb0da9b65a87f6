"""Why a training diverged, with the evidence and what to change."""

import math
import sys
from typing import Any

import numpy as np

from service.dataset import Dataset
from service.errors import Finding, TrainingDiverged
from service.parameters import unflatten
from service.training.epochs import EpochColumns, Learned
from service.training.examination import Examination
from service.training.feature_scales import BADLY_SCALED
from service.training.findings import in_three_digits
from service.training.pace import above_floor, gentle_rate, loss_of_zeros, named, rate_of, without_floor
from service.training.reach import at_rate
from service.training.trend import Trend

LEFT_BEHIND = 1.1
"""An objective that ends above its start by this factor has diverged, unless the learning rate is certain not to."""
NOISY = 10.0
"""The same for steps that are noisy, at a rate within the limit: noise alone doubled the loss of targets of noise."""
MANY_RISES = 0.1
"""Share of epochs at which the loss rises, from which on it oscillates."""


def not_finite(examination: Examination, dataset: Dataset, epoch: int) -> TrainingDiverged:
    """Give the error for a descent whose loss or gradient was not finite at an epoch.

    The usual culprit is a learning rate above what the data allows; otherwise, as before any step or where no rate is
    small enough, the numbers themselves are too large for the dtype.
    """
    rate, evidence = rate_of(examination, epoch)
    given, advice = examination.plan.hyperparameters, examination.advice
    is_within = advice.limit is not None and rate <= advice.limit
    if epoch > 0 and not (is_within and (advice.is_certain or advice.limit == sys.float_info.min)):
        return TrainingDiverged(_rate_too_large(examination, epoch, f"the loss was no longer finite at epoch {epoch}"))
    start = examination.start
    with np.errstate(over="ignore"):
        tables = (dataset.features, dataset.targets, start)
        largest = max(float(abs(numbers).max()) for numbers in tables)
    evidence |= {"largest_number": largest, "dtype": given.dtype}
    when = f"at epoch {epoch}, though {named(given, rate)} is within the limit" if epoch else "before any step"
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
    if last <= LEFT_BEHIND * first:
        return None
    epoch = int(trend.last.epoch[0])
    (rate, evidence), advice = rate_of(examination, epoch), examination.advice
    is_within = advice.limit is not None and rate <= advice.limit
    best = first if advice.kind == "exact" else max(first, loss_of_zeros(examination))
    factor = NOISY if is_within and examination.is_noisy else LEFT_BEHIND
    if last <= factor * best or (is_within and advice.is_certain) or first == 0:
        return None
    name = "objective" if _is_penalised(examination) else "loss"
    evidence |= {f"first_{name}": first, f"last_{name}": last, "share_of_rises": trend.share_of_rises}
    rose = "the loss rose" if name == "objective" else "rose"
    rises = f"{rose} in {trend.share_of_rises:.0%} of them"
    said = f"the {name} went from {first:.4g} to {last:.4g} in {epoch} epochs, and {rises}"
    finding = _rate_too_large(examination, epoch, said)
    code = "oscillation" if trend.share_of_rises < 1 - MANY_RISES else finding.code
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


def _rate_too_large(examination: Examination, epoch: int, said: str) -> Finding:
    rate, evidence = rate_of(examination, epoch)
    advice, given = examination.advice, examination.plan.hyperparameters
    is_above = advice.limit is not None and rate > advice.limit
    first, largest = float(given.learning_rate), named(given, rate)
    what = f"{said}: {largest} is {_times(examination, rate)}" if is_above else f"{said}: {largest} is too large"
    if first < rate and (advice.limit is None or first <= advice.limit):
        suggestion = without_floor(given)
        return Finding(
            "learning_rate_too_large", f"{what}; let it fall from {first:.3g} to 0", evidence, suggestion, epoch
        )
    if not is_above:
        way_out, suggestion = at_rate(examination, max(min(gentle_rate(examination), rate / 10), sys.float_info.min))
    else:
        way_out, suggestion = _within_limit(examination)
    if "scale" in suggestion and advice.scaled_limit is not None and is_above:
        evidence["scaled_limit"] = advice.scaled_limit
    suggestion = above_floor(given, suggestion)
    return Finding("learning_rate_too_large", f"{what}; {way_out}", evidence, suggestion, epoch)


def _times(examination: Examination, rate: float) -> str:
    """Say by how much a rate is above the limit."""
    advice = examination.advice
    assert advice.limit is not None
    times = rate / advice.limit
    shown = f"{times:.3g} times" if math.isfinite(times) else "far beyond"
    known = "up to which this data is known to converge" if advice.is_certain else "that the curvature allows"
    return f"{shown} the {advice.limit:.3g} {known}"


def _within_limit(examination: Examination) -> tuple[str, dict[str, Any]]:
    """Advise on the rate that the curvature allows, or on scales that allow more, in words and as hyperparameters."""
    advice, given = examination.advice, examination.plan.hyperparameters
    assert advice.limit is not None
    smaller = in_three_digits(advice.suggested)
    scaled, scaled_rate = advice.scaled_limit, advice.scaled_suggested
    if given.scale == "none" and scaled is not None and scaled_rate and scaled > BADLY_SCALED * advice.limit:
        faster = in_three_digits(scaled_rate)
        way_out = (
            f"try {smaller:.3g}, or scale the features, which raises the limit to {scaled:.3g}, and try {faster:.3g}"
        )
        return way_out, {"learning_rate": faster, "scale": "standard"}
    before, after = advice.condition_number, advice.scaled_condition_number
    if (
        given.scale == "none"
        and scaled is None
        and after is not None
        and not (before or math.inf) <= BADLY_SCALED * after
    ):
        way_out = f"try {smaller:.3g}, or scale the features, which brings the condition number to {after:.3g}"
        return f"{way_out}, and let the learning rate be auto", {"learning_rate": "auto", "scale": "standard"}
    return f"try {smaller:.3g}", {"learning_rate": smaller}
