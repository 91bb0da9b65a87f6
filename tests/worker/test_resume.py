"""Jobs that lose their worker at any moment come out as if they had not."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import delete, func, select, update

from service.dataset import Dataset
from service.settings import Settings
from service.store import checkpoints, control, jobs, leases
from service.store.database import Database
from service.store.jobs import Job
from service.store.tables import CheckpointRow
from service.tasks import Task
from service.training import recording
from service.worker.run import run_job
from tests.databases import migrated_database
from tests.outcomes import outcome_of
from tests.processes import PROC, wait_until
from tests.store.queueing import claim, enqueue
from tests.training.problems import random_dataset

DRAWS: dict[str, Any] = {"batch_size": 4, "optimizer": "adam", "dropout": 0.2, "schedule": "plateau", "start": "torch"}
"""A training that draws at random at every step."""
MIDWAY = DRAWS | {"epochs": 600}
LONG = DRAWS | {"epochs": 10_000_000, "record_every": 1000, "record_parameters": False}
PERCEPTRON: Task = "mlp_regressor"


def enqueued(database: Database, task: Task = PERCEPTRON, dataset: Dataset | None = None, **given: Any) -> Job:
    with database.writing() as session:
        asked: dict[str, Any] = {"seed": 5, "device": "cpu", "record_parameters": True, "record_every": 1} | given
        return enqueue(session, dataset or random_dataset(task, 3), task=task, model="kept", **asked)


def claimed(database: Database, worker_id: str = "worker_a") -> Job:
    with database.writing() as session:
        return claim(session, worker_id)


def now_of(database: Database, job: Job) -> Job:
    with database.reading() as session:
        return jobs.get(session, job.id)


def n_checkpoints(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(CheckpointRow)) or 0


def settings_of(database: Database) -> Settings:
    if isinstance(database.place, Path):
        return Settings(data_dir=database.place.parent)
    return Settings(data_dir=Path(gettempdir()), database_url=SecretStr(database.place))


def run_undisturbed(task: Task = PERCEPTRON, **given: Any) -> dict[str, Any]:
    """Tell what comes of a training that is left in peace, each of which is run once, in a database of its own."""
    return _run_undisturbed(task, json.dumps(given))


@cache
def _run_undisturbed(task: Task, given: str) -> dict[str, Any]:
    with TemporaryDirectory() as folder, closing(migrated_database(Path(folder) / "descent.sqlite3")) as database:
        job = enqueued(database, task, **json.loads(given))
        run_job(database, settings_of(database), claimed(database), threading.Event())
        return outcome_of(database, job.id)


def run_for(database: Database, seconds: float) -> Job:
    """Run the next job, and make its worker stop after so long."""
    job, stopping = claimed(database), threading.Event()
    timer = threading.Timer(seconds, stopping.set)
    timer.start()
    run_job(database, settings_of(database), job, stopping)
    timer.cancel()
    timer.join()
    return now_of(database, job)


@contextmanager
def worker_process(
    database: Database, worker_id: str, lease_seconds: int = 3600
) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {
        **os.environ,
        **settings_of(database).as_environment(),
        "DESCENT_LEASE_SECONDS": str(lease_seconds),
    }
    command = [sys.executable, "-m", "service.worker", "--id", worker_id]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_it_goes_on(database: Database, job: Job, attempt: int) -> None:
    before = now_of(database, job).progress

    def goes_on() -> bool:
        now = now_of(database, job)
        return now.has_ended or (now.attempt == attempt and now.status == "running" and now.progress > before)

    wait_until(goes_on)


@pytest.mark.parametrize(
    ("task", "given"),
    [
        (PERCEPTRON, MIDWAY),
        ("logistic_regression", {"epochs": 30_000, "record_every": 7, "stop": {"patience": 29_000}, "l2": 0.01}),
        ("linear_regression", {"optimizer": "lbfgs", "loss": "huber", "epochs": 800, "validation_fraction": 0.3}),
        ("linear_regression", {"epochs": 2_000_000, "learning_rate": 1e-4, "momentum": 0.5, "record_every": 100}),
    ],
)
def test_a_job_that_stops_again_and_again_comes_out_as_one_that_did_not(
    database: Database, task: Task, given: dict[str, Any]
) -> None:
    expected = run_undisturbed(task, **given)
    job, chance, reached = enqueued(database, task, **given), random.Random(1), 0.0
    now = run_for(database, 0.05)
    while not now.has_ended:
        assert (now.status, now.n_lost_workers) == ("queued", 0)
        assert now.progress >= reached
        reached = now.progress
        now = run_for(database, chance.uniform(0.05, 0.4))
    assert outcome_of(database, job.id) == expected
    assert n_checkpoints(database) == 0


@pytest.mark.both_systems
@pytest.mark.skipif(not (PROC / "self").exists(), reason="needs the signals of POSIX")
def test_a_job_whose_worker_is_killed_at_random_moments_comes_out_as_if_it_had_not_been(database: Database) -> None:
    given = DRAWS | {"epochs": 1500}
    expected = run_undisturbed(**given)
    job, chance = enqueued(database, **given), random.Random(2)
    for attempt in (1, 2, 3):
        with worker_process(database, f"worker_{attempt}") as process:
            wait_until_it_goes_on(database, job, attempt)
            time.sleep(chance.uniform(0, 0.1))
            process.kill()
            process.wait()
        with database.writing() as session:
            leases.release_lost(session, f"worker_{attempt}", 100, "by SIGKILL")
        now = now_of(database, job)
        if not now.has_ended:
            assert now.status == "queued"
            assert now.progress > 0
    run_job(database, settings_of(database), claimed(database), threading.Event())
    assert now_of(database, job).attempt == 4
    assert outcome_of(database, job.id) == expected


@pytest.mark.skipif(not (PROC / "self").exists(), reason="needs the signals of POSIX")
def test_a_worker_that_was_frozen_while_another_took_its_job_over_writes_nothing(database: Database) -> None:
    given = DRAWS | {"epochs": 800}
    expected = run_undisturbed(**given)
    job = enqueued(database, **given)
    with worker_process(database, "worker_frozen", lease_seconds=1) as process:
        wait_until_it_goes_on(database, job, 1)
        process.send_signal(signal.SIGSTOP)

        def is_lost() -> bool:
            with database.writing() as session:
                return leases.release_expired(session, 3) == 1

        wait_until(is_lost)
        taken_over = claimed(database, "worker_b")
        assert (taken_over.id, taken_over.attempt) == (job.id, 2)
        other = threading.Thread(target=run_job, args=(database, settings_of(database), taken_over, threading.Event()))
        other.start()
        process.send_signal(signal.SIGCONT)  # it wakes up in the middle of what the other does
        other.join()
        assert outcome_of(database, job.id) == expected
        process.terminate()
        assert process.wait(60) == 0
    assert (now_of(database, job).attempt, now_of(database, job).version) == (2, 1)


def stopped_midway(database: Database) -> Job:
    job, stopping = enqueued(database, **MIDWAY), threading.Event()
    thread = threading.Thread(target=run_job, args=(database, settings_of(database), claimed(database), stopping))
    thread.start()
    wait_until(lambda: now_of(database, job).progress > 0)
    stopping.set()
    thread.join()
    assert now_of(database, job).status == "queued"
    assert n_checkpoints(database) == 1
    return job


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", None])
def test_without_a_checkpoint_that_can_be_read_a_job_begins_anew(database: Database, content: bytes | None) -> None:
    expected = run_undisturbed(**MIDWAY)
    job = stopped_midway(database)
    with database.writing() as session:
        if content is None:
            session.execute(delete(CheckpointRow))
        else:
            session.execute(update(CheckpointRow).values(content=content))
    run_job(database, settings_of(database), claimed(database), threading.Event())
    assert outcome_of(database, job.id) == expected
    environment = now_of(database, job).environment or {}
    assert ("resumed_at" in environment, environment["begun_in_attempt"]) == (False, 2)


def test_a_checkpoint_of_another_training_is_not_gone_on_from(database: Database) -> None:
    other = stopped_midway(database)
    with database.writing() as session:
        content = checkpoints.load(session, other.sequence)
        control.request_cancel(session, other.id)
    assert content is not None
    assert n_checkpoints(database) == 0
    expected = run_undisturbed(epochs=300)
    job = enqueued(database, epochs=300)
    with database.writing() as session:
        checkpoints.save(session, job.sequence, content)
    run_job(database, settings_of(database), claimed(database), threading.Event())
    assert outcome_of(database, job.id) == expected


def test_what_was_recorded_after_the_last_checkpoint_is_recorded_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run_undisturbed(**MIDWAY)
    monkeypatch.setattr(recording, "BLOCK_SECONDS", 0.01)
    monkeypatch.setattr("service.worker.run.CHECKPOINT_SHARE", 1e-9)
    job, stopping = enqueued(database, **MIDWAY), threading.Event()
    thread = threading.Thread(target=run_job, args=(database, settings_of(database), claimed(database), stopping))
    thread.start()
    wait_until(lambda: now_of(database, job).progress > 50)
    with database.writing() as session:
        leases.release_lost(session, "worker_a", 3, "by SIGKILL")
    thread.join()
    run_job(database, settings_of(database), claimed(database), threading.Event())
    environment = now_of(database, job).environment or {}
    assert environment["resumed_at"] < 50
    assert environment["begun_in_attempt"] == 1
    assert outcome_of(database, job.id) == expected


def run_until_its_worker_dies(database: Database, max_lost_workers: int, *, gets_on: bool) -> Job:
    """Run the next job until it has come further than ever, or has got on, and take its worker for lost then."""
    before = claimed(database)

    def has_come_far() -> bool:
        now = now_of(database, before)
        return now.engine is not None and now.progress > before.progress and not (gets_on and now.n_lost_workers)

    running = threading.Thread(target=run_job, args=(database, settings_of(database), before, threading.Event()))
    running.start()
    wait_until(has_come_far)
    with database.writing() as session:
        leases.release_lost(session, "worker_a", max_lost_workers, "by SIGKILL, having had up to 5 MiB of memory")
    running.join()
    return now_of(database, before)


def test_a_job_that_kills_its_worker_soon_after_each_start_fails_though_it_gets_a_little_further(
    database: Database,
) -> None:
    enqueued(database, **LONG)
    reached = 0.0
    for attempt in (1, 2, 3):
        now = run_until_its_worker_dies(database, 3, gets_on=False)
        assert now.progress > reached
        assert (now.attempt, now.n_lost_workers) == (attempt, attempt)
        reached = now.progress
    assert (now.status, now.stop_reason) == ("failed", "error")
    assert now.error is not None
    assert now.error["code"] == "worker_lost"
    assert "the last time by SIGKILL, having had up to 5 MiB of memory" in now.error["detail"]
    assert n_checkpoints(database) == 0


@pytest.mark.parametrize("by_time", [True, False])
def test_a_job_that_gets_on_each_time_may_lose_any_number_of_workers(
    database: Database, by_time: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_time:
        monkeypatch.setattr("service.worker.run.FAIR_SECONDS", 0.0)
    enqueued(database, **LONG if by_time else MIDWAY | {"epochs": 5000})
    for _ in range(4):
        now = run_until_its_worker_dies(database, 2, gets_on=True)
        assert (now.status, now.n_lost_workers) == ("queued", 1)


def test_a_checkpoint_is_refused_with_the_progress_of_an_attempt_that_is_over(database: Database) -> None:
    with database.writing() as session:
        enqueue(session)
        job = claim(session)
        leases.release_lost(session, "worker_a", 3, "by SIGKILL")
        with pytest.raises(Exception, match="no longer this worker's"):
            jobs.advance(session, job, 5.0, b"a checkpoint")
        assert checkpoints.load(session, job.sequence) is None
