"""Waiting for what happens to jobs: one thread asks the database for all who wait or watch."""

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from service.api.feeds import Feed, JobFeed, JobsFeed, Watcher
from service.errors import DatabaseUnavailable
from service.store import changes
from service.store.database import Database, Session

logger = logging.getLogger(__name__)

WAIT_POLL_SECONDS = 0.001
"""How often it is asked whether anything was committed while requests wait; only if so, what."""
STREAM_POLL_SECONDS = 0.025
"""The same while there are streams only: to wake up is what costs most when nothing happens.

It is the longest pause as well: one after a look that took long is as long, to leave the processor to the answers.
"""
WATCHERS_AT_ONCE = 20
"""So many are given the same before others are answered, which takes less than a millisecond."""
FAULT_SECONDS = 1.0
SILENCE_SECONDS = 15.0
"""Watchers to whom there was so long nothing to tell get a comment, which keeps the connection."""
COMMENT = b": still here\n\n"


class JobWatch:
    """Lets any number of requests wait for their jobs to end, and any number of streams tell what happens to jobs.

    Args:
        database: to look into.
        accepted: gives the ids of the keys with which one may watch, by what a session sees or by what came later.
    """

    def __init__(self, database: Database, accepted: Callable[[Session], frozenset[str | None]]) -> None:
        self._database = database
        self._accepted = accepted
        self._changed: Callable[[], bool] | None = None
        self._has_changed = False  # and it was not found out yet what
        self._feeds: dict[tuple[type[Feed], object], Feed] = {}
        self._lock = threading.Lock()  # of the feeds, and of who is in each
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._silence_at = -math.inf
        self._closing = False
        self._stopped = False

    async def wait(self, job_id: str, seconds: float) -> None:
        """Come back when the job has ended, after so many seconds, or when the process is to end."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self.joined(JobFeed(job_id), ended), contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended, seconds)

    @contextlib.contextmanager
    def joined(self, feed: Feed, member: "Watcher | asyncio.Future[None]") -> Iterator[None]:
        """Give a watcher the news of a feed, or set a future when it has ended, until the block ends.

        Args:
            feed: a new one; one of the same job that is watched already takes its place.
            member: of the running event loop.
        """
        with self._lock:
            feed = self._feeds.setdefault((type(feed), feed.about), feed)
            members: set[Any] = feed.watchers if isinstance(member, Watcher) else feed.waiting
            members.add(member)
            feed.due_at = -math.inf
            if self._thread is None:
                self._loop = asyncio.get_running_loop()
                self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
                self._thread.start()
        self._wake.set()
        try:
            yield
        finally:
            with self._lock:
                members.discard(member)
                if not (feed.watchers or feed.waiting):
                    del self._feeds[type(feed), feed.about]

    def close(self) -> None:
        """Let all go, because the process is to end. May be called from a signal handler."""
        self._closing = True

    def stop(self) -> None:
        """End the thread, which has to happen before the database is closed."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            start, pause = time.monotonic(), WAIT_POLL_SECONDS
            with self._lock:
                feeds = list(self._feeds.values())
            try:
                if self._closing:
                    self._let_go(feeds)
                elif feeds:
                    self._look(feeds, start)
                    shortest = WAIT_POLL_SECONDS if any(feed.waiting for feed in feeds) else STREAM_POLL_SECONDS
                    pause = min(max(shortest, time.monotonic() - start), STREAM_POLL_SECONDS)
            except DatabaseUnavailable:
                pause = FAULT_SECONDS  # it is in the log already; the next look may succeed
            except Exception:
                logger.exception("looking for what happened to jobs failed; the next look may not")
                pause = FAULT_SECONDS
            self._wake.wait(pause if feeds else None)
            self._wake.clear()

    def _look(self, feeds: list[Feed], now: float) -> None:
        """Find out what has changed, if anything, and tell what it is time to tell."""
        if self._changed is None:
            self._changed = self._database.changes()
        self._has_changed |= self._changed()
        watched = [feed for feed in feeds if isinstance(feed, JobFeed) and (self._has_changed or not feed.is_known)]
        if self._has_changed:
            for feed in feeds:
                if isinstance(feed, JobsFeed):
                    feed.learn(now)
        if self._has_changed or watched or any(feed.due_at <= now for feed in feeds):
            # One session for all of it: to begin one takes as long as what is read here. Who only waits for ends gets
            # them by one statement; what watchers are told has to be of one state.
            is_watched = any(feed.watchers for feed in feeds)
            with self._database.reading() if is_watched else self._database.reading_once() as session:
                if self._has_changed:
                    self._send_away(session, feeds, now)
                if watched:
                    found = changes.standings(session, [feed.job_id for feed in watched])
                    for feed in watched:
                        feed.learn(found.get(feed.job_id), now)
                for feed in feeds:
                    if feed.due_at <= now:
                        self._tell(session, feed, now, may_watch=is_watched)
        self._has_changed = False
        if now > self._silence_at + 1:
            self._silence_at = now
            self._break_silence(feeds, now)

    def _tell(self, session: Session, feed: Feed, now: float, *, may_watch: bool) -> None:
        with self._lock:
            if feed.watchers and not may_watch:
                return  # who came since is told at the next look
            due_at, feed.due_at = feed.due_at, math.inf
            watchers, waiting = list(feed.watchers), list(feed.waiting)
        if feed.has_ended and waiting:
            self._in_loop(_set_all, waiting)
        try:
            self._tell_all(session, feed, watchers, now)
        except BaseException:
            feed.due_at = min(feed.due_at, due_at)  # those who were not told are told at the next look
            raise

    def _tell_all(self, session: Session, feed: Feed, watchers: list[Watcher], now: float) -> None:
        if not watchers:
            return
        feed.begin(now)
        alike: dict[Any, list[Watcher]] = defaultdict(list)
        for watcher in watchers:
            if watcher.is_waiting:
                alike[watcher.position].append(watcher)
            else:
                feed.due_at = min(feed.due_at, now + feed.retry_seconds)
        for position, some in alike.items():
            news = feed.tell(session, position)
            for watcher in some:
                watcher.position = news.position
            if news.is_part:
                feed.due_at = -math.inf
            if news.pieces or news.is_over:
                self._give(some, news.pieces, now, is_over=news.is_over)

    def _send_away(self, session: Session, feeds: list[Feed], now: float) -> None:
        """End the streams of those whose keys were revoked."""
        with self._lock:
            watchers = [watcher for feed in feeds for watcher in feed.watchers]
        accepted = self._accepted(session) if watchers else frozenset()
        gone = [watcher for watcher in watchers if watcher.key_id not in accepted]
        if gone:
            self._give(gone, (), now, is_over=True)

    def _break_silence(self, feeds: list[Feed], now: float) -> None:
        with self._lock:
            watchers = [watcher for feed in feeds for watcher in feed.watchers]
        silent = [one for one in watchers if one.is_waiting and now > one.told_at + SILENCE_SECONDS]
        if silent:
            self._give(silent, (COMMENT,), now, is_over=False)

    def _let_go(self, feeds: list[Feed]) -> None:
        with self._lock:
            watchers = [watcher for feed in feeds for watcher in feed.watchers]
            waiting = [future for feed in feeds for future in feed.waiting]
        self._in_loop(_set_all, waiting)
        self._give(watchers, (), time.monotonic(), is_over=True)

    def _give(self, watchers: list[Watcher], pieces: tuple[bytes, ...], now: float, *, is_over: bool) -> None:
        for watcher in watchers:
            watcher.is_waiting, watcher.told_at = False, now
        self._in_loop(_give_all, watchers, pieces, is_over)

    def _in_loop(self, function: Callable[..., None], *arguments: Any) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, *arguments)


def _give_all(watchers: list[Watcher], pieces: tuple[bytes, ...], is_over: bool) -> None:
    """Give the same to many, some at a time: in between the loop answers others."""
    for watcher in watchers[:WATCHERS_AT_ONCE]:
        watcher.give(pieces, is_over=is_over)
    if others := watchers[WATCHERS_AT_ONCE:]:
        asyncio.get_running_loop().call_soon(_give_all, others, pieces, is_over)


def _set_all(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
