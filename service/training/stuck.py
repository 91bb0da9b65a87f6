"""Perceptrons that ended no better than a constant prediction, on data whose features tell more than that."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import Finding
from service.outputs import activate, affine
from service.parameters import unflatten
from service.tasks import TRAITS
from service.training.diagnosis import MANY_RISES
from service.training.epochs import Learned
from service.training.estimate import all_scaled, is_unscaled, slower, what_is_scaled
from service.training.examination import Examination
from service.training.reach import ENOUGH_STEPS, STEADY, without_features
from service.training.trend import Trend
from service.training.way import n_steps_of

NO_BETTER = 0.95
"""Share of the loss of a constant prediction, from which on a perceptron has learned next to nothing."""
TELLING = 0.1
"""Share of the targets' variance that a linear model must explain, beyond what it would of noise, to be better."""
SURE = 5.0
"""By how many standard deviations what it explains must exceed what it would of noise."""
MEASURED_ROWS = 2000
MOVING = 0.02
"""Share of the loss of a constant prediction by which a loss that does not lie still moves in the second half."""
LARGE = 2.0
"""A learning rate is too large when it is so many times the limit estimated at the start, and nothing was learned."""
LARGE_FOR_OTHERS = 10.0
"""The same, times the suggested one, where there is no limit; one that is smaller by this is too small instead."""
DEEP = 3
"""From so many hidden layers on, sgd stayed on plateaus of real data, scaled or not, where adam with relu did not."""
STILL = 1e-3
"""A unit whose outputs deviate by less than this share of their size gives the same for every sample."""
ADAM_RATE = 0.01


def no_better_than_constant(examination: Examination, trend: Trend, learned: Learned) -> list[Finding]:
    """Tell of a perceptron that learned no more than a constant, where a linear model would have.

    Either its learning rate is far too large, or it lies on a plateau: units give the same for every sample.
    """
    plan, advice = examination.plan, examination.advice
    given = plan.hyperparameters
    if not TRAITS[plan.task].is_perceptron or trend.n_steps < 2 or given.l1 or given.l2:
        return []
    constant = _loss_of_best_constant(examination)
    is_small = float(given.learning_rate) * LARGE_FOR_OTHERS < advice.suggested
    if not learned.train_loss > NO_BETTER * constant or is_small:
        return []
    explained = explained_by_features(examination)
    if explained is None:
        return []
    assert trend.first is not None
    rate, limit, rises = float(given.learning_rate), advice.limit, trend.share_of_rises
    evidence = {"first_loss": float(trend.first.train_loss[0]), "last_loss": learned.train_loss}
    evidence |= {"loss_without_features": constant, "explained_by_linear_model": explained, "share_of_rises": rises}
    said = (
        f"the loss ended at {learned.train_loss:.4g}, where a constant prediction has {constant:.4g}, though a linear "
        f"model of the features explains {explained:.0%} of the targets' variance"
    )
    seen, still = _still_units(examination, learned)
    evidence |= {"learning_rate": rate, "suggested": advice.suggested, "share_of_still_units": still}
    evidence |= {} if limit is None else {"limit": limit}
    if rate > (LARGE_FOR_OTHERS * advice.suggested if limit is None else LARGE * limit):
        known = f"is {rate / advice.suggested:.3g} times the {advice.suggested:.3g} that is suggested"
        if limit is not None:
            known = f"is {rate / limit:.3g} times the {limit:.3g} up to which descent is estimated to be stable"
        way_out, suggestion = slower(plan.task, given, examination.preparation.train, advice)
        detail = f"{said}: the learning rate {rate:.3g} {known}{seen}; {way_out}"
        return [Finding("learning_rate_too_large", detail, evidence, suggestion)]
    if _is_falling(trend, constant):
        return _too_slow(examination, said, evidence)
    way_out, suggestion = _off_the_plateau(examination)
    if rises >= MANY_RISES and _is_restless(trend, constant):
        said += f": it rose in {rises:.0%} of the epochs, for steps too long for some parameters"
        return [Finding("oscillation", f"{said}{seen}; {way_out}", evidence, suggestion)]
    return [Finding("plateau", f"{said}: it lies on a plateau{seen}; {way_out}", evidence, suggestion)]


def _too_slow(examination: Examination, said: str, evidence: dict[str, Any]) -> list[Finding]:
    """Tell of a loss that fell to the end, and too slowly because of scales."""
    plan, train = examination.plan, examination.preparation.train
    given = plan.hyperparameters
    is_target_unscaled = examination.preparation.n_classes is None and given.scale_targets != "standard"
    n_steps = n_steps_of(given, len(train), given.epochs)
    if n_steps < ENOUGH_STEPS or not (is_target_unscaled or is_unscaled(given, train)):
        return []
    suggestion = all_scaled(plan.task, given, train, examination.advice)
    detail = f"{said}: it fell to the end, and {n_steps} steps are too few for it; scale {what_is_scaled(suggestion)}"
    return [Finding("steps_too_short", detail, evidence | {"n_steps": n_steps}, suggestion)]


