"""How far the steps of an optimizer can lead, and trainings that ended because that was not far enough.

Adaptive optimizers divide a gradient by its own size, so that their steps are about as long as the learning rate
whatever the loss is; so are steps along clipped gradients, and those of a bias where the loss is straight.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import Finding
from service.hyperparameters import Hyperparameters
from service.parameters import names, slices
from service.room import slices_of
from service.rules import is_frozen
from service.training.epochs import Learned
from service.training.examination import Examination
from service.training.findings import in_three_digits
from service.training.optimum import Optimum
from service.training.spectrum import LARGEST_RATE
from service.training.trend import Trend
from service.training.way import WANTED, longest_way, n_steps_of, stop_in_deviations

FAR = 0.05
"""How far above what is possible a loss must be to be told, as a share of that of a model without features."""
ONE_WAY = 0.8
"""Share of the longest way that a parameter went which was on its way still."""
STEADY = 0.25
"""Share of the whole fall of the loss that falls at least to the second half where it does not slow down."""
LATE = 0.9
"""From this share of the epochs on, the loss falls at half the pace of the second half at least, or it has arrived."""
SLACK = 2.0
"""How much farther than the way is long: steps do not go straight, and get shorter towards its end."""
FASTER = 10.0
ENOUGH_STEPS = 100


class Place(NamedTuple):
    """Where the loss is lower, and how far the parameter that has farthest to go is from there at the start."""

    train_loss: float
    parameter: str
    distance: float


def steps_too_short(examination: Examination, trend: Trend, learned: Learned, optimum: Optimum | None) -> list[Finding]:
    """Tell of a regression whose loss stayed far above one that is known, out of reach of the steps there were.

    It is that of the optimum, or where that is not known that of a model without features.
    """
    given = examination.plan.hyperparameters
    assert trend.last is not None
    epochs = int(trend.last.epoch[0])
    n_steps = epochs * _steps_an_epoch(examination)
    way = longest_way(given, n_steps)
    if way is None or n_steps == 0 or examination.preparation.n_classes is not None:
        return []
    rate, place = float(given.learning_rate), _known(examination, optimum)
    known = None if place.distance <= rate * way else far_above(examination, trend, learned, optimum)
    if known is None:
        return []
    said, evidence = known
    moved = place.parameter if given.optimizer == "sgd" and given.clip_gradient_norm is None else "a parameter"
    way_out, suggestion = _way_out(examination, place.distance, epochs)
    detail = (
        f"{said}: {n_steps} steps of {given.optimizer} at the learning rate {rate:.3g} move {moved} by about "
        f"{rate * way:.3g} at most, and {place.parameter} would have to move by {place.distance:.4g}; {way_out}"
    )
    evidence |= {"learning_rate": rate, "n_steps": n_steps, "reach": rate * way}
    evidence |= {"parameter": place.parameter, "distance": place.distance}
    return [Finding("steps_too_short", detail, evidence, suggestion)]


def on_the_way(examination: Examination, trend: Trend, optimum: Optimum | None) -> list[Finding]:
    """Tell of adaptive steps that all led one way to the end, and of a loss that fell as fast as before, then.

    Where the optimum is known that is not needed: see `steps_too_short`.
    """
    given = examination.plan.hyperparameters
    assert trend.first is not None
    assert trend.last is not None
    epochs = int(trend.last.epoch[0])
    n_steps = epochs * _steps_an_epoch(examination)
    way = longest_way(given, n_steps)
    if optimum is not None or given.optimizer == "sgd" or way is None or trend.last.parameters is None:
        return []
    rate, first, last = float(given.learning_rate), float(trend.first.train_loss[0]), float(trend.last.train_loss[0])
    half, late = (float(np.interp(share * epochs, *trend.curve)) for share in (0.5, LATE))
    went = float(np.abs(trend.last.parameters[0] - examination.start).max())
    slows_down = not half - last > STEADY * (first - last) > 0 or late - last < (1 - LATE) * (half - last)
    if slows_down or went < ONE_WAY * rate * way:
        return []
    if examination.preparation.n_classes is None and _unscaled(given):
        way_out, suggestion = _way_out(examination, 0.0, epochs)
    else:
        faster = in_three_digits(min(LARGEST_RATE, FASTER * rate))
        way_out, suggestion = f"use the learning rate {faster:.3g}", {"learning_rate": faster}
    detail = (
        f"the loss went from {first:.4g} to {last:.4g}, {first - half:.4g} in the first half of the epochs and "
        f"{half - last:.4g} in the second: {n_steps} steps of {given.optimizer} at the learning rate {rate:.3g} move a "
        f"parameter by about {rate * way:.3g} at most, and one went {went:.3g}, on its way to the end; {way_out}"
    )
    evidence = {"learning_rate": rate, "first_loss": first, "loss_at_half": half, "last_loss": last}
    return [Finding("steps_too_short", detail, evidence | {"reach": rate * way, "distance": went}, suggestion)]


def far_above(
    examination: Examination, trend: Trend, learned: Learned, optimum: Optimum | None
) -> tuple[str, dict[str, Any]] | None:
    """Tell, in words and in numbers, that what a regression learned is far above a loss that is known to be possible.

    Returns:
        None when it is not.
    """
    assert trend.first is not None
    if examination.preparation.n_classes is not None:
        return None
    first, last, without = float(trend.first.train_loss[0]), learned.train_loss, without_features(examination)
    lowest = without.train_loss if optimum is None else optimum.train_loss
    if not last - lowest > FAR * (without.train_loss or first):
        return None
    evidence = {"first_loss": first, "last_loss": last, "loss_without_features": without.train_loss}
    said = [f"a model without features has {without.train_loss:.4g}"]
    if optimum is not None:
        evidence["optimum"] = optimum.train_loss
        said.insert(0, f"the lowest is {optimum.train_loss:.4g}")
    return f"the loss went from {first:.4g} to {last:.4g}, where {' and '.join(said)}", evidence


def at_rate(examination: Examination, rate: float, optimum: Optimum | None = None) -> tuple[str, dict[str, Any]]:
    """Advise to take a smaller learning rate, in words and as hyperparameters; or what else lets steps lead far enough.

    Args:
        examination: of a training whose learning rate was too large.
        rate: that would not be.
        optimum: of the training, where it is known.
    """
    given, rate = examination.plan.hyperparameters, in_three_digits(rate)
    way = longest_way(given, given.epochs * _steps_an_epoch(examination))
    if way is not None and examination.preparation.n_classes is None and _unscaled(given):
        place = _known(examination, optimum)
        if place.distance > rate * way:
            said, suggestion = _way_out(examination, place.distance, given.epochs)
            return f"{said}, for steps at {rate:.3g} would be too short for {place.parameter}", suggestion
    return f"try {rate:.3g}", {"learning_rate": rate}


def loss_of_constant(examination: Examination, outputs: NDArray[np.float64]) -> float:
    """Give the train loss of a model for regression whose outputs, (n_targets,), are the same for every sample."""
    loss, train, total = examination.plan.hyperparameters.loss, examination.preparation.train, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for part in slices_of(len(train)):
            sizes = np.abs(train.targets[part] - outputs)
            if loss == "mae":
                losses = sizes
            elif loss == "huber":
                losses = np.where(sizes <= 1, np.square(sizes) / 2, sizes - 0.5)
            else:
                losses = np.square(sizes) / (1 if loss == "mse" else 2)
            weights = np.ones(len(sizes)) if train.weights is None else train.weights[part]
            total += float(losses.mean(axis=1) @ (weights / len(train)))
    return total


def _known(examination: Examination, optimum: Optimum | None) -> Place:
    """Give the best place that is known."""
    return without_features(examination) if optimum is None else _at_optimum(examination, optimum)


def without_features(examination: Examination) -> Place:
    """Take the mean of the targets, or their median where the loss is straight, for outputs; a bias that is frozen."""
    plan, train = examination.plan, examination.preparation.train
    _, bias = list(slices(plan.layout))[-1]
    start = examination.start[bias].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if is_frozen(plan.hyperparameters, names(plan.layout)[-1][1]):
            outputs = start
        elif plan.hyperparameters.loss in ("mae", "huber"):
            outputs = np.array([_median(column, train.weights) for column in train.targets.T])
        else:
            outputs = np.zeros(len(start))
            for part in slices_of(len(train)):
                its = train.targets[part].astype(np.float64)
                outputs += its.sum(axis=0) if train.weights is None else train.weights[part] @ its
            outputs /= len(train)
        distance = float(np.abs(outputs - start).max())
    return Place(loss_of_constant(examination, outputs), "the bias", distance)


def _median(values: NDArray[np.floating], weights: NDArray[np.float64] | None) -> float:
    """Give a value that half of the samples, each counting by its weight, are not above, and half not below."""
    if weights is None:
        return float(np.median(values))
    order = np.argsort(values)
    counted = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(counted, counted[-1] / 2)]])


def _at_optimum(examination: Examination, optimum: Optimum) -> Place:
    ((weight, bias),) = slices(examination.plan.layout)
    away = np.abs(optimum.parameters - examination.start)
    by_weight, by_bias = float(away[weight].max()), float(away[bias].max())
    farthest = ("the bias", by_bias) if by_bias >= by_weight else ("a weight", by_weight)
    return Place(optimum.train_loss, *farthest)


def _steps_an_epoch(examination: Examination) -> int:
    return n_steps_of(examination.plan.hyperparameters, len(examination.preparation.train), 1)


def _unscaled(given: Hyperparameters) -> dict[str, str]:
    """Name the hyperparameters that could bring numbers to a standard deviation of 1 and do not, and the numbers."""
    numbers = {"scale_targets": "the targets", "scale": "the features"}
    return {name: called for name, called in numbers.items() if getattr(given, name) != "standard"}


def _way_out(examination: Examination, distance: float, epochs: int) -> tuple[str, dict[str, Any]]:
    """Scale what is not scaled, and let so many epochs lead far enough; in words and as hyperparameters."""
    given, n_batches = examination.plan.hyperparameters, _steps_an_epoch(examination)
    unscaled = _unscaled(given)
    suggestion: dict[str, Any] = dict.fromkeys(unscaled, "standard")
    said = [f"scale {' and '.join(unscaled.values())}"] if unscaled else []
    if given.scale_targets != "standard":
        suggestion |= stop_in_deviations(given, examination.preparation.train)
    enough = math.ceil(ENOUGH_STEPS / n_batches)
    if given.epochs < enough:
        suggestion["epochs"] = epochs = enough
        said.append(f"train for {epochs} epochs")
    way = longest_way(given, epochs * n_batches)
    assert way is not None
    suggested = examination.advice.suggested
    needed = in_three_digits(min(LARGEST_RATE, (WANTED if unscaled else SLACK * distance) / way))
    if not unscaled or (given.optimizer != "sgd" and needed > suggested):
        suggestion["learning_rate"] = needed
        said.append(f"use the learning rate {needed:.3g}")
    elif given.optimizer == "sgd" or float(given.learning_rate) != suggested:
        suggestion["learning_rate"] = "auto"
    return " and ".join(said), suggestion
