"""POST /models/{name}/invocations: MLflow's scoring protocol, on the same models."""

import csv
from collections import Counter
from collections.abc import Sequence
from functools import partial
from operator import add
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from service.api.access import needs
from service.api.bodies import WholeBody, request_body, validated
from service.api.dependencies import Response
from service.api.dialects import INVOCATION
from service.api.long_answers import answer_json
from service.api.long_lists import MayBeLong
from service.api.predicting import answers_of, outcomes
from service.api.problems import describe
from service.api.references import Named
from service.api.routes import LateRoute
from service.data.columnar import BY_ROW, Values, encode_columns
from service.data.csv_lines import CsvLines
from service.data.encoder import encode_records
from service.data.json_numbers import Flat, Records, Rows
from service.data.long_lists import LongList, each, finite_values, in_parts, is_list, rows_not_of
from service.dataset import Label, Schema
from service.errors import Fault, InvalidRequest, counted, escape, first_of
from service.hyperparameters import FROZEN_VALUES

router = APIRouter(prefix="/models", tags=["mlflow"], route_class=LateRoute)

JSON, CSV = "application/json", "text/csv"
LongValues = Annotated[list[Any], MayBeLong()]
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class DataframeSplit(BaseModel):
    """A table as `DataFrame.to_dict(orient="split")` gives it."""

    model_config = FROZEN_VALUES

    columns: list[str | int] | None = Field(
        default=None, description="Names; without them, or where they are 0, 1 …, values go by position."
    )
    index: LongValues | None = Field(default=None, description="Of the rows, which does not matter.")
    data: Annotated[list[list[Any]], MayBeLong((Rows,))] = Field(description="The rows.")


class InvocationRequest(BaseModel):
    """Samples to predict for, in one of four forms; null and NaN are missing values."""

    model_config = FROZEN_VALUES

    dataframe_split: DataframeSplit | None = Field(default=None, description="A table, its columns told apart.")
    dataframe_records: Annotated[list[dict[str, Any]], MayBeLong((Records,))] | None = Field(
        default=None, description="An object for each sample."
    )
    instances: LongValues | dict[str, Any] | None = Field(
        default=None, description="Rows, objects, or for one feature numbers; or an object of columns."
    )
    inputs: LongValues | dict[str, Any] | None = Field(default=None, description="As `instances`.")
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
        features = samples_of(model.schema, validated(InvocationRequest, content))
    return answer_json({"predictions": answers_of(model, outcomes(model, features))})


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
        lines = CsvLines(content.decode("utf-8-sig"))
        names = lines.names
        if not names:
            raise InvalidRequest([Fault("", "the body is empty: give the names of the columns, and a line a sample")])
        _check_rows(lines, len(names))
        if not lines:
            return _from_few_lines(schema, names, [])
        return in_parts(lines, partial(_from_few_lines, schema, names))
    except UnicodeDecodeError:
        raise InvalidRequest([Fault("", "the body is not UTF-8")]) from None
    except csv.Error as fault:
        detail = f"the body cannot be read as CSV with the names of its columns first: {fault}"
        raise InvalidRequest([Fault("", detail)]) from None


