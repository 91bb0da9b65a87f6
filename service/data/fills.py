"""Fills: what stands for a missing value, as a statistic of the training samples."""

import dataclasses
import math
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.data.choice import Choice, effective_policy, missing_pointer
from service.encoding import Column, Encoding
from service.errors import Fault, InvalidDataset
from service.selection import MissingPolicy, Selection


def takes_statistics(selection: Selection) -> bool:
    """Tell whether a missing value may be filled."""
    policies = [selection.missing] if isinstance(selection.missing, str) else selection.missing.values()
    return any(policy != "refuse" for policy in policies)


def with_fills(encoding: Encoding, choice: Choice, selection: Selection, rows: NDArray[np.int64] | None) -> Encoding:
    """Fill in the fills, reading one column at a time.

    Args:
        encoding: that of each feature column, in order.
        choice: the columns and their table.
        selection: says what becomes of missing values.
        rows: those of the training samples; None stands for all.

    Raises:
        InvalidDataset: for each column that no training sample has a value of.
    """
    found, faults = [], []
    for column, unfilled in zip(choice.features, encoding, strict=True):
        policy = effective_policy(selection, column)
        if policy == "refuse" or (policy == "indicator" and column.kind == "category"):
            found.append(unfilled)
            continue
        fill = _fill(choice, column, policy, rows)
        if fill is None:
            detail = f"column {column.name!r} has no value among the training samples, whose {policy} would be taken"
            faults.append(Fault(missing_pointer(selection, column.name), f"{detail}: leave it out of features"))
        elif isinstance(fill, float) and not math.isfinite(fill):
            detail = f"the {policy} of column {column.name!r} is beyond the largest number: use most_frequent"
            faults.append(Fault(missing_pointer(selection, column.name), detail))
        found.append(dataclasses.replace(unfilled, fill=fill))
    if faults:
        raise InvalidDataset(faults)
    return tuple(found)


def _fill(choice: Choice, column: Column, policy: MissingPolicy, rows: NDArray[np.int64] | None) -> float | str | None:
    if policy == "indicator" and column.kind == "boolean":
        return 0.0
    values = choice.table.scan([column.name]).collect(engine="streaming")[column.name]
    values = (values if rows is None else values.gather(rows)).drop_nulls()
    if column.kind == "number":
        values = values.cast(pl.Float64)
    found = _statistic(values, policy)
    if found is None or isinstance(found, str):
        return found
    return found.isoformat() if isinstance(found, datetime) else float(found)


def _statistic(values: pl.Series, policy: MissingPolicy) -> float | str | datetime | None:
    found: object
    if policy == "most_frequent":
        found = values.mode().min()
    else:
        found = values.median() if policy == "median" else values.mean()
    assert found is None or isinstance(found, float | str | datetime | bool)
    return found
