from collections.abc import Callable

import pytest
from sqlalchemy import update

from service.errors import JobEnded, LeaseLost, NotFound
from service.store import control, jobs, leases, queue, workers
from service.store.columns import now
from service.store.database import Database, Session
from service.store.jobs import Job, Status
from service.store.tables import JobRow
from tests.store.queueing import ENVIRONMENT, SCALING, SETTLED, claim, enqueue, settle
from tests.store.rivals import at_once, claim_all

pytestmark = pytest.mark.both_systems

MAX_LOST = 3
RESULT = {"train_loss": 0.5}
ERROR = {"code": "diverged", "detail": "too fast"}

WARNING = {"code": "condition_number", "detail": "scale the features"}


def succeed(session: Session, job: Job, version: int = 1) -> None:
    jobs.succeed(session, job, version=version, result=RESULT, stop_reason="epochs_completed", warnings=[WARNING])


FencedWrite = Callable[[Session, Job], object]
FENCED: dict[str, FencedWrite] = {
    "settle": settle,
    "advance": lambda session, job: jobs.advance(session, job, 7.5),
    "succeed": succeed,
    "fail": lambda session, job: jobs.fail(session, job, stop_reason="diverged", error=ERROR),
    "end_cancelled": jobs.end_cancelled,
    "release": jobs.release,
}
ENDINGS: dict[Status, FencedWrite] = {
    "succeeded": FENCED["succeed"],
    "failed": FENCED["fail"],
    "cancelled": FENCED["end_cancelled"],
}


def test_the_oldest_job_is_claimed_first_and_each_only_once(database: Database) -> None:
    with database.writing() as session:
        queued = [enqueue(session).id for _ in range(4)]
        assert [claim(session, worker).id for worker in ("a", "b", "a", "b")] == queued
        assert queue.claim(session, "a", 60) is None
        assert not queue.has_waiting(session, 60)


def test_a_claimed_job_is_running_for_the_first_time(database: Database) -> None:
    with database.writing() as session:
        queued = enqueue(session)
        assert (queued.status, queued.attempt, queued.started_at) == ("queued", 0, None)
        running = claim(session)
    assert (running.status, running.attempt, running.progress) == ("running", 1, 0)
    assert running.started_at is not None
    assert queued.created_at <= running.started_at <= now()
    with database.reading() as session:
        assert jobs.get(session, queued.id) == running


def test_a_worker_without_a_gpu_leaves_jobs_that_ask_for_one_to_those_that_have_one(database: Database) -> None:
    with database.writing() as session:
        workers.register(session, "worker_b", "cuda")
        first, second, third = (enqueue(session, device=device) for device in ("cpu", "auto", "cpu"))
        for number, job in enumerate((first, third)):  # no machine without a GPU plans such a job
            given = {**job.requested, "device": ("cuda", "cuda:1")[number]}
            session.execute(update(JobRow).where(JobRow.id == job.id).values(requested=given))
        assert queue.has_waiting(session, 60, leaves_gpus=True)
        claimed = queue.claim(session, "worker_a", 60, leaves_gpus=True)
        assert claimed is not None
        assert claimed.id == second.id
        assert not queue.has_waiting(session, 60, leaves_gpus=True)
        assert queue.claim(session, "worker_a", 60, leaves_gpus=True) is None
        assert claim(session).id == first.id
        workers.remove(session, "worker_b")
        assert queue.has_waiting(session, 60, leaves_gpus=True)
        last = queue.claim(session, "worker_a", 60, leaves_gpus=True)
        assert last is not None
        assert last.id == third.id


def test_three_processes_claim_every_job_exactly_once(database: Database) -> None:
    with database.writing() as session:
        queued = [enqueue(session).id for _ in range(150)]
    claimed = at_once(3, claim_all, database.place, "worker")
    assert sorted(job for of_one in claimed for job in of_one) == sorted(queued)
    assert all(of_one == sorted(of_one, key=queued.index) for of_one in claimed)
    with database.reading() as session:
        found, _ = jobs.page(session, limit=1000)
        assert {(job.status, job.attempt) for job in found} == {("running", 1)}