def _is_falling(trend: Trend, constant: float) -> bool:
    """Tell whether the loss was still on its way to that of a constant prediction, so that more steps would lead on."""
    epochs, losses = trend.curve
    half, fall = float(np.interp(epochs[-1] / 2, epochs, losses)), float(losses[0] - losses[-1])
    return half - float(losses[-1]) > STEADY * fall > STEADY * (1 - NO_BETTER) * constant


def _is_restless(trend: Trend, constant: float) -> bool:
    """Tell whether the loss still moved in the second half, by more than rounding."""
    _, losses = trend.curve
    late = losses[len(losses) // 2 :]
    return float(late.max() - late.min()) > MOVING * constant


def explained_by_features(examination: Examination) -> float | None:
    """Give the share of the targets' variance that a linear model explains, of some samples.

    Returns:
        None where it is not clearly more than it would explain of noise.
    """
    preparation = examination.preparation
    train = preparation.train
    rows = np.linspace(0, len(train) - 1, min(len(train), MEASURED_ROWS)).astype(np.int64)
    features, targets = (np.asarray(table[rows], dtype=np.float64) for table in (train.features, train.targets))
    if preparation.n_classes is not None:
        targets = np.eye(preparation.n_classes)[targets[:, 0].astype(np.int64)]
    weights = np.ones(len(rows)) if train.weights is None else np.asarray(train.weights[rows], dtype=np.float64)
    n_weighing = int(np.count_nonzero(weights))
    if not n_weighing or not np.isfinite(features).all():
        return None
    features, targets = _standardised(features, weights), _standardised(targets, weights)
    n_features, n_free = int(features.any(axis=0).sum()), n_weighing - 1
    if not targets.any() or n_free <= 2 * n_features:
        return None
    root = np.sqrt(weights)[:, None]
    residuals = root * targets - root * features @ np.linalg.lstsq(root * features, root * targets, rcond=None)[0]
    share = 1 - float(np.square(residuals).sum() / np.square(root * targets).sum())
    # Of noise it is n_features / n_free on average, and varies by about √(2 n_features) / n_free.
    least = n_features / n_free + max(TELLING, SURE * np.sqrt(2 * n_features) / n_free)
    return share if share > least else None


def _standardised(numbers: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring columns to mean 0 and standard deviation 1; those that do not vary to 0."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        unit = np.abs(numbers).max(axis=0)
        numbers = numbers / np.where(unit > 0, unit, 1.0)
        moved = numbers - np.average(numbers, axis=0, weights=weights)
        deviation = np.sqrt(np.average(np.square(moved), axis=0, weights=weights))
        return np.where(deviation > 1e-9, moved / np.where(deviation > 0, deviation, 1.0), 0.0)


def _loss_of_best_constant(examination: Examination) -> float:
    """Give the train loss of the best outputs that are the same for every sample."""
    preparation = examination.preparation
    if preparation.n_classes is None:
        return without_features(examination).train_loss
    shares = np.bincount(preparation.codes, preparation.train.weights, preparation.n_classes) / len(preparation.train)
    shares = shares[shares > 0]
    return float(-(shares @ np.log(shares)))


def _still_units(examination: Examination, learned: Learned) -> tuple[str, float]:
    """Tell how many of the hidden units give the same for every sample, in words and as a share."""
    plan, train = examination.plan, examination.preparation.train
    given = plan.hyperparameters
    rows = np.linspace(0, len(train) - 1, min(len(train), MEASURED_ROWS)).astype(np.int64)
    values = np.asarray(train.features[rows], dtype=np.float64)
    n_still, n_units, n_dead = 0, 0, 0
    with np.errstate(over="ignore", invalid="ignore"):
        for layer in unflatten(learned.parameters.astype(np.float64), plan.layout)[:-1]:
            values = activate(affine(values, layer), given.activation)
            size = np.abs(values).max(axis=0)
            is_still = ~(values.std(axis=0) > STILL * size)
            n_still, n_units = n_still + int(is_still.sum()), n_units + len(size)
            n_dead += int((size == 0).sum())
    if 2 * n_still < n_units:
        return "", n_still / n_units
    dead = f", {n_dead} of them nothing at all (dead units)" if n_dead else ""
    return f", and {n_still} of {n_units} hidden units give the same for every sample{dead}", n_still / n_units


def _off_the_plateau(examination: Examination) -> tuple[str, dict[str, Any]]:
    """Give what has led off such plateaus: scaled features, or with many layers relu and adam."""
    plan, train = examination.plan, examination.preparation.train
    given = plan.hyperparameters
    assert given.hidden_layers is not None
    is_deep = len(given.hidden_layers) >= DEEP
    if is_unscaled(given, train) and not is_deep:
        suggestion = all_scaled(plan.task, given, train, examination.advice)
        return f"scale {what_is_scaled(suggestion)}", suggestion
    plain = {"momentum": 0.0, "nesterov": False, "dampening": 0.0}
    changed: dict[str, Any] = {name: value for name, value in plain.items() if getattr(given, name) != value}
    changed |= {"optimizer": "adam", "learning_rate": ADAM_RATE, "activation": "relu"}
    suggestion = changed | all_scaled(plan.task, given.model_copy(update=changed), train, examination.advice)
    said = f"scale {what_is_scaled(suggestion)}, and use " if "scale" in suggestion else "use "
    return f"{said}relu, and adam at {suggestion['learning_rate']:.3g}, or fewer layers", suggestion
