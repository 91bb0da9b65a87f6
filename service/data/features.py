"""Columns of values into features: the one way, for training and for predictions."""

from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import DTypeLike, NDArray

from service.encoding import ColumnEncoding, DatePart, Encoding

MICROSECONDS = 1_000_000


def features_of(encoding: Encoding, frame: pl.DataFrame, dtype: DTypeLike = np.float64) -> NDArray[np.floating]:
    """Encode some rows.

    A category that the encoding does not know is 0 for all that it knows. A missing value that has no fill is not a
    number, or 0 for all categories: refuse it before.

    Args:
        encoding: how the columns become features.
        frame: rows with at least these columns, in canonical types (see `canonical`).
        dtype: float32 or float64; numbers are rounded to it once, and one beyond it is infinite.

    Returns:
        Numbers of shape (n_rows, n_features), row after row in memory.
    """
    numbers = pl.Float32() if np.dtype(dtype) == np.float32 else pl.Float64()
    if _are_features(encoding, frame.schema, numbers):
        return pl.DataFrame([frame[column.column] for column in encoding]).to_numpy(order="c")
    dense: list[pl.Expr] = []
    positions: list[int] = []
    sparse: list[tuple[int, ColumnEncoding]] = []
    n_features = 0
    for column in encoding:
        expressions = _numbers(column)
        if column.kind == "category":
            sparse.append((n_features, column))
            n_features += len(column.categories)
        positions += range(n_features, n_features + len(expressions))
        n_features += len(expressions)
        dense += expressions
    table: NDArray[np.floating] = frame.select(
        expression.cast(numbers).alias(str(position)) for position, expression in zip(positions, dense, strict=True)
    ).to_numpy(order="c")
    if not sparse:
        return table
    features = np.zeros((len(frame), n_features), dtype)
    if dense:
        features[:, positions] = table
    for first, column in sparse:
        codes = _codes(column, frame[column.column])
        rows = np.flatnonzero(codes >= 0)
        features[rows, first + codes[rows]] = 1
    return features


def _are_features(encoding: Encoding, schema: pl.Schema, numbers: pl.DataType) -> bool:
    """Tell whether columns are features as they are: to see it takes less time than to have polars do nothing."""
    return all(
        column.kind == "number"
        and column.fill is None
        and not column.has_indicator
        and schema[column.column] == numbers
        for column in encoding
    )


def _numbers(column: ColumnEncoding) -> list[pl.Expr]:
    """Give the features of a column but those that stand for its categories."""
    values = pl.col(column.column)
    features: list[pl.Expr] = []
    if column.kind in ("number", "boolean"):
        numbers = values.cast(pl.Float64)  # first, as JSON's numbers are: a whole number of 64 bits is rounded here
        features = [numbers if column.fill is None else numbers.fill_null(float(column.fill))]
    elif column.kind == "date":
        dates = values if column.fill is None else values.fill_null(datetime.fromisoformat(str(column.fill)))
        features = [_part(dates, part) for part in column.parts]
    return [*features, values.is_null()] if column.has_indicator else features


def _part(dates: pl.Expr, part: DatePart) -> pl.Expr:
    if part == "day_of_year":
        return dates.dt.ordinal_day()
    if part == "timestamp":
        return dates.dt.timestamp("us").map_batches(_seconds, return_dtype=pl.Float64, is_elementwise=True)
    found: pl.Expr = getattr(dates.dt, part)()
    return found


def _seconds(microseconds: pl.Series) -> pl.Series:
    # By NumPy, for polars divides many numbers by one in another way than one by one, which rounds differently.
    return pl.Series(microseconds.to_numpy() / MICROSECONDS, dtype=pl.Float64)


def _codes(column: ColumnEncoding, values: pl.Series) -> NDArray[np.int64]:
    """Give the place of each value among the categories; -1 where it is none of them."""
    if isinstance(column.fill, str):
        values = values.fill_null(column.fill)
    known = values.cast(pl.Enum(column.categories), strict=False).to_physical()
    return known.cast(pl.Int64).fill_null(-1).to_numpy()
