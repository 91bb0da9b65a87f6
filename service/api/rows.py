"""Rows of a request whose values depend on the model: numbers for most, any JSON scalars where columns are encoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

import numpy as np
from pydantic import FailFast, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from service.data.inline import is_number, not_a_number
from service.data.json_numbers import Flat
from service.data.json_numbers import Rows as NumberRows
from service.data.json_pieces import JsonList
from service.data.long_lists import Derived, LongList, is_list
from service.errors import MAX_FAULTS, Fault, InvalidFeatures

SCALAR = {"type": ["number", "string", "boolean", "null"]}
"""A raw value, in JSON schema."""
_NUMBERS = Annotated[list[Annotated[list[float], FailFast()]], FailFast()]


def _single(value: Any) -> list[Any]:
    return [value]


@dataclass(frozen=True)
class Rows:
    """A row for each sample, or of a single feature a value for each, as it was given.

    Whether all values are finite numbers is known, and said when asked: they are checked as such when the request is,
    for that is fast and most models take nothing else; a refusal waits until it is known what the model takes.
    """

    given: Sequence[Sequence[Any]]
    _numbers: Sequence[Sequence[float]] | None

    def numbers(self, names: Sequence[str]) -> Sequence[Sequence[float]]:
        """Give the rows as numbers.

        Args:
            names: of the features, in order.

        Raises:
            InvalidFeatures: with the first values that are no finite numbers; pointers are `/row/position`.
        """
        if self._numbers is None:
            wrong = (
                _fault(names, row, position, value)
                for row, values in enumerate(self.given)
                for position, value in enumerate(values)
                if not is_number(value)
            )
            raise InvalidFeatures(list(islice(wrong, MAX_FAULTS)))
        return self._numbers

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(cls._check, handler(_NUMBERS))

    @classmethod
    def __get_pydantic_json_schema__(cls, _: CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "array", "items": {"anyOf": [{"type": "array", "items": SCALAR}, SCALAR]}}

    @classmethod
    def _check(cls, value: Any, check: core_schema.ValidatorFunctionWrapHandler) -> "Rows":
        if isinstance(value, JsonList):
            return cls._of_long(value, check)
        try:
            return cls(value, check(value))
        except ValidationError:
            if isinstance(value, list) and all(isinstance(row, list) for row in value):
                return cls(value, None)
            if isinstance(value, list) and not any(isinstance(row, list) for row in value):
                return cls._check([[one] for one in value], check)
            raise

    @classmethod
    def _of_long(cls, value: JsonList, check: core_schema.ValidatorFunctionWrapHandler) -> "Rows":
        compact = value.compact
        if isinstance(compact, Flat):
            given: LongList = Derived(value, _single, compact.as_rows())
        else:
            are_rows = {True} if isinstance(compact, NumberRows) else set(map(is_list, value))
            if len(are_rows) > 1:
                check(value)  # which tells where
            given = value if are_rows == {True} else Derived(value, _single)
        is_finite = isinstance(given.compact, NumberRows) and np.isfinite(given.compact.values).all()
        return cls(given, given if is_finite else None)


def _fault(names: Sequence[str], row: int, position: int, given: Any) -> Fault:
    what = f"feature {names[position]!r}" if position < len(names) else f"the value at position {position}"
    return Fault(f"/{row}/{position}", not_a_number(what, given))
