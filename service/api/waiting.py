"""Waiting for jobs to end, without a thread each: one task asks the database for all who wait."""

import asyncio
import contextlib

from starlette.concurrency import run_in_threadpool

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

    async def wait(self, job_id: str, seconds: float) -> None:
        """Come back when the job has ended, or after so many seconds."""
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

    async def _poll(self) -> None:
        while self._waiting:
            for job_id in await run_in_threadpool(self._ended, list(self._waiting)):
                if job_id in self._waiting:
                    self._waiting[job_id].set()
            await asyncio.sleep(POLL_SECONDS)

    def _ended(self, job_ids: list[str]) -> set[str]:
        with self._database.reading() as session:
            return jobs.ended(session, job_ids)
