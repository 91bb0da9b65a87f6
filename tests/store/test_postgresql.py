"""What is PostgreSQL's own: its faults, what they become, and when they are over. The rest is marked `both_systems`."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import func, select, text

from service.errors import DatabaseFull, DatabaseUnavailable, InvalidSettings, NotFound
from service.store import datasets, jobs, workers
from service.store.database import Database
from service.store.migrations import migrate
from service.store.tables import JobRow, Table
from tests.postgres import Server
from tests.processes import wait_until
from tests.store.queueing import enqueue
from tests.store.recording import record
from tests.store.test_datasets import IN_FILES

PASSWORD = "not-to-be-shown"


pytestmark = pytest.mark.postgresql


def n_jobs(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(JobRow)) or 0


def add_job(database: Database) -> None:
    with database.writing() as session:
        enqueue(session)


def fails(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except DatabaseUnavailable:
        return True
    return False


def test_a_connection_that_is_ended_is_told_of_once(database: Database, postgres: Server) -> None:
    add_job(database)
    changed = database.changes()
    assert [changed(), changed()] == [True, False]
    assert n_jobs(database) == 1
    name = database.engine.url.database
    postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    for ask in (lambda: n_jobs(database), changed):
        wait_until(lambda ask=ask: fails(ask))  # type: ignore[misc]
    assert n_jobs(database) == 1
    assert [changed(), changed()] == [True, False]
    add_job(database)
    wait_until(changed)


def test_what_was_committed_before_the_server_was_asked_is_known_then_to_all_who_look(database: Database) -> None:
    asks = database.changes(asks=select(func.count()).select_from(JobRow))
    looks, other = database.changes(waits=False), Database(database.place)
    assert [looks(), looks()] == [True, True]  # for nobody listens yet
    assert [asks(), looks(), looks(), asks()] == [True, True, False, False]
    for _ in range(100):
        add_job(other)
        assert [asks(), looks(), looks()] == [True, True, False]
    with other.writing() as session:
        workers.register(session, "worker_a", "cpu")
    assert [asks(), looks(), looks()] == [False, True, False]  # for it does not change the answer
    other.close()


def test_what_a_writer_has_written_is_on_the_disk_when_it_ends(database: Database) -> None:
    with database.writing() as session:
        enqueue(session)
        written = session.scalar(text("SELECT pg_current_wal_insert_lsn()"))
    with database.reading_once() as session:
        assert session.scalar(text("SELECT pg_current_wal_flush_lsn() > :written"), {"written": written})


def test_statements_that_come_again_and_again_are_prepared_also_by_those_who_only_read(database: Database) -> None:
    for _ in range(10):
        assert n_jobs(database) == 0
    with database.reading() as session:
        kept = session.scalars(text("SELECT statement FROM pg_prepared_statements")).all()
    assert any("FROM jobs" in statement for statement in kept)


def test_arrays_are_not_packed_for_long(database: Database) -> None:
    with database.writing() as session:
        record(session, enqueue(session), np.zeros((20_000, 1)), np.zeros((20_000, 1)))
    with database.reading() as session:
        packed = session.scalar(text("SELECT pg_column_compression(gradient) FROM history_blocks"))
        offered = session.scalar(text("SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression'"))
    assert packed == ("lz4" if "lz4" in (offered or ()) else "pglz")


def test_a_server_that_is_restarted_is_unavailable_as_long_as_it_is_away(stoppable: Server, database: Database) -> None:
    add_job(database)
    stoppable.stop()
    try:
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                add_job(database)
            with pytest.raises(DatabaseUnavailable):
                n_jobs(database)
    finally:
        stoppable.start()
    add_job(database)
    assert n_jobs(database) == 2


def test_a_writer_that_waits_for_too_long_gives_up_and_succeeds_later(database: Database) -> None:
    hasty = Database(database.place, busy_seconds=0.1)
    with database.writing() as session:
        enqueue(session)
        with pytest.raises(DatabaseUnavailable):
            add_job(hasty)
        assert n_jobs(hasty) == 0
    add_job(hasty)
    assert n_jobs(hasty) == 2
    hasty.close()


def test_the_threads_of_a_process_stand_in_line_for_the_write_lock_as_one(database: Database) -> None:
    holder, other, order = Database(database.place), Database(database.place), list[str]()

    def write(place: Database, name: str) -> None:
        with place.writing():
            order.append(name)

    def n_waiting() -> int:
        waiting = (
            "locktype = 'advisory' AND NOT granted AND database = pg_database.oid AND datname = current_database()"
        )
        with holder.reading_once() as session:
            return int(session.scalar(text(f"SELECT count(*) FROM pg_locks, pg_database WHERE {waiting}")) or 0)

    threads = [threading.Thread(target=write, args=(database, "ours")) for _ in range(5)]
    threads.append(threading.Thread(target=write, args=(other, "other")))
    with holder.writing():
        for thread in threads[:-1]:
            thread.start()
        wait_until(lambda: n_waiting() == 1)
        threads[-1].start()
        wait_until(lambda: n_waiting() == 2)
    for thread in threads:
        thread.join()
    assert sorted(order) == ["other"] + 5 * ["ours"]
    assert order.index("other") == 1
    for place in (holder, other):
        place.close()


@pytest.mark.parametrize(
    ("state", "meaning"),
    [("disk_full", DatabaseFull), ("serialization_failure", DatabaseUnavailable), ("deadlock_detected", None),
     ("query_canceled", None), ("out_of_memory", None), ("data_corrupted", None), ("io_error", None),
     ("read_only_sql_transaction", None), ("insufficient_privilege", None)],
)  # fmt: skip
def test_what_the_server_complains_of_is_a_fault_of_the_database(
    database: Database, state: str, meaning: type[DatabaseUnavailable] | None
) -> None:
    with database.connection(writes=True) as connection:
        body = f"BEGIN RAISE EXCEPTION 'so it says' USING ERRCODE = '{state}'; END"
        connection.execute(text(f"CREATE FUNCTION fail() RETURNS trigger AS $$ {body} $$ LANGUAGE plpgsql"))
        connection.execute(text("CREATE TRIGGER fails BEFORE INSERT ON jobs EXECUTE FUNCTION fail()"))
    with pytest.raises(DatabaseUnavailable) as failed:
        add_job(database)
    assert type(failed.value) is (meaning or DatabaseUnavailable)
    assert failed.value.reason.startswith("so it says")
    with database.connection(writes=True) as connection:
        connection.execute(text("DROP TRIGGER fails ON jobs"))
    add_job(database)
    assert n_jobs(database) == 1


def test_a_table_that_is_not_there_is_a_fault_of_the_database(database: Database) -> None:
    with database.connection(writes=True) as connection:
        connection.execute(text("ALTER TABLE jobs RENAME TO lost"))
    with pytest.raises(DatabaseUnavailable, match="cannot be used"):
        n_jobs(database)


def test_what_is_asked_for_by_a_name_with_a_nul_is_not_there(database: Database) -> None:
    with database.reading() as session:
        with pytest.raises(NotFound):
            jobs.get(session, "job_\0")
        with pytest.raises(NotFound):
            datasets.get(session, "ds_\0")


def test_datasets_of_more_bytes_than_32_bits_count_are_kept(database: Database) -> None:
    with database.writing() as session:
        for number in range(3):
            large = replace(IN_FILES, id=f"ds_{number}", n_bytes=2**40, n_samples=2**33)
            assert datasets.keep_table(session, large)
    with database.reading() as session:
        assert datasets.total_bytes(session) == 3 * 2**40
        assert datasets.get(session, "ds_1").n_samples == 2**33


def test_what_a_role_is_set_to_changes_nothing(postgres: Server) -> None:
    options = "-c%20datestyle%3DGerman%20-c%20default_transaction_isolation%3Dserializable"
    database, seen = Database(f"{postgres.fresh()}&options={options}&client_encoding=latin1"), list[int]()

    def write() -> None:
        with database.writing() as session:
            seen.append(session.scalar(select(func.count()).select_from(JobRow)) or 0)
            enqueue(session, model="second")

    waiting = (
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
        "WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
    )
    with database.writing() as session:
        first = enqueue(session, model="first")
        datasets.keep_table(session, replace(IN_FILES, name="größer als 日本"))
        second = threading.Thread(target=write)
        second.start()
        wait_until(lambda: session.scalar(text(waiting)) == 1)
    second.join()
    assert seen == [1], "a writer sees what was committed while it waited"
    with database.reading() as session:
        assert jobs.get(session, first.id) == first
        assert datasets.get(session, IN_FILES.id).name == "größer als 日本"
    database.close()


def test_a_database_of_no_encoding_keeps_every_text(postgres: Server) -> None:
    database = Database(postgres.encoded("SQL_ASCII"))
    Table.metadata.create_all(database.engine)
    with database.writing() as session:
        datasets.keep_table(session, replace(IN_FILES, name="größer als 日本"))
    with database.reading() as session:
        assert datasets.get(session, IN_FILES.id).name == "größer als 日本"
    database.close()


def test_a_database_that_has_no_place_for_every_text_is_refused_with_the_way_to_make_one(postgres: Server) -> None:
    database = Database(postgres.encoded("LATIN1"))
    with pytest.raises(InvalidSettings, match=r"is encoded in LATIN1, .*CREATE DATABASE … ENCODING 'UTF8'") as refused:
        migrate(database)
    assert PASSWORD not in refused.value.detail
    database.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "descent",
        f"mysql://me:{PASSWORD}@host/descent",
        f"postgresql://me:{PASSWORD}@host",
        f"postgresql://me:{PASSWORD}@host:port/descent",
        f"postgresql+asyncpg://me:{PASSWORD}@host/descent",
    ],
)
def test_what_is_no_url_of_a_database_there_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InvalidSettings, match="DESCENT_DATABASE_URL is no URL of a PostgreSQL database") as refused:
        Database(url)
    assert PASSWORD not in refused.value.detail


@pytest.mark.parametrize("query", ["", "?sslmode=nonsense", f"?no_such={PASSWORD}"])
def test_a_server_that_cannot_be_reached_is_named_without_the_password(
    caplog: pytest.LogCaptureFixture, query: str
) -> None:
    database = Database(f"postgresql://me:{PASSWORD}@localhost:1/descent{query}")
    with caplog.at_level(logging.DEBUG), pytest.raises(InvalidSettings) as refused:
        migrate(database)
    database.close()
    assert refused.value.detail.startswith("the database postgresql://me@localhost:1/descent cannot be used: ")
    for shown in (refused.value.detail, caplog.text, repr(database.engine)):
        assert f":{PASSWORD}" not in shown
