"""Separable classes: a classifier without hidden layers then has no lowest point of its loss."""

import math

import numpy as np
from numpy.typing import NDArray

from service.errors import Finding
from service.outputs import outputs_of
from service.parameters import unflatten
from service.training.epochs import Learned
from service.training.examination import Examination
from service.training.findings import in_three_digits

ROWS_AT_ONCE = 2**14
FAR_ABOVE = 10.0
"""Where no limit is known, a learning rate is too large for a lowest point when it is so many times the suggested."""


def separable_classes(examination: Examination, learned: Learned) -> list[Finding]:
    """Parameters that get every sample right prove that there is no lowest point: twice as large, they are better."""
    given, train = examination.plan.hyperparameters, examination.preparation.train
    is_linear = examination.plan.task in ("logistic_regression", "softmax_regression")
    if not is_linear or given.l2 or given.l1 or given.frozen:
        return []
    layers = unflatten(learned.parameters.astype(np.float64), examination.plan.layout)
    codes = examination.preparation.codes
    smallest = math.inf
    for start in range(0, len(train), ROWS_AT_ONCE):  # most trainings have a wrong sample among the first
        part = slice(start, start + ROWS_AT_ONCE)
        margin = _smallest_margin(outputs_of(layers, train.features[part], given.activation), codes[part])
        if not margin > 0:
            return []
        smallest = min(smallest, margin)
    if len(np.unique(codes)) < 2:
        return []
    penalty = float(f"{1 / len(train):.3g}")
    detail = (
        "the classes are separable: all training samples are right, so the loss has no lowest point and the weights "
        f"grow without bound with the epochs; a penalty such as l2 {penalty:.3g} gives them one"
    )
    evidence = {"smallest_margin": smallest, "weight_norm": float(np.linalg.norm(layers[0].weight))}
    suggestion, advice = {"l2": penalty}, examination.advice
    if float(given.learning_rate) > (FAR_ABOVE * advice.suggested if advice.limit is None else advice.limit):
        # Away from no lowest point a descent goes at any rate; around one it does not stay at a rate too large.
        suggestion["learning_rate"] = in_three_digits(advice.suggested)
    return [Finding("separable_classes", detail, evidence, suggestion)]


def _smallest_margin(outputs: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    """Give by how much the own class is ahead of the others at least; not a number where an output is none."""
    if outputs.shape[1] == 1:
        return float(np.where(codes == 1, outputs[:, 0], -outputs[:, 0]).min())
    own = np.take_along_axis(outputs, codes[:, None], axis=1)[:, 0]
    np.put_along_axis(outputs, codes[:, None], -np.inf, axis=1)
    return float((own - outputs.max(axis=1)).min())
