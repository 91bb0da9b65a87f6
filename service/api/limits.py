"""How much a request may bring."""

import asyncio
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import problem


def too_large(what: str, max_bytes: int) -> str:
    """Say that a body is too large, how large it may be, and what to do."""
    way_out = "send less at once, or a file: to POST /datasets to train on, to POST /predict to predict for"
    return f"{what} is larger than the {max_bytes} bytes accepted here (setting DESCENT_MAX_BODY_BYTES): {way_out}"


class BodyLimit:
    """Answers 413 to a body that is too large: at once when its length is announced, else as soon as it is passed.

    Starlette's own limit answers in plain text, past our problem details. Requests that have a limit of their own
    are left out.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, but_for: Callable[[Scope], bool]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._but_for = but_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting what its body brings."""
        if scope["type"] != "http" or self._but_for(scope):
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > self._max_bytes:
            detail = too_large(f"the body of {length} bytes", self._max_bytes)
            await problem(Request(scope), 413, detail)(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413, too_large("the body", self._max_bytes))
            return message

        await self._app(scope, receive_counted, send)


GRACE_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 1000


class BodyPace:
    """Answers 408 to a body that comes too slowly: drop by drop, it would hold a connection for as long as it likes.

    Only the time counts that is spent waiting for the client: so much for any body, and more for what has come.
    """

    def __init__(self, app: ASGIApp, grace_seconds: float = GRACE_SECONDS) -> None:
        self._app = app
        self._grace_seconds = grace_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, looking at how long its body takes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seconds_left, has_more = self._grace_seconds, True

        async def receive_in_time() -> Message:
            nonlocal seconds_left, has_more
            if not has_more:
                return await receive()  # which waits for the client to hang up
            start = time.monotonic()
            try:
                async with asyncio.timeout(seconds_left):
                    message = await receive()
            except TimeoutError:
                detail = (
                    f"the body came too slowly: it has {self._grace_seconds:g} seconds, and one more for every "
                    f"{SLOWEST_BYTES_PER_SECOND} bytes that have come"
                )
                raise HTTPException(408, detail, headers={"Connection": "close"}) from None
            seconds_left -= time.monotonic() - start - len(message.get("body", b"")) / SLOWEST_BYTES_PER_SECOND
            has_more = message.get("more_body", False)
            return message

        await self._app(scope, receive_in_time, send)


class UploadLimit:
    """Counts what an upload brings, packed and unpacked."""

    def __init__(self, max_bytes: int, *, is_wrapped: bool) -> None:
        self._max_bytes = max_bytes
        # What stands around a file, such as a form or the headers of what is compressed, is no part of it.
        self._max_received_bytes = max_bytes + (max_bytes // 100 + 2**17 if is_wrapped else 0)
        self._received = 0

    def announce(self, length: str) -> None:
        """Take note of the length that a request tells of its body; raises a 413 when that is too large."""
        if length.isdecimal() and int(length) > self._max_received_bytes:
            raise self._too_large()

    def receive(self, n_bytes: int) -> None:
        """Count what has come in; raises a 413 when that is too much."""
        self._received += n_bytes
        if self._received > self._max_received_bytes:
            raise self._too_large()

    def unpack(self, total_bytes: int) -> None:
        """Take note of how large the file is by now; raises a 413 when that is too large."""
        if total_bytes > self._max_bytes:
            raise self._too_large()

    def _too_large(self) -> HTTPException:
        limit = f"the {self._max_bytes} bytes accepted here, unpacked (setting DESCENT_MAX_UPLOAD_BYTES)"
        return HTTPException(413, f"the dataset is larger than {limit}: leave rows or columns out")
