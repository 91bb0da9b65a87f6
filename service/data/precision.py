"""Precision: whether the columns of a table may be rounded to float32 before they are brought to scale."""

import polars as pl

from service.data.tables import Table, damage_as_fault
from service.encoding import Encoding

LOST = 1e-5
"""Rounding of up to this share of a column's standard deviation does no harm."""


def is_blurred(table: Table, encoding: Encoding) -> bool:
    """Tell whether float32 would blur some feature, in one pass over the columns.

    It does where the root mean square of what rounding takes away is more than 1e-5 of the standard deviation: for
    numbers far from 0 that lie close together, and for those beyond the range of float32. Whole numbers up to 2^24,
    which all other features are, are never rounded.
    """
    values = [pl.col(column.column).cast(pl.Float64) for column in encoding if column.kind == "number"]
    values += [
        pl.col(column.column).dt.timestamp("us") / 1_000_000
        for column in encoding
        if column.kind == "date" and "timestamp" in column.parts
    ]
    if not values:
        return False
    wanted: list[pl.Expr] = []
    for place, numbers in enumerate(values):
        rounded = numbers - numbers.cast(pl.Float32).cast(pl.Float64)
        wanted += [(rounded * rounded).mean().alias(f"lost {place}"), numbers.var(ddof=0).alias(f"variance {place}")]
    with damage_as_fault():
        row = table.scan([column.column for column in encoding]).select(wanted).collect(engine="streaming").row(0)
    pairs = zip(row[::2], row[1::2], strict=True)
    # Written so that it holds, too, where both are infinite.
    return any(lost is not None and variance != 0 and not lost < LOST**2 * variance for lost, variance in pairs)
