"""Errors in the shapes of the protocols that others made: at their paths they are answered so, and in no other way."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

from service.errors import Fault

SHOWN_FAULTS = 3
"""So many faults are told of, for there is but one sentence to do it in."""


class InferenceError(BaseModel):
    """An error of the Open Inference Protocol."""

    error: str = Field(
        description="What went wrong, for a person.",
        examples=["there is no model 'exams': GET /models lists them"],
    )


class InvocationError(BaseModel):
    """An error of MLflow's scoring protocol."""

    error_code: str = Field(description="MLflow's word for the kind of error.", examples=["BAD_REQUEST"])
    message: str = Field(
        description="What went wrong, for a person.",
        examples=["/dataframe_records/0/quiz1: feature 'quiz1' must be a finite number, not \"ten\""],
    )


@dataclass(frozen=True)
class Dialect:
    """How a protocol tells errors: at which paths, and in which body. A request that is at fault is a 400."""

    paths: re.Pattern[str]
    schema: type[BaseModel]
    body_of: Callable[[int, str], dict[str, Any]]


_ERROR_CODES = {
    HTTPStatus.UNAUTHORIZED: "UNAUTHENTICATED",
    HTTPStatus.FORBIDDEN: "PERMISSION_DENIED",
    HTTPStatus.NOT_FOUND: "RESOURCE_DOES_NOT_EXIST",
    HTTPStatus.TOO_MANY_REQUESTS: "REQUEST_LIMIT_EXCEEDED",
    HTTPStatus.SERVICE_UNAVAILABLE: "TEMPORARILY_UNAVAILABLE",
}


def _inference_error(_: int, text: str) -> dict[str, Any]:
    return {"error": text}


def _invocation_error(status: int, text: str) -> dict[str, Any]:
    other = "BAD_REQUEST" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "INTERNAL_ERROR"
    return {"error_code": _ERROR_CODES.get(HTTPStatus(status), other), "message": text}


INFERENCE = Dialect(re.compile(r"/v2(/.*)?"), InferenceError, _inference_error)
INVOCATION = Dialect(re.compile(r"/models/[^/]+/(invocations|ping)"), InvocationError, _invocation_error)
DIALECTS = (INFERENCE, INVOCATION)


def dialect_of(path: str) -> Dialect | None:
    """Find the protocol that is spoken at a path; None where errors are problem details."""
    return next((dialect for dialect in DIALECTS if dialect.paths.fullmatch(path)), None)


def status_of(status: int) -> int:
    """Give the status that the protocols have for one of ours."""
    return HTTPStatus.BAD_REQUEST if status == HTTPStatus.UNPROCESSABLE_ENTITY else status


def text_of(detail: str, faults: Sequence[Fault] | None) -> str:
    """Tell the first faults, each with its place, as there is no list for them; without faults the detail."""
    if not faults:
        return detail
    shown = [f"{fault.pointer}: {fault.detail}" if fault.pointer else fault.detail for fault in faults[:SHOWN_FAULTS]]
    more = [f"… and {len(faults) - SHOWN_FAULTS} more"] if len(faults) > SHOWN_FAULTS else []
    return "; ".join(shown + more)
