"""Wording: what pydantic finds wrong with a request, as faults that people understand."""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from service.data.inline import WAY_FOR_OTHERS
from service.data.synthetic import SyntheticSpec
from service.errors import Fault, escape
from service.hyperparameters import Hyperparameters, LayerValues, StartLayers, StartModel, Stop
from service.schedules import Schedule
from service.selection import Selection

RECIPES: dict[str, type[BaseModel]] = {
    name: recipe
    for recipe in get_args(get_args(SyntheticSpec)[0])
    for name in get_args(recipe.model_fields["kind"].annotation)
}
_FIELDS: dict[str, tuple[str, ...]] = {
    "body": (
        *(
            "model",
            "task",
            "dataset",
            "hyperparameters",
            "metadata",
            "priority",
            "features",
            "records",
            "columns",
            "explain",
            "apply",
        ),
        *("version", "description", "worst"),
        *("name", "feature_names", "target_names", "encoding", "classes", "parameters", "scaled", "ranges"),
    ),
    "hyperparameters": tuple(Hyperparameters.model_fields),
    "<inline>": ("features", "feature_names", "targets", "sample_weight"),
    "<records>": ("records", "target", "sample_weight"),
    "<stored>": ("id", *Selection.model_fields),
    "<synthetic>": ("synthetic",),
    "<values>": tuple(LayerValues.model_fields),
    "<layers>": tuple(StartLayers.model_fields),
    "<list>": tuple(LayerValues.model_fields),
    "<model>": tuple(StartModel.model_fields),
    "parameters": tuple(LayerValues.model_fields),
    "stop": tuple(Stop.model_fields),
    **{f"<{kind.model_fields['kind'].default}>": tuple(kind.model_fields) for kind in get_args(Schedule)},
    **{name: tuple(recipe.model_fields) for name, recipe in RECIPES.items()},
}
"""The fields of each part of a request, to tell of when one is not known; names in brackets are branches of unions."""

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
}
"""What a text must be, by its field."""

SHOWN_FIELDS = 8
SHOWN_CHARACTERS = 60

_NOT_AN_OBJECT = ("model_type", "model_attributes_type", "dict_type")
"""Kinds of findings that pydantic words for Python."""


def fault_of(found: Mapping[str, Any], body: Any) -> Fault:
    """Put a finding of pydantic's into a pointer and a sentence that names the field.

    Args:
        found: one of `ValidationError.errors()`, its location beginning with `body`, `query`, `path` or `header`.
        body: of the request, as JSON values.
    """
    kind = found["type"]
    if kind == "json_invalid" and found["loc"][0] == "body" and isinstance(found["loc"][-1], int):
        return Fault("", f"the body is not JSON: {found['ctx']['error']} at character {found['loc'][-1]}")
    path = _path(found, body)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        path.append(found["ctx"]["discriminator"].strip("'"))
    pointer = "".join(f"/{escape(str(part))}" for part in path)
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".") or "the body"
    return Fault(pointer, f"{name}{_what_is_wrong(found, path)}")


def _what_is_wrong(found: Mapping[str, Any], path: Sequence[str | int]) -> str:
    """Say what is wrong, to be read after the name of the field."""
    kind, given, context = found["type"], found.get("input"), found.get("ctx", {})
    shown = _shown(given)
    example = _EXAMPLES.get(str(path[-1])) if path and "<stored>" in found["loc"][-3:] else None
    if kind == "extra_forbidden":
        return _unknown(found["loc"])
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
        return f" must have at {limit} {items}, and has {context['actual_length']}"
    words = _PATTERNS.get(str(next((part for part in reversed(path) if isinstance(part, str)), "")))
    if kind == "string_pattern_mismatch" and words is not None:
        return f" must be {words}{shown}"
    message = found["msg"].removeprefix("Value error, ")
    if kind == "literal_error" and example is not None:
        message += f", or an object by column, as {example}"
    is_raw = kind == "float_type" and {"<inline>", "features"} <= {*found["loc"]} and isinstance(given, str | None)
    return f": {message[0].lower()}{message[1:]}{shown}{f'; {WAY_FOR_OTHERS}' if is_raw else ''}"


def _shown(given: Any) -> str:
    is_short = isinstance(given, str | int | float) and len(repr(given)) < SHOWN_CHARACTERS
    return f", not {given!r}" if is_short else ""


def _unknown(location: Sequence[str | int]) -> str:
    """Say that there is no such field, or that it is what another form of a dataset is known by."""
    its_form = _FORMS.get(str(location[-2]))
    if its_form is not None and location[-1] in _FORMS.values():
        return f" does not go with {its_form}: a dataset is given by one of {', '.join(_FORMS.values())}"
    return f" is not known{_hint(location)}"


def _hint(location: Sequence[str | int]) -> str:
    """Guess what was meant by a field that is not known, among those of the same place, or list them."""
    name, place = str(location[-1]), next(part for part in reversed(location[:-1]) if isinstance(part, str))
    if place == "body" and name in Hyperparameters.model_fields:
        return ": it belongs inside hyperparameters"
    fields = _FIELDS.get(place, ())
    close = difflib.get_close_matches(name, fields, n=1)
    if close:
        return f": did you mean {close[0]}?"
    return f": there are {', '.join(fields)}" if 0 < len(fields) <= SHOWN_FIELDS and place != "body" else ""


def _path(found: Mapping[str, Any], body: Any) -> list[str | int]:
    """Follow a location of pydantic's into the body, leaving out the names of union branches."""
    source, *parts = found["loc"]
    if source != "body":
        return [source, *parts]
    path, here = [], body
    for number, part in enumerate(parts):
        inside = (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int))
        if inside:
            here = here[part]
        elif not (number == len(parts) - 1 and found["type"] == "missing"):
            continue
        path.append(part)
    return path
