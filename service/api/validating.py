"""Long bodies, checked against their schemas in memory that does not grow with what is wrong with them.

pydantic tells of every value that is wrong, in some hundred times the bytes that it has in JSON: a body of 32 MiB of
them would take the memory of a machine. So of a long one the first that is wrong in each list is told, and no more.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, SchemaValidator

LONG = 100_000
"""More commas than these make a body long."""
MOST_NAMES = 20_000
"""An object of a long body has so many names at the most: twice as many as a table has columns."""


def check_long(kind: Any, content: bytes, value: Any) -> None:
    """Check a body if it is long.

    Args:
        kind: the type that it is to be of.
        content: the body.
        value: what JSON has in it.

    Raises:
        RequestValidationError: for the first faults, as FastAPI does for those of other bodies.
    """
    if content.count(b",") <= LONG:
        return
    try:
        for place, names in _objects(value):
            if len(names) > MOST_NAMES:
                raise _too_many_names(place, len(names))
        _failing_fast(kind).validate_python(value)
    except ValidationError as refusal:
        errors = [{**error, "loc": ("body", *error["loc"])} for error in refusal.errors(include_url=False)]
        raise RequestValidationError(errors, body=value) from None


def _too_many_names(place: tuple[str | int, ...], n_names: int) -> ValidationError:
    wrong = PydanticCustomError("too_many_names", f"{n_names} names, and {MOST_NAMES} are the most in an object")
    return ValidationError.from_exception_data("body", [InitErrorDetails(type=wrong, loc=place, input=None)])


@cache
def _failing_fast(kind: Any) -> SchemaValidator:
    # Those validators that are there for the models inside do not fail fast.
    return SchemaValidator(_with_fast_lists(TypeAdapter(kind).core_schema), _use_prebuilt=False)


def _with_fast_lists(schema: Any) -> Any:
    """Copy a schema of pydantic's, all lists in it ending at the first fault."""
    if isinstance(schema, dict):
        copy = {name: part if name == "metadata" else _with_fast_lists(part) for name, part in schema.items()}
        return {**copy, "fail_fast": True} if schema.get("type") == "list" else copy
    if isinstance(schema, list | tuple):
        return type(schema)(map(_with_fast_lists, schema))
    return schema


def _objects(value: Any, *place: str | int) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Give the objects in a value, and those in lists of objects, with their places."""
    if type(value) is dict:
        yield place, value
        for name, inner in value.items():
            yield from _objects(inner, *place, name)
    elif type(value) is list and value and type(value[0]) is dict:
        yield from (((*place, row), one) for row, one in enumerate(value) if type(one) is dict)
