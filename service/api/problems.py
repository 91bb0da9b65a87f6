"""Errors on the wire: one table from Descent's errors to status codes, and RFC 9457 problem details for all of them."""

import errno
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match, compile_path

from service.api.dialects import DIALECTS, Dialect, dialect_of, status_of, text_of
from service.api.examples import OF_SCHEMA, PROBLEM
from service.api.fields import schema_of
from service.api.inference_examples import OF_PROTOCOLS
from service.api.wording import fault_of, sum_up
from service.errors import (
    MAX_FAULTS,
    DatabaseFull,
    DatabaseUnavailable,
    DatasetInUse,
    DatasetTooLarge,
    DescentError,
    ExtraMissing,
    Fault,
    InvalidRequest,
    JobEnded,
    JobNotEnded,
    NotFound,
    QueueFull,
    ScopeTooNarrow,
    StorageFull,
    VersionInUse,
)

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[DescentError], HTTPStatus] = {
    InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    ScopeTooNarrow: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    JobEnded: HTTPStatus.CONFLICT,
    JobNotEnded: HTTPStatus.CONFLICT,
    DatasetInUse: HTTPStatus.CONFLICT,
    VersionInUse: HTTPStatus.CONFLICT,
    QueueFull: HTTPStatus.TOO_MANY_REQUESTS,
    ExtraMissing: HTTPStatus.NOT_IMPLEMENTED,
    DatasetTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    DatabaseFull: HTTPStatus.INSUFFICIENT_STORAGE,
    DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
RETRY_AFTER_SECONDS = 5


class FaultInRequest(BaseModel):
    """One thing wrong with a request."""

    pointer: str = Field(
        description="Where: a JSON pointer into the body, or `#/query/NAME`, `#/path/NAME`, `#/header/NAME`.",
        examples=["#/hyperparameters/learning_rate"],
    )
    detail: str = Field(description="What is wrong, and what would be right.")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="Always `about:blank`: the status tells the kind.", examples=["about:blank"])
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status code.")
    detail: str = Field(description="What went wrong, for a person.")
    instance: str = Field(description="The path that was asked for.")
    errors: list[FaultInRequest] | None = Field(
        default=None, description="For 422: the faults that were found, up to 100 of them."
    )


def describe(*statuses: int, dialect: Dialect | None = None) -> dict[int | str, dict[str, Any]]:
    """Document the errors that an endpoint answers with, each with an example.

    Args:
        statuses: of the errors.
        dialect: that of the protocol whose endpoint it is, if it is none of ours.
    """
    found: dict[int | str, dict[str, Any]] = {
        status: {
            "description": _MEANINGS[status],
            "content": _content(status) if dialect is None else _content_in(dialect, status),
            **({"headers": _RETRY_AFTER} if status in (429, 503) else {}),
        }
        for status in statuses
    }
    if dialect is not None:
        found["default"] = {"description": "Any other error.", "content": _content_in(dialect, 500)}
    return found


def _content(status: int) -> dict[str, Any]:
    return {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": _example(status)}}


def _content_in(dialect: Dialect, status: int) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{dialect.schema.__name__}"}
    return {"application/json": {"schema": schema, "example": dialect.body_of(status, _MEANINGS[status])}}


def add_answers(operation: dict[str, Any], path: str, *statuses: int) -> None:
    """Document errors of an operation of the document that any such endpoint at this path answers with."""
    described = describe(*statuses, dialect=dialect_of(path))
    answers = operation["responses"] | {str(status): answer for status, answer in described.items()}
    operation["responses"] = dict(sorted(answers.items()))


_RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}, "description": "In so many seconds.", "example": 5}}
_MEANINGS = {
    400: "The request cannot be carried out.",
    401: "There are access keys, and none of them was sent.",
    403: "It comes from a page of another site, or the access key is not for this.",
    404: "What the path or the query names is not there.",
    408: "The body came too slowly.",
    409: "The status of a job, or what else needs it, does not allow it.",
    413: "The body is larger than the service accepts.",
    415: "The body is of a media type that is not understood.",
    422: "The request is understood and cannot be carried out; `errors` lists every fault.",
    429: "The queue is full, or this key has as many jobs in it as it may; Retry-After says when a place may be free.",
    500: "The service failed to answer.",
    501: "It takes an extra that is not installed here; `detail` tells how to install it.",
    503: "The service cannot do this at the moment; Retry-After says when to ask again.",
    507: "There is no space for it; `detail` tells how much there is, and what to delete.",
}


_INSTANCES = {401: "/jobs", 404: "/jobs", 409: "/jobs", 501: "/models/exam-scores/versions/1/onnx", 507: "/datasets"}


def _example(status: int) -> dict[str, Any]:
    if status == PROBLEM["status"]:
        return PROBLEM
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": _MEANINGS[status]}
    return {**body, "instance": _INSTANCES.get(status, "/train")}


