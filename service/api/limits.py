"""How much a request may bring."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import problem


class BodyLimit:
    """Answers 413 to a body that is too large: at once when its length is announced, else as soon as it is passed.

    Starlette's own limit answers in plain text, past our problem details. Requests that have a limit of their own
    are left out.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, but_for: Callable[[Scope], bool]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._but_for = but_for
        self._detail = f"the body is larger than the {max_bytes} bytes accepted here (setting DESCENT_MAX_BODY_BYTES)"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting what its body brings."""
        if scope["type"] != "http" or self._but_for(scope):
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > self._max_bytes:
            await problem(Request(scope), 413, self._detail)(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413, self._detail)
            return message

        await self._app(scope, receive_counted, send)


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
        return HTTPException(413, f"the dataset is larger than {limit}")
