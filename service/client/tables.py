"""Frames and arrays as the service takes them: inside a request while they are small and numbers, else as a file.

Nothing is imported for them. A frame is whatever has columns and tells them as Arrow; it is written by the library that
it comes from, or another that is there. Numbers keep every bit: as JSON and CSV they are written with as many digits as
that takes.
"""

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.client.steps import Json
from service.dataset import default_names
from service.errors import UnsendableData

INLINE_NUMBERS = 50_000
"""More than so many numbers go as a file."""
PART_NUMBERS = 2**22
"""About so many stand in a part of a file, which is read at once."""
CSV, ARROW = "text/csv; header=present", "application/vnd.apache.arrow.file"

Columns = dict[str, Any]
"""Columns of a table by name, each of the kind in which it was given."""


@dataclass(frozen=True)
class File:
    """A table as a file, and what is to be said of how to read it."""

    content: bytes
    media_type: str
    types: dict[str, str] = field(default_factory=dict)


def is_frame(given: Any) -> bool:
    """Tell a table with names from arrays and series."""
    return hasattr(given, "columns") and hasattr(given, "__arrow_c_stream__")


def columns_of(frame: Any) -> Columns:
    """Give the columns of a frame, without what numbers or names its rows."""
    names = list(frame.column_names if hasattr(frame, "column_names") else frame.columns)
    if len({str(name) for name in names}) < len(names):
        raise UnsendableData(f"the frame has two columns of one name: {', '.join(map(str, names))}")
    return {str(name): frame[name] for name in names}


def numbers_of(given: ArrayLike, what: str) -> NDArray[np.float64]:
    """Give an array of one or two dimensions as numbers; booleans are 0 and 1.

    Raises:
        UnsendableData: when it is none of numbers.
    """
    try:
        array = np.asarray(given)
    except ValueError as fault:
        raise UnsendableData(f"the {what} are no table: {fault}") from None
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2):
        found = f"of shape {array.shape} and type {array.dtype}"
        raise UnsendableData(f"the {what} must be rows of numbers, not {found}; columns of texts go as a DataFrame")
    return array.astype(np.float64, copy=False)


