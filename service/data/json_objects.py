"""Objects of JSON, one a line: their fields in order, and what can be wrong with them."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.data.chunks import WAY_OUT
from service.errors import Fault, escape

TEXT_MARK = '"'
"""A cell of text begins with it; others are as JSON writes them."""


def read_object(line: bytes) -> list[tuple[str, Any]] | str:
    """Read the fields of an object, in order; or say what is wrong with the line."""
    if not line.strip():
        return "is blank: remove it"
    try:
        text = line.decode()
        value = _DECODER.decode(text)
        if "\\u" in text and isinstance(value, Fields):
            "".join(part for pair in value.pairs for part in pair if isinstance(part, str)).encode()
    except UnicodeDecodeError:
        return f"is not UTF-8: {WAY_OUT}"
    except UnicodeEncodeError:
        return "has half of a surrogate pair, which is no character"
    except json.JSONDecodeError as fault:
        return f"is no JSON object ({fault.msg} at character {fault.pos + 1}): give one object a line"
    except (ValueError, RecursionError):
        return "has a number that is no JSON, or too many digits or brackets: NaN and Infinity are null in JSON"
    if not isinstance(value, Fields):
        return "is JSON, but no object: give one object a line, and no list of them"
    return value.pairs


@dataclass
class Fields:
    """An object's fields, so that two of one name are seen."""

    pairs: list[tuple[str, Any]]


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


_DECODER = json.JSONDecoder(object_pairs_hook=Fields, parse_constant=_refuse)


def field_faults(fields: list[tuple[str, Any]], expected: tuple[str, ...], known: set[str]) -> list[Fault]:
    """Tell of fields that are missing, unknown or there twice."""
    counts = Counter(name for name, _ in fields)
    if counts.keys() == known and len(fields) == len(expected):
        return []
    faults = [
        Fault("", f"has no field {name!r}, which line 1 has: write null for a missing value")
        for name in expected
        if name not in counts
    ]
    for name, count in counts.items():
        if name not in known:
            faults.append(Fault(f"/{escape(name)}", f"has a field {name!r}, which line 1 has not"))
        elif count > 1:
            faults.append(Fault(f"/{escape(name)}", f"has the field {name!r} {count} times"))
    return faults


def cell_of(value: Any) -> str | None:
    """Write a value as a cell; what is nested only as such."""
    if value is None:
        return None
    if isinstance(value, str):
        return TEXT_MARK + value
    if isinstance(value, Fields):
        return "{…}"
    return "[…]" if isinstance(value, list) else json.dumps(value)


def are_alike(body: bytes, n_rows: int, width: int) -> bool:
    """Tell whether all lines have the same fields in the same order, each once: written alike, so that a look tells.

    No text of the body may have a backslash at its end.
    """
    characters = np.frombuffer(body, np.uint8)
    line_ends = np.flatnonzero(characters == ord("\n"))
    name_ends = np.flatnonzero((characters[:-1] == ord('"')) & (characters[1:] == ord(":")))
    if len(line_ends) != n_rows or len(name_ends) != n_rows * width:
        return False
    if (np.searchsorted(name_ends, line_ends) != width * np.arange(1, n_rows + 1)).any():
        return False
    names = [body[body.rfind(b'"', 0, end) : end] for end in name_ends[:width].tolist()]
    if len(set(names)) < width:
        return False
    for ends, name in zip(name_ends.reshape(n_rows, width).T, names, strict=True):
        written = np.lib.stride_tricks.sliding_window_view(characters, len(name))
        if (written[ends - len(name)] != np.frombuffer(name, np.uint8)).any():
            return False
    return True


def not_text(body: bytes) -> tuple[int, str] | None:
    """Find the first byte that is not UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError as fault:
        return fault.start, f"is not UTF-8 (byte 0x{body[fault.start]:02x}): {WAY_OUT}; what follows was not looked at"
    return None
