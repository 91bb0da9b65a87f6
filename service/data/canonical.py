"""Canonical types: the type of polars that stands for each kind of column, and the values that cannot be of it."""

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from service.data.kinds import FIRST_YEAR, LAST_YEAR, as_booleans, as_dates, as_numbers, fault_sentence
from service.encoding import Column, Kind
from service.errors import MAX_FAULTS, Fault, escape

LARGEST_WHOLE = 2**53
"""Up to here floats that are whole numbers are written as such."""

_FLOATS = (pl.Float16, pl.Float32, pl.Float64)
_TEXTS = (pl.String, pl.Categorical, pl.Enum, pl.Null)
"""A column without any value is one of texts in every format."""
_DATES = (pl.Date, pl.Datetime)


def natural_kind(dtype: pl.DataType) -> Kind | None:
    """Tell the kind that a type of column is, `category` for all texts; None for a type that no model can take."""
    if dtype.is_numeric():
        return None if isinstance(dtype, pl.Int128 | pl.UInt128) else "number"
    if isinstance(dtype, pl.Boolean):
        return "boolean"
    if isinstance(dtype, _DATES):
        return "date"
    return "category" if isinstance(dtype, _TEXTS) else None


def impossible(kind: Kind, dtype: pl.DataType) -> bool:
    """Tell whether no value of a type can be of a kind: a date is no number, and a number no date."""
    kinds = {kind, natural_kind(dtype)}
    return kinds in ({"date", "number"}, {"date", "boolean"})


def canonical(name: str, kind: Kind, dtype: pl.DataType) -> pl.Expr:
    """Give a column in the type that stands for its kind, whatever type its file has.

    A number is an integer or a float without NaN, which is a missing value; a category or a text is a String, numbers
    in it as JSON writes them, without a point when they are whole; a boolean is Boolean; a date is a Datetime in UTC
    without a zone, in microseconds. What cannot be is null.
    """
    column = pl.col(name)
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.Null):
        column, dtype = column.cast(pl.String), pl.String()
    if kind == "number":
        return _number(column, dtype)
    if kind == "boolean":
        return _boolean(column, dtype)
    return _date(column, dtype) if kind == "date" else _text(column, dtype)


def finite_numbers(frame: pl.DataFrame, columns: Sequence[Column]) -> set[str]:
    """Name columns of numbers that are canonical as they are, for a finite sum has finite terms; maybe not all."""
    schema = frame.schema  # made anew, from all columns, each time that it is asked for
    names = [
        column.name
        for column in columns
        if column.kind == "number" and isinstance(schema[column.name], pl.Float32 | pl.Float64)
    ]
    return {name for name in names if math.isfinite(float(frame[name].sum()))}


def value_faults(frame: pl.DataFrame, columns: Sequence[Column], first_row: int) -> list[Fault]:
    """Find the values of a part of a file, in its own types, that cannot be of their columns' kinds.

    Args:
        frame: the part, with at least these columns.
        columns: the kinds to be.
        first_row: the number of the part's first row, from 0.

    Returns:
        Up to 100 faults in the order of the rows. Their texts, too, count rows from 0, and say so.
    """
    schema = frame.schema
    tests = {column.name: test for column in columns if (test := _wrong(column, schema[column.name])) is not None}
    if not tests:
        return []
    found = frame.select(test.any().alias(name) for name, test in tests.items()).row(0, named=True)
    kinds = {column.name: column.kind for column in columns}
    wrong: list[tuple[int, str, Any]] = []
    for name in [name for name, any_found in found.items() if any_found]:
        rows = frame.select(tests[name].arg_true())[name].head(MAX_FAULTS).to_list()
        values = _written(frame[name].gather(rows))
        wrong += [(row, name, value) for row, value in zip(rows, values, strict=True)]
    wrong.sort(key=lambda one: one[0])
    return [
        Fault(
            f"/rows/{first_row + row}/{escape(name)}",
            f"row {first_row + row} (counted from 0), column {name!r}: {_said(kinds[name], value)}",
        )
        for row, name, value in wrong[:MAX_FAULTS]
    ]


def _wrong(column: Column, dtype: pl.DataType) -> pl.Expr | None:
    """Test for values that cannot be of the column's kind; None where every value can."""
    raw, value = pl.col(column.name), canonical(column.name, column.kind, dtype)
    if column.kind in ("category", "text"):
        return None
    if column.kind == "date":
        outside = ~value.dt.year().is_between(FIRST_YEAR, LAST_YEAR)
        return raw.is_not_null() & outside.fill_null(value=True)
    if natural_kind(dtype) == column.kind:
        return raw.is_infinite().fill_null(value=False) if isinstance(dtype, _FLOATS) else None
    wrong = raw.is_not_null() & value.is_null()
    if column.kind == "boolean":
        return wrong & raw.is_not_nan() if isinstance(dtype, _FLOATS) else wrong
    if not isinstance(dtype, _TEXTS):
        return None
    is_nan = raw.cast(pl.String).str.contains(r"(?i)^\s*[+-]?nan\s*$")
    return ((wrong & ~is_nan) | value.is_infinite()).fill_null(value=False)


def _said(kind: Kind, value: Any) -> str:
    if isinstance(value, str):
        return fault_sentence(value, kind, guessed=False)
    if kind == "number":
        return f"{value} is not finite: write null if the value is missing"
    if kind == "boolean":
        return f"{value} is no boolean: write true or false, 1 or 0"
    if value is None:
        return f"a date lies far outside of the years {FIRST_YEAR} to {LAST_YEAR}"
    return f"a date in the year {value} lies outside of the years {FIRST_YEAR} to {LAST_YEAR}"


def _written(values: pl.Series) -> list[Any]:
    """Give values as Python has them; dates by their year, for Python has none outside of the years 1 to 9999."""
    if isinstance(values.dtype, _DATES):
        return values.dt.year().to_list()
    return values.to_list()


def _number(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_integer():
        return column
    if isinstance(dtype, pl.String):
        column = as_numbers(column, ".", whole=False)
    elif not isinstance(dtype, pl.Float32 | pl.Float64):
        column = column.cast(pl.Float64, strict=False)
    return column.fill_nan(None)


def _boolean(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Boolean):
        return column
    if isinstance(dtype, pl.String):
        return as_booleans(column)
    return pl.when(column.is_in([0, 1])).then(column == 1)


def _date(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.String):
        return as_dates(column)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return column.cast(pl.Datetime("us"), strict=False)


def _text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Decimal):
        column, dtype = column.cast(pl.Float64), pl.Float64()
    if isinstance(dtype, _FLOATS):
        column = column.fill_nan(None)
        is_whole = (column == column.round()) & (column.abs() <= LARGEST_WHOLE)
        whole = column.cast(pl.Int64, strict=False).cast(pl.String)
        return pl.when(is_whole).then(whole).otherwise(column.cast(pl.String))
    if isinstance(dtype, _DATES):
        return column.dt.to_string("iso:strict")
    return column.cast(pl.String)
