from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.api.feeds import JobsFeed
from service.api.telling import Position, Telling, parse_moment
from service.store import changes, control, history, jobs, leases
from service.store.database import Database
from service.store.jobs import Job
from service.store.ownership import NOBODY
from tests.api.event_stream import Event, Reader, events_in
from tests.databases import migrated_database, place_of
from tests.store.queueing import ADVICE, claim, enqueue

pytestmark = pytest.mark.both_systems

WARNINGS: list[dict[str, Any]] = [
    {"code": code, "detail": code, "evidence": {}, "suggestion": {}} for code in ("first", "second", "third")
]
STEPS = ("claim", "begin", "go_on", "record", "record", "record", "advance", "lose", "release", "fail", "cancel")


class Training:
    """One job, and what users, workers and supervisors may do to it in any order; what cannot be does nothing."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.next_epoch = 0
        self.checkpoint = 0  # the epoch to go on with; 0 without one
        self.n_begun = 0  # how many attempts began anew
        self.furthest = 0  # how many epochs the last of them, and those that went on from it, have had recorded
        with database.writing() as session:
            self.job = enqueue(session, epochs=10_000)

    def now(self) -> Job:
        with self.database.reading() as session:
            return jobs.get(session, self.job.id)

    def take(self, step: str, size: int) -> None:
        now = self.now()
        if step == "claim" and now.status == "queued":
            with self.database.writing() as session:
                self.job = claim(session)
        elif step in ("begin", "go_on") and now.status == "running" and now.engine is None:
            self._settle(size, anew=step == "begin")
        elif now.status == "running" and now.engine is not None and step in ("record", "advance", "fail"):
            self._write(step, size)
        elif now.status == "running" and step in ("lose", "release"):
            with self.database.writing() as session:
                if step == "lose":
                    leases.release_lost(session, "worker_a", 100, "by SIGKILL")
                else:
                    jobs.release(session, self.job)
        elif step == "cancel" and size > 38 and now.status == "queued":
            with self.database.writing() as session:
                control.request_cancel(session, self.job.id)

    def put_away(self) -> None:
        """Leave no job that another example would claim."""
        if self.now().status == "running":
            with self.database.writing() as session:
                jobs.release(session, self.job)
        if self.now().status == "queued":
            with self.database.writing() as session:
                control.request_cancel(session, self.job.id)

    def check(self, reader: Reader) -> None:
        """Check that a reader who got everything knows what the job and its history hold, and was told it once.

        Of epochs that are lost and will be trained again, the same in every bit, a reader may know already.
        """
        with self.database.reading() as session:
            job = jobs.get(session, self.job.id)
            found = history.read(session, job, first=0, last=None, max_points=10_000)
        is_undecided = job.status == "running" and job.engine is None
        if len(found.epoch) and not is_undecided:
            n_told = len(reader.columns["epoch"])
            assert len(found.epoch) <= n_told <= self.furthest
            assert reader.columns["epoch"] == list(range(n_told))
            assert reader.columns["train_loss"] == self._losses(np.arange(n_told)).tolist()
            assert reader.columns["train_loss"][: len(found.epoch)] == found.train_loss.tolist()
        assert reader.n_restarts <= max(0, self.n_begun - 1)
        assert reader.statuses[-1] == (job.status, job.attempt)
        assert all(warning in reader.warnings for warning in job.warnings)
        assert (reader.end is not None) == job.has_ended

    def _settle(self, n_warnings: int, *, anew: bool) -> None:
        if anew or not self.checkpoint:
            self.checkpoint = self.furthest = 0
            self.n_begun += 1
        self.next_epoch = self.checkpoint
        settled: dict[str, Any] = {"hyperparameters": self.job.hyperparameters, "engine": "analytic"}
        settled |= {"advice": ADVICE, "warnings": WARNINGS[: n_warnings % 4], "scaling": None, "environment": {}}
        with self.database.writing() as session:
            history.clear(session, self.job, after=self.checkpoint - 1)
            noted = jobs.settled(self.job, **settled, resumed_at=self.checkpoint or None)
            jobs.advance(session, self.job, self.checkpoint, noted=noted)

    def _write(self, step: str, size: int) -> None:
        with self.database.writing() as session:
            if step == "fail":
                jobs.fail(session, self.job, stop_reason="error", error={"code": "x", "detail": "y"})
                return
            jobs.advance(session, self.job, self.next_epoch + size / 100)
            if step == "record":
                epoch = np.arange(self.next_epoch, self.next_epoch + size)
                values = {"train_loss": self._losses(epoch), "gradient_norm": epoch / 2, "learning_rate": epoch / 3}
                nothing = dict.fromkeys(("validation_loss", "parameters", "gradient"))
                history.record(session, self.job, epoch=epoch, **values, **nothing)  # type: ignore[arg-type]
                self.next_epoch += size
                self.furthest = max(self.furthest, self.next_epoch)
                self.checkpoint = self.next_epoch if size % 2 else self.checkpoint

    def _losses(self, epoch: NDArray[np.int64]) -> NDArray[np.float64]:
        """Those of one training, which are others than those of one that began anew."""
        return self.n_begun + 1.0 / (1 + epoch)


def told(database: Database, job: Job, position: Position, max_points: int = 10_000) -> tuple[list[Event], Position]:
    """Give the events after a position, and the position after them."""
    with database.reading() as session:
        telling = Telling(session, jobs.get(session, job.id), position, max_points)
    return list(events_in(b"".join(telling.events).decode().split("\n"))), telling.position


def test_one_who_comes_back_to_all_jobs_is_told_of_a_return_to_the_queue(database: Database) -> None:
    with database.writing() as session:
        enqueue(session)
        job = claim(session)
        before = changes.latest(session)
    with database.writing() as session:
        leases.release_lost(session, "worker_a", 100, "by SIGKILL")
    with database.reading() as session:
        news = JobsFeed(None, NOBODY).tell(session, before)
        (event,) = events_in(b"".join(news.pieces).decode().split("\n"))
        assert (event.kind, event.data["id"]) == ("status", job.id)
        assert (event.data["status"], event.data["attempt"]) == ("queued", 1)
        assert parse_moment(event.id) == news.position
        assert JobsFeed(None, NOBODY).tell(session, news.position).pieces == ()
    with database.writing() as session:
        control.request_cancel(session, job.id)


def test_a_job_that_was_back_in_the_queue_and_runs_again_is_told_so_to_one_who_was_away(database: Database) -> None:
    with database.writing() as session:
        enqueue(session)
        job = claim(session)
    _, position = told(database, job, Position())
    for _ in range(2):
        with database.writing() as session:
            jobs.release(session, job)
            job = claim(session)
    events, _ = told(database, job, position)
    assert [(event.data["status"], event.data["attempt"]) for event in events] == [("queued", 2), ("running", 3)]
    with database.writing() as session:
        jobs.fail(session, job, stop_reason="error", error={"code": "x", "detail": "y"})


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One for all examples, for making it takes longer than they do."""
    database = migrated_database(place_of(tmp_path_factory.mktemp("telling")))
    yield database
    database.close()


