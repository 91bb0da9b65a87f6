"""What is watched, a job or all jobs, and who watches it: news are put together once and shared by all alike."""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.api.telling import Position, Telling, events_of
from service.errors import NotFound
from service.store import changes, jobs
from service.store.changes import Moment, Standing
from service.store.database import Session
from service.store.jobs import ENDED
from service.store.ownership import Actor, seen_by

PROGRESS_SECONDS = 0.2
"""Progress is told so often at the most,"""
PROGRESS_A_SECOND = 400
"""and so often to all watchers of a job together."""
MAX_POINTS = 20_000
"""So many recorded epochs are told of at once at the most, divided by the number of watchers,"""
MIN_POINTS = 500
"""but not less than so many."""
CHANGES_SECONDS = 0.03
"""What comes, starts and ends is told so often at the most to those who watch all jobs,"""
JOBS_AT_ONCE = 100
"""and of so many jobs at once."""
PIECE_BYTES = 2**16


class Watcher:
    """One who reads a stream: pieces are taken one by one, and there are more only when all have gone out.

    So a slow reader holds no more than what was told last, and goes on with the latest when it is through.

    Args:
        position: how far the stream has come.
        greeting: the first piece.
        key_id: of the key that the reader sent, if one is needed.
    """

    def __init__(self, position: Any, greeting: bytes, key_id: str | None = None) -> None:
        self.key_id = key_id
        self.position = position
        self.told_at = time.monotonic()
        self.is_waiting = True  # set by the reader, unset by who puts news together
        self._pieces: Sequence[bytes] = (greeting,)
        self._n_taken = 0
        self._is_over = False
        self._news: asyncio.Future[None] | None = None

    def __aiter__(self) -> "Watcher":
        return self

    async def __anext__(self) -> bytes:
        while self._n_taken == len(self._pieces):
            if self._is_over:
                raise StopAsyncIteration
            if self._pieces:
                self._pieces, self._n_taken, self.is_waiting = (), 0, True
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        self._n_taken += 1
        return self._pieces[self._n_taken - 1]

    def give(self, pieces: Sequence[bytes], *, is_over: bool) -> None:
        """Hand over pieces, which may be the last ones; called in the event loop."""
        self._pieces, self._n_taken = (*self._pieces[self._n_taken :], *pieces), 0
        self._is_over |= is_over  # what was put together before the end may come after it
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


@dataclass(frozen=True)
class News:
    """What there is to tell to those at a position, and the position after it."""

    pieces: tuple[bytes, ...]
    position: Any
    is_over: bool = False
    """Nothing will follow."""
    is_part: bool = False
    """There is more already."""


class JobFeed:
    """A job that is watched, or whose end is waited for."""

    def __init__(self, job_id: str) -> None:
        self.about = self.job_id = job_id
        self.watchers: set[Watcher] = set()
        self.waiting: set[asyncio.Future[None]] = set()
        self.is_known = False
        self.due_at = -math.inf
        self._standing: Standing | None = None
        self._told_at = -math.inf

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more: the job has ended or is gone."""
        return self.is_known and (self._standing is None or self._standing.status in ENDED)

    @property
    def retry_seconds(self) -> float:
        """When to tell those who were not through with what they had been told before."""
        return CHANGES_SECONDS if self.has_ended else PROGRESS_SECONDS

    def learn(self, standing: Standing | None, now: float) -> None:
        """Take note of where the job stands: a change of status is told at once, progress when it is its time."""
        before, self._standing = self._standing, standing
        if not self.is_known or standing is None or before is None or standing.status != before.status:
            self.is_known, self.due_at = True, now
        elif standing != before:
            pause = max(PROGRESS_SECONDS, len(self.watchers) / PROGRESS_A_SECOND)
            self.due_at = min(self.due_at, max(now, self._told_at + pause))

    def begin(self, now: float) -> None:
        """Begin to tell."""
        self._told_at = now

    def tell(self, session: Session, position: Position) -> News:
        """Tell what there is after a position."""
        try:
            job = jobs.get(session, self.job_id)
        except NotFound:
            return News((), position, is_over=True)
        points = max(MIN_POINTS, MAX_POINTS // max(1, len(self.watchers)))
        telling = Telling(session, job, position, points)
        return News(_pieces(telling.events), telling.position, is_over=job.has_ended)


class JobsFeed:
    """All jobs that somebody sees, or those for one model."""

    has_ended = False
    retry_seconds = CHANGES_SECONDS

    def __init__(self, model: str | None, actor: Actor) -> None:
        self.model = model
        self._actor = Actor(actor.owner, actor.sees_all)
        self.about = model, self._actor
        self.watchers: set[Watcher] = set()
        self.waiting: set[asyncio.Future[None]] = set()
        self.due_at = -math.inf
        self._told_at = -math.inf

    def learn(self, now: float) -> None:
        """Take note that something was committed."""
        self.due_at = min(self.due_at, max(now, self._told_at + CHANGES_SECONDS))

    def begin(self, now: float) -> None:
        """Begin to tell."""
        self._told_at = now

    def tell(self, session: Session, moment: Moment | None) -> News:
        """Tell what there is after a moment."""
        with seen_by(session, self._actor):
            found = changes.since(session, moment, self.model, JOBS_AT_ONCE)
            events = [event for job in found for event in events_of(session, job)]
        after = changes.moment_of(found[-1]) if found else moment
        return News(_pieces(events), after, is_part=len(found) == JOBS_AT_ONCE)


Feed = JobFeed | JobsFeed


def _pieces(events: Sequence[bytes]) -> tuple[bytes, ...]:
    """Join events to pieces that are worth sending, and small enough to be many watchers' at once."""
    pieces: list[list[bytes]] = []
    n_bytes = PIECE_BYTES
    for event in events:
        if n_bytes + len(event) > PIECE_BYTES:
            pieces.append([])
            n_bytes = 0
        pieces[-1].append(event)
        n_bytes += len(event)
    return tuple(b"".join(piece) for piece in pieces)
