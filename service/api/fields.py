"""Fields: which ones there are at a place of a request's body, as its schema has them."""

from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag

_UNIONS = (Union, UnionType)


def schema_of(route: object) -> Any:
    """Give the type of the body that a route has FastAPI read; None when there is none."""
    field = getattr(route, "body_field", None)
    return None if field is None else field.field_info.annotation


def models_at(kind: Any, location: Sequence[str | int]) -> list[type[BaseModel]]:
    """Give the models that may stand at a place.

    Args:
        kind: the type of the whole.
        location: the way there as pydantic tells it: fields, keys and indices, among them the branches of unions.
    """
    kinds = [kind]
    for part in location:
        kinds = [inner for one in kinds for inner in _inside(one, part)]
    return [model for one in kinds for model in models_of(one)]


def models_of(kind: Any) -> list[type[BaseModel]]:
    """Give the models that a value of a type may be of."""
    if _is_model(kind):
        return [kind]
    origin, arguments = get_origin(kind), get_args(kind)
    branches = arguments[:1] if origin is Annotated else arguments if origin in _UNIONS else ()
    return [model for branch in branches for model in models_of(branch)]


def _inside(kind: Any, part: str | int) -> list[Any]:
    """Give the types that may stand one step further."""
    if _is_model(kind):
        return [kind.model_fields[part].annotation] if part in kind.model_fields else []
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _inside(arguments[0], part)
    if origin in _UNIONS:
        named = [branch for branch in arguments if part in _names_of(branch)]
        return named or [inner for branch in arguments for inner in _inside(branch, part)]
    return [arguments[-1]] if origin in (list, dict) and arguments else []


def _names_of(branch: Any) -> set[object]:
    """Give what pydantic may call a branch of a union: its tag, or the word by which a model is known, or its class."""
    if not _is_model(branch):
        return {one.tag for one in getattr(branch, "__metadata__", ()) if isinstance(one, Tag)}
    words = (field.annotation for field in branch.model_fields.values() if get_origin(field.annotation) is Literal)
    return {branch.__name__, *(word for literal in words for word in get_args(literal))}


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