def _from_few_lines(schema: Schema, names: Sequence[str], rows: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    categories = {one.column: one.categories for one in schema.encoding or ()}
    columns = [
        np.array([_cell(row[position], categories.get(name, ())) for row in rows], dtype=object)
        for position, name in enumerate(names)
    ]
    return encode_columns(schema, _by_name(names, columns), BY_ROW)


def _cell(text: str, categories: Sequence[str]) -> str:
    """Give a cell of CSV, empty where it says that there is no value and is no category that is known."""
    return "" if text.strip().lower() in ("nan", "null") and text not in categories else text


def samples_of(schema: Schema, body: InvocationRequest) -> NDArray[np.float64]:
    """Encode the samples of a request; raises InvalidRequest."""
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


def _from_list(schema: Schema, values: Sequence[Any]) -> NDArray[np.float64]:
    """Take rows, records, or for one feature its values."""
    compact = values.compact if isinstance(values, LongList) else None
    kinds = {_kind(value) for value in values} if compact is None else {_KINDS[type(compact)]}
    if kinds == {dict}:
        return encode_records(schema, each(values, _known_in_record, compact))
    if not kinds & {list, dict}:
        values = each(values, _alone, compact.as_rows() if isinstance(compact, Flat) else None)
    elif kinds != {list}:
        wrong = next(row for row, value in enumerate(values) if not is_list(value))
        raise InvalidRequest([Fault(f"/{wrong}", "give rows, or objects, or for one feature numbers: all of one kind")])
    return _from_rows(schema, schema.input_names, values, BY_ROW)


_KINDS: dict[type, type] = {Flat: object, Rows: list, Records: dict}


def _kind(value: Any) -> type:
    return list if is_list(value) else dict if isinstance(value, dict) else object


def _alone(value: Any) -> list[Any]:
    return [value]


def _known_in_record(record: dict[str, Any]) -> dict[str, Any]:
    return {name: _known(value) for name, value in record.items()}


def _from_columns(schema: Schema, columns: dict[str, Any]) -> NDArray[np.float64]:
    """Take columns, of one sample without lists, or one tensor of all features under any name."""
    (first, *others) = columns or [""]
    rows: Any = columns.get(first)
    if not others and first not in schema.input_names and is_list(rows) and _are_lists(rows):
        try:
            return _from_rows(schema, schema.input_names, rows, BY_ROW)
        except InvalidRequest as invalid:
            raise invalid.moved(partial(add, f"/{escape(first)}")) from None
    return encode_columns(schema, {name: _column(values) for name, values in columns.items()})


def _column(values: Any) -> Values:
    if not is_list(values):
        return [_known(values)]
    compact = values.compact if isinstance(values, LongList) else None
    if isinstance(compact, Rows) and (compact.lengths == 1).all():
        return each(values, _only, Flat(compact.values, compact.types))
    if _are_lists(values) and all(len(value) == 1 for value in values):
        return each(values, _only)
    return each(values, _known, compact if isinstance(compact, Flat) else None)


def _only(values: Sequence[Any]) -> Any:
    return _known(values[0])


def _are_lists(values: Sequence[Any]) -> bool:
    return bool(values) and all(is_list(value) for value in values)


def _from_rows(schema: Schema, names: Sequence[str], rows: Sequence[Sequence[Any]], place: str) -> NDArray[np.float64]:
    table = finite_values(rows) if schema.encoding is None else None
    if table is not None and table.shape[1:] == (len(names),):
        return encode_columns(schema, _by_name(names, list(table.T)), place)
    _check_rows(rows, len(names), place.removesuffix(BY_ROW))
    if isinstance(rows, LongList):
        try:
            return in_parts(rows, partial(_from_few_rows, schema, names))
        except InvalidRequest as invalid:
            raise invalid.moved(partial(add, place.removesuffix(BY_ROW))) from None
    return _from_few_rows(schema, names, rows, place)


def _from_few_rows(
    schema: Schema, names: Sequence[str], rows: Sequence[Sequence[Any]], place: str = BY_ROW
) -> NDArray[np.float64]:
    columns = [[_known(value) for value in column] for column in zip(*rows, strict=True)] or [[]] * len(names)
    return encode_columns(schema, _by_name(names, columns), place)


def _by_name(names: Sequence[str], columns: Sequence[Values]) -> dict[str, Values]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidRequest([Fault("", f"column {name!r} is given several times: give it once") for name in twice])
    return dict(zip(names, columns, strict=True))


def _check_rows(rows: Sequence[Sequence[Any]], n_columns: int, place: str = "") -> None:
    said = f"and there are {n_columns} columns"
    told, n_faults = first_of(
        rows_not_of(rows, n_columns),
        lambda one: Fault(f"{place}/{one[0]}", f"row {one[0]} has {counted(one[1] or 0, 'value')}, {said}"),
    )
    if told:
        raise InvalidRequest(told, n_faults)


def _known(value: Any) -> Any:
    """Give a value, or None for one that is not a number: so pandas writes what is missing."""
    return None if isinstance(value, float) and value != value else value
