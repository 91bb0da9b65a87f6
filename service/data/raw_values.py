"""Raw values of samples, as a request has them, into columns: what each may be, by the encoding of its column."""

import difflib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from service.data.canonical import canonical
from service.data.inline import is_number, not_a_number
from service.data.kinds import FIRST_YEAR, LAST_YEAR
from service.data.long_lists import as_shown
from service.dataset import is_unicode
from service.encoding import ColumnEncoding
from service.errors import MAX_FAULTS, Fault

SHOWN_CATEGORIES = 10
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TYPES = {"number": pl.Float64(), "boolean": pl.Boolean(), "category": pl.String(), "date": pl.Datetime("us")}


def number_of(text: str) -> float | None:
    """Read a number as JSON and CSV write it, a leading + or a bare point allowed; None for anything else."""
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def value_of(column: ColumnEncoding, text: str) -> Any:
    """Read what a query says of a column as the JSON value that was meant, or as the text when it cannot be one.

    An empty text is a missing value, unless it is a category that is known.
    """
    if not text and "" not in column.categories:
        return None
    if column.kind == "number":
        number = number_of(text)
        return number if is_number(number) else text
    return {"true": True, "false": False}.get(text.strip().lower(), text) if column.kind == "boolean" else text


def column_of(
    column: ColumnEncoding, values: Sequence[Any], pointer: Callable[[int], str], name: str
) -> tuple[pl.Series, list[Fault]]:
    """Check the values of a column, one of each sample, and give them in their canonical type.

    Args:
        column: what they may be.
        values: JSON values; None is missing.
        pointer: to the value of a sample by its number.
        name: what a fault calls the value.

    Returns:
        The column, and up to 100 faults; where there are any, the column is of no use.
    """
    taken = _taken(column, values)
    faults = []
    for row, (value, found) in enumerate(zip(values, taken.to_list(), strict=True)):
        is_missing = value is None
        if is_missing and column.takes_missing:
            continue
        is_unseen = column.kind == "category" and column.unseen == "refuse" and found not in column.categories
        if is_missing or found is None or is_unseen:
            faults.append(Fault(pointer(row), refusal(column, name, value, found)))
            if len(faults) == MAX_FAULTS:
                break
    return taken, faults


def _taken(column: ColumnEncoding, values: Sequence[Any]) -> pl.Series:
    """Give values in the column's canonical type; null where one cannot be."""
    fitting: list[Any]
    if column.kind == "number":
        fitting = [float(value) if is_number(value) else None for value in values]
    elif column.kind == "boolean":
        fitting = [value if isinstance(value, bool) else None for value in values]
    elif column.kind == "category":
        fitting = [_category(value) for value in values]
    else:
        fitting = [value if isinstance(value, str) and is_unicode(value) else None for value in values]
        texts = pl.DataFrame({column.column: pl.Series(fitting, dtype=pl.String)})
        return texts.select(canonical(column.column, "date", pl.String()))[column.column]
    return pl.Series(column.column, fitting, dtype=_TYPES[column.kind])


def _category(value: Any) -> str | None:
    """Write a value as the category that it is; None when it is none."""
    if isinstance(value, str):
        return value if is_unicode(value) else None
    if isinstance(value, float) and is_number(value):
        texts = pl.DataFrame({"value": [value]}).select(canonical("value", "category", pl.Float64()))
        return str(texts.item())
    return json.dumps(value) if isinstance(value, bool | int) else None


def refusal(column: ColumnEncoding, name: str, value: Any, found: Any) -> str:
    """Say why a value is not taken, and what would be."""
    shown = json.dumps(value, default=as_shown, ensure_ascii=False)[:80]
    if value is None:
        return f"{name} is missing, and the model was trained to refuse that: give a {column.kind}"
    if column.kind == "number":
        return not_a_number(name, value)
    if column.kind == "boolean":
        return f"{name} must be true or false, not {shown}"
    if column.kind == "date":
        return (
            f"{name} must be a date or a date-time as ISO 8601 writes it, as 2026-01-31, in the "
            f"years {FIRST_YEAR} to {LAST_YEAR}, not {shown}"
        )
    if found is None:
        return f"{name} must be text, a number or a boolean, not {shown}"
    known = column.categories
    more = f" … {len(known) - SHOWN_CATEGORIES} more" if len(known) > SHOWN_CATEGORIES else ""
    listed = ", ".join(json.dumps(category, ensure_ascii=False) for category in known[:SHOWN_CATEGORIES])
    close = difflib.get_close_matches(found, known, n=1)
    hint = f"did you mean {json.dumps(close[0], ensure_ascii=False)}? " if close else ""
    return f"{name} has no category {shown}: {hint}the model knows {listed}{more}"
