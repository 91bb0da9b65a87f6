"""GET and POST /predict: what a model says."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray
from pydantic import BaseModel, Field, StringConstraints, WithJsonSchema

from service.api.dependencies import Response
from service.api.model_cache import TheModels
from service.api.problems import describe
from service.api.rows import SCALAR, Rows
from service.data.encoder import encode_listed_texts, encode_named_texts, encode_records, encode_rows
from service.data.labels import label_keys
from service.dataset import Label
from service.errors import Fault, InvalidFeatures, InvalidRequest
from service.hyperparameters import FROZEN_VALUES
from service.prediction.forward import predict
from service.store.models import TrainedModel

router = APIRouter(tags=["predict"])

RESERVED = ("model", "features")
"""Query parameters of GET /predict that are no features; a feature of such a name goes by position, or by POST."""

ModelReference = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
]
_REFERENCE = (
    "`NAME` or `NAME@latest` for the newest version, `NAME@3` for the third, `NAME@ALIAS` for the one so named."
)


class PredictRequest(BaseModel):
    """Samples to predict for, as rows or as records."""

    model_config = FROZEN_VALUES

    model: ModelReference = Field(description=_REFERENCE, examples=["exam-scores"])
    features: Rows | None = Field(
        default=None,
        description="A row for each sample, in the order of the columns that the model takes: numbers, or where its "
        "columns are encoded the raw values, null for a missing one.",
        examples=[[[73, 80, 75]]],
    )
    records: Annotated[
        list[dict[str, Any]] | None,
        WithJsonSchema({"type": "array", "items": {"type": "object", "additionalProperties": SCALAR}}),
    ] = Field(default=None, description="An object for each sample, with the raw values by the columns' names.")


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


@router.get(
    "/predict",
    response_model_exclude_none=True,
    response_description="The prediction.",
    responses=describe(404),
    openapi_extra={
        "parameters": [
            {
                "name": "quiz1",
                "in": "query",
                "required": False,
                "schema": SCALAR,
                "description": "Each feature by its name: `&quiz1=73&quiz2=80&quiz3=75`. Required unless `features` is "
                "given; which names a model takes, GET /models/{name} tells. Where columns are encoded it is the raw "
                "value: `&kind=red`, `&new=true`, `&sold=2026-01-31`, and `&area=` for a missing one.",
                "example": 73,
            }
        ]
    },
)
def predict_one(
    request: Request,
    cache: TheModels,
    model: Annotated[ModelReference, Query(description=_REFERENCE, examples=["exam-scores"])],
    features: Annotated[
        str | None, Query(description="Values with commas between, in the order of the model's features: `73,80,75`.")
    ] = None,
) -> Prediction:
    """Predict for one sample: features by name (`&quiz1=73&kind=red`) or by position (`&features=73,red`).

    A feature that is itself called `model` or `features` goes by position, or by POST.
    """
    trained = cache.find(model)
    pairs = request.query_params.multi_items()
    names = [name for name, _ in pairs]
    repeated = [name for name in RESERVED if names.count(name) > 1]
    if repeated:
        raise InvalidRequest([Fault(f"/query/{name}", f"{name!r} is given twice: give it once") for name in repeated])
    named = [(name, value) for name, value in pairs if name not in RESERVED]
    if features is not None and named:
        detail = (
            f"features are given by position and by name ({named[0][0]!r}): give them one way; a feature that is "
            "itself called 'features' goes by position, or by POST"
        )
        raise InvalidRequest([Fault("/query/features", detail)])
    try:
        if features is not None:
            return _predict(trained, encode_listed_texts(trained.schema, features))
        return _predict(trained, encode_named_texts(trained.schema, named))
    except InvalidFeatures as invalid:
        raise InvalidFeatures([Fault(f"/query{fault.pointer}", fault.detail) for fault in invalid.faults]) from None


@router.post(
    "/predict",
    response_model_exclude_none=True,
    response_description="The predictions.",
    responses=describe(404, 413, 415),
)
def predict_many(cache: TheModels, body: PredictRequest) -> Prediction:
    """Predict for any number of samples, given as rows (`features`) or as `records`."""
    if (body.features is None) == (body.records is None):
        raise InvalidRequest([Fault("", "give either features or records")])
    trained = cache.find(body.model)
    where = "features" if body.records is None else "records"
    try:
        if body.features is not None:
            is_plain = trained.schema.encoding is None
            rows = body.features.numbers("features") if is_plain else body.features.given
            return _predict(trained, encode_rows(trained.schema, rows))
        return _predict(trained, encode_records(trained.schema, body.records or []))
    except InvalidFeatures as invalid:
        raise InvalidFeatures([Fault(f"/{where}{fault.pointer}", fault.detail) for fault in invalid.faults]) from None


def _predict(trained: TrainedModel, features: NDArray[np.float64]) -> Prediction:
    found = predict(trained.task, trained.parameters, features, trained.activation)
    classes, probabilities = trained.schema.classes, None
    if classes is not None and found.probabilities is not None:
        keys = label_keys(classes)
        probabilities = [dict(zip(keys, row, strict=True)) for row in found.probabilities.tolist()]
    return Prediction(
        model=trained.model,
        version=trained.version,
        predictions=found.answers(classes),
        probabilities=probabilities,
    )