def as_table(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give an array of one or two dimensions as one of two: numbers in a row are of a single column."""
    return array[:, None] if array.ndim == 1 else array


def values_of(given: Any) -> list[Any]:
    """Give a column, or an array, as values that JSON knows."""
    for name in ("to_pylist", "to_list", "tolist"):
        if hasattr(given, name):
            values: list[Any] = getattr(given, name)()
            return values
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise UnsendableData(f"a column must be an array, a series or a list, not {type(given).__name__}")
    return [value.item() if isinstance(value, np.generic) else value for value in given]


def json_values(column: Any, name: str) -> list[Any]:
    """Give a column as values that a request can have: missing ones are None, dates as ISO 8601 writes them.

    Raises:
        UnsendableData: for a value that JSON does not know, such as an infinite one.
    """
    values = values_of(column)
    if hasattr(column, "isna"):  # pandas marks what is missing in several ways
        values = [None if is_missing else value for value, is_missing in zip(values, column.isna(), strict=True)]
    return [_json_value(value, name) for value in values]


def _json_value(value: Any, name: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not np.isfinite(value):
        if value != value:
            return None
        raise UnsendableData(f"{name!r} has an infinite value, which JSON does not know and no model was trained on")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UnsendableData(f"{name!r} has a value that JSON does not know, of type {type(value).__name__}")


def are_small_numbers(columns: Sequence[Any]) -> bool:
    """Tell whether columns can stand inside a request: few, all numbers, all finite."""
    if sum(len(column) for column in columns) > INLINE_NUMBERS:
        return False
    arrays = (np.asarray(column) for column in columns)
    return all(array.dtype.kind in "iuf" and bool(np.isfinite(array).all()) for array in arrays)


def file_of(columns: Columns, types: Mapping[str, str] | None = None) -> File:
    """Write columns as a file: Arrow where polars or pyarrow is there, else CSV.

    Raises:
        UnsendableData: when they are no table, and for columns that only Arrow can tell.
    """
    n_rows = max(1, PART_NUMBERS // max(1, len(columns)))
    polars, pyarrow = sys.modules.get("polars"), sys.modules.get("pyarrow")
    # Each library writes its own as it is.
    of_polars = any(type(column).__module__.startswith("polars.") for column in columns.values())
    try:
        if polars is not None and (of_polars or pyarrow is None):
            buffer = io.BytesIO()
            polars.DataFrame(columns).write_ipc(buffer, compression="uncompressed", record_batch_size=n_rows)
            content = buffer.getvalue()
        elif pyarrow is not None:
            table, sink = pyarrow.table(columns), pyarrow.BufferOutputStream()
            with pyarrow.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table, max_chunksize=n_rows)
            content = sink.getvalue().to_pybytes()
        else:
            return File(_csv(columns), CSV, dict(types or {}))
    except Exception as fault:  # each of these libraries has errors of its own
        raise UnsendableData(f"the columns cannot be written as a table: {fault}") from fault
    return File(content, ARROW, dict(types or {}))


def _csv(columns: Columns) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*map(values_of, columns.values()), strict=True))
    return buffer.getvalue().encode()


def dataset_of(
    given: Any,
    targets: Any,
    target: str | list[str] | None,
    *,
    sample_weight: Any = None,
    selection: Json | None = None,
    names: Sequence[str] | None = None,
) -> tuple[File | None, Json]:
    """Put data into the words of `POST /train`: the dataset of a request, and the file that it is of, if any.

    Args:
        given: features, as a frame or an array, or with `target` a frame of features and targets; or the id of a
            dataset that is kept, or a dataset as it stands in a request.
        targets: an array, a series or a list, a value or row of values for each sample.
        target: the columns to predict, in place of `targets`.
        sample_weight: values, or the name of a column.
        selection: how columns are to be read, and which.
        names: those of the columns of an array, which else are `x1`, `x2` …, or `x` of a single one.

    Raises:
        UnsendableData: when it is no table, when not exactly one of `targets` and `target` is given, or when the
            columns of an array are not as many as their names.
    """
    chosen = dict(selection or {})
    if isinstance(given, Mapping):
        return None, {**given, **chosen}
    if (targets is None) == (target is None):
        raise UnsendableData("give either targets, one for each sample, or target, the column that they are in")
    chosen |= {} if target is None else {"target": target}
    if isinstance(sample_weight, str):
        chosen, sample_weight = {**chosen, "sample_weight": sample_weight}, None
    if isinstance(given, str):
        return None, {"id": given, **chosen}
    features = columns_of(given) if is_frame(given) else numbers_of(given, "features")
    if targets is None:
        return _named(features, chosen, sample_weight)
    return _beside(features, targets, chosen, sample_weight, names)


def _named(columns: Any, chosen: Json, sample_weight: Any) -> tuple[File | None, Json]:
    """Give a dataset of a frame that has its targets among its columns."""
    if not isinstance(columns, dict):
        raise UnsendableData("an array has no columns with names: give targets, one for each sample")
    target = chosen["target"]
    is_plain = len(chosen) == 1 and isinstance(target, str) and target in columns and sample_weight is None
    features = {name: column for name, column in columns.items() if name != target}
    if is_plain and are_small_numbers(list(features.values())):
        lists = {name: values_of(column) for name, column in columns.items()}
        records = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
        if all(isinstance(value, str | int | float) for value in lists[target]) and are_finite(lists[target]):
            return None, {"records": records, "target": target}
    return _file(columns, {}, chosen, sample_weight)


def _beside(
    features: Any, targets: Any, chosen: Json, sample_weight: Any, names: Sequence[str] | None
) -> tuple[File | None, Json]:
    """Give a dataset of features, and targets beside them."""
    named = isinstance(features, dict)
    columns = features if named else _by_name("x", features, names)
    answers = np.asarray(targets) if is_frame(targets) else targets
    values = values_of(answers)
    if not chosen and are_small_numbers(list(columns.values())) and are_finite(values):
        rows = np.column_stack([np.asarray(column, np.float64) for column in columns.values()]).tolist()
        dataset = {"features": rows, "targets": values}
        dataset |= {"feature_names": list(columns)} if named else {}
        return None, dataset | ({} if sample_weight is None else {"sample_weight": values_of(sample_weight)})
    several = bool(values) and isinstance(values[0], list)
    added = (
        _by_name("y", numbers_of(answers, "targets"))
        if several
        else {str(getattr(answers, "name", None) or "y"): answers}
    )
    free = {_free(name, columns): column for name, column in added.items()}
    types = {name: "category" for name in free if values and isinstance(values[0], str)}
    given = list(free) if several else next(iter(free))
    return _file({**columns, **free}, types, {**chosen, "target": given}, sample_weight)


def _file(columns: Columns, types: dict[str, str], chosen: Json, sample_weight: Any) -> tuple[File, Json]:
    if sample_weight is not None:
        name = _free("sample_weight", columns)
        columns, chosen = {**columns, name: sample_weight}, {**chosen, "sample_weight": name}
    return file_of(columns, types), chosen


def are_finite(values: Sequence[Any]) -> bool:
    """Tell whether values can be written as JSON: no number among them is beyond all, or none."""
    array = np.asarray(values) if all(isinstance(value, float) for value in values) else np.zeros(0)
    return bool(np.isfinite(array).all())


def _by_name(letter: str, given: NDArray[np.float64], names: Sequence[str] | None = None) -> Columns:
    table = as_table(given)
    names = names or default_names(letter, table.shape[1])
    if table.shape[1] != len(names):
        raise UnsendableData(f"the array has {table.shape[1]} columns, and there are {len(names)} names for them")
    return dict(zip(names, np.ascontiguousarray(table.T), strict=True))


def _free(name: str, columns: Columns) -> str:
    """Give a name that no column has."""
    while name in columns:
        name += "_"
    return name
