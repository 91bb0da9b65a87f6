"""Precision: whether the columns of a table may be rounded to float32 before they are brought to scale."""

import numpy as np
import polars as pl

from service.data.tables import Table
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
        moments = ((rounded * rounded).sum(), numbers.count(), numbers.mean(), numbers.var(ddof=0))
        wanted += [
            one.alias(f"{place} {number}") for number, one in enumerate((*moments, numbers.min(), numbers.max()))
        ]
    lost, count, mean, squares = np.zeros((4, len(values)))
    least, greatest = np.full(len(values), np.inf), np.full(len(values), -np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        for frame in table.frames([column.column for column in encoding]):
            found = np.array(frame.select(wanted).row(0), dtype=np.float64).reshape(len(values), -1).T
            its_lost, its_count, its_mean, its_variance = np.where(found[1] > 0, found[:4], 0)
            # Chan, Golub, LeVeque 1979, as statistics are merged.
            difference, total = its_mean - mean, count + its_count
            share = its_count / np.maximum(total, 1)
            squares += its_variance * its_count + difference * difference * (count * share)
            lost, count, mean = lost + its_lost, total, mean + difference * share
            least, greatest = np.fmin(least, found[4]), np.fmax(greatest, found[5])
        # Written so that it holds, too, where both are infinite. Rounding may let numbers that are all alike have some.
        return bool(((least < greatest) & ~(lost < LOST**2 * squares)).any())
