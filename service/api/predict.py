"""GET and POST /predict: what a model says."""

from typing import Annotated, Any
from urllib.parse import parse_qsl

import numpy as np
from fastapi import APIRouter, Request
from fastapi import Response as HttpResponse
from numpy.typing import NDArray
from pydantic import BaseModel, Field, WithJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from service import __version__
from service.api.access import needs
from service.api.bodies import query_parameters
from service.api.dependencies import TheDatabase, check_query, database_of
from service.api.long_answers import answer_json
from service.api.long_lists import MayBeLong
from service.api.model_cache import ModelCache
from service.api.predicting import Prediction, is_large, predict, prediction
from service.api.problems import describe
from service.api.references import MEANING, MOST_CHARACTERS, Reference
from service.api.routes import LateRoute
from service.api.rows import SCALAR, Rows
from service.api.upload_options import SamplesOptions
from service.data.columnar import encode_columns
from service.data.encoder import encode_listed_texts, encode_named_texts, encode_records, encode_rows
from service.data.json_numbers import Records
from service.dataset import Schema
from service.errors import Fault, InvalidFeatures, InvalidRequest
from service.files import MEDIA_TYPES
from service.hyperparameters import FROZEN_VALUES
from service.store.aliases import is_number
from service.store.models import TrainedModel

router = APIRouter(tags=["predict"], route_class=LateRoute)
rows = APIRouter(tags=["predict"], route_class=LateRoute)
"""Of bodies in JSON; beside them there are files, of the same path."""

RESERVED = ("model", "features", "explain")
"""Query parameters of GET /predict that are no features; a feature of such a name goes by position, or by POST."""

_EXPLAIN = "Whether to tell what each feature contributes."
_FOR_EVER = "private, max-age=31536000, immutable"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
JSON, CSV, JSON_LINES, ARROW = "application/json", "text/csv", "application/jsonl", "application/vnd.apache.arrow.file"
ANSWERS = (JSON, CSV, JSON_LINES, ARROW)
"""The media types of answers to files; the first is for those who do not mind."""
N_WARNINGS = "Prediction-Warnings"
"""The header that tells how many warnings there are, for which there is no place in a table."""
ANSWERED_BY = "Prediction-Model"
"""The header that tells which version has answered, for the same reason."""
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_FOR_FILES: dict[str, Any] = {
    "parameters": query_parameters(SamplesOptions),
    "requestBody": {"content": dict.fromkeys(MEDIA_TYPES, _BYTES)},
}
_FILE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": dict.fromkeys(ANSWERS[1:], _BYTES),
        "headers": {
            N_WARNINGS: {
                "schema": {"type": "integer"},
                "description": "Only for a file: of how many features there is a warning; JSON tells which.",
                "example": 0,
            },
            ANSWERED_BY: {
                "schema": {"type": "string"},
                "description": "Only for a file: which version has answered.",
                "example": "exam-scores@1",
            },
        },
    }
}
QUERY: list[dict[str, Any]] = [
    {
        "name": "model",
        "in": "query",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS},
        "description": MEANING,
        "example": "exam-scores",
    },
    {
        "name": "features",
        "in": "query",
        "required": False,
        "schema": {"type": "string"},
        "description": "Values with commas between, in the order of the model's features: `73,80,75`.",
        "example": "73,80,75",
    },
    {
        "name": "explain",
        "in": "query",
        "required": False,
        "schema": {"type": "boolean", "default": False},
        "description": _EXPLAIN,
    },
    {
        "name": "if-none-match",
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "description": "The `ETag` of an earlier answer.",
    },
    {
        "name": "quiz1",
        "in": "query",
        "required": False,
        "schema": SCALAR,
        "description": "Each feature by its name: `&quiz1=73&quiz2=80&quiz3=75`. Required unless `features` is "
        "given; which names a model takes, GET /models/{name} tells. Where columns are encoded it is the raw "
        "value: `&kind=red`, `&new=true`, `&sold=2026-01-31`, and `&area=` for a missing one.",
        "example": 73,
    },
]


