"""What a training came to: parameters in original units, metrics on each part of the data, the way to the optimum."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.outputs import outputs_of
from service.parameters import Parameters, flatten, parameters_as_json, unflatten
from service.training.epochs import Learned
from service.training.fit import Training
from service.training.metrics import finite, penalty, score

ROWS_AT_ONCE = 2**16


@dataclass(frozen=True)
class Outcome:
    """What was learned, in original units and in scaled ones (None when they are the same), and what it is worth."""

    parameters: Parameters
    scaled: Parameters | None
    result: dict[str, Any]


def outcome_of(training: Training, learned: Learned) -> Outcome:
    """Sum up a training that ended well.

    Losses, objective and optimum are in the units of the descent, metrics in original ones; a number that is not
    finite is None.
    """
    plan, scaling = training.plan, training.examination.preparation.scaling
    layers = unflatten(learned.parameters, plan.layout)
    original = (
        layers if scaling is None else unflatten(scaling.to_original(learned.parameters, plan.layout), plan.layout)
    )
    given = plan.hyperparameters
    objective = learned.train_loss + penalty(layers, given.l2, given.l1)
    split = training.examination.preparation.split
    result = {
        "epoch": learned.epoch,
        "train_loss": learned.train_loss,
        "validation_loss": learned.validation_loss,
        "objective": finite(objective),
        "metrics": {
            "train": _metrics(training, original, split.train),
            "validation": _metrics(training, original, split.validation) if len(split.validation) else None,
            "test": _metrics(training, original, split.test) if len(split.test) else None,
        },
        "optimum": _optimum(training, objective),
    }
    return Outcome(original, None if scaling is None else layers, result)


def _metrics(training: Training, parameters: Parameters, rows: NDArray[np.int64] | None) -> dict[str, Any]:
    dataset, activation = training.dataset, training.plan.hyperparameters.activation
    n = dataset.n_samples if rows is None else len(rows)
    outputs = np.empty((n, training.plan.layout[-1][0]))
    for first in range(0, n, ROWS_AT_ONCE):
        some = slice(first, first + ROWS_AT_ONCE)
        features = dataset.features[some] if rows is None else dataset.features[rows[some]]
        outputs[some] = outputs_of(parameters, features, activation)
    targets = dataset.targets if rows is None else dataset.targets[rows]
    return score(training.plan.task, outputs, targets, dataset.schema.classes)


def _optimum(training: Training, objective: float) -> dict[str, Any] | None:
    optimum, scaling, layout = training.optimum, training.examination.preparation.scaling, training.plan.layout
    if optimum is None or not math.isfinite(optimum.objective):
        return None
    vector = optimum.parameters if scaling is None else scaling.to_original(optimum.parameters, layout)
    if not np.isfinite(vector).all():
        return None
    return {
        "parameters": parameters_as_json(unflatten(vector, layout)),
        "loss": optimum.train_loss,
        "objective": optimum.objective,
        "gap": finite(max(0.0, objective - optimum.objective)),
    }


def trained_vector(parameters: Parameters) -> NDArray[np.float64]:
    """Give the parameters of a trained model as the flat vector that `Training` takes to go on from."""
    return flatten(parameters).astype(np.float64)
