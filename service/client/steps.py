"""What a client does, told without doing it: a conversation yields steps, and is sent what came of each.

So the same conversation is carried by a blocking and by an asynchronous connection.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
Json = dict[str, Any]
Parts = Callable[[], Iterable[bytes]]
"""Gives a content in parts, from the start each time that it is sent."""


@dataclass(frozen=True)
class Send:
    """Send a request; the outcome is an httpx.Response, or the httpx.TransportError that came instead.

    `timeout_seconds` are to wait for the answer; None is the connection's own.
    """

    method: str
    path: str
    params: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | Parts | None = None
    timeout_seconds: float | None = None


@dataclass(frozen=True)
class Open:
    """Ask for a stream of lines in place of the one that is open, if any; the outcome is whether it is there."""

    path: str


@dataclass(frozen=True)
class NextLine:
    """Wait for the next line of the open stream; the outcome is the line, None at its end or when it is cut off."""


@dataclass(frozen=True)
class Sleep:
    """Wait."""

    seconds: float


Step = Send | Open | NextLine | Sleep
Conversation: TypeAlias = Generator[Step, Any, T]
