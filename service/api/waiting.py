"""Waiting for jobs to end, without a thread each: one task asks the database for all who wait."""

import asyncio
import contextlib

from starlette.concurrency import run_in_threadpool

from service.errors import DatabaseUnavailable
from service.store import jobs
from service.store.database import Database

POLL_SECONDS = 0.01


class JobWatch:
    """Lets any number of requests wait for their jobs to end."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, asyncio.Event] = {}
        self._n_waiting: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    async def wait(self, job_id: str, seconds: float) -> None:
        """Come back when the job has ended, after so many seconds, or when the process is to end."""
        event = self._waiting.setdefault(job_id, asyncio.Event())
        self._n_waiting[job_id] = self._n_waiting.get(job_id, 0) + 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), seconds)
        finally:
            self._n_waiting[job_id] -= 1
            if not self._n_waiting[job_id]:
                del self._n_waiting[job_id], self._waiting[job_id]

    def close(self) -> None:
        """Let all who wait go, because the process is to end. May be called from a signal handler."""
        self._closing = True

    async def _poll(self) -> None:
        while self._waiting:
            try:
                ended = await run_in_threadpool(self._ended, list(self._waiting))
            except DatabaseUnavailable:
                ended = set()  # in the log already; the next look may succeed
            for job_id in list(self._waiting) if self._closing else ended & self._waiting.keys():
                self._waiting[job_id].set()
            await asyncio.sleep(POLL_SECONDS)

    def _ended(self, job_ids: list[str]) -> set[str]:
        with self._database.reading() as session:
            return jobs.ended(session, job_ids)
