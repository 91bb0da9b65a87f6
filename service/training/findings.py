"""What the data and the learning rate say before the first step: findings, each with evidence and a way out."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset
from service.errors import Finding
from service.parameters import n_parameters
from service.plan import Plan
from service.tasks import TRAITS
from service.training.advice import LearningRateAdvice
from service.training.moments import LEAST_VARIANCE, Moments
from service.training.samples import Preparation

SHOWN_FEATURES = 10
COLLINEAR = 1e-10
"""Least eigenvalue of a correlation matrix, which are 1 on average, that is not put down to rounding."""
BADLY_SCALED = 100.0
"""Scaling is suggested when it betters the limit or the condition number by so much."""


def findings_about_rate(learning_rate: float, advice: LearningRateAdvice) -> list[Finding]:
    """Tell of a learning rate above a limit beyond which descent is known to diverge."""
    if advice.kind != "exact" or advice.limit is None or learning_rate <= advice.limit:
        return []
    detail = (
        f"the learning rate {learning_rate:.3g} is above {advice.limit:.3g}, beyond which descent on this data "
        f"diverges: the loss grows until it overflows; try {advice.suggested:.3g}"
    )
    evidence = {"learning_rate": learning_rate, "limit": advice.limit}
    return [
        Finding("learning_rate_above_limit", detail, evidence, {"learning_rate": in_three_digits(advice.suggested)})
    ]


def findings_about_data(plan: Plan, dataset: Dataset, preparation: Preparation, found: Moments | None) -> list[Finding]:
    """Tell what in the samples makes the training hard or its outcome ambiguous.

    Args:
        plan: with the learning rate as asked for.
        dataset: as given, for names and labels.
        preparation: the samples to train on.
        found: their moments, where they were taken.
    """
    findings = [*_classes(plan, dataset, preparation), *_counts(plan, preparation)]
    varies = preparation.train.varies
    assert varies is not None
    findings += _constant(dataset, ~varies)
    is_finite = found is not None and bool(np.isfinite(found.feature_covariance).all())
    if found is not None and is_finite and dataset.n_features < len(preparation.train):
        findings += _collinear(plan, dataset, found, varies)
    return findings


def _classes(plan: Plan, dataset: Dataset, preparation: Preparation) -> list[Finding]:
    classes = dataset.schema.classes
    if classes is None:
        return []
    counts = np.bincount(preparation.codes, minlength=len(classes))
    missing = [str(label) for label, count in zip(classes, counts, strict=True) if count == 0]
    if not missing:
        return []
    code = "single_class" if len(missing) == len(classes) - 1 else "missing_classes"
    left = "only one class is left to learn" if code == "single_class" else "they cannot be learned"
    detail = f"no training sample is of class {', '.join(missing[:SHOWN_FEATURES])}: {left}"
    given, suggestion = plan.hyperparameters, dict[str, Any]()
    if given.validation_fraction or given.test_fraction:
        detail += "; hold out fewer samples"
        fewer = {"validation_fraction": 0.0, "test_fraction": 0.0}
        suggestion = fewer if given.stratify else {"stratify": True}
    return [Finding(code, detail, {"classes_without_samples": missing[:100]}, suggestion)]


def _counts(plan: Plan, preparation: Preparation) -> list[Finding]:
    n_learning, n_samples = n_parameters(plan.layout), len(preparation.train)
    if n_learning <= n_samples:
        return []
    is_perceptron = TRAITS[plan.task].is_perceptron
    given = plan.hyperparameters
    if (given.validation_fraction or given.test_fraction) if is_perceptron else given.l2:
        return []  # what it brings along is watched there, or held down
    suggestion = {"validation_fraction": 0.2} if is_perceptron else {"l2": 0.01}
    detail = (
        f"the model has {n_learning} parameters and {n_samples} training samples: it can fit them without having "
        f"learned anything; " + ("hold out samples to see" if is_perceptron else "a penalty makes the outcome unique")
    )
    evidence = {"n_parameters": n_learning, "n_samples": n_samples}
    return [Finding("more_parameters_than_samples", detail, evidence, suggestion)]


def _constant(dataset: Dataset, constant: NDArray[np.bool_]) -> list[Finding]:
    names = [name for name, is_constant in zip(dataset.schema.feature_names, constant, strict=True) if is_constant]
    if not names:
        return []
    detail = f"{_listed(names)} do not vary over the training samples, and tell the model nothing: leave them out"
    return [Finding("constant_features", detail, {"features": names[:100]})]


def _collinear(plan: Plan, dataset: Dataset, found: Moments, varies: NDArray[np.bool_]) -> list[Finding]:
    if dataset.n_features < 2 or plan.hyperparameters.l2:
        return []
    varies = varies & (np.diag(found.feature_covariance) >= LEAST_VARIANCE) & ~_implied(dataset, varies)
    if np.count_nonzero(varies) < 2:
        return []
    deviation = found.deviation[varies]
    values, vectors = np.linalg.eigh(found.feature_covariance[np.ix_(varies, varies)] / np.outer(deviation, deviation))
    if values[0] > max(COLLINEAR, 10 * len(values) * found.rounding):
        return []
    names = np.array(dataset.schema.feature_names)[varies]
    involved = [str(name) for name in names[np.abs(vectors[:, 0]) > 0.05]]
    detail = (
        f"{_listed(involved)} are collinear: one is a weighted sum of the others, so many weights are equally good and "
        "which is found depends on the start; leave one out, or use a penalty"
    )
    evidence = {"features": involved[:100], "smallest_eigenvalue": max(0.0, float(values[0]))}
    return [Finding("collinear_features", detail, evidence, {"l2": 0.001})]


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
    unit = 10.0 ** (math.floor(math.log10(rate)) - 2)
    return float(f"{math.floor(rate / unit) * unit:.3g}")


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN_FEATURES
    return ", ".join(names[:SHOWN_FEATURES]) + (f" and {more} more" if more > 0 else "")
