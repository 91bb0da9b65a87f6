"""Requests over many connections at once, each sent when the one before is answered."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import cast
from urllib.parse import urlsplit

import uvloop


def ask(
    url: str,
    paths: Sequence[str],
    n_requests: int,
    n_connections: int,
    body: bytes | None = None,
    check: Callable[[bytes], None] | None = None,
) -> list[float]:
    """Send GET requests for these paths in turn, or POST requests with a body of JSON; give the seconds that each took.

    Raises:
        AssertionError: when one is not answered with 200, or `check` does not let what was answered pass.
    """
    address = urlsplit(url)
    method, more, content = "GET", "", b""
    if body is not None:
        method, more, content = "POST", f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n", body
    heads = [f"{method} {path} HTTP/1.1\r\nHost: {address.netloc}\r\n{more}\r\n" for path in paths]
    requests = [head.encode() + content for head in heads]
    seconds: list[float] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        waiting = iter(requests[number % len(requests)] for number in range(n_requests))
        ended = [loop.create_future() for _ in range(n_connections)]
        for future in ended:
            await loop.create_connection(
                lambda future=future: _Connection(waiting, seconds, future, check), address.hostname, address.port
            )
        await asyncio.gather(*ended)

    uvloop.run(run())
    return seconds


class _Connection(asyncio.Protocol):
    def __init__(
        self,
        waiting: Iterator[bytes],
        seconds: list[float],
        ended: "asyncio.Future[None]",
        check: Callable[[bytes], None] | None,
    ) -> None:
        self._waiting, self._seconds, self._ended, self._check = waiting, seconds, ended, check
        self._content = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.WriteTransport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Look whether the answer is complete."""
        self._content += data
        head, found, body = self._content.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._seconds.append(time.perf_counter() - self._started)
        try:
            assert head.startswith(b"HTTP/1.1 200"), self._content
            if self._check is not None:
                self._check(body)
        except AssertionError as wrong:
            self._ended.set_exception(wrong)
            self._transport.close()
            return
        self._content = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that it was cut off, if it was."""
        if not self._ended.done():
            self._ended.set_exception(exc or ConnectionError("the connection was closed"))

    def _send(self) -> None:
        request = next(self._waiting, None)
        if request is None:
            self._ended.set_result(None)
            self._transport.close()
            return
        self._started = time.perf_counter()
        self._transport.write(request)