class PredictRequest(BaseModel):
    """Samples to predict for, as rows or as records."""

    model_config = FROZEN_VALUES

    model: Reference = Field(description=MEANING, examples=["exam-scores"])
    features: Rows | None = Field(
        default=None,
        description="A row for each sample, in the order of the columns that the model takes, or a flat list for a "
        "single one: numbers, or where columns are encoded the raw values, null for a missing one.",
        examples=[[[73, 80, 75]]],
    )
    records: (
        Annotated[
            list[dict[str, Any]],
            MayBeLong((Records,)),
            WithJsonSchema({"type": "array", "items": {"type": "object", "additionalProperties": SCALAR}}),
        ]
        | None
    ) = Field(default=None, description="An object for each sample, with the raw values by the columns' names.")
    columns: (
        Annotated[
            dict[str, Annotated[list[Any], MayBeLong()]],
            WithJsonSchema({"type": "object", "additionalProperties": {"type": "array", "items": SCALAR}}),
        ]
        | None
    ) = Field(default=None, description="A list of raw values for each column, all equally long.")
    explain: bool = Field(default=False, description=_EXPLAIN, examples=[True])


@router.get(
    "/predict",
    response_model=Prediction,
    response_description="The prediction.",
    responses={
        200: {
            "headers": {
                "ETag": {
                    "schema": {"type": "string"},
                    "description": "Only for a version that is named by its number, `NAME@3`: it answers the same for "
                    "ever, and the answer may be kept.",
                    "example": '"0.1.0-exam-scores@1"',
                }
            }
        },
        304: {"description": "With If-None-Match: the version answers what it answered."},
        **describe(404),
    },
    openapi_extra={"parameters": QUERY},
)
async def predict_one(request: Request) -> HttpResponse:
    """Predict for one sample: features by name (`&quiz1=73&kind=red`) or by position (`&features=73,red`).

    A feature that is itself called `model`, `features` or `explain` goes by position, or by POST.
    """
    # The query is read here, for FastAPI's way with parameters takes longer than a prediction.
    query = Query(request.scope["query_string"])
    cache: ModelCache = request.app.state.models
    trained = await cache.find(database_of(request), query.model)
    if query.explain or is_large(trained):
        return await run_in_threadpool(answer_for_one, query, trained, request.headers)
    return answer_for_one(query, trained, request.headers)


def answer_for_one(query: "Query", trained: TrainedModel, headers: Headers) -> HttpResponse:
    """Predict for the sample of a query.

    Raises:
        InvalidRequest: when there is something wrong with its features.
    """
    try:
        content = predict(trained, query.sample(trained.schema), with_explanations=query.explain)
    except InvalidRequest as invalid:
        raise invalid.moved(lambda pointer: f"/query{pointer}") from None
    if not is_number(query.model.partition("@")[2]):
        return HttpResponse(content, media_type=JSON)
    tag = f'"{__version__}-{trained.model}@{trained.version}"'
    for_ever = {"ETag": tag, "Cache-Control": _FOR_EVER}
    known = headers.get("if-none-match", "")
    if known.strip() == "*" or tag in known:
        return HttpResponse(status_code=304, headers=for_ever)
    return HttpResponse(content, media_type=JSON, headers=for_ever)


