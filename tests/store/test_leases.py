import pytest

from service.store import control, jobs, leases, queue
from service.store.database import Database
from tests.store.queueing import claim, enqueue, settle

pytestmark = pytest.mark.both_systems

MAX_LOST = 3


def test_a_dead_workers_jobs_go_back_and_other_workers_keep_theirs(database: Database) -> None:
    with database.writing() as session:
        lost, other = enqueue(session), enqueue(session)
        claim(session, "worker_a")
        claim(session, "worker_b")
        assert leases.release_lost(session, "worker_a", MAX_LOST, "by SIGKILL") == 1
        assert leases.release_lost(session, "worker_a", MAX_LOST, "by SIGKILL") == 0
        lost, other = jobs.get(session, lost.id), jobs.get(session, other.id)
    assert (lost.status, lost.n_lost_workers, lost.started_at) == ("queued", 1, None)
    assert (other.status, other.n_lost_workers) == ("running", 0)


def test_the_job_of_a_worker_that_was_stopped_goes_back_without_counting_as_lost(database: Database) -> None:
    with database.writing() as session:
        for worker in ("worker_a", "worker_b"):
            enqueue(session)
            claim(session, worker)
        leases.release_stopped(session, "worker_a")
        found, _ = jobs.page(session, limit=2)
    assert [(job.status, job.n_lost_workers) for job in found] == [("running", 0), ("queued", 0)]


def test_only_a_lease_that_has_run_out_is_ended(database: Database) -> None:
    with database.writing() as session:
        expired, renewed, fresh = (enqueue(session) for _ in range(3))
        claim(session, "worker_a", -1)
        claim(session, "worker_b", -1)
        claim(session, "worker_c", 60)
        leases.renew(session, "worker_b", 60)
        assert leases.release_expired(session, MAX_LOST) == 1
        statuses = [jobs.get(session, job.id).status for job in (expired, renewed, fresh)]
        assert statuses == ["queued", "running", "running"]
        assert leases.release_expired(session, MAX_LOST) == 0


@pytest.mark.parametrize("by_lease", [True, False])
def test_a_job_that_loses_too_many_workers_fails(database: Database, by_lease: bool) -> None:
    with database.writing() as session:
        enqueue(session)
        for n_lost in range(1, MAX_LOST + 1):
            job = claim(session, lease_seconds=-1)
            assert job.attempt == n_lost
            ended = (
                leases.release_expired(session, MAX_LOST)
                if by_lease
                else leases.release_lost(session, "worker_a", MAX_LOST, "by SIGKILL")
            )
            assert ended == 1
            job = jobs.get(session, job.id)
            assert (job.status, job.n_lost_workers) == ("queued" if n_lost < MAX_LOST else "failed", n_lost)
        assert queue.claim(session, "worker_a", 60) is None
    assert job.error is not None
    assert (job.error["code"], job.stop_reason) == ("worker_lost", "error")
    how = "unheard of, until its lease ran out" if by_lease else "by SIGKILL"
    assert f"died {MAX_LOST} times without the job getting on, the last time {how}" in job.error["detail"]


def test_the_workers_that_a_job_has_lost_count_no_more_once_it_gets_on(database: Database) -> None:
    with database.writing() as session:
        enqueue(session)
        for n_attempts in range(1, 2 * MAX_LOST):
            job = claim(session)
            jobs.advance(session, job, n_attempts)
            assert jobs.get(session, job.id).n_lost_workers == min(1, n_attempts - 1)
            jobs.advance(session, job, n_attempts, b"a checkpoint", gets_on=True)
            assert jobs.get(session, job.id).n_lost_workers == 0
            leases.release_lost(session, "worker_a", MAX_LOST, "by SIGKILL")
        assert jobs.get(session, job.id).status == "queued"


@pytest.mark.parametrize("max_lost", [1, MAX_LOST])
def test_a_lost_job_that_was_to_be_cancelled_is_cancelled(database: Database, max_lost: int) -> None:
    with database.writing() as session:
        job = enqueue(session)
        settle(session, claim(session))
        control.request_cancel(session, job.id)
        assert leases.release_lost(session, "worker_a", max_lost, "by SIGKILL") == 1
        job = jobs.get(session, job.id)
        assert (job.status, job.stop_reason, job.error) == ("cancelled", "cancelled", None)
        assert queue.claim(session, "worker_a", 60) is None
