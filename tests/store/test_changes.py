import pytest
from sqlalchemy import update

from service.store import changes, control, jobs, leases
from service.store.columns import now
from service.store.database import Database, Session
from service.store.jobs import Job
from service.store.migrations import migrate
from service.store.tables import JobRow
from tests.store.queueing import claim, enqueue

pytestmark = pytest.mark.both_systems


def since(session: Session, moment: changes.Moment | None, model: str | None = None, limit: int = 100) -> list[str]:
    return [job.id for job in changes.since(session, moment, model, limit)]


def a_job(database: Database, model: str = "twice") -> Job:
    with database.writing() as session:
        return enqueue(session, model=model)


def test_an_empty_queue_has_no_latest_change(database: Database) -> None:
    with database.reading() as session:
        assert changes.latest(session) is None
        assert since(session, None) == []


def test_jobs_that_came_started_or_ended_after_a_moment_are_given_in_this_order(database: Database) -> None:
    first, second, third = (a_job(database) for _ in range(3))
    with database.reading() as session:
        moment = changes.latest(session)
        assert moment == changes.moment_of(third)
        assert since(session, None) == [first.id, second.id, third.id]
        assert since(session, changes.moment_of(first)) == [second.id, third.id]
        assert since(session, moment) == []
    with database.writing() as session:
        started = claim(session)
    with database.writing() as session:
        control.request_cancel(session, third.id)
    fourth = a_job(database, model="other")
    with database.reading() as session:
        assert since(session, moment) == [started.id, third.id, fourth.id]
        assert since(session, moment, limit=2) == [started.id, third.id]
        assert since(session, moment, model="other") == [fourth.id]
        assert changes.latest(session) == changes.moment_of(jobs.get(session, fourth.id))
    with database.writing() as session:
        jobs.fail(session, started, stop_reason="error", error={})
    with database.reading() as session:
        assert since(session, moment) == [third.id, fourth.id, started.id]


@pytest.mark.parametrize("how", ["released", "lost", "stopped", "paused"])
def test_a_return_to_the_queue_is_a_change_of_its_own_time(database: Database, how: str) -> None:
    first, second = a_job(database), a_job(database)
    with database.writing() as session:
        claimed = claim(session)
    with database.reading() as session:
        moment = changes.latest(session)
    with database.writing() as session:
        if how == "released":
            jobs.release(session, claimed)
        elif how == "lost":
            leases.release_lost(session, "worker_a", 3, "by SIGKILL")
        elif how == "stopped":
            leases.release_stopped(session, "worker_a")
        else:
            control.pause(session, first.id)
    with database.reading() as session:
        assert since(session, None) == [second.id, first.id]
        assert since(session, moment) == [first.id]
        back = jobs.get(session, first.id)
        assert (back.status, back.attempt) == ("queued", 1)
        assert changes.latest(session) == changes.moment_of(back)


def test_the_times_of_changes_before_they_were_kept_are_those_that_are_known(database: Database) -> None:
    for _ in range(3):
        a_job(database)
    with database.writing() as session:
        ended = claim(session)
    with database.writing() as session:
        claim(session)
        jobs.fail(session, ended, stop_reason="error", error={})
    with database.reading() as session:
        before = changes.since(session, None, None, 9)
    migrate(database, "0006")
    migrate(database)
    with database.reading() as session:
        assert changes.since(session, None, None, 9) == before


def test_of_jobs_that_ended_at_once_none_is_left_out_between_two_looks(database: Database) -> None:
    made = [a_job(database) for _ in range(3)]
    with database.writing() as session:
        session.execute(update(JobRow).values(status="cancelled", changed_at=now().replace(year=2030)))
    seen, moment = [], None
    with database.reading() as session:
        while found := changes.since(session, moment, None, 1):
            seen.append(found[0].id)
            moment = changes.moment_of(found[0])
        assert moment == changes.latest(session)
    assert seen == [job.id for job in made]


def test_a_standing_tells_of_each_thing_that_changes_and_is_not_there_without_a_job(database: Database) -> None:
    job = a_job(database)
    with database.writing() as session:
        assert changes.standings(session, [job.id, "job_nowhere"]) == {job.id: changes.Standing("queued", 0, None, 0)}
        claimed = claim(session)
        jobs.advance(session, claimed, 2.5)
        assert changes.standings(session, [job.id]) == {job.id: changes.Standing("running", 1, None, 2.5)}
