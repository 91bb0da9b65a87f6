"""What a model takes for a prediction, given column by column or as one matrix, turned into a table of numbers."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.data.encoder import listed, name_faults
from service.data.features import features_of
from service.data.long_lists import LongList, finite_values
from service.data.raw_values import column_of, value_of
from service.dataset import Schema
from service.encoding import ColumnEncoding
from service.errors import MAX_FAULTS, Fault, InvalidFeatures, counted, escape

Values = Sequence[Any] | NDArray[Any]
"""Those of a column, one of each sample: JSON values in a sequence; numbers, booleans or texts (of dtype object) in an
array. In an array not a number is a missing value, and so are None and an empty text that is no known category.
"""
BY_COLUMN = "/{name}/{row}"
BY_ROW = "/{row}/{position}"
"""Where a value stands in what was given; `position` is that of its column there."""


def encode_matrix(schema: Schema, matrix: NDArray[Any]) -> NDArray[np.float64]:
    """Take a matrix of shape (n_samples, n_inputs), a column for each of `schema.input_names`, in order.

    Args:
        schema: with or without an encoding.
        matrix: numbers, booleans, or texts of dtype object. Finite float64 for a schema without an encoding are not
            copied.

    Returns:
        Numbers of shape (n_samples, n_features).

    Raises:
        InvalidFeatures: when the columns are not as many as the model takes, or for each value that its column does not
            take, with pointers `/row/position`.
    """
    names = schema.input_names
    if matrix.shape[1] != len(names):
        detail = f"there are {matrix.shape[1]} columns, and the model takes {len(names)} ({listed(names)})"
        raise InvalidFeatures([Fault("", detail)])
    if schema.encoding is None and matrix.dtype.kind in "fiu":
        features = matrix.astype(np.float64, copy=False)
        if np.isfinite(features).all():
            return features
    return encode_columns(schema, dict(zip(names, matrix.T, strict=True)), BY_ROW)


def encode_columns(schema: Schema, columns: Mapping[str, Values], place: str = BY_COLUMN) -> NDArray[np.float64]:
    """Take columns by their names, in any order.

    Args:
        schema: with or without an encoding.
        columns: the values of each, all equally many.
        place: what faults of values point to.

    Returns:
        Numbers of shape (n_samples, n_features).

    Raises:
        InvalidFeatures: for each column that is missing, unknown or of another length than the first, with pointers
            `/name`, and for each value that its column does not take, which without an encoding is any finite number.
    """
    faults = name_faults(schema, columns, "", pointed=True) + _length_faults(columns)
    if faults:
        raise InvalidFeatures(faults)
    encoding = schema.encoding or tuple(ColumnEncoding(name, "number") for name in schema.input_names)
    positions = {name: position for position, name in enumerate(columns)}
    found = []
    for one in encoding:
        pointer = partial(_pointer, place, escape(one.column), positions[one.column])
        column, wrong = _column(one, columns[one.column], pointer)
        found.append(column)
        faults += wrong
        if len(faults) >= MAX_FAULTS:
            break
    if faults:
        raise InvalidFeatures(faults)
    return features_of(encoding, pl.DataFrame(found)).astype(np.float64, copy=False)


def _length_faults(columns: Mapping[str, Values]) -> list[Fault]:
    n_values = len(next(iter(columns.values()), ()))
    expected = f"and the first one {n_values}: give as many of each"
    return [
        Fault(f"/{escape(name)}", f"feature {name!r} has {counted(len(values), 'value')}, {expected}")
        for name, values in columns.items()
        if len(values) != n_values
    ]


def _pointer(place: str, name: str, position: int, row: int) -> str:
    return place.format(name=name, position=position, row=row)


def _column(one: ColumnEncoding, values: Values, pointer: partial[str]) -> tuple[pl.Series, list[Fault]]:
    """Check the values of a column and give them in their canonical type; numbers all at once, if nothing is wrong."""
    numbers = _numbers(values) if one.kind == "number" else None
    if numbers is not None and not np.isinf(numbers).any() and (one.takes_missing or not np.isnan(numbers).any()):
        return pl.Series(one.column, numbers, nan_to_null=True), []
    return column_of(one, _json_values(one, values), pointer, f"feature {one.column!r}")


def _numbers(values: Values) -> NDArray[np.float64] | None:
    """Give values as float64 when all of them are numbers; JSON values have no way to say that one is not."""
    if isinstance(values, np.ndarray):
        return values.astype(np.float64, copy=False) if values.dtype.kind in "fiu" else None
    if isinstance(values, LongList):
        numbers = finite_values(values)
        return numbers if numbers is not None and numbers.ndim == 1 else None
    if not set(map(type, values)) <= {int, float}:
        return None
    try:
        numbers = np.array(values, dtype=np.float64)
    except OverflowError:  # a whole number beyond the largest float
        return None
    return None if np.isnan(numbers).any() else numbers


def _json_values(one: ColumnEncoding, given: Values) -> Sequence[Any]:
    if not isinstance(given, np.ndarray):
        return given
    values: list[Any] = given.tolist()
    if given.dtype == object:
        values = [None if text is None else value_of(one, text) for text in values]
    elif one.kind == "boolean" and given.dtype.kind != "b":  # a matrix of numbers has no other way to say it
        values = [{0: False, 1: True}.get(value, value) for value in values]
    return [None if isinstance(value, float) and value != value else value for value in values]
