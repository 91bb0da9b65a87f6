"""Datasets that came inside a request: rows or records of JSON values in, a checked dataset out.

Faults point into what was given, as `/features/3/1` or `/records/3/quiz1`.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.data.labels import encode_labels
from service.data.long_lists import (
    LongList,
    as_shown,
    column_of_records,
    finite_columns,
    finite_values,
    is_list,
    is_row,
    rows_not_of,
)
from service.dataset import Dataset, Schema, default_names
from service.errors import MAX_FAULTS, Fault, InvalidDataset, counted, escape, first_of
from service.tasks import TRAITS, Task

WAY_FOR_OTHERS = "texts, booleans and missing values can be trained on as a file: POST /datasets, and give its id"
"""What to do with features that are no numbers."""


def dataset_from_rows(
    task: Task,
    features: Sequence[Sequence[float]] | Sequence[float] | NDArray[np.float64],
    targets: Sequence[Any],
    feature_names: Sequence[str] | None = None,
    target_names: Sequence[str] | None = None,
    sample_weight: Sequence[float] | None = None,
) -> Dataset:
    """Make a dataset of rows of features (or a flat list, for one feature) and targets.

    Args:
        task: says whether the targets are numbers or labels.
        features: finite numbers, (n_samples, n_features) or (n_samples,).
        targets: numbers or rows of numbers for regression, labels for classification; one per row of features.
        feature_names, target_names: made up when left out.
        sample_weight: how much each sample counts, at least 0; all alike when left out.

    Raises:
        InvalidDataset: with up to 100 faults.
    """
    table = _feature_table(features)
    if len(targets) != len(table):
        counts = f"{counted(len(targets), 'target')} for {counted(len(table), 'row')} of features"
        raise InvalidDataset([Fault("/targets", f"{counts}: give exactly one target per row")])
    classes, target_table = encode_labels(targets) if TRAITS[task].classifies else (None, _target_table(targets))
    names = default_names("x", table.shape[1]) if feature_names is None else tuple(feature_names)
    answers = default_names("y", target_table.shape[1]) if target_names is None else tuple(target_names)
    schema = Schema(names, answers, classes)
    weights = None if sample_weight is None else finite_values(sample_weight)
    return Dataset(table, target_table, schema, sample_weight if weights is None else weights)


def dataset_from_records(
    task: Task, records: Sequence[Mapping[str, Any]], target: str, sample_weight: Sequence[float] | None = None
) -> Dataset:
    """Make a dataset of records: one of their fields is the target, all others are features, in the first one's order.

    Args:
        task: says whether the targets are numbers or labels.
        records: all with the same fields; features are finite numbers.
        target: the field to predict.
        sample_weight: how much each record counts, at least 0; all alike when left out.

    Raises:
        InvalidDataset: with up to 100 faults, for a field that is missing, new in a later record, or no number.
    """
    if not records:
        raise InvalidDataset([Fault("/records", "the dataset is empty: give at least one record")])
    if target not in records[0]:
        fields = ", ".join(records[0])
        raise InvalidDataset([Fault("/target", f"the records have no field {target!r} to be the target: {fields}")])
    names = tuple(name for name in records[0] if name != target)
    rows, targets = _rows_and_targets(records, names, target)
    try:
        return dataset_from_rows(task, rows, targets, names, (target,), sample_weight)
    except InvalidDataset as invalid:
        faults = [_in_records(fault, target) for fault in invalid.faults]
        raise InvalidDataset(faults, invalid.n_faults) from None


def _rows_and_targets(
    records: Sequence[Mapping[str, Any]], names: Sequence[str], target: str
) -> tuple[Sequence[Any] | NDArray[np.float64], Sequence[Any]]:
    if isinstance(records, LongList):
        features = finite_columns(records, names)
        if features is not None:
            return features, column_of_records(records, target)
    rows, targets, faults = [], [], []
    for row, record in enumerate(records):
        if record.keys() != records[0].keys():
            faults += _field_faults(row, record, records[0])
            continue
        values = [record[name] for name in names]
        faults += [
            Fault(f"/records/{row}/{escape(name)}", _not_a_feature(name, value))
            for name, value in zip(names, values, strict=True)
            if not is_number(value)
        ]
        rows.append(values)
        targets.append(record[target])
        if len(faults) >= MAX_FAULTS:
            break
    if faults:
        raise InvalidDataset(faults)
    return rows, targets


def is_number(value: Any) -> bool:
    """Tell whether a JSON value is a number that a float64 can hold; a boolean is none."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond the largest float
        return False