@pytest.mark.parametrize("write", FENCED)
def test_an_earlier_attempt_can_change_nothing(database: Database, write: str) -> None:
    with database.writing() as session:
        enqueue(session)
        first = claim(session, "worker_a")
        leases.release_lost(session, "worker_a", MAX_LOST, "by SIGKILL")
        second = claim(session, "worker_b")
    with pytest.raises(LeaseLost, match=f"{first.id} .*attempt 1"), database.writing() as session:
        FENCED[write](session, first)
    with database.writing() as session:
        assert jobs.get(session, first.id) == second
        FENCED[write](session, second)  # while the attempt that runs can


@pytest.mark.parametrize("write", FENCED)
@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_changes_a_job_that_has_ended(database: Database, write: str, ending: Status) -> None:
    with database.writing() as session:
        enqueue(session)
        job = claim(session)
        ENDINGS[ending](session, job)
        ended = jobs.get(session, job.id)
        assert (ended.status, ended.has_ended) == (ending, True)
    with pytest.raises(LeaseLost), database.writing() as session:
        FENCED[write](session, job)
    with database.writing() as session:
        assert leases.release_lost(session, "worker_a", MAX_LOST, "by SIGKILL") == 0
        assert queue.claim(session, "worker_b", 60) is None
        assert jobs.get(session, job.id) == ended


def test_an_ended_job_tells_how_it_ended(database: Database) -> None:
    with database.writing() as session:
        ids = [enqueue(session).id for _ in range(2)]
        succeed(session, claim(session), version=4)
        jobs.fail(session, claim(session), stop_reason="diverged", error=ERROR, diagnosis={"epoch": 3})
        succeeded, failed = (jobs.get(session, job_id) for job_id in ids)
    assert (succeeded.version, succeeded.result, succeeded.stop_reason) == (4, RESULT, "epochs_completed")
    assert (succeeded.warnings, failed.warnings) == ([WARNING], [])
    assert (failed.error, failed.diagnosis, failed.stop_reason) == (ERROR, {"epoch": 3}, "diverged")
    assert (failed.version, failed.result, succeeded.error, succeeded.diagnosis) == (None, None, None, None)
    for job in (succeeded, failed):
        assert job.started_at is not None
        assert job.finished_at is not None
        assert job.started_at <= job.finished_at


def test_a_queued_job_is_cancelled_at_once_and_never_claimed(database: Database) -> None:
    with database.writing() as session:
        job, behind = enqueue(session), enqueue(session)
        cancelled = control.request_cancel(session, job.id)
        assert (cancelled.status, cancelled.stop_reason, cancelled.started_at) == ("cancelled", "cancelled", None)
        assert cancelled.finished_at is not None
        assert control.request_cancel(session, job.id) == cancelled  # asking again changes nothing
        assert claim(session).id == behind.id
        assert queue.claim(session, "worker_a", 60) is None


def test_a_running_job_is_told_to_its_worker_when_it_is_to_be_cancelled(database: Database) -> None:
    with database.writing() as session:
        enqueue(session)
        job = claim(session)
        assert settle(session, job) is None
        for _ in range(2):
            assert control.request_cancel(session, job.id).status == "running"
            assert jobs.advance(session, job, 2.0) == "cancel"
        jobs.end_cancelled(session, job)
        ended = control.request_cancel(session, job.id)
    assert (ended.status, ended.stop_reason, ended.progress) == ("cancelled", "cancelled", 2.0)


def test_a_job_that_has_succeeded_or_failed_cannot_be_cancelled_and_one_unknown_not_either(database: Database) -> None:
    with database.writing() as session:
        for status in ("succeeded", "failed"):
            enqueue(session)
            job = claim(session)
            ENDINGS[status](session, job)
            ended = jobs.get(session, job.id)
            with pytest.raises(JobEnded, match=f"{job.id} has {status} already"):
                control.request_cancel(session, job.id)
            assert jobs.get(session, job.id) == ended
        with pytest.raises(NotFound, match="job_unknown"):
            control.request_cancel(session, "job_unknown")


