"""What the data and the learning rate say before the first step: findings, each with evidence and a way out."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset
from service.errors import Finding
from service.parameters import n_parameters, names
from service.plan import Plan
from service.rules import frozen_mask, is_frozen
from service.tasks import TRAITS
from service.training.advice import LearningRateAdvice
from service.training.digits import rounded_down
from service.training.moments import LEAST_VARIANCE, Moments
from service.training.penalty import penalty_for, with_penalty
from service.training.samples import Preparation

SHOWN_FEATURES = 10
COLLINEAR = 1e-10
"""Least eigenvalue of a correlation matrix, which are 1 on average, that is not put down to rounding."""


def findings_about_rate(learning_rate: float, advice: LearningRateAdvice) -> list[Finding]:
    """Tell of a learning rate above a limit beyond which descent is known to diverge."""
    if advice.kind != "exact" or advice.limit is None or learning_rate <= advice.limit:
        return []
    suggested = in_three_digits(advice.suggested)
    detail = (
        f"the learning rate {learning_rate:.3g} is above {advice.limit:.3g}, beyond which descent on this data "
        f"diverges: the loss grows until it overflows; try {suggested:.3g}"
    )
    evidence = {"learning_rate": learning_rate, "limit": advice.limit}
    return [Finding("learning_rate_above_limit", detail, evidence, {"learning_rate": suggested})]


def findings_about_data(
    plan: Plan,
    dataset: Dataset,
    preparation: Preparation,
    found: Moments | None,
    advice: LearningRateAdvice,
    rescaling: dict[str, Any],
) -> list[Finding]:
    """Tell what in the samples makes the training hard or its outcome ambiguous.

    Args:
        plan: with the learning rate as asked for.
        dataset: as given, for names and labels.
        preparation: the samples to train on.
        found: their moments, where they were taken.
        advice: on the learning rate.
        rescaling: the suggestion to standardise the features, where there is one: penalties are for what it makes.
    """
    findings = _classes(plan, dataset, preparation)

    def penalised() -> dict[str, Any]:
        train = preparation.train
        penalty = penalty_for(plan, train, found, is_rescaled=bool(rescaling))
        return {} if penalty is None else with_penalty(plan, len(train), advice, penalty, rescaling)

    findings += _counts(plan, dataset, preparation, penalised)
    varies = preparation.train.varies
    assert varies is not None
    findings += _constant(plan, dataset, preparation, ~varies)
    is_finite = found is not None and bool(np.isfinite(found.feature_covariance).all())
    if found is not None and is_finite and dataset.n_features < len(preparation.train):
        findings += _collinear(plan, dataset, found, varies, penalised)
    return findings


def _classes(plan: Plan, dataset: Dataset, preparation: Preparation) -> list[Finding]:
    classes = dataset.schema.classes
    if classes is None:
        return []
    counts = np.bincount(preparation.codes, minlength=len(classes))
    counted = np.bincount(preparation.codes, preparation.train.weights, minlength=len(classes))
    missing = counted == 0
    if not missing.any():
        return []
    labels = [str(label) for label, is_missing in zip(classes, missing, strict=True) if is_missing]
    code = "single_class" if len(labels) == len(classes) - 1 else "missing_classes"
    left = "only one class is left to learn" if code == "single_class" else "they cannot be learned"
    weightless = bool(counts[missing].any())
    which = "training sample of a weight above 0" if weightless else "training sample"
    detail = f"no {which} is of class {', '.join(labels[:SHOWN_FEATURES])}: {left}"
    given, suggestion = plan.hyperparameters, dict[str, Any]()
    is_held_out = dataset.parts is None and (given.validation_fraction or given.test_fraction)
    everywhere = np.bincount(dataset.targets[:, 0].astype(np.int64), dataset.sample_weight, minlength=len(classes))
    if is_held_out and everywhere[missing].any():
        detail += "; hold out fewer samples"
        fewer = {"validation_fraction": 0.0, "test_fraction": 0.0}
        suggestion = fewer if given.stratify or weightless else {"stratify": True}
    return [Finding(code, detail, {"classes_without_samples": labels[:100]}, suggestion)]


def _counts(
    plan: Plan, dataset: Dataset, preparation: Preparation, penalised: Callable[[], dict[str, Any]]
) -> list[Finding]:
    frozen = frozen_mask(plan.hyperparameters, plan.layout)
    n_learning = n_parameters(plan.layout) if frozen is None else int(np.count_nonzero(~frozen))
    n_samples = len(preparation.train)
    if n_learning <= n_samples:
        return []
    is_perceptron = TRAITS[plan.task].is_perceptron
    is_watched = preparation.validation is not None or len(preparation.split.test) > 0
    if is_watched if is_perceptron else plan.hyperparameters.l2:
        return []  # what it brings along is watched there, or held down
    if is_perceptron:
        suggestion: dict[str, Any] = {"validation_fraction": 0.2} if dataset.parts is None else {}
    else:
        suggestion = penalised()
    detail = (
        f"the model has {n_learning} parameters and {n_samples} training samples: it can fit them without having "
        f"learned anything; " + ("hold out samples to see" if is_perceptron else "a penalty makes the outcome unique")
    )
    evidence = {"n_parameters": n_learning, "n_samples": n_samples}
    return [Finding("more_parameters_than_samples", detail, evidence, suggestion)]


def _constant(plan: Plan, dataset: Dataset, preparation: Preparation, constant: NDArray[np.bool_]) -> list[Finding]:
    """Tell of features that do not vary; centred, they are 0, and none of their weights is ever moved."""
    given, rows = plan.hyperparameters, preparation.split.train
    values = dataset.features[0 if rows is None else rows[0]].astype(np.float64)
    first_bias = names(plan.layout)[0][1]
    has_bias = not is_frozen(given, first_bias)
    if not has_bias:  # one of them is as good as a bias
        constant = constant.copy()
        constant[np.flatnonzero(constant & (values != 0))[:1]] = False
    its = np.flatnonzero(constant)
    if not len(its):
        return []
    called = [dataset.schema.feature_names[number] for number in its]
    detail = f"{_listed(called)} do not vary over the training samples, and tell the model nothing: leave them out"
    suggestion: dict[str, Any] = {}
    if given.scale == "none" and has_bias:
        suggestion["scale"] = "center"
        detail += ", or centre the features, which makes them 0"
        is_kept = given.learning_rate == "auto" or given.optimizer != "sgd" or preparation.train.weights is None
        if not is_kept:  # the mean that is taken away is that of all samples alike: those that count may get larger
            suggestion["learning_rate"] = "auto"
    evidence = {"features": called[:100], "values": values[its[:100]].tolist()}
    return [Finding("constant_features", detail, evidence, suggestion)]


def _collinear(
    plan: Plan,
    dataset: Dataset,
    found: Moments,
    varies: NDArray[np.bool_],
    penalised: Callable[[], dict[str, Any]],
) -> list[Finding]:
    if dataset.n_features < 2 or plan.hyperparameters.l2 or is_frozen(plan.hyperparameters, "weight"):
        return []
    varies = varies & (np.diag(found.feature_covariance) >= LEAST_VARIANCE) & ~_implied(dataset, varies)
    if np.count_nonzero(varies) < 2:
        return []
    deviation = found.deviation[varies]
    values, vectors = np.linalg.eigh(found.feature_covariance[np.ix_(varies, varies)] / np.outer(deviation, deviation))
    if values[0] > max(COLLINEAR, 10 * len(values) * found.rounding):
        return []
    names_of_varying = np.array(dataset.schema.feature_names)[varies]
    involved = [str(name) for name in names_of_varying[np.abs(vectors[:, 0]) > 0.05]]
    detail = (
        f"{_listed(involved)} are collinear: one is a weighted sum of the others, so many weights are equally good and "
        "which is found depends on the start; leave one out, or use a penalty"
    )
    evidence = {"features": involved[:100], "smallest_eigenvalue": max(0.0, float(values[0]))}
    return [Finding("collinear_features", detail, evidence, penalised())]


def _implied(dataset: Dataset, varies: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark one varying feature of each category: those of a column always add up to 1, which is as it should be."""
    implied, first = np.zeros(len(varies), dtype=bool), 0
    for column in dataset.schema.encoding or ():
        last = first + len(column.feature_names)
        if column.kind == "category" and varies[first:last].any():
            implied[first + int(varies[first:last].argmax())] = True
        first = last
    return implied


def in_three_digits(rate: float) -> float:
    """Round a learning rate down to three digits, so that people can read it and it keeps below what it keeps below."""
    return rounded_down(rate, 3)


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN_FEATURES
    return ", ".join(names[:SHOWN_FEATURES]) + (f" and {more} more" if more > 0 else "")
