"""What a client can do, written once as a conversation, and called in two ways: blocking, or awaited."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from service.client.steps import Conversation, T

P = ParamSpec("P")
S = TypeVar("S")


class Blocks(ABC):
    """What carries a conversation while the caller waits."""

    @abstractmethod
    def run(self, conversation: Conversation[T]) -> T:
        """Carry a conversation to its end, and give its outcome."""


class Awaits(ABC):
    """What carries a conversation while others go on."""

    @abstractmethod
    async def run(self, conversation: Conversation[T]) -> T:
        """Carry a conversation to its end, and give its outcome."""


class Operation(Generic[S, P, T]):
    """A method that is a conversation: it gives its outcome where it blocks, and what is awaited for it elsewhere."""

    def __init__(self, conversation: Callable[Concatenate[S, P], Conversation[T]]) -> None:
        self._conversation = conversation
        self.__doc__ = conversation.__doc__

    @overload
    def __get__(self, speaker: None, owner: object) -> Self: ...
    @overload
    def __get__(self, speaker: Blocks, owner: object) -> Callable[P, T]: ...
    @overload
    def __get__(self, speaker: Awaits, owner: object) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, speaker: Any, owner: object) -> Any:
        if speaker is None:
            return self

        @wraps(self._conversation)
        def call(*args: Any, **kwargs: Any) -> Any:
            return speaker.run(self._conversation(speaker, *args, **kwargs))

        return call


class Reading(Generic[S, T]):
    """An attribute that is a conversation, which takes place whenever it is read."""

    def __init__(self, conversation: Callable[[S], Conversation[T]]) -> None:
        self._conversation = conversation
        self.__doc__ = conversation.__doc__

    @overload
    def __get__(self, speaker: None, owner: object) -> Self: ...
    @overload
    def __get__(self, speaker: Blocks, owner: object) -> T: ...
    @overload
    def __get__(self, speaker: Awaits, owner: object) -> Coroutine[Any, Any, T]: ...
    def __get__(self, speaker: Any, owner: object) -> Any:
        return self if speaker is None else speaker.run(self._conversation(speaker))
