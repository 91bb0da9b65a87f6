import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from service.store.columns import now
from service.store.database import Database, Session
from service.store.tables import JobRow, ModelRow
from tests.processes import wait_until
from tests.store.queueing import enqueue
from tests.store.rivals import at_once, count_up

pytestmark = pytest.mark.both_systems

REQUEST_THREADS = 40
"""So many threads answer requests in Starlette (anyio's default)."""


def a_model(name: str) -> ModelRow:
    return ModelRow(name=name, latest_version=0, user_metadata={}, created_at=now(), updated_at=now())


def n_models(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(ModelRow)) or 0


def test_writers_in_threads_of_several_processes_are_never_locked_out_and_lose_no_update(database: Database) -> None:
    with database.writing() as session:
        session.add(a_model("counter"))
    at_once(3, count_up, database.place, "counter", 4, 15)
    with database.reading() as session:
        assert session.get_one(ModelRow, "counter").latest_version == 3 * 4 * 15


def test_a_writer_waits_for_the_writer_before_it(database: Database) -> None:
    waited = threading.Event()

    def write() -> None:
        with database.writing() as session:
            assert n_models(session) == 1  # what the first wrote is there once the lock is had
            session.add(a_model("second"))
        waited.set()

    with database.writing() as session:
        session.add(a_model("first"))
        session.flush()
        second = threading.Thread(target=write)
        second.start()
        assert not waited.wait(0.2)
    second.join()
    assert waited.is_set()


def test_a_reading_session_sees_one_unchanging_state(database: Database) -> None:
    with database.reading() as reader:
        assert n_models(reader) == 0
        with database.writing() as writer:
            writer.add(a_model("new"))
        with database.reading() as later:
            assert n_models(later) == 1
        assert n_models(reader) == 0


def test_of_several_statements_that_are_read_once_each_sees_the_state_of_its_moment(database: Database) -> None:
    with database.reading_once() as reader:
        assert n_models(reader) == 0
        with database.writing() as writer:
            writer.add(a_model("new"))
            writer.flush()
            assert n_models(reader) == 0
        assert n_models(reader) == 1


def test_a_reader_neither_waits_for_a_writer_nor_sees_what_is_not_committed(database: Database) -> None:
    with database.writing() as writer:
        writer.add(a_model("half done"))
        writer.flush()
        with database.reading() as reader:
            assert n_models(reader) == 0
    with database.reading() as reader:
        assert n_models(reader) == 1


def test_a_failing_writing_block_leaves_nothing_behind_not_even_its_lock(database: Database) -> None:
    def fail() -> None:
        with database.writing() as session:
            session.add(a_model("lost"))
            session.flush()
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail()
    with database.writing() as session:
        assert n_models(session) == 0


def test_a_reading_session_keeps_no_writes(database: Database) -> None:
    with database.reading() as session:
        session.add(a_model("never"))
        session.flush()
    with database.reading() as session:
        assert n_models(session) == 0


def test_a_row_that_points_nowhere_is_refused(database: Database) -> None:
    with database.reading() as session:
        job = enqueue(session)
        session.execute(update(JobRow).where(JobRow.id == job.id).values(dataset_id=job.dataset_id))
        with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
            session.execute(update(JobRow).where(JobRow.id == job.id).values(dataset_id="ds_nowhere"))


def test_every_thread_that_answers_requests_can_hold_a_session(database: Database) -> None:
    with ExitStack() as open_sessions:
        for _ in range(REQUEST_THREADS):
            assert n_models(open_sessions.enter_context(database.reading())) == 0


@pytest.mark.sqlite("is about the file")
def test_the_folder_of_the_file_is_made(tmp_path: Path) -> None:
    place = tmp_path / "not" / "there" / "yet" / "descent.sqlite3"
    database = Database(place)
    with database.reading() as session:
        assert session.scalar(select(1)) == 1
    database.close()
    assert place.exists()


def test_what_was_committed_is_there_after_reopening(database: Database) -> None:
    with database.writing() as session:
        session.add(a_model("kept"))
    database.close()
    reopened = Database(database.place)
    with reopened.reading() as session:
        assert session.get_one(ModelRow, "kept").latest_version == 0
    reopened.close()


def test_commits_are_told_of_once_whoever_made_them(database: Database) -> None:
    changed = database.changes()
    assert [changed(), changed()] == [True, False]
    with database.writing() as session:
        session.add(a_model("seen"))
        session.flush()
        assert not changed()  # not committed yet
    wait_until(changed)  # for PostgreSQL tells of it when it has come to that
    assert not changed()
    with database.reading() as session:
        n_models(session)
    assert not changed()
    other = Database(database.place)
    with other.writing() as session:
        session.add(a_model("from elsewhere"))
    other.close()
    wait_until(changed)
    assert not changed()


def test_a_writer_that_writes_nothing_is_not_told_of(database: Database) -> None:
    changed = database.changes(asks=select(func.count()).select_from(ModelRow))
    assert [changed(), changed()] == [True, False]
    with database.writing() as session:
        n_models(session)
    assert not changed()
    with database.writing() as session:
        session.add(a_model("new"))
    assert changed()


@pytest.mark.sqlite("is about the file")
def test_a_connection_to_a_file_that_has_written_waits_for_others_as_before(tmp_path: Path) -> None:
    database = Database(tmp_path / "descent.sqlite3", busy_seconds=7)

    def milliseconds(session: Session) -> int:
        return int(session.connection().exec_driver_sql("PRAGMA busy_timeout").scalar_one())

    with database.writing() as session:
        assert milliseconds(session) == 0  # it has the lock, for which it asked by itself
    with database.reading() as session:
        assert milliseconds(session) == 7000
    database.close()
