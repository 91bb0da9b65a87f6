"""Fills: what stands for a missing value, as a statistic of the training samples."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import DTypeLike, NDArray

from service.data.choice import Choice, effective_policy, missing_pointer
from service.encoding import Column, Encoding
from service.errors import Fault, InvalidDataset
from service.room import room_for, slices_of
from service.selection import MissingPolicy, Selection


def takes_statistics(selection: Selection) -> bool:
    """Tell whether a missing value may be filled."""
    policies = [selection.missing] if isinstance(selection.missing, str) else selection.missing.values()
    return any(policy != "refuse" for policy in policies)


def with_fills(encoding: Encoding, choice: Choice, selection: Selection, rows: NDArray[np.int64] | None) -> Encoding:
    """Fill in the fills, reading one column at a time, in memory that does not grow with it.

    Means are summed up part by part. For medians and the most frequent number the values are sorted, in a temporary
    file when they are many: all statistics are exact.

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
    if column.kind in ("category", "boolean"):
        return _most_frequent_label(_values(choice, column, rows))
    found = _mean(_values(choice, column, rows)) if policy in ("mean", "indicator") else None
    if policy in ("median", "most_frequent"):
        room = choice.table.n_samples if rows is None else len(rows)
        numbers = _sorted(_values(choice, column, rows), room, np.int64 if column.kind == "date" else np.float64)
        if len(numbers):
            found = _median(numbers) if policy == "median" else _most_frequent(numbers)
    if found is None or column.kind == "number":
        return None if found is None else float(found)
    return (datetime(1970, 1, 1) + timedelta(microseconds=round(found))).isoformat()


def _values(choice: Choice, column: Column, rows: NDArray[np.int64] | None) -> Iterator[pl.Series]:
    """Read the values of a column in some rows, in ascending order, part by part; dates as microseconds since 1970."""
    first = 0
    for frame in choice.table.frames([column.name]):
        values = frame[column.name]
        if rows is not None:
            start, stop = np.searchsorted(rows, (first, first + len(frame)))
            values = values.gather(rows[start:stop] - first)
        first += len(frame)
        values = values.drop_nulls()
        if len(values):
            yield values.cast(pl.Float64) if column.kind == "number" else values.to_physical()


def _mean(parts: Iterator[pl.Series]) -> float | None:
    count, mean = 0, 0.0
    for values in parts:
        count += len(values)
        with np.errstate(over="ignore"):
            its_mean = float(values.cast(pl.Float64).to_numpy().mean())
        mean += (its_mean - mean) * (len(values) / count)
    return mean if count else None


def _most_frequent_label(parts: Iterator[pl.Series]) -> float | str | None:
    counts: Counter[str | bool] = Counter()
    for values in parts:
        counts.update(dict(values.value_counts().iter_rows()))
    if not counts:
        return None
    label = min(counts, key=lambda label: (-counts[label], label))
    return label if isinstance(label, str) else float(label)


def _sorted(parts: Iterator[pl.Series], room: int, dtype: DTypeLike) -> NDArray[Any]:
    """Gather numbers in a place whose memory does not grow with them, and sort them there."""
    numbers, n_numbers = room_for((room,), dtype), 0
    for values in parts:
        numbers[n_numbers : n_numbers + len(values)] = values.to_numpy()
        n_numbers += len(values)
    numbers = numbers[:n_numbers]
    numbers.sort()
    return numbers


def _median(numbers: NDArray[Any]) -> float:
    """Give the middle of sorted numbers, halfway between both where there are two."""
    lower, upper = numbers[(len(numbers) - 1) // 2].item(), numbers[len(numbers) // 2].item()
    return float(lower / 2 + upper / 2)


def _most_frequent(numbers: NDArray[Any]) -> float:
    """Give the most frequent of sorted numbers, the least of several."""
    best, longest, start = 0, 0, 0  # `start` is where the run of equal numbers begins that is not over yet
    for some in slices_of(len(numbers)):
        part = numbers[some.start : some.stop + 1]
        ends = np.flatnonzero(part[1:] != part[:-1]) + some.start + 1
        if some.stop == len(numbers):
            ends = np.append(ends, len(numbers))
        bounds = np.concatenate([[start], ends])
        lengths = np.diff(bounds)
        if len(lengths) and lengths.max() > longest:
            best, longest = int(bounds[lengths.argmax()]), int(lengths.max())
        start = int(bounds[-1])
    return float(numbers[best])
