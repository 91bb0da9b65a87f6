"""Answers in JSON that may be long: written a piece at a time, and sent from a file when they are."""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from fastapi.responses import Response, StreamingResponse
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from service.room import slices_of

JSON = "application/json"
ROWS_AT_ONCE = 2**14
MOST_BYTES_IN_MEMORY = 2**23
SENT_BYTES = 2**20


@dataclass(frozen=True)
class InSlices:
    """A long list of `n` values, of which `make` gives those of a slice."""

    n: int
    make: Callable[[slice], list[Any]]


def in_slices(n: int, make: Callable[[slice], list[Any]]) -> list[Any] | InSlices:
    """Give a list of n values, as one if it is short."""
    return make(slice(n)) if n <= ROWS_AT_ONCE else InSlices(n, make)


def pieces_of(value: Any) -> Iterator[bytes]:
    """Write JSON; lists may be `InSlices` in objects, and in objects of tuples of those."""
    if isinstance(value, InSlices):
        yield b"["
        for some in slices_of(value.n, ROWS_AT_ONCE):
            yield (b"," if some.start else b"") + to_json(value.make(some))[1:-1]
        yield b"]"
    elif isinstance(value, Mapping):
        for number, (name, inner) in enumerate(value.items()):
            yield b"%b%b:" % (b"," if number else b"{", to_json(name))
            yield from pieces_of(inner)
        yield b"}" if value else b"{}"
    elif isinstance(value, tuple):
        for number, inner in enumerate(value):
            yield b"," if number else b"["
            yield from pieces_of(inner)
        yield b"]" if value else b"[]"
    else:
        yield to_json(value)


def answer_json(value: Any) -> Response:
    """Answer with JSON as `pieces_of` writes it; to be called in a thread, for it may take seconds."""
    file = tempfile.SpooledTemporaryFile(MOST_BYTES_IN_MEMORY)  # noqa: SIM115  # it is closed when it has been sent
    try:
        for piece in pieces_of(value):
            file.write(piece)
        n_bytes = file.tell()
        file.seek(0)
        if n_bytes <= MOST_BYTES_IN_MEMORY:
            with file:
                return Response(file.read(), media_type=JSON)
    except BaseException:
        file.close()
        raise
    return StreamingResponse(sent(file), media_type=JSON, headers={"Content-Length": str(n_bytes)})


async def sent(file: IO[bytes]) -> AsyncIterator[bytes]:
    """Send a file, of which a thread reads a piece at a time."""
    with file:
        while piece := await run_in_threadpool(file.read, SENT_BYTES):
            yield piece
