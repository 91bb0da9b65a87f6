"""Those who wait for a job or watch it, while the database fails."""

import asyncio
from pathlib import Path
from typing import Any

from sqlalchemy import event

from service.api.feeds import Feed, JobFeed, JobsFeed, Watcher
from service.api.telling import Position
from service.api.waiting import JobWatch
from service.errors import DatabaseUnavailable
from service.store import changes, control
from service.store.database import Database
from service.store.jobs import Job
from service.store.ownership import NOBODY
from tests.api.event_stream import events_in
from tests.processes import PATIENCE_SECONDS
from tests.store.queueing import enqueue

N_STATEMENTS = 6
"""More than a look takes when a job has ended that one waits for and two watch."""


class Fault:
    """Lets one statement of a database fail: the one of this number, counted from when it is set off."""

    def __init__(self, database: Database, number: int) -> None:
        self.left: int | None = None
        self.number = number
        event.listen(database.engine, "before_cursor_execute", self._count)

    @property
    def has_come(self) -> bool:
        return self.left == -1

    def set_off(self) -> None:
        self.left = self.number

    def _count(self, *_: Any) -> None:
        if self.left is None or self.left < 0:
            return
        self.left -= 1
        if self.left < 0:
            raise DatabaseUnavailable("the connection is lost in the middle")


class Watching:
    """One API process with one who waits for a job, one who watches it, and one who watches all jobs."""

    def __init__(self, place: Path | str, job: Job, number: int) -> None:
        self.database = Database(place)
        self.watch = JobWatch(self.database, lambda _: frozenset({None}))
        self.fault = Fault(self.database, number)
        self.begun = asyncio.Event()
        with self.database.reading() as session:
            latest = changes.latest(session)
        self.ended = asyncio.gather(
            self.watch.wait(job.id, 600),
            self._read(JobFeed(job.id), Position()),
            self._read(JobsFeed(None, NOBODY), latest),
        )

    async def _read(self, feed: Feed, position: Any) -> list[tuple[str, str]]:
        """Read what is told until a job has ended; give the events with the statuses that they tell of."""
        text, watcher = "", Watcher(position, b": hello\n\n")
        with self.watch.joined(feed, watcher):
            async for piece in watcher:
                text += piece.decode()
                if "event: status" in text:
                    self.begun.set()
                if "event: end" in text:
                    break
        return [(event.kind, event.data["status"]) for event in events_in(text.split("\n"))]

    def close(self) -> None:
        self.watch.stop()
        self.database.close()


async def watch_while_each_statement_fails_once(database: Database, job: Job) -> None:
    watching = [Watching(database.place, job, number) for number in range(N_STATEMENTS)]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            for one in watching:
                await one.begun.wait()
                one.fault.set_off()
            with database.writing() as session:
                control.request_cancel(session, job.id)
            for one in watching:
                _, of_job, of_all = await one.ended
                assert of_job == [("status", "queued"), ("status", "cancelled"), ("end", "cancelled")]
                assert of_all == [("status", "cancelled"), ("end", "cancelled")]
            assert sum(one.fault.has_come for one in watching) >= 4
    finally:
        for one in watching:
            await asyncio.to_thread(one.close)


def test_what_a_failing_read_kept_from_being_told_is_told_by_the_next(database: Database) -> None:
    with database.writing() as session:
        job = enqueue(session)
    asyncio.run(watch_while_each_statement_fails_once(database, job))


def test_a_stream_that_is_ended_while_news_are_on_their_way_ends_with_them() -> None:
    async def read() -> list[bytes]:
        watcher = Watcher(None, b"hello")
        watcher.give((), is_over=True)
        watcher.give((b"news",), is_over=False)
        return [piece async for piece in watcher]

    assert asyncio.run(asyncio.wait_for(read(), PATIENCE_SECONDS)) == [b"hello", b"news"]
