"""A job in a client's hands: as it was last seen, and what can be done with it."""

from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from service.client.connection import Awaiting, Blocking
from service.client.exchange import ask, follow, get, post, submit
from service.client.operation import Awaits, Blocks, Operation, Reading
from service.client.steps import Conversation, Json, Send, T
from service.errors import JobFailed
from service.terminal import progress_bar

P = ParamSpec("P")
S = TypeVar("S")
Columns = dict[str, NDArray[Any]]


class JobOperation(Generic[S, P]):
    """A method that is a conversation about a job, and gives the job (see `operation.Operation`)."""

    def __init__(self, conversation: Callable[Concatenate[S, P], Conversation[Json]]) -> None:
        self._conversation = conversation
        self.__doc__ = conversation.__doc__

    @overload
    def __get__(self, speaker: None, owner: object) -> Self: ...
    @overload
    def __get__(self, speaker: Blocks, owner: object) -> Callable[P, "Job"]: ...
    @overload
    def __get__(self, speaker: Awaits, owner: object) -> Callable[P, Coroutine[Any, Any, "AsyncJob"]]: ...
    def __get__(self, speaker: Any, owner: object) -> Any:
        if speaker is None:
            return self

        @wraps(self._conversation)
        def call(*args: Any, **kwargs: Any) -> Any:
            return speaker.run(_adopted(speaker, self._conversation(speaker, *args, **kwargs)))

        return call


def _adopted(speaker: Any, conversation: Conversation[Json]) -> Conversation[Any]:
    return speaker.adopt((yield from conversation))


class _AnyJob(Mapping[str, Any]):
    """A job: its fields, as they were last seen, by their names on the wire; and what can be done with it."""

    def __init__(self, client: Any, content: Json) -> None:
        self._client = client
        self._content = content

    def __getitem__(self, name: str) -> Any:
        return self._content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self['status']}>"

    @property
    def id(self) -> str:
        """Its id."""
        return str(self._content["id"])

    @property
    def model(self) -> str:
        """What to predict with: the version that it gave, as `name@version`; before that the name."""
        return f"{self['model']}@{self['version']}" if self["version"] else str(self["model"])

    def adopt(self, content: Json) -> Self:
        """Take note of what the job is now; of another job, give that."""
        if content["id"] != self.id:
            return type(self)(self._client, content)
        self._content = content
        return self

    @JobOperation
    def wait(self, *, progress: bool = True) -> Conversation[Json]:
        """Come back when the job has succeeded, with a progress bar in a terminal or notebook.

        Raises:
            JobFailed: when it ends otherwise; carries the job, with its diagnosis.
        """
        with progress_bar(Console(stderr=True), only_if_seen=True, is_shown=progress) as show:
            show(self._content)
            content = self._content if self["terminal"] else (yield from follow(self.id, show))
        if self.adopt(content)["status"] != "succeeded":
            raise JobFailed(self)
        return content

    @JobOperation
    def follow(self, show: Callable[[Json], None]) -> Conversation[Json]:
        """Show the job whenever it has changed until it has ended, also across restarts of the service."""
        return follow(self.id, show)

    @JobOperation
    def refresh(self) -> Conversation[Json]:
        """Look what has become of it."""
        return get(f"/jobs/{self.id}")

    @JobOperation
    def cancel(self) -> Conversation[Json]:
        """Cancel it; what it has recorded stays."""
        return post(f"/jobs/{self.id}/cancel")

    @JobOperation
    def pause(self) -> Conversation[Json]:
        """Let it wait in the queue until it is resumed; a running one stops for it."""
        return post(f"/jobs/{self.id}/pause")

    @JobOperation
    def resume(self) -> Conversation[Json]:
        """Let it go on."""
        return post(f"/jobs/{self.id}/resume")

    @JobOperation
    def retry(self, /, *, apply_suggestion: bool = False, **hyperparameters: Any) -> Conversation[Json]:
        """Train again what it trained, with these hyperparameters changed, or those that its findings suggest."""
        body: Json = {"hyperparameters": hyperparameters}
        return submit(f"/jobs/{self.id}/retry", body | ({"apply": "suggestion"} if apply_suggestion else {}))

    @Operation
    def delete(self) -> Conversation[Json]:
        """Delete it when it has ended, with its history; the version that it gave stays."""
        return ask(Send("DELETE", f"/jobs/{self.id}"))

    @Reading
    def history(self) -> Conversation[Columns]:
        """Its history as columns by name: `epoch`, `train_loss` and what else there is; also while it runs.

        A value beyond the largest number is NaN.
        """
        return _history(self.id)

    @Operation
    def thinned_history(self, max_points: int) -> Conversation[Columns]:
        """Its history in so many points at most, spread evenly."""
        return _history(self.id, max_points)

    @Reading
    def parameters(self) -> Conversation[Json]:
        """What it has learned, at the last epoch that is recorded: `weight` and `bias`, in original units."""
        return get(f"/jobs/{self.id}/parameters")


def _history(job_id: str, max_points: int | None = None) -> Conversation[Columns]:
    found = yield from get(f"/jobs/{job_id}/history", max_points=max_points)
    return {
        name: np.array(values, int if name == "epoch" else float)
        for name, values in found.items()
        if isinstance(values, list)
    }


class Job(_AnyJob, Blocks):
    """A job (see `Descent.train`)."""

    _client: Blocking

    def run(self, conversation: Conversation[T]) -> T:
        """Carry a conversation about it to its end."""
        return self._client.run(conversation)


class AsyncJob(_AnyJob, Awaits):
    """A job (see `AsyncDescent.train`)."""

    _client: Awaiting

    async def run(self, conversation: Conversation[T]) -> T:
        """Carry a conversation about it to its end."""
        return await self._client.run(conversation)
