"""Any order of what users, workers and supervisors do to jobs, against a model of what should come of it."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.errors import JobEnded, JobNotEnded, LeaseLost, NotFound
from service.store import checkpoints, control, jobs, leases, queue
from service.store.database import Session
from service.store.jobs import ENDED, Asked, Job, Status
from tests.databases import migrated_database
from tests.store.queueing import enqueue, settle

MAX_LOST = 2
WORKERS = ("worker_a", "worker_b")
WRITES = ("settle", "advance", "save", "succeed", "fail", "end_cancelled", "release")
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
    paused: bool = False
    priority: int = 0
    has_begun: bool = False
    """Whether the present attempt has settled how it trains: as long as it has not, it can be taken away at once."""
    progress: float = 0.0
    has_checkpoint: bool = False

    def go_back(self) -> None:
        self.status, self.has_begun = "queued", False

    def end(self, status: Status) -> None:
        self.status, self.paused, self.has_checkpoint = status, False, False


class Lifecycle(RuleBasedStateMachine):
    def __init__(self, place: Path | str) -> None:
        super().__init__()
        self.database = migrated_database(place)
        self.expected: dict[str, Expected] = {}
        self.seen: dict[str, Job] = {}
        self.claims: list[Job] = []
        self.made: list[str] = []
        """Every job that there ever was, in order."""

    @property
    def waiting(self) -> list[str]:
        """Those that are to be claimed, in order."""
        waiting = [job_id for job_id, one in self.expected.items() if one.status == "queued" and not one.paused]
        return sorted(waiting, key=lambda job_id: -self.expected[job_id].priority)

    def some_job(self, data: st.DataObject) -> tuple[str, Expected]:
        job_id = data.draw(st.sampled_from(list(self.expected)))
        return job_id, self.expected[job_id]

    def teardown(self) -> None:
        self.database.close()

    @initialize()
    def begin_with_a_job(self) -> None:
        self.enqueue()

    @rule(priority=st.sampled_from([0, 0, 0, -100, 1, 100]))
    def enqueue(self, priority: int = 0) -> None:
        with self.database.writing() as session:
            job = enqueue(session, priority=priority)
        self.expected[job.id] = Expected(priority=priority)
        self.made.append(job.id)

    @rule(worker=st.sampled_from(WORKERS), expired=st.booleans())
    def claim(self, worker: str, expired: bool) -> None:
        first = next(iter(self.waiting), None)
        with self.database.writing() as session:
            job = queue.claim(session, worker, -1 if expired else 60)
        assert (job.id if job else None) == first
        if job:
            expected = self.expected[job.id]
            expected.status, expected.worker, expected.expired = "running", worker, expired
            expected.attempt += 1
            self.claims.append(job)

    def is_current(self, job: Job) -> bool:
        expected = self.expected.get(job.id, Expected("cancelled"))
        return (expected.status, expected.attempt) == ("running", job.attempt)

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
        if write in ("settle", "advance", "save"):
            assert told == ("cancel" if expected.cancel_requested else "pause" if expected.paused else None)
            self.get_on(job, expected, write)
        elif write == "release":
            expected.go_back()
        else:
            expected.end(endings[write])

    def get_on(self, job: Job, expected: Expected, write: str) -> None:
        if write == "settle":
            expected.has_begun, expected.progress = True, 0.0
            return
        expected.progress = self.further(job)
        expected.has_checkpoint = expected.has_checkpoint or write == "save"
        if write == "save":
            expected.n_lost = 0  # it got further than those who were lost

    def further(self, job: Job) -> float:
        """An attempt begins anew, and gets as far as the one before, then further by one each time."""
        expected = self.expected.get(job.id, Expected())
        return expected.progress + 1 if expected.progress else max(1.0, job.progress)

    def write(self, session: Session, job: Job, write: str) -> Asked | None:
        if write == "settle":
            return settle(session, job)
        if write in ("advance", "save"):
            checkpoint = b"a checkpoint" if write == "save" else None
            return jobs.advance(session, job, self.further(job), checkpoint, gets_on=write == "save")
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
        job_id, expected = self.some_job(data)
        with self.database.writing() as session:
            if expected.status in ("succeeded", "failed"):
                with pytest.raises(JobEnded):
                    control.request_cancel(session, job_id)
                return
            control.request_cancel(session, job_id)
        if not expected.has_begun:
            expected.end("cancelled")
        expected.cancel_requested = True

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), to_pause=st.booleans())
    def pause_or_resume(self, data: st.DataObject, to_pause: bool) -> None:
        job_id, expected = self.some_job(data)
        act = control.pause if to_pause else control.resume
        with self.database.writing() as session:
            if expected.status in ENDED:
                with pytest.raises(JobEnded):
                    act(session, job_id)
                return
            job = act(session, job_id)
        expected.paused = to_pause
        if to_pause and not expected.has_begun:
            expected.go_back()
        assert (job.status, job.paused) == (expected.status, to_pause)

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job_id, expected = self.some_job(data)
        with self.database.writing() as session:
            job = enqueue(session, priority=expected.priority, retry_of=job_id)
        self.expected[job.id] = Expected(priority=expected.priority)
        self.made.append(job.id)

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        job_id, expected = self.some_job(data)
        with self.database.writing() as session:
            if expected.status not in ENDED:
                with pytest.raises(JobNotEnded):
                    control.remove(session, job_id)
                return
            control.remove(session, job_id)
            with pytest.raises(NotFound):
                control.remove(session, job_id)
        del self.expected[job_id]

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def turn_a_page(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.made) - 1))
        with self.database.reading() as session:
            found, has_more = jobs.page(session, limit=2, after=self.made[place])
        older = [job_id for job_id in self.made[:place][::-1] if job_id in self.expected]
        assert ([job.id for job in found], has_more) == (older[:2], len(older) > 2)

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
            assert leases.release_lost(session, worker, MAX_LOST, "by SIGKILL") == len(lost)
        self.lose(lost)

    @rule(worker=st.sampled_from(WORKERS))
    def stop_worker(self, worker: str) -> None:
        with self.database.writing() as session:
            leases.release_stopped(session, worker)
        for expected in self.expected.values():
            if expected.status == "running" and expected.worker == worker:
                if expected.cancel_requested:
                    expected.end("cancelled")
                else:
                    expected.go_back()

    @rule()
    def end_expired_leases(self) -> None:
        lost = [one for one in self.expected.values() if one.status == "running" and one.expired]
        with self.database.writing() as session:
            assert leases.release_expired(session, MAX_LOST) == len(lost)
        self.lose(lost)

    def lose(self, lost: list[Expected]) -> None:
        for expected in lost:
            expected.n_lost += 1
            if expected.cancel_requested:
                expected.end("cancelled")
            elif expected.n_lost >= MAX_LOST:
                expected.end("failed")
            else:
                expected.go_back()

    @invariant()
    def jobs_are_what_they_should_be(self) -> None:
        with self.database.reading() as session:
            found, _ = jobs.page(session, limit=1000)
            places = queue.positions(session, found)
            one_by_one = [queue.positions(session, [job]) for job in found[:2]]
            kept = {job.id for job in found if checkpoints.load(session, job.sequence) is not None}
            assert queue.has_waiting(session, 60) is bool(self.waiting)
        assert [job.id for job in found[::-1]] == list(self.expected)
        assert kept == {job_id for job_id, one in self.expected.items() if one.has_checkpoint}
        assert places == {job_id: place for place, job_id in enumerate(self.waiting, 1)}
        for place in one_by_one:
            assert place.items() <= places.items()
        for job in found:
            expected, before = self.expected[job.id], self.seen.get(job.id, job)
            assert (job.status, job.attempt, job.n_lost_workers) == (expected.status, expected.attempt, expected.n_lost)
            assert (job.paused, job.priority, job.progress) == (expected.paused, expected.priority, expected.progress)
            assert before.status == job.status or (before.status, job.status) in TRANSITIONS
            assert job == before or not before.has_ended
            assert (job.finished_at is not None) == job.has_ended
            assert (job.started_at is not None) == (job.status == "running") or job.has_ended
            self.seen[job.id] = job

    @invariant()
    def no_attempt_was_claimed_twice(self) -> None:
        claimed = [(job.id, job.attempt) for job in self.claims]
        assert len(claimed) == len(set(claimed))


@pytest.mark.both_systems
def test_jobs_are_what_they_should_be_whatever_is_done_to_them(
    system: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    files = (tmp_path / f"{number}.sqlite3" for number in itertools.count())
    is_fast = system == "sqlite"

    def start() -> Lifecycle:
        return Lifecycle(next(files) if is_fast else request.getfixturevalue("postgres").fresh())

    run_state_machine_as_test(
        start,  # type: ignore[arg-type]  # anything that gives a machine will do
        settings=settings(
            max_examples=20 if is_fast else 10,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],  # to shrink what failed takes minutes on a real database
            database=None,
        ),
    )
