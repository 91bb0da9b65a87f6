"""What a model says of samples, in the words of the wire."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic_core import to_json

from service.api.dependencies import Response
from service.api.long_answers import InSlices, in_slices
from service.data.labels import label_keys
from service.dataset import Label
from service.errors import MAX_FAULTS, Fault, InvalidFeatures, InvalidRequest
from service.parameters import n_parameters
from service.prediction.explanation import Explanation, Method, as_log_odds, explain, work
from service.prediction.forward import Forward, forward
from service.ranges import Unfamiliar, unfamiliar
from service.room import ROWS_AT_ONCE, slices_of
from service.store.models import TrainedModel
from service.tasks import TRAITS

MOST_SHARES = 1_000_000
"""An answer explains at most so many numbers: samples times outputs times features."""
MOST_EXPLAINED_WORK = 2 * 10**12
"""Multiplications that a perceptron is explained with at once, some seconds of work."""

_Array = NDArray[np.float64]
ByName = dict[str, float]


class PredictionWarning(Response):
    """A feature that is beyond what the model was trained on; the prediction is a guess there."""

    code: Literal["outside_training_range"] = Field(description="For machines.", examples=["outside_training_range"])
    detail: str = Field(description="For a person.")
    feature: str = Field(description="Which feature.", examples=["quiz1"])
    sample: int = Field(description="The number, from 0, of the sample that is furthest beyond.")
    value: float | str | None = Field(description="What it is there; null for a category that was missing or unknown.")
    lowest: float | None = Field(description="The lowest value that training saw; null for a category.")
    highest: float | None = Field(description="The highest value that training saw; null for a category.")
    n_samples: int = Field(description="How many samples are beyond.")


class ExplanationResponse(Response):
    """What each feature contributes: `base` and all `contributions` and `residual` sum to `value`.

    One number each for a single target; by target for several, and by label for a classifier.
    """

    value: float | ByName = Field(
        description="What is explained: the prediction, in the target's units; of a classifier the log-odds of each "
        "label, or for more than two labels its logit less the mean of all (their softmax gives the probabilities)."
    )
    base: float | ByName = Field(description="The same at the mean of the training samples.")
    contributions: ByName | dict[str, ByName] = Field(
        description="By feature, as the model takes them: what it adds for not being at its mean.",
        examples=[{"quiz1": -8.93, "quiz2": -2.63, "quiz3": -6.96}],
    )
    residual: float | ByName = Field(description="What is missing from the sum: rounding, or a quadrature's error.")


class Prediction(Response):
    """What the model says of each sample, in the order in which they were given."""

    model: str = Field(description="The model that answered.", examples=["exam-scores"])
    version: int = Field(description="The version that answered.")
    predictions: list[Label | list[float]] = Field(
        description="A number for each sample (a list for several targets), or its most probable label.",
        examples=[[151.23]],
    )
    probabilities: list[dict[str, float]] | None = Field(
        default=None, description="For classification: how probable each label is, for each sample."
    )
    warnings: list[PredictionWarning] | None = Field(
        default=None, description="Features that are beyond what training saw; left out when there are none."
    )
    explained_by: Method | None = Field(
        default=None,
        description="With `explain`: `exact` for linear models, `integrated_gradients` along the straight line from "
        "the mean of the training samples for perceptrons.",
    )
    explanations: list[ExplanationResponse] | None = Field(
        default=None, description="With `explain`: what each feature contributes, for each sample."
    )


def is_large(trained: TrainedModel) -> bool:
    """Tell whether one prediction takes longer than handing it to a thread."""
    return n_parameters(tuple(layer.weight.shape for layer in trained.parameters)) > 100_000


def predict(trained: TrainedModel, features: _Array, *, with_explanations: bool = False) -> bytes:
    """Predict for a few samples, (n, n_features), and write the answer, a `Prediction`, as JSON.

    Raises:
        InvalidFeatures, InvalidRequest: as `prediction` does.
    """
    return to_json(prediction(trained, features, with_explanations=with_explanations))


def prediction(trained: TrainedModel, features: _Array, *, with_explanations: bool = False) -> dict[str, Any]:
    """Predict for samples, (n, n_features), and give the answer, a `Prediction`, as `pieces_of` writes it.

    Raises:
        InvalidFeatures: when a prediction is beyond the largest number; pointers are `/row`.
        InvalidRequest: when there is too much to explain, or the version is too old to be explained.
    """
    found = outcomes(trained, features)
    classes = trained.schema.classes
    answer = {"model": trained.model, "version": trained.version, "predictions": answers_of(trained, found)}
    if classes is not None and found.probabilities is not None:
        keys, table = label_keys(classes), found.probabilities
        answer["probabilities"] = in_slices(
            len(table), lambda some: [dict(zip(keys, row, strict=True)) for row in table[some].tolist()]
        )
    if trained.ranges is not None:
        warnings = unfamiliar(trained.ranges, trained.schema, features)
        if warnings:
            answer["warnings"] = warnings_of(warnings)
    if with_explanations:
        explanation = _explain(trained, features)
        answer["explained_by"] = explanation.method
        answer["explanations"] = _by_sample(trained, explanation)
    return answer


def answers_of(trained: TrainedModel, found: Forward) -> list[Any] | InSlices:
    """Give what is said of each sample: its label, a number, or for several targets a list of them."""
    values, classes = found.values, trained.schema.classes
    return in_slices(len(values), lambda some: Forward(values[some]).answers(classes))


def outcomes(trained: TrainedModel, features: _Array, first: int = 0) -> Forward:
    """Apply a model to samples, the first of which has a number.

    Raises:
        InvalidFeatures: when a prediction is beyond the largest number; pointers are `/row`.
    """
    found = _forward(trained, features)
    if not np.isfinite(found.values).all():
        too_large = np.flatnonzero(~np.isfinite(found.values).all(axis=tuple(range(1, found.values.ndim))))
        detail = "the prediction for this sample is beyond the largest number: its features are too large"
        faults = [Fault(f"/{first + row}", detail) for row in too_large[:MAX_FAULTS]]
        raise InvalidFeatures(faults, len(too_large))
    return found


def _forward(trained: TrainedModel, features: _Array) -> Forward:
    """Apply a model some rows at a time: what is in between would take several times their memory."""

    def of_some(some: slice) -> Forward:
        return forward(trained.task, trained.parameters, features[some], trained.activation)

    found = of_some(slice(ROWS_AT_ONCE))
    if len(features) <= ROWS_AT_ONCE:
        return found
    arrays = [None if one is None else np.empty((len(features), *one.shape[1:])) for one in vars(found).values()]
    for some in slices_of(len(features)):
        for array, one in zip(arrays, vars(of_some(some)).values(), strict=True):
            if array is not None:
                array[some] = one
    values, probabilities = arrays
    assert values is not None
    return Forward(values, probabilities)


def warnings_of(found: Sequence[Unfamiliar]) -> list[dict[str, Any]]:
    """Put what is beyond what training saw into the words of the wire."""
    return [{"code": "outside_training_range", "detail": one.detail, **vars(one)} for one in found]


def _explain(trained: TrainedModel, features: _Array) -> Explanation:
    if trained.ranges is None:
        what = f"{trained.model}@{trained.version} has no means of its features, which explanations need"
        ways = (
            "if it was imported, import it with `ranges`; if it was trained here, before they were kept, train it again"
        )
        raise InvalidRequest([Fault("/explain", f"{what}: {ways}")])
    parameters = as_log_odds(trained.parameters) if TRAITS[trained.task].classifies else trained.parameters
    n_numbers = features.size * len(parameters[-1].bias)
    if n_numbers > MOST_SHARES:
        what = f"{len(features)} samples of {features.shape[1]} features would have {n_numbers} contributions"
        raise InvalidRequest([Fault("/explain", f"{what}, and {MOST_SHARES} is the limit: give fewer samples")])
    of_each = work(parameters, trained.activation)
    most = MOST_EXPLAINED_WORK // of_each
    if len(parameters) > 1 and len(features) > most:
        detail = f"of this perceptron {most} samples can be explained at once, not {len(features)}: give fewer samples"
        if not most:
            counts = f"takes some {of_each:.0e} multiplications, and {MOST_EXPLAINED_WORK:.0e} is the limit"
            detail = f"to explain a sample of this perceptron {counts}: train one of fewer hidden units"
        raise InvalidRequest([Fault("/explain", detail)])
    return explain(parameters, features, trained.ranges.mean, trained.activation)


def _by_sample(trained: TrainedModel, found: Explanation) -> list[dict[str, Any]]:
    schema = trained.schema
    shares = found.shares
    if schema.encoding is not None:
        sizes = [len(column.feature_names) for column in schema.encoding]
        shares = np.add.reduceat(shares, np.cumsum([0, *sizes[:-1]]), axis=2)
    classes = schema.classes
    names = schema.target_names if classes is None else label_keys(classes)
    signs: Sequence[float] = [1.0] * len(names)
    if classes is not None and len(classes) == 2:
        signs = [-1.0, 1.0]  # one output is the log-odds of the second class
    rows = zip(found.outputs, shares, found.residual, strict=True)
    explained = [
        [_explained(schema.input_names, sign, *parts) for sign, *parts in _outputs(signs, found.base, *row)]
        for row in rows
    ]
    if classes is None and len(names) == 1:
        return [only for (only,) in explained]
    return [_by_name(names, each) for each in explained]


def _outputs(signs: Sequence[float], base: _Array, outputs: _Array, shares: _Array, residual: _Array) -> Any:
    """Give the parts of each output; the only one of two classes twice."""
    for number, sign in enumerate(signs):
        place = min(number, len(outputs) - 1)
        yield sign, outputs[place], base[place], shares[place], residual[place]


def _explained(
    names: Sequence[str], sign: float, value: float, base: float, shares: _Array, residual: float
) -> dict[str, Any]:
    return {
        "value": sign * value,
        "base": sign * base,
        "contributions": dict(zip(names, (sign * shares + 0.0).tolist(), strict=True)),
        "residual": sign * residual + 0.0,
    }


def _by_name(names: Sequence[str], each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {part: {name: one[part] for name, one in zip(names, each, strict=True)} for part in each[0]}