class Query:
    """What a query asks for: `model` and `explain` as it has them, and a sample.

    Raises:
        InvalidRequest: when it names no model, or something twice.
    """

    def __init__(self, text: bytes) -> None:
        pairs = _pairs(text.decode("latin-1"))
        self._named = [pair for pair in pairs if pair[0] not in RESERVED]
        given = dict(pairs)
        if len(pairs) > len(self._named) + 1:
            names = [name for name, _ in pairs]
            twice = [name for name in RESERVED if names.count(name) > 1]
            if twice:
                raise InvalidRequest(
                    [Fault(f"/query/{name}", f"{name!r} is given twice: give it once") for name in twice]
                )
        model = given.get("model")
        if model is None:
            raise InvalidRequest([Fault("/query/model", f"query.model is missing: {MEANING}")])
        if not 0 < len(model) <= MOST_CHARACTERS:
            detail = (
                f"query.model must have at least 1 character and at most {MOST_CHARACTERS} characters, not {len(model)}"
            )
            raise InvalidRequest([Fault("/query/model", detail)])
        said = given.get("explain", "false").lower()
        if said not in _BOOLEANS:
            raise InvalidRequest([Fault("/query/explain", f"query.explain must be true or false, not {said!r}")])
        self.model, self.explain, self._listed = model, _BOOLEANS[said], given.get("features")

    def sample(self, schema: Schema) -> NDArray[np.float64]:
        """Read the features, as one sample; pointers of faults are relative to the query."""
        if self._listed is None:
            return encode_named_texts(schema, self._named)
        if self._named:
            detail = (
                f"features are given by position and by name ({self._named[0][0]!r}): give them one way; a feature "
                "that is itself called 'features' goes by position, or by POST"
            )
            raise InvalidRequest([Fault("/features", detail)])
        return encode_listed_texts(schema, self._listed)


def _pairs(text: str) -> list[tuple[str, str]]:
    """Take a query apart as `parse_qsl` does, which takes several times as long to look for escapes in each part."""
    if "%" in text or "+" in text:
        return parse_qsl(text, keep_blank_values=True)
    parts = [part.partition("=") for part in text.split("&") if part]
    return [(name, value) for name, _, value in parts]


@rows.post(
    "/predict",
    response_model=Prediction,
    response_description="The predictions.",
    responses={**_FILE_ANSWERS, **describe(404, 413, 415)},
    openapi_extra=_FOR_FILES,
)
@needs("read")
def predict_many(request: Request, database: TheDatabase, body: PredictRequest) -> HttpResponse:
    """Predict for any number of samples, given as rows (`features`), as `records` or as `columns`.

    Or as a file of the columns that the model takes, with `?model=NAME`: the media type tells CSV, JSON lines, Parquet
    or Arrow, it may be packed by gzip or zstd, and as large as an upload; it is read as the query says, as uploads are.
    The answer is JSON, or as `Accept` asks for text/csv, application/jsonl or application/vnd.apache.arrow.file with
    the columns `prediction` (`prediction_TARGET` of several) and `probability_LABEL`, and headers that tell which
    version has answered and how many warnings there are.
    """
    check_query(request, {"model": False})
    beside = request.query_params.get("model", body.model)
    if beside != body.model:
        detail = f"query.model is {beside[:MOST_CHARACTERS]!r}, the model of the body {body.model!r}: name one"
        raise InvalidRequest([Fault("/query/model", detail)])
    given = [name for name in ("features", "records", "columns") if getattr(body, name) is not None]
    if len(given) != 1:
        raise InvalidRequest([Fault("", "give one of features, records and columns")])
    cache: ModelCache = request.app.state.models
    trained = cache.get(database, body.model)
    try:
        found = prediction(trained, samples_of(trained.schema, body), with_explanations=body.explain)
    except InvalidFeatures as invalid:
        raise invalid.moved(lambda pointer: f"/{given[0]}{pointer}") from None
    return answer_json(found)


def samples_of(schema: Schema, body: PredictRequest) -> NDArray[np.float64]:
    """Encode the samples of a request; raises InvalidFeatures, whose pointers begin in features, records or columns."""
    if body.features is not None:
        is_plain = schema.encoding is None
        return encode_rows(schema, body.features.numbers(schema.input_names) if is_plain else body.features.given)
    if body.columns is not None:
        return encode_columns(schema, body.columns)
    return encode_records(schema, body.records or [])
