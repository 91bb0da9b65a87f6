"""What a training came to: parameters in original units, metrics on each part of the data, the way to the optimum."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.metrics import finite, penalty, score
from service.outputs import outputs_of
from service.parameters import Parameters, flatten, parameters_as_json, unflatten
from service.ranges import FeatureRanges, learn_ranges
from service.room import rows_at_once, rows_of, slices_of
from service.split import Rows
from service.training.epochs import Learned
from service.training.fit import Training


@dataclass(frozen=True)
class Outcome:
    """What was learned, in original units and in scaled ones (None when they are the same), and what it is worth.

    `ranges` are of the features that it was learned from, in original units.
    """

    parameters: Parameters
    scaled: Parameters | None
    result: dict[str, Any]
    ranges: FeatureRanges


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
    ranges = learn_ranges(training.dataset.features, split.train, training.dataset.schema)
    return Outcome(original, None if scaling is None else layers, result, ranges)


def _metrics(training: Training, parameters: Parameters, rows: Rows | None) -> dict[str, Any]:
    dataset, task = training.dataset, training.plan.task
    targets = dataset.targets if rows is None else rows_of(dataset.targets, rows)
    return score(task, _Outputs(training, parameters, rows), targets, dataset.schema.classes)


class _Outputs:
    """The outputs of a model for some rows of the dataset, all when None, computed when they are asked for."""

    def __init__(self, training: Training, parameters: Parameters, rows: Rows | None) -> None:
        self._features = training.dataset.features
        self._activation = training.plan.hyperparameters.activation
        self._parameters, self._rows = parameters, rows
        n_samples = len(self._features) if rows is None else len(rows)
        self.shape = n_samples, len(parameters[-1].bias)

    def __getitem__(self, part: slice) -> NDArray[np.float64]:
        found = np.empty((part.stop - part.start, self.shape[1]))
        for some in slices_of(len(found), rows_at_once(self._features.shape[1])):
            place = slice(part.start + some.start, part.start + some.stop)
            features = self._features[place if self._rows is None else self._rows[place]]
            found[some] = outputs_of(self._parameters, features, self._activation)
        return found


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
