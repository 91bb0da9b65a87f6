"""Carrying conversations over HTTP: blocking, or asynchronous."""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any, Self

import httpx

from service.client.operation import Awaits, Blocks
from service.client.steps import Conversation, NextLine, Open, Parts, Send, Step, T
from service.errors import ServiceUnreachable

DEFAULT_URL = "http://127.0.0.1:8000"
KEY_VARIABLE = "DESCENT_API_KEY"


class Address(ABC):
    """Where a service is, and how it is spoken to.

    Args:
        url: of the service.
        key: an access key, for a service that asks for one; by default what DESCENT_API_KEY says.
        timeout_seconds: to wait for an answer.

    Raises:
        ServiceUnreachable: when it is no URL.
    """

    def __init__(self, url: str = DEFAULT_URL, *, key: str | None = None, timeout_seconds: float = 60.0) -> None:
        self.url = url.rstrip("/")
        key = os.environ.get(KEY_VARIABLE, "") if key is None else key
        self.has_key = bool(key)
        try:
            address = httpx.URL(self.url)
        except httpx.InvalidURL as fault:
            raise ServiceUnreachable(f"{url!r} is no URL of a service: {fault}") from None
        self._options: dict[str, Any] = {
            "base_url": address,
            "headers": {"Authorization": f"Bearer {key}"} if key else {},
            "timeout": timeout_seconds,
            # A proxy of the environment is for elsewhere: it would look for the service on its own machine.
            "trust_env": address.host not in ("127.0.0.1", "::1", "localhost"),
            # To read the certificates of the machine takes longer than many a training.
            "verify": address.scheme != "http",
        }
        self._http: Any = self._open()

    @abstractmethod
    def _open(self) -> httpx.Client | httpx.AsyncClient: ...

    def _request(self, step: Send) -> httpx.Request:
        content, headers = step.content, dict(step.headers)
        timeout = httpx.USE_CLIENT_DEFAULT if step.timeout_seconds is None else step.timeout_seconds
        request: httpx.Request = self._http.build_request(
            step.method,
            step.path,
            params=step.params,
            headers=headers,
            json=step.json,
            content=self._body(content) if callable(content) else content,
            timeout=timeout,
        )
        return request

    @abstractmethod
    def _body(self, parts: Parts) -> Any: ...


class Blocking(Address, Blocks):
    """Carries a conversation while the caller waits."""

    _http: httpx.Client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, conversation: Conversation[T]) -> T:
        """Carry a conversation to its end, and give its outcome."""
        outcome: Any = None
        with ExitStack() as opened:
            stream = _Stream()
            while True:
                try:
                    step = conversation.send(outcome)
                except StopIteration as end:
                    found: T = end.value
                    return found
                try:
                    outcome = self._do(step, stream, opened)
                except httpx.TransportError as fault:
                    outcome = fault if isinstance(step, Send) else None

    def _do(self, step: Step, stream: "_Stream", opened: ExitStack) -> Any:
        if isinstance(step, Send):
            return self._http.send(self._request(step))
        if isinstance(step, Open):
            opened.close()
            stream.lines = None
            answer = opened.enter_context(self._http.stream("GET", step.path))
            stream.lines = answer.iter_lines()
            return answer.is_success
        if isinstance(step, NextLine):
            assert stream.lines is not None
            return next(stream.lines, None)
        return time.sleep(step.seconds)

    def _open(self) -> httpx.Client:
        return httpx.Client(**self._options)

    def _body(self, parts: Parts) -> Iterator[bytes]:
        return iter(parts())


class Awaiting(Address, Awaits):
    """Carries a conversation while others go on."""

    _http: httpx.AsyncClient

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, conversation: Conversation[T]) -> T:
        """Carry a conversation to its end, and give its outcome."""
        outcome: Any = None
        async with AsyncExitStack() as opened:
            stream = _Stream()
            while True:
                try:
                    step = conversation.send(outcome)
                except StopIteration as end:
                    found: T = end.value
                    return found
                try:
                    outcome = await self._do(step, stream, opened)
                except httpx.TransportError as fault:
                    outcome = fault if isinstance(step, Send) else None

    async def _do(self, step: Step, stream: "_Stream", opened: AsyncExitStack) -> Any:
        if isinstance(step, Send):
            return await self._http.send(self._request(step))
        if isinstance(step, Open):
            await opened.aclose()
            answer = await opened.enter_async_context(self._http.stream("GET", step.path))
            stream.lines = answer.aiter_lines()
            return answer.is_success
        if isinstance(step, NextLine):
            return await anext(stream.lines, None)
        return await asyncio.sleep(step.seconds)

    def _open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self._options)

    async def _body(self, parts: Parts) -> AsyncIterator[bytes]:
        for part in parts():
            yield part


class _Stream:
    """The lines of the stream that a conversation has open, if any."""

    lines: Any = None