def problem(
    request: Request,
    status: int,
    detail: str,
    faults: Sequence[Fault] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Make the answer for an error, in the shape that the path's protocol has for it."""
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers = {**(headers or {}), "Retry-After": str(RETRY_AFTER_SECONDS)}
    dialect = dialect_of(request.url.path)
    if dialect is not None:
        status = status_of(status)
        return JSONResponse(dialect.body_of(status, _writable(text_of(detail, faults))), status, headers=headers)
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": _writable(detail),
        "instance": request.url.path,
    }
    if faults is not None:
        body["errors"] = [
            {"pointer": f"#{_writable(fault.pointer)}", "detail": _writable(fault.detail)} for fault in faults
        ]
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


def _writable(text: str) -> str:
    """Escape what no answer can be written with: JSON may smuggle in half a character."""
    return text.encode(errors="backslashreplace").decode()


def _answer_descent_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DescentError)
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), None)
    if status is None:
        return _answer_unforeseen(request, error)
    if isinstance(error, StorageFull):
        logger.warning("no space: %s", error.detail)
    if isinstance(error, InvalidRequest):
        return problem(request, status, sum_up(error.faults, error.n_faults), error.faults)
    headers = {"Retry-After": str(error.retry_seconds)} if isinstance(error, QueueFull) else None
    return problem(request, status, error.detail, headers=headers)


def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    """Turn FastAPI's findings into faults. The input itself is left out: it may hold what JSON cannot (NaN)."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if isinstance(error.body, bytes):
        described = (request.scope["route"].openapi_extra or {}).get("requestBody", {"content": ()})
        taken, given = ["application/json", *described["content"]], request.headers.get("content-type", "none")
        return problem(request, 415, f"the body must be {', '.join(taken)}; its Content-Type is {given!r}")
    schema = schema_of(request.scope.get("route"))
    faults = [fault_of(one, error.body, schema) for one in found[:MAX_FAULTS]]
    return problem(request, 422, sum_up(faults, len(found)), faults)


_UNREADABLE = {RecursionError: "it is nested too deeply", UnicodeDecodeError: "it is not UTF-8"}


def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if isinstance(error.__cause__, InvalidRequest):
        return _answer_descent_error(
            request, error.__cause__
        )  # in place of what FastAPI makes of it while it reads a body
    if error.status_code == 400:  # FastAPI's word for a body that its JSON parser gave up on
        cause = _UNREADABLE.get(type(error.__cause__), "it has a number of too many digits")
        detail = f"the body cannot be read as JSON: {cause}"
        return problem(request, 422, detail, [Fault("", detail)])
    if error.status_code == 404:
        detail = f"there is nothing at {request.url.path}: /docs lists what is there"
    elif error.status_code == 405:
        allowed = ", ".join(_methods(request))
        detail = f"{request.method} is not for {request.url.path}: {allowed} is"
        return problem(request, 405, detail, headers={"Allow": allowed})
    return problem(request, error.status_code, detail, headers=error.headers)


def _methods(request: Request) -> list[str]:
    """Find the methods that a path knows; Starlette names only those of the first route there.

    Of the paths of the document that fit, it is the one with the fewest parameters: /datasets/synthetic is no dataset.
    """
    paths = request.app.openapi()["paths"]
    fitting = [path for path in paths if compile_path(path)[0].match(request.url.path)]
    if fitting:
        return sorted(method.upper() for method in paths[min(fitting, key=lambda path: path.count("{"))])
    known = ("DELETE", "GET", "PATCH", "POST", "PUT")
    asked = [(method, {**request.scope, "method": method}) for method in known]
    return [
        method for method, scope in asked if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    ]


def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return schema


def _answer_unforeseen(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        logger.warning("the disk is full: %s", error)  # since it was looked at for space
        return problem(request, HTTPStatus.INSUFFICIENT_STORAGE, DatabaseFull.sentence)
    logger.error("unforeseen error", exc_info=error, extra={"path": request.url.path})
    return problem(request, 500, "the service failed to answer; its log tells why")


def install(app: FastAPI, read_elsewhere: Sequence[type[BaseModel]]) -> None:
    """Let every error of an app be answered as problem details, and documented as such.

    Args:
        app: whose errors they are.
        read_elsewhere: the schemas of bodies that endpoints read themselves, which FastAPI does not know.
    """
    document = app.openapi

    def document_with_examples() -> dict[str, Any]:
        # FastAPI leaves the nulls out of examples, and does not know the schema of our errors.
        schemas = document()["components"]["schemas"]
        others: list[type[BaseModel]] = [
            Problem,
            FaultInRequest,
            *(dialect.schema for dialect in DIALECTS),
            *read_elsewhere,
        ]
        schemas |= {kind.__name__: _schema(kind) for kind in others}
        for name, shown in (OF_SCHEMA | OF_PROTOCOLS).items():
            schemas[name]["examples"] = [shown]
        for path, methods in document()["paths"].items():
            for operation in methods.values():
                if "413" in operation["responses"]:  # what has a body may get it slowly
                    add_answers(operation, path, 408)
        return document()

    app.openapi = document_with_examples  # type: ignore[method-assign]  # as FastAPI's manual does
    app.add_exception_handler(DescentError, _answer_descent_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_unforeseen)
