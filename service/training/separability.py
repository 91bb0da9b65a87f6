"""Separable classes: a classifier without hidden layers then has no lowest point of its loss."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import Finding
from service.outputs import logistic, outputs_of
from service.parameters import Parameters, unflatten
from service.training.epochs import Learned
from service.training.examination import Examination
from service.training.penalty import in_two_digits, means_and_variances, rescaling_among, with_penalty

ROWS_AT_ONCE = 2**14
SHARE_OF_SQUARE = 0.001
"""What l2 · |weight|² is of a squared margin: a sample with that margin ends at a loss below 0.02."""
SHARE_OF_SLOPE = 0.1
"""What it is of the slope at which the loss falls along the parameters: they may grow by some more."""

Array = NDArray[np.float64]


class _Margins(NamedTuple):
    """How far the own class is ahead of the others, at least and on average; how fast the loss falls from there.

    `slope` is minus its derivative by the logarithm of a factor on all parameters.
    """

    smallest: float
    mean: float
    slope: float


def separable_classes(examination: Examination, learned: Learned) -> list[Finding]:
    """Parameters that get every sample right prove that there is no lowest point: twice as large, they are better."""
    given = examination.plan.hyperparameters
    is_linear = examination.plan.task in ("logistic_regression", "softmax_regression")
    if not is_linear or given.l2 or given.l1 or given.frozen:
        return []
    layers = unflatten(learned.parameters.astype(np.float64), examination.plan.layout)
    margins = _margins(examination, layers)
    if margins is None:
        return []
    weight = layers[0].weight
    evidence = {"smallest_margin": margins.smallest, "weight_norm": float(np.linalg.norm(weight))}
    said = (
        "the classes are separable: all training samples are right, so the loss has no lowest point and the weights "
        "grow without bound with the epochs"
    )
    rescaling = rescaling_among(examination.plan.warnings)
    if rescaling:
        weight = weight * np.sqrt(means_and_variances(examination.preparation.train)[1])
    penalty = in_two_digits(_penalty(margins, weight))
    if penalty is None:
        return [Finding("separable_classes", said, evidence)]
    n_samples = len(examination.preparation.train)
    suggestion = with_penalty(examination.plan, n_samples, examination.advice, penalty, rescaling)
    return [
        Finding("separable_classes", f"{said}; a penalty such as l2 {penalty:.3g} gives them one", evidence, suggestion)
    ]


def _penalty(margins: _Margins, weight: Array) -> float:
    """Give a penalty with which the loss has a lowest point that is about as low as what has been learned.

    With less than l2 · |weight|² = slope the objective falls along the parameters still, and at its lowest point the
    loss is by l2 · |weight|² / 2 higher at most. Where the parameters are so large that they have next to no slope,
    smaller ones in the same direction do; where they are so small that they have learned nothing, larger ones.
    """
    of_size = max(
        SHARE_OF_SQUARE * margins.smallest**2,
        min(SHARE_OF_SLOPE * margins.slope, SHARE_OF_SQUARE * margins.mean**2),
    )
    if len(weight) > 1:  # what all classes have in common changes no probability
        weight = weight - weight.mean(axis=0)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return float(np.divide(of_size, np.square(weight).sum()))


def _margins(examination: Examination, layers: Parameters) -> _Margins | None:
    """Measure the margins of the samples that count; None where one is not right, or all are of one class."""
    train, codes = examination.preparation.train, examination.preparation.codes
    smallest, mean, slope, present = math.inf, 0.0, 0.0, set[int]()
    for start in range(0, len(train), ROWS_AT_ONCE):  # most trainings have a wrong sample among the first
        part = slice(start, start + ROWS_AT_ONCE)
        features, its = train.features[part], codes[part]
        weights = np.ones(len(its)) if train.weights is None else train.weights[part]
        if not weights.all():
            counts = weights > 0
            features, its, weights = features[counts], its[counts], weights[counts]
        if not len(its):
            continue
        ahead, slopes = _ahead(outputs_of(layers, features, examination.plan.hyperparameters.activation), its)
        if not ahead.min() > 0:
            return None
        smallest = min(smallest, float(ahead.min()))
        mean += float(weights @ ahead) / len(train)
        slope += float(weights @ slopes) / len(train)
        present |= set(np.unique(its).tolist())
    return _Margins(smallest, mean, slope) if len(present) > 1 else None


def _ahead(outputs: Array, codes: NDArray[np.int64]) -> tuple[Array, Array]:
    """Give each sample's margin, and the slope of its loss; not a number where an output is none."""
    if outputs.shape[1] == 1:
        margins = np.where(codes == 1, outputs[:, 0], -outputs[:, 0])
        return margins, margins * logistic(-margins)
    behind = np.take_along_axis(outputs, codes[:, None], axis=1) - outputs
    probabilities = np.exp(-behind)
    slopes = (probabilities * behind).sum(axis=1) / probabilities.sum(axis=1)
    np.put_along_axis(behind, codes[:, None], np.inf, axis=1)
    return behind.min(axis=1), slopes
