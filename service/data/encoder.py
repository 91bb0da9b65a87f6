"""What a model takes for a prediction, turned into a table of numbers by the schema that it was trained with."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.data.features import features_of
from service.data.inline import is_number, not_a_number
from service.data.long_lists import LongList, finite_columns, finite_values, in_parts, rows_not_of
from service.data.raw_values import column_of, number_of, value_of
from service.dataset import Schema
from service.encoding import Encoding
from service.errors import MAX_FAULTS, Fault, InvalidFeatures, counted, escape, first_of


def encode_records(schema: Schema, records: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Put the values of records in the order of the features, encoded as those of the training were.

    Returns:
        Numbers of shape (n_records, n_features).

    Raises:
        InvalidFeatures: for each feature that is missing, unknown, or no value that its column takes, which without an
            encoding is any finite number; pointers are `/row/name`.
    """
    if schema.encoding is not None:
        if isinstance(records, LongList):
            return in_parts(records, partial(_encode_records, schema, schema.encoding))
        return _encode_records(schema, schema.encoding, records)
    if isinstance(records, LongList) and not name_faults(schema, records[0], ""):
        found = finite_columns(records, schema.feature_names)
        if found is not None:
            return found
    faults: list[Fault] = []
    known = set(schema.feature_names)
    for row, record in enumerate(records):
        faults += name_faults(schema, record.keys(), f"/{row}")
        faults += [
            Fault(f"/{row}/{escape(name)}", not_a_number(f"feature {name!r}", value))
            for name, value in record.items()
            if name in known and not is_number(value)
        ]
        if len(faults) >= MAX_FAULTS:
            break
    if faults:
        raise InvalidFeatures(faults)
    rows = [[record[name] for name in schema.feature_names] for record in records]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(schema.feature_names))


def encode_rows(schema: Schema, rows: Sequence[Sequence[Any]]) -> NDArray[np.float64]:
    """Put rows of values into a table, encoded as those of the training were.

    Args:
        schema: with or without an encoding.
        rows: a value for each of `schema.input_names`, in order: finite numbers, or with an encoding any JSON scalars.

    Raises:
        InvalidFeatures: for each row that is too short or too long, with pointers `/row`, and with an encoding for each
            value that its column does not take, with pointers `/row/position`.
    """
    n_inputs = len(schema.input_names)
    expected = f"the model takes {n_inputs} ({listed(schema.input_names)})"
    numbers = finite_values(rows) if schema.encoding is None else None
    if numbers is not None and numbers.shape[1] == n_inputs:
        return numbers
    told, n_faults = first_of(
        rows_not_of(rows, n_inputs),
        lambda one: Fault(f"/{one[0]}", f"row {one[0]} has {counted(one[1] or 0, 'feature')} and {expected}"),
    )
    if told:
        raise InvalidFeatures(told, n_faults)
    if schema.encoding is not None:
        if isinstance(rows, LongList):
            return in_parts(rows, partial(_encode_rows, schema.encoding))
        return _encode_rows(schema.encoding, rows)
    return np.array(rows, dtype=np.float64).reshape(len(rows), n_inputs)