def not_a_number(what: str, value: Any) -> str:
    """Say that a value should be a finite number, and what it is instead."""
    shown = json.dumps(value, default=as_shown, ensure_ascii=False)[:80]
    return f"{what} must be a finite number, not {shown}"


def _not_a_feature(name: str, value: Any) -> str:
    hint = f"; {WAY_FOR_OTHERS}" if value is None or isinstance(value, str | bool) else ""
    return not_a_number(f"feature {name!r}", value) + hint


def _feature_table(features: Sequence[Any] | NDArray[np.float64]) -> NDArray[np.float64]:
    if isinstance(features, np.ndarray):
        return features
    if not features:
        raise InvalidDataset([Fault("/features", "the dataset is empty: give at least one row of features")])
    table = finite_values(features)
    if table is not None and table.size:
        return table.reshape(len(features), -1)
    if is_row(features[0]):
        width = len(features[0])
        _check_widths(features, width, "/features", "feature")
        if width == 0:
            raise InvalidDataset([Fault("/features/0", "a row of features must have at least one number")])
    return _table(features)


def _target_table(targets: Sequence[Any]) -> NDArray[np.float64]:
    table = finite_values(targets)
    if table is not None and table.size:
        return table.reshape(len(targets), -1)
    if not is_list(targets[0]):
        _check_numbers(targets, "/targets")
        return _table(targets)
    width = len(targets[0])
    _check_widths(targets, width, "/targets", "target")
    if width == 0:
        raise InvalidDataset([Fault("/targets/0", "a row of targets must have at least one number")])
    for row, values in enumerate(targets):
        _check_numbers(values, f"/targets/{row}")
    return _table(targets)


def _check_widths(rows: Sequence[Any], width: int, pointer: str, what: str) -> None:
    def fault(wrong: tuple[int, int | None]) -> Fault:
        row, length = wrong
        if length is not None:
            sizes = f"{counted(length, what)} and row 0 has {width}"
            return Fault(f"{pointer}/{row}", f"row {row} has {sizes}: all rows must be equally long")
        return Fault(f"{pointer}/{row}", f"row {row} is a single value and row 0 a list: all rows must be alike")

    told, n_faults = first_of(rows_not_of(rows, width), fault)
    if told:
        raise InvalidDataset(told, n_faults)


def _not_a_target(value: Any) -> str:
    hint = "; for labels use logistic_regression" if isinstance(value, str | bool) else ""
    return not_a_number("a target of a regression", value) + hint


def _check_numbers(values: Iterable[Any], pointer: str) -> None:
    wrong = ((index, value) for index, value in enumerate(values) if not is_number(value))
    told, n_faults = first_of(wrong, lambda one: Fault(f"{pointer}/{one[0]}", _not_a_target(one[1])))
    if told:
        raise InvalidDataset(told, n_faults)


def _table(values: ArrayLike) -> NDArray[np.float64]:
    """Make a table of numbers; that they are finite is for the dataset to check, and it knows the place."""
    table = np.array(values, dtype=np.float64)
    return table.reshape(len(table), -1)


def _field_faults(row: int, record: Mapping[str, Any], first: Mapping[str, Any]) -> list[Fault]:
    missing = [
        Fault(f"/records/{row}", f"record {row} has no field {name!r}, which record 0 has")
        for name in first
        if name not in record
    ]
    unknown = [
        Fault(f"/records/{row}/{escape(name)}", f"record {row} has a field {name!r}, which record 0 has not")
        for name in record
        if name not in first
    ]
    return missing + unknown


def _in_records(fault: Fault, target: str) -> Fault:
    """Point to a target where it stands in the records."""
    if fault.pointer.startswith("/sample_weight"):
        return fault
    if not fault.pointer.startswith("/targets"):
        return Fault("/records", fault.detail)
    row = fault.pointer.removeprefix("/targets").partition("/")[2]
    return Fault(f"/records/{row}/{escape(target)}" if row else "/target", fault.detail)
