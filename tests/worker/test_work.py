import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from service.settings import Settings
from service.store import control, jobs
from service.store.database import Database
from service.worker.work import Worker
from tests.databases import migrated_database
from tests.logs import logged
from tests.processes import wait_until
from tests.store.queueing import enqueue


def test_a_worker_deletes_what_is_no_longer_kept_and_leaves_paused_jobs_alone(
    database: Database, tmp_path: Path
) -> None:
    with database.writing() as session:
        old, paused = enqueue(session), enqueue(session)
        control.request_cancel(session, old.id)
        control.pause(session, paused.id)
    worker = Worker(database, Settings(data_dir=tmp_path, job_retention_days=1e-9), "worker_a")
    thread = threading.Thread(target=worker.run)
    thread.start()
    deadline = time.monotonic() + 30
    left = [paused.id, old.id]
    while old.id in left and time.monotonic() < deadline:
        time.sleep(0.05)
        with database.reading() as session:
            left = [job.id for job in jobs.page(session, limit=9)[0]]
    worker.stop()
    thread.join(30)
    assert left == [paused.id]
    with database.reading() as session:
        assert jobs.get(session, paused.id).attempt == 0


@pytest.mark.sqlite("locks the file")
def test_a_worker_tells_of_a_locked_database_without_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "descent.sqlite3"
    migrated_database(path).close()
    database, ready = Database(path, busy_seconds=0.01), threading.Event()
    worker = Worker(database, Settings(data_dir=tmp_path, lease_seconds=1), "worker_a")
    thread = threading.Thread(target=worker.run, args=(ready.set,))
    with logged("worker") as lines, closing(sqlite3.connect(path, isolation_level=None)) as other:
        thread.start()
        ready.wait(30)
        other.execute("BEGIN IMMEDIATE")
        wait_until(lambda: len(lines.of("the database failed: database is locked")) > 2)
        other.execute("COMMIT")
        worker.stop()
        thread.join(30)
    database.close()
    assert {line["level"] for line in lines.all} == {"info", "warning"}
