"""What a model takes for a prediction, turned into a table of numbers by the schema that it was trained with."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.data.inline import is_number, not_a_number
from service.dataset import Schema
from service.errors import MAX_FAULTS, Fault, InvalidFeatures, escape

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def encode_records(schema: Schema, records: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Put the values of records in the order of the features.

    Returns:
        Numbers of shape (n_records, n_features).

    Raises:
        InvalidFeatures: for each feature that is missing, unknown, or no finite number; pointers are `/row/name`.
    """
    faults: list[Fault] = []
    known = set(schema.feature_names)
    for row, record in enumerate(records):
        faults += _name_faults(schema, record.keys(), f"/{row}")
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


def encode_rows(schema: Schema, rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Check that rows of finite numbers have a number for each feature, in order.

    Raises:
        InvalidFeatures: for each row that is too short or too long; pointers are `/row`.
    """
    n_features = len(schema.feature_names)
    expected = f"the model takes {n_features} ({_listed(schema.feature_names)})"
    faults = [
        Fault(f"/{row}", f"row {row} has {len(values)} features and {expected}")
        for row, values in enumerate(rows)
        if len(values) != n_features
    ]
    if faults:
        raise InvalidFeatures(faults)
    return np.array(rows, dtype=np.float64).reshape(len(rows), n_features)


def encode_named_texts(schema: Schema, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """Read one sample from names and texts, as a query string has them.

    Returns:
        Numbers of shape (1, n_features).

    Raises:
        InvalidFeatures: for each feature that is missing, unknown, repeated, or no finite number; pointers are `/name`.
    """
    names = [name for name, _ in pairs]
    faults = _name_faults(schema, names, "", pointed=True)
    faults += [
        Fault(f"/{escape(name)}", f"feature {name!r} is given {names.count(name)} times: give it once")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    values = {}
    for name, text in pairs:
        value = _number(text)
        values[name] = value
        if name in schema.feature_names and not is_number(value):
            faults.append(Fault(f"/{escape(name)}", not_a_number(f"feature {name!r}", text)))
    if faults:
        raise InvalidFeatures(faults)
    return np.array([[values[name] for name in schema.feature_names]], dtype=np.float64)


def encode_listed_texts(schema: Schema, text: str) -> NDArray[np.float64]:
    """Read one sample from numbers with commas between them, in the order of the features.

    Raises:
        InvalidFeatures: when their count is not that of the features, or one is no finite number.
    """
    parts = text.split(",")
    values = [_number(part) for part in parts]
    faults = [
        Fault("/features", not_a_number(f"the value at position {position}", part))
        for position, (part, value) in enumerate(zip(parts, values, strict=True))
        if not is_number(value)
    ]
    if len(parts) != len(schema.feature_names):
        expected = f"the model takes {len(schema.feature_names)} ({_listed(schema.feature_names)})"
        faults = [Fault("/features", f"{len(parts)} features are given and {expected}")]
    if faults:
        raise InvalidFeatures(faults)
    return np.array([values], dtype=np.float64)


def _name_faults(schema: Schema, names: Iterable[str], pointer: str, *, pointed: bool = False) -> list[Fault]:
    given = dict.fromkeys(names)
    missing = [name for name in schema.feature_names if name not in given]
    known = set(schema.feature_names)
    unknown = [name for name in given if name not in known]
    return [
        *(
            Fault(f"{pointer}/{escape(name)}" if pointed else pointer, f"feature {name!r} is missing")
            for name in missing
        ),
        *(
            Fault(
                f"{pointer}/{escape(name)}",
                f"feature {name!r} is unknown: the model takes {_listed(schema.feature_names)}",
            )
            for name in unknown
        ),
    ]


def _number(text: str) -> float | None:
    """Read a number as JSON and CSV write it, a leading + or a bare point allowed; None for anything else."""
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" … {len(names) - 10} more" if len(names) > 10 else "")
