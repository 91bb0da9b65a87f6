"""Any order of what users, workers and supervisors do to jobs, against a model of what should come of it."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.errors import JobEnded, LeaseLost
from service.store import jobs, leases
from service.store.database import Database, Session
from service.store.jobs import ENDED, Job, Status
from service.store.migrations import migrate
from tests.store.queueing import enqueue

MAX_LOST = 2
WORKERS = ("worker_a", "worker_b")
WRITES = ("advance", "succeed", "fail", "end_cancelled", "release")
TRANSITIONS: set[tuple[Status, Status]] = {
    ("queued", "running"),
    ("queued", "cancelled"),
    *(("running", status) for status in ("queued", *ENDED)),
}


@dataclass
class Expected:
    """What a job should be."""

    status: Status = "queued"
    attempt: int = 0
    n_lost: int = 0
    worker: str = ""
    cancel_requested: bool = False
    expired: bool = False


class Lifecycle(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database(Path(self.folder.name) / "descent.sqlite3")
        migrate(self.database)
        self.expected: dict[str, Expected] = {}
        self.seen: dict[str, Job] = {}
        self.claims: list[Job] = []

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    @initialize()
    def begin_with_a_job(self) -> None:
        self.enqueue()

    @rule()
    def enqueue(self) -> None:
        with self.database.writing() as session:
            self.expected[enqueue(session).id] = Expected()

    @rule(worker=st.sampled_from(WORKERS), expired=st.booleans())
    def claim(self, worker: str, expired: bool) -> None:
        with self.database.writing() as session:
            job = jobs.claim(session, worker, -1 if expired else 60)
        oldest = next((key for key, one in self.expected.items() if one.status == "queued"), None)
        assert (job.id if job else None) == oldest
        if job:
            expected = self.expected[job.id]
            expected.status, expected.worker, expected.expired = "running", worker, expired
            expected.attempt += 1
            self.claims.append(job)

    def is_current(self, job: Job) -> bool:
        return (self.expected[job.id].status, self.expected[job.id].attempt) == ("running", job.attempt)

    @precondition(lambda self: not all(map(self.is_current, self.claims)))
    @rule()
    def write_too_late(self) -> None:
        with self.database.writing() as session:
            for job in self.claims:
                for write in () if self.is_current(job) else WRITES:
                    with pytest.raises(LeaseLost):
                        self.write(session, job, write)

    @precondition(lambda self: any(map(self.is_current, self.claims)))
    @rule(data=st.data(), write=st.sampled_from(WRITES))
    def write_in_time(self, data: st.DataObject, write: str) -> None:
        job = data.draw(st.sampled_from([job for job in self.claims if self.is_current(job)]))
        expected = self.expected[job.id]
        with self.database.writing() as session:
            told = self.write(session, job, write)
        endings: dict[str, Status] = {"succeed": "succeeded", "fail": "failed", "end_cancelled": "cancelled"}
        if write == "advance":
            assert told == expected.cancel_requested
        else:
            expected.status = endings.get(write, "queued")

    def write(self, session: Session, job: Job, write: str) -> bool | None:
        if write == "advance":
            return jobs.advance(session, job, job.progress + 1)
        if write == "succeed":
            jobs.succeed(session, job, version=1, result={}, stop_reason="epochs_completed", warnings=[])
        elif write == "fail":
            jobs.fail(session, job, stop_reason="error", error={"code": "internal_error", "detail": ""})
        elif write == "end_cancelled":
            jobs.end_cancelled(session, job)
        else:
            jobs.release(session, job)
        return None

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def request_cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(list(self.expected)))
        expected = self.expected[job_id]
        with self.database.writing() as session:
            if expected.status in ("succeeded", "failed"):
                with pytest.raises(JobEnded):
                    jobs.request_cancel(session, job_id)
                return
            jobs.request_cancel(session, job_id)
        expected.status = "cancelled" if expected.status == "queued" else expected.status
        expected.cancel_requested = True

    @rule(worker=st.sampled_from(WORKERS))
    def renew_leases(self, worker: str) -> None:
        with self.database.writing() as session:
            leases.renew(session, worker, 60)
        for expected in self.expected.values():
            expected.expired = expected.expired and expected.worker != worker

    @rule(worker=st.sampled_from(WORKERS))
    def lose_worker(self, worker: str) -> None:
        lost = [one for one in self.expected.values() if one.status == "running" and one.worker == worker]
        with self.database.writing() as session:
            assert leases.release_lost(session, worker, MAX_LOST) == len(lost)
        self.lose(lost)

    @rule(worker=st.sampled_from(WORKERS))
    def stop_worker(self, worker: str) -> None:
        with self.database.writing() as session:
            leases.release_stopped(session, worker)
        for expected in self.expected.values():
            if expected.status == "running" and expected.worker == worker:
                expected.status = "cancelled" if expected.cancel_requested else "queued"

    @rule()
    def end_expired_leases(self) -> None:
        lost = [one for one in self.expected.values() if one.status == "running" and one.expired]
        with self.database.writing() as session:
            assert leases.release_expired(session, MAX_LOST) == len(lost)
        self.lose(lost)

    def lose(self, lost: list[Expected]) -> None:
        for expected in lost:
            expected.n_lost += 1
            too_often: Status = "failed" if expected.n_lost >= MAX_LOST else "queued"
            expected.status = "cancelled" if expected.cancel_requested else too_often

    @invariant()
    def jobs_are_what_they_should_be(self) -> None:
        with self.database.reading() as session:
            found, _ = jobs.page(session, limit=1000)
            places = jobs.queue_positions(session, found)
        assert [job.id for job in found[::-1]] == list(self.expected)
        queued = [job_id for job_id, expected in self.expected.items() if expected.status == "queued"]
        assert places == {job_id: place for place, job_id in enumerate(queued, 1)}
        for job in found:
            expected, before = self.expected[job.id], self.seen.get(job.id, job)
            assert (job.status, job.attempt, job.n_lost_workers) == (expected.status, expected.attempt, expected.n_lost)
            assert before.status == job.status or (before.status, job.status) in TRANSITIONS
            assert job == before or not before.has_ended
            assert (job.finished_at is not None) == job.has_ended
            assert (job.started_at is not None) == (job.status == "running") or job.has_ended
            self.seen[job.id] = job

    @invariant()
    def no_attempt_was_claimed_twice(self) -> None:
        claimed = [(job.id, job.attempt) for job in self.claims]
        assert len(claimed) == len(set(claimed))


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # to shrink what failed takes minutes on a real file
    database=None,
)
