"""Wording: what pydantic finds wrong with a request, as faults that people understand."""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from service.api.fields import models_at, models_of
from service.data.inline import WAY_FOR_OTHERS
from service.data.long_lists import is_list
from service.data.synthetic import SyntheticSpec
from service.errors import Fault, escape
from service.selection import Selection

RECIPES: dict[str, type[BaseModel]] = {
    name: recipe
    for recipe in get_args(get_args(SyntheticSpec)[0])
    for name in get_args(recipe.model_fields["kind"].annotation)
}
_FORMS = {"<inline>": "features", "<records>": "records", "<stored>": "id", "<synthetic>": "synthetic"}
"""The forms of a dataset, each with the field that it is known by."""
_EXAMPLES = {
    name: json.dumps(example)
    for name, field in Selection.model_fields.items()
    for example in field.examples or ()
    if isinstance(example, dict)
}
"""An object for each field that may be one."""
_PATTERNS = {
    "model": "up to 100 letters, digits, dots, underscores and hyphens, the first a letter or a digit",
    "name": "up to 100 letters, digits, dots, underscores and hyphens, the first a letter or a digit",
    "alias": "up to 100 letters, digits, dots, underscores and hyphens, the first a letter or a digit, not digits only",
    "frozen": "weight or bias, or for a layer of a perceptron 0.weight, the first layer being 0",
    "device": "auto, cpu, cuda or cuda:N",
    "last-event-id": "the id of an event of this stream, as it came; without one the stream begins with what is now",
}
"""What a text must be, by its field."""
_EITHER = {
    "learning_rate": "a number above 0, or 'auto'",
    "record_every": "a whole number from 1, or 'auto'",
    "record_parameters": "true, false or 'auto'",
}
"""What a field must be that takes a word or another type, of which a finding knows but the one that was looked at."""

SHOWN_CHARACTERS = 60
SHOWN_FAULTS = 3
"""So many faults are told of in `detail`; all that are known stand in `errors`."""

_NOT_AN_OBJECT = ("model_type", "model_attributes_type", "dict_type")
"""Kinds of findings that pydantic words for Python."""
_OF_TYPE = ("literal_error", "float_type", "int_type", "int_from_float", "bool_type")


def fault_of(found: Mapping[str, Any], body: Any, schema: Any = None) -> Fault:
    """Put a finding of pydantic's into a pointer and a sentence that names the field.

    Args:
        found: one of `ValidationError.errors()`, its location beginning with `body`, `query`, `path` or `header`.
        body: of the request, as JSON values.
        schema: the type that the body is to be of; without, what is not known is told without a hint.
    """
    kind = found["type"]
    if kind == "json_invalid" and found["loc"][0] == "body" and isinstance(found["loc"][-1], int):
        return Fault("", f"the body is not JSON: {found['ctx']['error']} at character {found['loc'][-1]}")
    path = _path(found, body)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        path.append(found["ctx"]["discriminator"].strip("'"))
    pointer = "".join(f"/{escape(str(part))}" for part in path)
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".") or "the body"
    return Fault(pointer, f"{name}{_what_is_wrong(found, path, schema)}")


def sum_up(faults: Sequence[Fault], n_faults: int) -> str:
    """Tell the first faults, and how many there are.

    Args:
        faults: those that are listed.
        n_faults: that were found.
    """
    shown = "; ".join(fault.detail for fault in faults[:SHOWN_FAULTS])
    listed = f", of which errors lists {len(faults)}" if n_faults > len(faults) else ""
    return f"{shown}; … and {n_faults - SHOWN_FAULTS} more{listed}" if n_faults > SHOWN_FAULTS else shown


def _what_is_wrong(found: Mapping[str, Any], path: Sequence[str | int], schema: Any) -> str:
    """Say what is wrong, to be read after the name of the field."""
    kind, given, context = found["type"], found.get("input"), found.get("ctx", {})
    shown = _shown(given)
    example = _EXAMPLES.get(str(path[-1])) if path and "<stored>" in found["loc"][-3:] else None
    if kind == "extra_forbidden":
        return _unknown(found["loc"], schema)
    if kind == "missing":
        return " is missing"
    if kind == "union_tag_not_found":
        hint = "; what stands in synthetic is to be the body itself" if "synthetic" in (given or {}) else ""
        return f" is missing: there are {', '.join(RECIPES)}{hint}"
    if kind == "union_tag_invalid":
        return f" must be one of {context['expected_tags']}{_shown(context['tag'])}"
    if kind in _NOT_AN_OBJECT:
        return f" must be an object{'' if example is None else f', as {example}'}{shown}"
    if kind in ("too_short", "too_long"):
        limit = f"least {context['min_length']}" if kind == "too_short" else f"most {context['max_length']}"
        items = "item" if limit.endswith(" 1") else "items"
        return f" must have at {limit} {items}, and has {len(found['input'])}"
    words = _PATTERNS.get(str(next((part for part in reversed(path) if isinstance(part, str)), "")))
    if kind == "string_pattern_mismatch" and words is not None:
        return f" must be {words}{shown}"
    if kind in _OF_TYPE and found["loc"][-1] in ("<word>", "<value>") and path[-1] in _EITHER:
        return f" must be {_EITHER[str(path[-1])]}{shown}"
    message = found["msg"].removeprefix("Value error, ")
    if kind == "literal_error" and example is not None:
        message += f", or an object by column, as {example}"
    is_raw = kind == "float_type" and {"<inline>", "features"} <= {*found["loc"]} and isinstance(given, str | None)
    return f": {message[0].lower()}{message[1:]}{shown}{f'; {WAY_FOR_OTHERS}' if is_raw else ''}"


def _shown(given: Any) -> str:
    is_short = isinstance(given, str | int | float) and len(repr(given)) < SHOWN_CHARACTERS
    return f", not {given!r}" if is_short else ""


def _unknown(location: Sequence[str | int], schema: Any) -> str:
    """Say that there is no such field, or that it is what another form of a dataset is known by."""
    its_form = _FORMS.get(str(location[-2]))
    if its_form is not None and location[-1] in _FORMS.values():
        return f" does not go with {its_form}: a dataset is given by one of {', '.join(_FORMS.values())}"
    return f" is not known{_hint(location, schema)}"


def _hint(location: Sequence[str | int], schema: Any) -> str:
    """Guess what was meant by a field that is not known, among those of the same place and one further in."""
    name, models = str(location[-1]), models_at(schema, location[1:-1])
    fields = {field: about.annotation for model in models for field, about in model.model_fields.items()}
    inside = [field for field, kind in fields.items() if any(name in inner.model_fields for inner in models_of(kind))]
    if inside:
        return f": it belongs inside {' or '.join(inside)}"
    close = [field for field in fields if name == "".join(word[0] for word in field.split("_"))]
    close = close or difflib.get_close_matches(name, fields, n=1)
    if close:
        return f": did you mean {' or '.join(close)}?"
    return f": there are {', '.join(fields)}" if fields else ""


def _path(found: Mapping[str, Any], body: Any) -> list[str | int]:
    """Follow a location of pydantic's into the body, leaving out the names of union branches."""
    source, *parts = found["loc"]
    if source != "body":
        return [source, *parts]
    path, here = [], body
    for number, part in enumerate(parts):
        inside = (isinstance(here, dict) and part in here) or (is_list(here) and isinstance(part, int))
        if inside:
            here = here[part]
        elif not (number == len(parts) - 1 and found["type"] == "missing"):
            continue
        path.append(part)
    return path