def encode_named_texts(schema: Schema, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """Read one sample from names and texts, as a query string has them.

    With an encoding an empty text is a missing value.

    Returns:
        Numbers of shape (1, n_features).

    Raises:
        InvalidFeatures: for each feature that is missing, unknown, repeated, or no value that its column takes, which
            without an encoding is any finite number; pointers are `/name`.
    """
    names = [name for name, _ in pairs]
    faults = name_faults(schema, names, "", pointed=True)
    faults += [
        Fault(f"/{escape(name)}", f"feature {name!r} is given {names.count(name)} times: give it once")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if schema.encoding is not None:
        given = dict(pairs)
        sample = {one.column: value_of(one, given[one.column]) for one in schema.encoding if one.column in given}
        columns, wrong = _columns_of(schema.encoding, [sample], "/{name}")
        return _features(schema.encoding, columns, faults + wrong)
    values = {}
    for name, text in pairs:
        value = number_of(text)
        values[name] = value
        if name in schema.feature_names and not is_number(value):
            faults.append(Fault(f"/{escape(name)}", not_a_number(f"feature {name!r}", text)))
    if faults:
        raise InvalidFeatures(faults)
    return np.array([[values[name] for name in schema.feature_names]], dtype=np.float64)


def encode_listed_texts(schema: Schema, text: str) -> NDArray[np.float64]:
    """Read one sample from values with commas between them, in the order of the features.

    Raises:
        InvalidFeatures: when their count is not that of the features, or one is no value that its column takes, which
            without an encoding is any finite number.
    """
    parts = text.split(",")
    encoding = schema.encoding
    if len(parts) != len(schema.input_names):
        expected = f"the model takes {len(schema.input_names)} ({listed(schema.input_names)})"
        is_mixed = encoding is not None and any(one.kind == "category" for one in encoding)
        hint = "; a category with a comma in it is given by name" if is_mixed else ""
        given = "1 feature is given" if len(parts) == 1 else f"{len(parts)} features are given"
        raise InvalidFeatures([Fault("/features", f"{given} and {expected}{hint}")])
    if encoding is not None:
        found = [
            column_of(one, [value_of(one, part)], lambda _: "/features", f"the value at position {position}")
            for position, (one, part) in enumerate(zip(encoding, parts, strict=True))
        ]
        return _features(encoding, [column for column, _ in found], [fault for _, faults in found for fault in faults])
    values = [number_of(part) for part in parts]
    faults = [
        Fault("/features", not_a_number(f"the value at position {position}", part))
        for position, (part, value) in enumerate(zip(parts, values, strict=True))
        if not is_number(value)
    ]
    if faults:
        raise InvalidFeatures(faults)
    return np.array([values], dtype=np.float64)


def _encode_records(schema: Schema, encoding: Encoding, records: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    faults: list[Fault] = []
    for row, record in enumerate(records):
        faults += name_faults(schema, record.keys(), f"/{row}")
        if len(faults) >= MAX_FAULTS:
            break
    columns, wrong = _columns_of(encoding, records, "/{row}/{name}")
    return _features(encoding, columns, faults + wrong)


def _encode_rows(encoding: Encoding, rows: Sequence[Sequence[Any]]) -> NDArray[np.float64]:
    columns, faults = [], list[Fault]()
    for position, one in enumerate(encoding):
        column, wrong = column_of(
            one, [values[position] for values in rows], f"/{{}}/{position}".format, f"feature {one.column!r}"
        )
        columns.append(column)
        faults += wrong
    return _features(encoding, columns, faults)


def _columns_of(
    encoding: Encoding, records: Sequence[Mapping[str, Any]], place: str
) -> tuple[list[pl.Series], list[Fault]]:
    """Give the values of records as columns; records that lack one are left out of it."""
    columns, faults = [], list[Fault]()
    for one in encoding:
        rows = [row for row, record in enumerate(records) if one.column in record]
        values = [records[row][one.column] for row in rows]
        column, wrong = column_of(one, values, partial(_pointer, place, one.column, rows), f"feature {one.column!r}")
        columns.append(column)
        faults += wrong
    return columns, faults


def _pointer(place: str, name: str, rows: Sequence[int], number: int) -> str:
    return place.format(row=rows[number], name=escape(name))


def _features(encoding: Encoding, columns: Sequence[pl.Series], faults: Sequence[Fault]) -> NDArray[np.float64]:
    if faults:
        raise InvalidFeatures(faults)
    return features_of(encoding, pl.DataFrame(columns)).astype(np.float64, copy=False)


def name_faults(schema: Schema, names: Iterable[str], pointer: str, *, pointed: bool = False) -> list[Fault]:
    """Tell which features are missing, and which are unknown.

    Args:
        schema: what the model takes.
        names: those that are given.
        pointer: to what they are given in; with `pointed` a missing one is pointed to by its name, as if it were there.
    """
    given = dict.fromkeys(names)
    if tuple(given) == schema.input_names:
        return []
    missing = [name for name in schema.input_names if name not in given]
    known = set(schema.input_names)
    unknown = [name for name in given if name not in known]
    return [
        *(
            Fault(f"{pointer}/{escape(name)}" if pointed else pointer, f"feature {name!r} is missing")
            for name in missing
        ),
        *(
            Fault(
                f"{pointer}/{escape(name)}",
                f"feature {name!r} is unknown: the model takes {listed(schema.input_names)}",
            )
            for name in unknown
        ),
    ]


def listed(names: Sequence[str]) -> str:
    """Name the first ten, and tell how many more there are."""
    return ", ".join(names[:10]) + (f" … {len(names) - 10} more" if len(names) > 10 else "")
