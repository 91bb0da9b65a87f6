"""Requests whose bodies are JSON: read quickly, and long ones beside all others, a single one at a time."""

import asyncio
from typing import Any

import pydantic_core
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from service.api.fields import schema_of
from service.api.validating import Refused, is_long, read_long
from service.data.json_pieces import JsonList
from service.errors import InvalidRequest


class JsonRequest(Request):
    """A request whose JSON is read by pydantic's parser, which takes a fifth of the time of Python's own.

    A long body is read in a thread, and checked there against its schema. One is in work at a time in each process, for
    each takes hundreds of megabytes.
    """

    _turn: asyncio.Semaphore | None = None

    async def json(self) -> Any:
        """Read the body; what pydantic's parser refuses Python's reads, or says what is wrong, as everywhere.

        Of a long body it gives the request that it is, or what it is refused for.
        """
        if not hasattr(self, "_json"):
            content, kind = await self.body(), schema_of(self.scope["route"])
            if kind is not None and is_long(content):
                await self.take_turn()
                self._json = await run_in_threadpool(_read, kind, content)
                return self._json
            try:
                self._json = pydantic_core.from_json(content)
            except ValueError:
                return await super().json()
        return self._json

    async def take_turn(self) -> None:
        """Wait until no other long body is in work."""
        turn: asyncio.Semaphore = self.app.state.long_bodies
        await turn.acquire()
        self._turn = turn

    def end_turn(self) -> None:
        """Let the next long body be worked on, if this was one, which is gone then."""
        if self._turn is not None:
            _let_go(getattr(self, "_json", None))
            self._body = b""
            self._turn.release()
            self._turn = None


def _let_go(value: Any) -> None:
    """Give back the memory of the long lists in a request."""
    if isinstance(value, JsonList):
        value.let_go()
    elif isinstance(value, BaseModel | dict):
        for inner in list(vars(value).values() if isinstance(value, BaseModel) else value.values()):
            _let_go(inner)


def _read(kind: Any, content: bytes) -> Any:
    try:
        return read_long(kind, content)
    except (InvalidRequest, RequestValidationError) as fault:
        return Refused(fault)
