"""A worker's life: claim a job, run it, claim the next; all the while say that it lives."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

import torch

from service.errors import DatabaseUnavailable
from service.log import log_about
from service.settings import Settings
from service.store import leases, queue, retention, workers
from service.store.columns import now
from service.store.database import Database, Session
from service.store.jobs import Job
from service.worker.lookout import HEARTBEATS, Lookout
from service.worker.run import run_job

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 60
"""How often a worker looks for what is no longer kept."""
BETWEEN_SWEEPS_SECONDS = 1
"""How long it leaves the database to others where there is more to delete than one sweep does."""
POLL_SECONDS = 0.001
"""How soon an idle worker asks again whether anything was committed; only if so it looks for a job."""
LONGEST_POLL_SECONDS = 0.005
POLL_GROWTH = 1.01
"""Each time that nothing was, it waits so much longer, up to that: where something goes on, more is soon to come."""
FAULT_SECONDS = 1.0
"""How long a worker waits before it tries a database again that has failed."""


class Worker:
    """Runs jobs one after another until `stop` is called.

    Args:
        database: migrated.
        worker_id: under which the worker is known, and under which a supervisor ends its leases.
    """

    def __init__(self, database: Database, settings: Settings, worker_id: str) -> None:
        self._database = database
        self._settings = settings
        self._id = worker_id
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._leaves_gpus = self._device == "cpu"  # where no worker has one, such a job fails here, and tells its user
        self._stopping = threading.Event()
        self._gone = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="retention", daemon=True)
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def stop(self) -> None:
        """Ask the worker to end: the job it runs goes back to the queue."""
        self._stopping.set()

    def leave(self) -> None:
        """Be gone as one that was stopped: should `run` be in the midst of a job, it goes back to the queue.

        What `run` still does of it comes to nothing, for the job is this worker's no more.
        """
        self._gone.set()
        if self._heart.is_alive():
            self._heart.join()
        with suppress(DatabaseUnavailable), self._database.writing() as session:
            leases.release_stopped(session, self._id)
            workers.remove(session, self._id)

    def run(self, tell_ready: Callable[[], None] = lambda: None) -> None:
        """Work until told to stop, also when the database fails for a while; `tell_ready` is called at the start."""
        with self._database.writing() as session:
            workers.register(session, self._id, self._device)
        logger.info("worker ready", extra={"worker": self._id, "device": self._device})
        tell_ready()
        self._heart.start()
        self._sweeper.start()
        changed = self._database.changes()
        while not self._stopping.is_set():
            try:
                self._work(changed)
            except DatabaseUnavailable:  # in the log already
                self._stopping.wait(FAULT_SECONDS)
        self.leave()

    def _work(self, changed: Callable[[], bool]) -> None:
        """Work until told to stop; raises DatabaseUnavailable when the database fails."""
        job: Job | None = None
        has_changed = True  # also after a job, for where one was the next may wait
        pause = POLL_SECONDS
        while job is not None or not self._stopping.is_set():
            if job is None and has_changed and self._may_claim():
                job = self._claim()
            if job is None:
                self._stopping.wait(pause)
                has_changed = changed()
                pause = POLL_SECONDS if has_changed else min(pause * POLL_GROWTH, LONGEST_POLL_SECONDS)
                continue
            with log_about(job=job.id, attempt=job.attempt, request=job.request_id):
                try:
                    following = run_job(self._database, self._settings, job, self._stopping, self._claim_in)
                except DatabaseUnavailable:
                    self._give_back()
                    raise
            job = following

    def _give_back(self) -> None:
        """Put the job whose progress cannot be recorded back into the queue, as soon as the database works again."""
        logger.warning("the job goes back into the queue, for the database fails")
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(FAULT_SECONDS)  # and then one more try, the last
            try:
                with self._database.writing() as session:
                    leases.release_stopped(session, self._id)
            except DatabaseUnavailable:
                continue  # in the log already
            return

    def _may_claim(self) -> bool:
        """Tell whether any job waits, without a lock, for idle workers ask whenever anything was committed."""
        with self._database.reading_once() as session:
            return queue.has_waiting(session, self._settings.lease_seconds, leaves_gpus=self._leaves_gpus)

    def _claim(self) -> Job | None:
        with self._database.writing() as session:
            return self._claim_in(session)

    def _claim_in(self, session: Session) -> Job | None:
        if self._stopping.is_set():
            return None
        return queue.claim(session, self._id, self._settings.lease_seconds, leaves_gpus=self._leaves_gpus)

    def _beat(self) -> None:
        """Renew the lease from a thread, for a step may outlast it; take in the lost jobs of other workers.

        It goes on while the worker is stopping: the job is its own until it has been put back.
        """
        lease_seconds = self._settings.lease_seconds
        lookout = Lookout(lease_seconds, now())
        while not self._gone.wait(lease_seconds / HEARTBEATS):
            try:
                with self._database.writing() as session:
                    at = now()
                    workers.heartbeat(session, self._id, self._device)
                    leases.renew(session, self._id, lease_seconds)
                    if lookout.is_clear(at):
                        leases.release_expired(session, self._settings.max_lost_workers)
                lookout.heard(at)
            except DatabaseUnavailable:
                continue  # in the log already
            except Exception:
                logger.exception("the heartbeat failed; the next one may not")

    def _sweep(self) -> None:
        """Delete what is no longer kept, from a thread of its own, for deleting much must not delay the heartbeat.

        Of all workers one does so.
        """
        may_find_more = True
        while not self._stopping.wait(BETWEEN_SWEEPS_SECONDS if may_find_more else SWEEP_SECONDS):
            try:
                with self._database.reading() as session:
                    is_mine = workers.is_oldest(session, self._id, self._settings.lease_seconds)
                may_find_more = is_mine and retention.sweep(self._database, self._settings)
            except DatabaseUnavailable:
                continue  # in the log already
            except Exception:
                logger.exception("the retention sweep failed; the next one may not")
