"""POST /models/{name}/invocations: MLflow's scoring protocol, on the same models."""

import csv
from collections import Counter
from collections.abc import Sequence
from functools import partial
from io import StringIO
from operator import add
from typing import Any

import numpy as np
import pydantic_core
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from fastapi.responses import Response as AnyResponse
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from service.api.access import needs
from service.api.bodies import WholeBody, request_body, validated
from service.api.dependencies import Response
from service.api.dialects import INVOCATION
from service.api.predicting import outcomes
from service.api.problems import describe
from service.api.references import Named
from service.api.routes import LateRoute
from service.data.columnar import BY_ROW, Values, encode_columns
from service.data.encoder import encode_records
from service.dataset import Label, Schema
from service.errors import MAX_FAULTS, Fault, InvalidRequest, counted, escape
from service.hyperparameters import FROZEN_VALUES

router = APIRouter(prefix="/models", tags=["mlflow"], route_class=LateRoute)

JSON, CSV = "application/json", "text/csv"
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class DataframeSplit(BaseModel):
    """A table as `DataFrame.to_dict(orient="split")` gives it."""

    model_config = FROZEN_VALUES

    columns: list[str | int] | None = Field(
        default=None, description="Names; without them, or where they are 0, 1 …, values go by position."
    )
    index: list[Any] | None = Field(default=None, description="Of the rows, which does not matter.")
    data: list[list[Any]] = Field(description="The rows.")


class InvocationRequest(BaseModel):
    """Samples to predict for, in one of four forms; null and NaN are missing values."""

    model_config = FROZEN_VALUES

    dataframe_split: DataframeSplit | None = Field(default=None, description="A table, its columns told apart.")
    dataframe_records: list[dict[str, Any]] | None = Field(default=None, description="An object for each sample.")
    instances: list[Any] | dict[str, Any] | None = Field(
        default=None, description="Rows, objects, or for one feature numbers; or an object of columns."
    )
    inputs: list[Any] | dict[str, Any] | None = Field(default=None, description="As `instances`.")
    params: dict[str, Any] | None = Field(
        default=None, description="Taken and passed over, as MLflow does for models that have none."
    )


SCHEMAS = (InvocationRequest, DataframeSplit)
"""Of the bodies that are read here, for JSON in them may have NaN."""


class InvocationResponse(Response):
    """What a model says of samples."""

    predictions: list[Label | list[float]] = Field(
        description="A number for each sample (a list for several targets), or its most probable label."
    )


@router.get(
    "/{name}/ping",
    response_class=PlainTextResponse,
    responses={
        200: {"content": {"text/plain": {"example": "\n"}}},
        **describe(404, dialect=INVOCATION),
    },
    response_description="The model is ready.",
)
def ping(model: Named) -> PlainTextResponse:  # noqa: ARG001  # that there is one is the answer
    """Tell that a model is ready to predict, as MLflow's clients ask."""
    return PlainTextResponse("\n")


@router.post(
    "/{name}/invocations",
    response_model=InvocationResponse,
    response_description="The predictions.",
    responses=describe(404, 413, 415, dialect=INVOCATION),
    openapi_extra={
        "requestBody": request_body(
            InvocationRequest,
            "One of `dataframe_split`, `dataframe_records`, `instances`, `inputs`; or CSV with names.",
            CSV,
        )
    },
)
@needs("read")
def invoke(request: Request, content: WholeBody, model: Named) -> Any:
    """Predict for samples in any of the forms that MLflow's scoring protocol has."""
    if _media_type(request.headers.get("content-type", "")) == CSV:
        features = _from_csv(model.schema, content)
    else:
        features = _from_json(model.schema, validated(InvocationRequest, content))
    body = {"predictions": outcomes(model, features).answers(model.schema.classes)}
    return AnyResponse(pydantic_core.to_json(body), media_type=JSON)


def _media_type(content_type: str) -> str:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if media_type not in (JSON, CSV):
        raise HTTPException(415, f"the body must be {JSON} or {CSV}; its Content-Type is {content_type or 'none'!r}")
    charsets = [one for one in parameters if one.startswith("charset=")]
    if not all(one.replace('"', "") in ("charset=utf-8", "charset=utf8", "charset=us-ascii") for one in charsets):
        raise HTTPException(415, f"the body must be in UTF-8; its Content-Type is {content_type!r}")
    if any(one for one in parameters if one not in charsets):
        detail = f"{media_type} has no parameter here but charset; its Content-Type is {content_type!r}: give the form"
        raise HTTPException(415, f"{detail} as the name in the body, one of {', '.join(FORMS)}")
    return media_type


