"""Bodies: unpacked on their way in, read as JSON quickly, and read by endpoints that have more in them than JSON."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

import pydantic_core
from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.codings import Decoder
from service.api.limits import too_large
from service.api.repeats import check_names
from service.api.routes import LateRoute
from service.api.uploads import content_coding
from service.api.validating import check_long
from service.errors import Fault, InvalidRequest

Body = TypeVar("Body", bound=BaseModel)


class JsonRoute(LateRoute):
    """A route whose JSON is read by pydantic's parser, which takes a fifth of the time of Python's own."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give the function that answers a request."""
        answer = super().get_route_handler()

        async def answer_quickly(request: Request) -> Response:
            return await answer(_JsonRequest(request.scope, request.receive))

        return answer_quickly


class _JsonRequest(Request):
    async def json(self) -> Any:
        """Read the body; what pydantic's parser refuses Python's reads, or says what is wrong, as everywhere."""
        if not hasattr(self, "_json"):
            try:
                self._json = pydantic_core.from_json(await self.body())
            except ValueError:
                return await super().json()
        return self._json


class PackedBodies:
    """Unpacks bodies on their way in, where a Content-Encoding says how they are packed.

    Requests that unpack their bodies themselves are left out.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, but_for: Callable[[Scope], bool]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._but_for = but_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body as it was before it was packed."""
        if scope["type"] != "http" or self._but_for(scope):
            await self._app(scope, receive, send)
            return
        content_encoding = Headers(scope=scope).get("content-encoding", "")
        unpacking: _Unpacking | None = None

        async def receive_unpacked() -> Message:
            nonlocal unpacking
            message = await receive()
            if not message.get("body") and unpacking is None:
                return message
            if unpacking is None:  # here, where errors are answered
                unpacking = _Unpacking(content_coding(content_encoding), self._max_bytes)
            if message["type"] == "http.request":
                is_last = not message.get("more_body", False)
                message["body"] = await run_in_threadpool(unpacking.unpack, message.get("body", b""), is_last)
            return message

        await self._app(scope, receive_unpacked if content_encoding else receive, send)


class _Unpacking:
    def __init__(self, coding: str | None, max_bytes: int) -> None:
        self._decoder = None if coding is None else Decoder(coding)
        self._max_bytes = max_bytes
        self._n_bytes = 0

    def unpack(self, packed: bytes, is_last: bool) -> bytes:
        if self._decoder is None:
            return packed
        content = bytearray()
        for part in self._decoder.decode(packed):
            content += part
            self._n_bytes += len(part)
            if self._n_bytes > self._max_bytes:
                raise HTTPException(413, too_large("the body, unpacked,", self._max_bytes))
        if is_last:
            self._decoder.finish()
        return bytes(content)


async def _received(request: Request) -> bytes:
    return await request.body()


WholeBody = Annotated[bytes, Depends(_received)]
"""The whole body; at most DESCENT_MAX_BODY_BYTES."""


def _json_of(content: bytes) -> Any:
    """Read JSON, with NaN and Infinity as Python writes them.

    Raises:
        InvalidRequest: when it is none, or a name stands twice in an object.
    """
    try:
        value = pydantic_core.from_json(content)
    except ValueError as fault:
        raise InvalidRequest([Fault("", f"the body cannot be read as JSON: {fault}")]) from None
    check_names(content, value)
    return value


def validated(kind: type[Body], content: bytes) -> Body:
    """Read JSON and check it against its schema.

    Raises:
        InvalidRequest: when it is no JSON, or a name stands twice in an object.
        RequestValidationError: as FastAPI does for the bodies that it reads.
    """
    given = _json_of(content)
    check_long(kind, content, given)
    try:
        return kind.model_validate(given)
    except ValidationError as refusal:
        errors = [{**error, "loc": ("body", *error["loc"])} for error in refusal.errors()]
        raise RequestValidationError(errors, body=given) from None


def query_parameters(kind: type[BaseModel]) -> list[dict[str, Any]]:
    """Describe parameters of a query that only some of the requests have."""
    fields = kind.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": schema["description"]}
        for name, schema in fields.items()
    ]


def request_body(kind: type[BaseModel], description: str, *others: str) -> dict[str, Any]:
    """Describe a body that an endpoint reads itself: JSON of this schema, or other media types."""
    reference = {"$ref": f"#/components/schemas/{kind.__name__}"}
    bytes_ = {"schema": {"type": "string", "format": "binary"}}
    content = {"application/json": {"schema": reference}, **dict.fromkeys(others, bytes_)}
    return {"required": True, "description": description, "content": content}
