"""Bodies: unpacked on their way in, read as JSON quickly, and read by endpoints that have more in them than JSON."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import pydantic_core
from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.codings import Decoder
from service.api.limits import too_large
from service.api.requests import JsonRequest
from service.api.uploads import content_coding
from service.api.validating import is_long, read_long
from service.data.json_names import check_names
from service.errors import Fault, InvalidRequest

Body = TypeVar("Body", bound=BaseModel)


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
    content = await request.body()
    if isinstance(request, JsonRequest) and is_long(content):
        await request.take_turn()
    return content


WholeBody = Annotated[bytes, Depends(_received)]
"""The whole body; at most DESCENT_MAX_BODY_BYTES."""


def validated(kind: type[Body], content: bytes) -> Body:
    """Read JSON, with NaN and Infinity as Python writes them, and check it against its schema.

    Raises:
        InvalidRequest: when it is no JSON, or a name stands twice in an object.
        RequestValidationError: as FastAPI does for the bodies that it reads.
    """
    try:
        if is_long(content):
            found: Body = read_long(kind, content)
            return found
        given = pydantic_core.from_json(content)
    except (ValueError, RecursionError) as fault:
        if isinstance(fault, RequestValidationError):
            raise
        raise InvalidRequest([Fault("", f"the body cannot be read as JSON: {fault}")]) from None
    check_names(content, given)
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