LOST = [("claim", 1, 10), ("begin", 1, 10), ("record", 21, 10), ("record", 20, 10), ("lose", 1, 10), ("claim", 1, 10)]
"""A training that has recorded 41 epochs, told of all, and goes on from the 21st, or begins anew."""


@settings(deadline=None, max_examples=40)
@example(steps=[*LOST, ("go_on", 1, 10), ("record", 1, 10)])
@example(steps=[*LOST, ("begin", 1, 20), ("record", 40, 20), ("record", 2, 10)])
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 40), st.integers(0, 20)), max_size=25))
def test_whatever_happens_and_wherever_a_reader_is_cut_off_each_epoch_is_told_once(
    database: Database, steps: list[tuple[str, int, int]]
) -> None:
    training, reader, position = Training(database), Reader(), Position()
    for step, size, n_read in [*steps, ("", 0, 5), ("", 0, 10)]:
        training.take(step, size)
        if n_read > 14:
            continue  # nobody looked in between
        events, after = told(database, training.job, position)
        read = events[: n_read if n_read < 10 else None]
        for event in read:
            reader.take(event)
        if len(read) == len(events):
            position = after  # on the same connection
        elif read:
            position = Position.parse(reader.last_id)  # on another one
    training.check(reader)
    training.put_away()
