"""Long bodies, read and checked in time and memory that do not grow with what is wrong with them.

pydantic tells of every value that is wrong, in some hundred times the bytes that it has in JSON: a body of 32 MiB of
them would take the memory of a machine. So of a long one the first that is wrong in each list is told, and no more.
And long lists are taken a piece at a time: to check one as a whole would keep all other requests waiting.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, SchemaValidator, core_schema

from service.data.json_pieces import PIECE_BYTES, JsonList, read_json

LONG = 100_000
"""More commas than these make a body long."""
MOST_NAMES = 20_000
"""An object of a long body has so many names at the most: twice as many as a table has columns."""


@dataclass(frozen=True)
class Refused:
    """A long body that is refused, once it is known that who sends it may send one."""

    fault: Exception


def is_long(content: bytes) -> bool:
    """Tell whether a body in JSON is long."""
    return content.count(b",") > LONG


def read_long(kind: Any, content: bytes, piece_bytes: int = PIECE_BYTES) -> Any:
    """Read a long body of some type, so many bytes at a time; it may take seconds, during which other threads run.

    Raises:
        JSONDecodeError, UnicodeDecodeError, RecursionError, ValueError: when it is no JSON, as Python's parser does.
        InvalidRequest: when a name stands twice in an object.
        RequestValidationError: for the first faults, as FastAPI does for those of other bodies.
    """
    value = read_json(content, piece_bytes)
    try:
        for place, names in _objects(value):
            if len(names) > MOST_NAMES:
                raise _too_many_names(place, len(names))
        return _failing_fast(kind).validate_python(value)
    except ValidationError as refusal:
        errors = [{**error, "loc": ("body", *error["loc"])} for error in refusal.errors(include_url=False)]
        raise RequestValidationError(errors, body=value) from None


def _too_many_names(place: tuple[str | int, ...], n_names: int) -> ValidationError:
    wrong = PydanticCustomError("too_many_names", f"{n_names} names, and {MOST_NAMES} are the most in an object")
    return _invalid([InitErrorDetails(type=wrong, loc=place, input=None)])


@cache
def _failing_fast(kind: Any) -> SchemaValidator:
    # Those validators that are there for the models inside do not fail fast.
    return SchemaValidator(_with_fast_lists(TypeAdapter(kind).core_schema), _use_prebuilt=False)


def _with_fast_lists(schema: Any) -> Any:
    """Copy a schema of pydantic's, all lists in it taken in parts and ending at the first fault."""
    if isinstance(schema, dict):
        copy = {name: part if name == "metadata" else _with_fast_lists(part) for name, part in schema.items()}
        if schema.get("type") not in ("list", "tagged-union"):
            return copy
        check = partial(_check_parts, most=schema.get("max_length"))
        fast: Any = {**copy, "fail_fast": True} if schema["type"] == "list" else copy
        return core_schema.no_info_wrap_validator_function(check, fast)
    if isinstance(schema, list | tuple):
        return type(schema)(map(_with_fast_lists, schema))
    return schema


def _check_parts(value: Any, check: core_schema.ValidatorFunctionWrapHandler, most: int | None) -> Any:
    if not isinstance(value, JsonList):
        return check(value)
    if most is not None and len(value) > most:
        context = {"field_type": "List", "max_length": most, "actual_length": len(value)}
        raise _invalid([InitErrorDetails(type="too_long", loc=(), input=value, ctx=context)])
    return [one for part in checked_parts(value, check) for one in part]


def checked_parts(value: JsonList, check: Callable[[list[Any]], list[Any]]) -> Iterator[list[Any]]:
    """Check a long list a part at a time, and give the parts as the check does.

    The first member stands before each part, for a check may know by it what the others are to be.

    Raises:
        ValidationError: with the place of a fault in the whole list.
    """
    first, n_before = list[Any](), 0
    for part in value.parts():
        try:
            yield check([*first, *part])[len(first) :]
        except ValidationError as refusal:
            moved = [_moved(error, n_before - len(first)) for error in refusal.errors(include_url=False)]
            raise _invalid(moved) from None
        n_before += len(part)
        first = first or part[:1]


def _moved(error: Any, n_before: int) -> InitErrorDetails:
    """Put a fault so many places further in the outermost list."""
    at = next((number for number, part in enumerate(error["loc"]) if isinstance(part, int)), None)
    place = tuple(part + n_before if number == at else part for number, part in enumerate(error["loc"]))
    kind, context = error["type"], error.get("ctx", {})
    try:
        details = InitErrorDetails(type=kind, loc=place, input=error["input"], ctx=context)
        _invalid([details])
    except KeyError:  # no kind of pydantic's own
        details = InitErrorDetails(type=PydanticCustomError(kind, error["msg"]), loc=place, input=error["input"])
    return details


def _invalid(details: list[InitErrorDetails]) -> ValidationError:
    return ValidationError.from_exception_data("body", details)


def _objects(value: Any, *place: str | int) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Give the objects in a value that may be long, with their places."""
    if type(value) is dict:
        yield place, value
        for name, inner in value.items():
            yield from _objects(inner, *place, name)
    elif isinstance(value, JsonList):  # others in it are shorter than so many names
        for row, inner in value.large():
            yield from _objects(inner, *place, row)
