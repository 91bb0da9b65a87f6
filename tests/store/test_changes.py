import pytest
from sqlalchemy import update

from service.store import changes, control, jobs
from service.store.columns import now
from service.store.database import Database, Session
from service.store.jobs import Job
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
        assert changes.running(session, None) == {started.sequence}
        assert changes.running(session, "other") == set()
    with database.writing() as session:
        jobs.fail(session, started, stop_reason="error", error={})
    with database.reading() as session:
        assert since(session, moment) == [third.id, fourth.id, started.id]


def test_of_jobs_that_ended_at_once_none_is_left_out_between_two_looks(database: Database) -> None:
    made = [a_job(database) for _ in range(3)]
    with database.writing() as session:
        session.execute(update(JobRow).values(status="cancelled", finished_at=now().replace(year=2030)))
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
        jobs.release(session, claimed)
        assert [again.id for again in changes.queued_again(session, [job.sequence])] == [job.id]