def test_a_released_job_is_back_in_its_place_and_runs_as_a_new_attempt(database: Database) -> None:
    with database.writing() as session:
        first, second = enqueue(session), enqueue(session)
        job = claim(session)
        settle(session, job)
        jobs.advance(session, job, 5.0)
        settled = jobs.get(session, job.id)
        assert (settled.hyperparameters, settled.scaling) == (SETTLED, SCALING)
        assert settled.environment == ENVIRONMENT | {"begun_in_attempt": 1}
        assert queue.positions(session, [second]) == {second.id: 1}
        jobs.release(session, job)
        released = jobs.get(session, job.id)
        assert (released.status, released.started_at, released.progress) == ("queued", None, 5)
        assert (released.attempt, released.n_lost_workers) == (1, 0)
        assert released.engine is None
        kept = (released.hyperparameters, released.scaling, released.environment)  # for the history is still there
        assert kept == (SETTLED, SCALING, settled.environment)
        assert released.requested == first.requested
        assert queue.positions(session, [released, second]) == {released.id: 1, second.id: 2}
        again = claim(session)
        assert (again.id, again.attempt) == (first.id, 2)


def test_pages_show_every_job_once_newest_first_whatever_comes_meanwhile(database: Database) -> None:
    with database.writing() as session:
        made = [enqueue(session).id for _ in range(7)]
    seen: list[str] = []
    more = True
    while more:
        with database.writing() as session:
            found, more = jobs.page(session, limit=3, after=seen[-1] if seen else None)
            seen += [job.id for job in found]
            enqueue(session)
            claim(session)
    assert seen == made[::-1]


@pytest.mark.parametrize(("limit", "more"), [(1, True), (4, True), (5, False), (6, False)])
def test_a_page_tells_whether_there_are_more(database: Database, limit: int, more: bool) -> None:
    with database.writing() as session:
        for _ in range(5):
            enqueue(session)
        found, has_more = jobs.page(session, limit=limit)
        assert (len(found), has_more) == (min(limit, 5), more)
        assert jobs.page(session, limit=limit, after=found[-1].id)[1] == (limit < 3)


def test_pages_show_only_the_status_and_model_asked_for(database: Database) -> None:
    with database.writing() as session:
        made = [enqueue(session, model=model).id for model in ("a", "b", "a", "b", "a")]
        for _ in range(2):
            claim(session)

        def ids(status: Status | None = None, model: str | None = None, after: str | None = None) -> list[int]:
            found, more = jobs.page(session, limit=10, status=status, model=model, after=after)
            assert not more
            return [made.index(job.id) for job in found]

        assert ids("running") == [1, 0]
        assert ids("queued") == [4, 3, 2]
        assert ids(model="a") == [4, 2, 0]
        assert ids("queued", "a") == [4, 2]
        assert ids(model="a", after=made[3]) == [2, 0]
        assert ids("failed") == ids(model="c") == []
        with pytest.raises(NotFound, match="job_unknown"):
            ids(after="job_unknown")


def test_the_queue_position_counts_the_queued_jobs_before(database: Database) -> None:
    with database.writing() as session:
        made = [enqueue(session) for _ in range(4)]
        assert list(queue.positions(session, made).values()) == [1, 2, 3, 4]
        running = claim(session)
        control.request_cancel(session, made[2].id)
        places = queue.positions(session, [jobs.get(session, job.id) for job in made])
        positions = [places.get(job.id) for job in made]
        assert positions == [None, 1, None, 2]
        assert queue.positions(session, [running]) == {}


def test_a_job_without_a_model_name_gets_one_of_its_own(database: Database) -> None:
    with database.writing() as session:
        first, second = enqueue(session, model=None), enqueue(session, model=None)
    assert first.model.startswith("linear-regression-")
    assert first.model != second.model


def test_a_job_keeps_what_was_asked_for_beside_the_plan(database: Database) -> None:
    with database.writing() as session:
        job = enqueue(session, epochs=77)
        again = jobs.get(session, job.id)
    assert again == job
    assert (job.requested["epochs"], job.requested["engine"], job.requested["loss"]) == (77, "auto", None)
    assert (job.hyperparameters["epochs"], job.hyperparameters["loss"]) == (77, "mse")
    assert job.requested["seed"] == job.hyperparameters["seed"] is not None
    assert (job.scaling, job.environment, job.retry_of) == (None, None, None)


def test_a_job_of_the_first_version_had_no_plan_and_shows_what_was_asked_for(database: Database) -> None:
    with database.writing() as session:
        job = enqueue(session)
        session.execute(update(JobRow).values(resolved=None))
        assert jobs.get(session, job.id).hyperparameters == job.requested


def test_a_retry_names_the_job_that_it_tries_anew(database: Database) -> None:
    with database.writing() as session:
        first = enqueue(session)
        again = enqueue(session, retry_of=first.id)
        assert jobs.get(session, again.id).retry_of == first.id
