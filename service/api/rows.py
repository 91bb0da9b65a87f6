"""Rows of a request whose values depend on the model: numbers for most, any JSON scalars where columns are encoded."""

from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

SCALAR = {"type": ["number", "string", "boolean", "null"]}
"""A raw value, in JSON schema."""


@dataclass(frozen=True)
class Rows:
    """A row for each sample, as it was given; whether all values are finite numbers is known, and said when asked.

    Values are checked as numbers when the request is, for that is fast and most models take nothing else; a refusal
    waits until it is known what the model takes.
    """

    given: list[list[Any]]
    _numbers: list[list[float]] | None
    _refusal: ValidationError | None

    def numbers(self, field: str) -> list[list[float]]:
        """Give the rows as numbers.

        Args:
            field: what they are called in the body.

        Raises:
            RequestValidationError: with each value that is no finite number.
        """
        if self._numbers is None:
            assert self._refusal is not None
            errors = [{**error, "loc": ("body", field, *error["loc"])} for error in self._refusal.errors()]
            raise RequestValidationError(errors, body={field: self.given})
        return self._numbers

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(cls._check, handler(list[list[float]]))

    @classmethod
    def __get_pydantic_json_schema__(cls, _: CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "array", "items": SCALAR}}

    @classmethod
    def _check(cls, value: Any, check: core_schema.ValidatorFunctionWrapHandler) -> "Rows":
        try:
            return cls(value, check(value), None)
        except ValidationError as refusal:
            if isinstance(value, list) and all(isinstance(row, list) for row in value):
                return cls(value, None, refusal)
            raise