def _from_csv(schema: Schema, content: bytes) -> NDArray[np.float64]:
    try:
        lines = csv.reader(StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        names, *rows = [line for line in lines if line] or [[]]
    except UnicodeDecodeError:
        raise InvalidRequest([Fault("", "the body is not UTF-8")]) from None
    except csv.Error as fault:
        detail = f"the body cannot be read as CSV with the names of its columns first: {fault}"
        raise InvalidRequest([Fault("", detail)]) from None
    if not names:
        raise InvalidRequest([Fault("", "the body is empty: give the names of the columns, and a line a sample")])
    _check_rows(rows, len(names))
    categories = {one.column: one.categories for one in schema.encoding or ()}
    columns = [
        np.array([_cell(row[position], categories.get(name, ())) for row in rows], dtype=object)
        for position, name in enumerate(names)
    ]
    return encode_columns(schema, _by_name(names, columns), BY_ROW)


def _cell(text: str, categories: Sequence[str]) -> str:
    """Give a cell of CSV, empty where it says that there is no value and is no category that is known."""
    return "" if text.strip().lower() in ("nan", "null") and text not in categories else text


def _from_json(schema: Schema, body: InvocationRequest) -> NDArray[np.float64]:
    given = [name for name in FORMS if getattr(body, name) is not None]
    if len(given) != 1:
        raise InvalidRequest([Fault("", f"give one of {', '.join(FORMS)}; there is {' and '.join(given) or 'none'}")])
    (form,) = given
    try:
        if body.dataframe_split is not None:
            return _from_split(schema, body.dataframe_split)
        content = getattr(body, form)
        return _from_columns(schema, content) if isinstance(content, dict) else _from_list(schema, content)
    except InvalidRequest as invalid:
        raise invalid.moved(lambda pointer: f"/{form}{pointer}") from None


def _from_split(schema: Schema, split: DataframeSplit) -> NDArray[np.float64]:
    if split.columns is None or split.columns == [*range(len(split.columns))]:
        return _from_rows(schema, schema.input_names, split.data, f"/data{BY_ROW}")
    return _from_rows(schema, [str(name) for name in split.columns], split.data, f"/data{BY_ROW}")


def _from_list(schema: Schema, values: list[Any]) -> NDArray[np.float64]:
    """Take rows, records, or for one feature its values."""
    if values and all(isinstance(value, dict) for value in values):
        return encode_records(schema, [{name: _known(value) for name, value in record.items()} for record in values])
    if not any(isinstance(value, list | dict) for value in values):
        values = [[value] for value in values]
    wrong = next((row for row, value in enumerate(values) if not isinstance(value, list)), None)
    if wrong is not None:
        raise InvalidRequest([Fault(f"/{wrong}", "give rows, or objects, or for one feature numbers: all of one kind")])
    return _from_rows(schema, schema.input_names, values, BY_ROW)


def _from_columns(schema: Schema, columns: dict[str, Any]) -> NDArray[np.float64]:
    """Take columns, of one sample without lists, or one tensor of all features under any name."""
    (first, *others) = columns or [""]
    rows = columns.get(first)
    if not others and first not in schema.input_names and isinstance(rows, list) and _are_lists(rows):
        try:
            return _from_rows(schema, schema.input_names, rows, BY_ROW)
        except InvalidRequest as invalid:
            raise invalid.moved(partial(add, f"/{escape(first)}")) from None
    return encode_columns(schema, {name: _column(values) for name, values in columns.items()})


def _column(values: Any) -> list[Any]:
    if not isinstance(values, list):
        return [_known(values)]
    is_tensor = _are_lists(values) and all(len(value) == 1 for value in values)
    return [_known(value) for (value,) in values] if is_tensor else [_known(value) for value in values]


def _are_lists(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(value, list) for value in values)


def _from_rows(schema: Schema, names: Sequence[str], rows: list[list[Any]], place: str) -> NDArray[np.float64]:
    _check_rows(rows, len(names), place.removesuffix(BY_ROW))
    columns = [[_known(value) for value in column] for column in zip(*rows, strict=True)] or [[]] * len(names)
    return encode_columns(schema, _by_name(names, columns), place)


def _by_name(names: Sequence[str], columns: Sequence[Values]) -> dict[str, Values]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidRequest([Fault("", f"column {name!r} is given several times: give it once") for name in twice])
    return dict(zip(names, columns, strict=True))


def _check_rows(rows: list[Any], n_columns: int, place: str = "") -> None:
    wrong = [row for row, values in enumerate(rows) if len(values) != n_columns]
    if wrong:
        sizes = [(row, counted(len(rows[row]), "value")) for row in wrong[:MAX_FAULTS]]
        said = f"and there are {n_columns} columns"
        raise InvalidRequest(
            [Fault(f"{place}/{row}", f"row {row} has {size}, {said}") for row, size in sizes], len(wrong)
        )


def _known(value: Any) -> Any:
    """Give a value, or None for one that is not a number: so pandas writes what is missing."""
    return None if isinstance(value, float) and value != value else value
