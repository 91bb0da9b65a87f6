"""Log lines as the service writes them."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.log import JsonLines


class Lines:
    """The lines that were written since the block began."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.split("\n") if line]

    def of(self, message: str) -> list[dict[str, Any]]:
        return [line for line in self.all if line["message"] == message]


@contextmanager
def logged(process: str = "api") -> Iterator[Lines]:
    """Read along what this process logs at level info, until the block ends."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(process))
    root = logging.getLogger("service")
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield Lines(stream)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
