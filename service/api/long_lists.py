"""Lists of samples in request bodies: long ones stay as they were read, checked by their arrays."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from service.api.validating import checked_parts
from service.data.json_numbers import LEAST_INEXACT, Flat, Records, Rows
from service.data.json_pieces import JsonList


@dataclass(frozen=True)
class MayBeLong:
    """Marks a field whose long lists are to stay `JsonList`s.

    Args:
        kinds: of arrays that need no other check, if their numbers are finite; without any, whatever stands in a list
            is good.
        least: that numbers must be.
    """

    kinds: tuple[type, ...] = ()
    least: float = -np.inf

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        written = core_schema.wrap_serializer_function_ser_schema(self._written)
        return core_schema.no_info_wrap_validator_function(self._check, handler(source), serialization=written)

    def _check(self, value: Any, check: core_schema.ValidatorFunctionWrapHandler) -> Any:
        if not isinstance(value, JsonList):
            return check(value)
        if self.kinds and not self._is_good(value):
            for _ in checked_parts(value, check):
                pass
        return value

    def _is_good(self, value: JsonList) -> bool:
        compact = value.compact
        if compact is None or not isinstance(compact, self.kinds):
            return False
        if isinstance(compact, Records):
            return True
        return bool(np.isfinite(compact.values).all() and compact.values.min(initial=np.inf) >= self.least)

    def _written(self, value: Any, write: core_schema.SerializerFunctionWrapHandler) -> Any:
        """Write a hash in place of a long list: two that are the same have the same, however they were written."""
        if not isinstance(value, JsonList):
            return write(value)
        found, compact = hashlib.sha256(), value.compact
        if isinstance(compact, Flat | Rows) and (self.kinds or _is_exact(compact)):
            found.update(f"{len(value)} {'' if self.kinds else sorted(map(str, compact.types))}".encode())
            found.update(compact.values.data)
            found.update(compact.lengths.data if isinstance(compact, Rows) else b"")
        else:
            for part in value.parts():
                found.update(json.dumps(part, default=list).encode()[1:-1] + b",")
        return found.hexdigest()


def _is_exact(compact: Flat | Rows) -> bool:
    """Tell whether numbers are known by their type and by what they are as float64."""
    is_small = int not in compact.types or np.abs(compact.values).max(initial=0) < LEAST_INEXACT
    return len(compact.types) == 1 and bool(is_small)
