"""A disk that is full, a database that is locked or broken: told clearly, and over when it is over."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event, select

from service.settings import Settings
from service.store import jobs, queue
from service.store.database import Database
from service.store.tables import WorkerRow
from service.worker.work import Worker
from tests.api.conftest import LocalService, check_problem, line, local_service
from tests.conftest import wait_until_ready
from tests.logs import logged
from tests.processes import children_of, is_alive, wait_until

pytestmark = pytest.mark.sqlite("fills, locks and overwrites the file; of a server tells test_server_faults.py")

MOUNTS = shutil.which("unshare") and subprocess.run(
    ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
)
LONG = {"epochs": 3_000_000, "engine": "analytic", "learning_rate": 0.01, "record_every": 1000, "device": "cpu"}


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Fill the disk that a folder is on until the block ends."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 2**12):
            pass
    assert shutil.disk_usage(folder).free == 0
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the write lock of a database until the block ends; what is written meanwhile is committed then."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
        other.execute("COMMIT")


@contextmanager
def no_more_pages(database: Database) -> Iterator[None]:
    """Let a database not grow until the block ends, as on a full disk, for connections opened meanwhile."""

    def keep_size(connection: sqlite3.Connection, _: Any) -> None:
        (n_pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {n_pages}")

    database.engine.dispose()
    event.listen(database.engine, "connect", keep_size)
    try:
        yield
    finally:
        event.remove(database.engine, "connect", keep_size)
        database.engine.dispose()


def large(n_samples: int = 3000) -> dict[str, Any]:
    return line(dataset={"features": list(range(n_samples)), "targets": list(range(n_samples))})


@contextmanager
def working(database: Database, settings: Settings) -> Iterator[threading.Thread]:
    """Have a worker at work in a thread until the block ends."""
    worker = Worker(database, settings, "worker_of_the_test")
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield thread
    finally:
        worker.stop()
        thread.join()


@pytest.mark.skipif(not MOUNTS or MOUNTS.returncode != 0, reason="needs to mount a small disk, as root can on Linux")
def test_a_full_disk_is_told_of_and_nothing_is_lost_by_it(tmp_path: Path) -> None:
    disk, data = tmp_path / "disk", tmp_path / "disk" / "data"
    disk.mkdir()
    serve = f"exec {sys.executable} -m service.cli serve --port 0 --data-dir {data}"
    command = ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs -o size=16m tmpfs {disk} && {serve}"]
    environment = {**os.environ, "DESCENT_MIN_FREE_BYTES": "0"}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        assert process.stdout is not None
        url = process.stdout.readline().split()[3]
        seen = Path(f"/proc/{process.pid}/root{disk}")  # as those see the disk for whom it is mounted
        with httpx.Client(base_url=url, timeout=60) as http:
            wait_until_ready(http, with_worker=True)
            path = http.post("/train", json=line(hyperparameters=LONG)).headers["Location"]
            wait_until(lambda: http.get(path).json()["progress"]["epoch"] > 0)
            children = set(children_of(process.pid))
            with full_disk(seen):
                for answer in (
                    http.post("/train", json=large()),
                    http.post("/datasets", content=b"a,b\n" + b"1,2\n" * 9999, headers={"Content-Type": "text/csv"}),
                ):
                    assert answer.status_code == 507
                    assert "disk" in answer.json()["detail"]
                assert "nearly full" in http.get("/readyz").json()["detail"]
                assert http.get(path).status_code == 200
                assert http.get("/metrics").status_code == 200
                wait_until(lambda: "goes back into the queue" in (tmp_path / "log").read_text())
            assert http.get("/readyz").status_code == 200
            wait_until(lambda: (job := http.get(path).json())["attempt"] == 2 and job["progress"]["epoch"] > 0)
            assert http.post(f"{path}/cancel").status_code == 202
            again = http.post("/train", json=large(), headers={"Prefer": "wait=30"}).json()
            assert again["status"] == "succeeded"
            assert set(children_of(process.pid)) == children
            assert all(is_alive(pid) for pid in children)
        process.terminate()
        assert process.wait(60) == 0
    lines = [json.loads(told) for told in (tmp_path / "log").read_text().splitlines()]
    for process_name, words in (("api", "no space: "), ("worker", "disk is full")):
        assert [told for told in lines if told["process"] == process_name and words in told["message"]]


def test_a_database_that_may_not_grow_is_a_507_for_writers_only_until_it_may(local: LocalService) -> None:
    job = local.enqueue(line())
    with no_more_pages(local.database), logged() as lines:
        problem = check_problem(local.post("/train", large()), 507)
        assert "disk" in problem["detail"]
        assert local.http.get(f"/jobs/{job}").status_code == 200
    assert [told["message"] for told in lines.all if told["level"] == "warning"] == [
        "the database failed: database or disk is full"
    ]
    assert local.post("/train", large()).status_code == 202


def test_a_worker_whose_database_may_not_grow_puts_its_job_back_and_ends_it_later(local: LocalService) -> None:
    hyperparameters = {"epochs": 20_000, "engine": "analytic", "learning_rate": 0.01, "record_every": 1}
    job = local.enqueue(line(hyperparameters=hyperparameters))
    with logged("worker") as lines, ExitStack() as full:
        full.enter_context(no_more_pages(local.database))
        with working(local.database, local.settings):
            wait_until(lambda: [told for told in lines.all if "goes back into the queue" in told["message"]])
            assert local.job(job)["error"] is None
            full.close()
            ended = local.wait_for(job, lambda found: bool(found["terminal"]))
    assert (ended["status"], ended["attempt"]) == ("succeeded", 2)
    for told in lines.all:
        if told["logger"] == "service.worker.run" or "goes back" in told["message"]:
            assert told["job"] == job
            assert told["request"].startswith("req_")


def test_a_lock_that_is_held_for_long_is_a_503_and_over_when_it_is_released(tmp_path: Path) -> None:
    with local_service(tmp_path) as service:
        job = service.enqueue(line())
        with locked(service.settings.database_path), logged() as lines:
            answer = service.post("/train", line())
            check_problem(answer, 503)
            assert int(answer.headers["Retry-After"]) > 0
            assert service.http.get(f"/jobs/{job}").status_code == 200
        (told,) = [told for told in lines.all if told["level"] == "warning"]
        assert told["message"] == "the database failed: database is locked"
        assert told["request"] == answer.headers["X-Request-ID"]
        assert service.train(line())["status"] == "succeeded"


def test_a_worker_outlives_a_lock_that_is_held_for_longer_than_it_waits(local: LocalService) -> None:
    database = Database(local.settings.database_path, busy_seconds=0.2)
    with logged("worker") as lines, working(database, local.settings) as thread:
        wait_until(lambda: lines.of("worker ready"))
        with locked(local.settings.database_path):
            with local.database.reading() as session:
                assert jobs.page(session, limit=1) == ([], False)
            wait_until(lambda: lines.of("the database failed: database is locked") or not thread.is_alive())
        assert thread.is_alive()
        job = local.enqueue(line())
        assert local.wait_for(job, lambda found: bool(found["terminal"]))["status"] == "succeeded"
    database.close()


def test_a_job_that_was_to_be_cancelled_when_its_worker_had_to_give_it_back_is_cancelled(local: LocalService) -> None:
    database = Database(local.settings.database_path, busy_seconds=0.1)
    job = local.enqueue(line(hyperparameters=LONG))
    with logged("worker") as lines, working(database, local.settings):
        local.wait_for(job, lambda found: found["progress"]["epoch"] > 0)
        with locked(local.settings.database_path) as other:
            wait_until(lambda: [told for told in lines.all if "goes back into the queue" in told["message"]])
            other.execute("UPDATE jobs SET cancel_requested = 1")
        ended = local.wait_for(job, lambda found: bool(found["terminal"]))
    assert (ended["status"], ended["attempt"]) == ("cancelled", 1)
    database.close()


def test_after_a_lock_that_was_held_for_long_no_worker_takes_another_for_dead_at_once(tmp_path: Path) -> None:
    def seen_at() -> datetime:
        with service.database.reading() as session:
            return session.scalars(select(WorkerRow.seen_at)).one()

    with local_service(tmp_path, lease_seconds=1) as service, logged("worker") as lines:
        job = service.enqueue(line())
        with service.database.writing() as session:
            queue.claim(session, "another", lease_seconds=60)
        with working(service.database, service.settings):
            wait_until(lambda: lines.of("worker ready"))
            registered_at = seen_at()
            wait_until(lambda: seen_at() > registered_at)
            with locked(service.settings.database_path) as other:
                other.execute("UPDATE jobs SET lease_expires_at = '2026-01-01 00:00:00.000000'")
                time.sleep(1)  # a lease, in which nobody can tell of himself
                released_at = datetime.now(UTC)
            ended = service.wait_for(job, lambda found: bool(found["terminal"]))
    assert (ended["status"], ended["attempt"]) == ("succeeded", 2)
    assert datetime.fromisoformat(ended["started_at"]) >= released_at + timedelta(seconds=0.5)


@pytest.mark.parametrize("seed", range(3))
def test_a_database_with_pages_overwritten_is_a_503_and_over_when_it_is_put_back(tmp_path: Path, seed: int) -> None:
    noise = random.Random(seed)
    with local_service(tmp_path) as service:
        job = service.train(line(model="line"))["id"]
        paths = ["/jobs", f"/jobs/{job}", f"/jobs/{job}/history", "/models", "/datasets", "/readyz"]
        with service.database.connection(writes=False) as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        service.database.engine.dispose()
        path = service.settings.database_path
        whole = path.read_bytes()
        # Page by page, as a disk fails; the first one holds the schema.
        path.write_bytes(whole[:100] + noise.randbytes(len(whole) - 100))
        with logged() as lines:
            for asked in paths:
                check_problem(service.http.get(asked), 503)
            check_problem(service.post("/train", line()), 503)
        assert [told for told in lines.all if "the database failed" in told["message"]]
        for aside in tmp_path.glob("descent.sqlite3-*"):
            aside.unlink()
        path.with_suffix(".restored").write_bytes(whole)
        path.with_suffix(".restored").rename(path)
        answers = {asked: service.http.get(asked).status_code for asked in paths}
        assert answers == {**dict.fromkeys(paths, 200), "/readyz": 503}  # for there is no worker
        assert service.train(line())["status"] == "succeeded"


def test_a_name_in_the_schema_or_a_value_that_is_no_text_any_more_is_a_503(tmp_path: Path) -> None:
    with local_service(tmp_path) as service:
        job = service.train(line(model="line"))["id"]
        service.database.close()
        path = service.settings.database_path
        whole = path.read_bytes()
        for text in (b"CREATE TABLE jobs (", b'{"learning_rate": '):
            path.write_bytes(whole.replace(text, b"\x8b\xd6" * (len(text) // 2) + text[: len(text) % 2]))
            assert path.read_bytes() != whole
            check_problem(service.http.get(f"/jobs/{job}"), 503)
            service.database.engine.dispose()


def test_a_worker_outlives_a_database_that_is_broken_for_a_while(local: LocalService) -> None:
    path = local.settings.database_path
    database = Database(path)
    with logged("worker") as lines, working(database, local.settings) as thread:
        wait_until(lambda: lines.of("worker ready"))
        time.sleep(0.1)
        local.database.close()
        with path.open("r+b") as file:
            whole = file.read()
            file.seek(0)
            file.write(b"x" * len(whole))
        for aside in path.parent.glob("descent.sqlite3-*"):
            aside.unlink()
        wait_until(lambda: [told for told in lines.all if "the database failed" in told["message"]])
        assert thread.is_alive()
        path.with_suffix(".restored").write_bytes(whole)
        path.with_suffix(".restored").rename(path)
        job = local.enqueue(line())
        assert local.wait_for(job, lambda found: bool(found["terminal"]))["status"] == "succeeded"
    database.close()
