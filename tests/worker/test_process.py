"""Real processes, killed at the worst moment."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service import server, supervisor
from service.dataset import Dataset
from service.store import jobs, leases
from service.store.database import Database
from service.store.jobs import Job
from service.worker import __main__ as worker_process
from service.worker import ending
from tests.conftest import LiveService, serving, wait_until_ready
from tests.databases import environment_of, migrated_database, place_of
from tests.processes import PATIENCE_SECONDS, PROC, children_of, is_alive, wait_until
from tests.store.queueing import enqueue

pytestmark = pytest.mark.skipif(not (PROC / "self").exists(), reason="children are found in /proc")

TWICE = {"features": [1, 2, 3], "targets": [2, 4, 6]}
LONG = {"epochs": 10_000_000, "engine": "analytic", "learning_rate": 0.01, "device": "cpu"}
"""Takes minutes."""
SLOW = {
    "task": "mlp_regressor",
    "dataset": {"synthetic": {"kind": "linear", "weights": [1, 2, 3, 4], "n_samples": 1_000_000}},
    "hyperparameters": {"hidden_layers": [512, 512], "epochs": 1, "device": "cpu"},
}
"""Takes minutes to evaluate its first epoch."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service whose jobs survive the loss of one worker, and whose leases never run out by themselves."""
    data_dir = tmp_path_factory.mktemp("service") / "data"
    with serving(data_dir, DESCENT_MAX_LOST_WORKERS="2", DESCENT_LEASE_SECONDS="3600") as service:
        yield service


def train(http: httpx.Client, **hyperparameters: Any) -> str:
    """Queue a training; give the job's path."""
    body = {"task": "linear_regression", "dataset": TWICE, "hyperparameters": hyperparameters}
    answer = http.post("/train", json=body)
    assert answer.status_code == 202
    return answer.headers["Location"]


def train_long(http: httpx.Client) -> str:
    """Start a training that takes minutes and wait until it is under way; give the job's path."""
    path = train(http, **LONG)
    wait_until_under_way(http, path)
    return path


def wait_until_under_way(http: httpx.Client, path: str, attempt: int = 1) -> None:
    def under_way() -> bool:
        job = http.get(path).json()
        assert not job["terminal"], job
        return bool(job["attempt"] == attempt and job["progress"]["epoch"] > 0)

    wait_until(under_way)


def is_in_attempt(http: httpx.Client, path: str, attempt: int) -> bool:
    return bool(http.get(path).json()["attempt"] == attempt)


def child(service: LiveService, module: str) -> int:
    """Wait for the one child that runs a module; give its pid."""

    def found() -> list[int]:
        return [pid for pid, command in children_of(service.process.pid).items() if module in command]

    wait_until(found)
    (pid,) = found()
    return pid


def stored(data_dir: Path, path: str) -> Job:
    database = Database(place_of(data_dir))
    with database.reading() as session:
        job = jobs.get(session, path.removeprefix("/jobs/"))
    database.close()
    return job


@contextmanager
def worker_alone(data_dir: Path, lease_seconds: int = 1) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `descent worker`; should the block leave it alive, it ends by SIGTERM, as it should."""
    command = [sys.executable, "-m", "service.cli", "worker", "--data-dir", str(data_dir)]
    environment = environment_of(data_dir, DESCENT_LEASE_SECONDS=str(lease_seconds))
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as worker:
        try:
            yield worker
            if worker.poll() is None:
                worker.terminate()
                assert worker.wait(PATIENCE_SECONDS) == 0
        finally:
            worker.kill()


def test_a_running_job_is_cancelled_long_before_its_end(service: LiveService) -> None:
    path = train_long(service.http)
    assert service.http.post(f"{path}/cancel").status_code == 202
    wait_until(lambda: service.http.get(path).json()["terminal"])
    job = service.http.get(path).json()
    assert (job["status"], job["stop_reason"]) == ("cancelled", "cancelled")
    assert job["progress"]["fraction"] < 1
    assert service.http.get(f"{path}/history").json()["epoch"][0] == 0
    assert service.http.post(f"{path}/cancel").status_code == 202


def test_a_killed_api_is_started_again_at_its_address_while_the_training_goes_on(service: LiveService) -> None:
    path = train_long(service.http)
    worker, api = child(service, "service.worker"), child(service, "service.server")
    os.kill(api, signal.SIGKILL)
    wait_until(lambda: not is_alive(api))
    with httpx.Client(base_url=service.url, transport=httpx.HTTPTransport(retries=5), timeout=60) as http:
        job = http.get(path).json()  # the socket is the supervisor's, so that the request waits for the next API
        assert (job["status"], job["attempt"]) == ("running", 1)
        assert http.post(f"{path}/cancel").status_code == 202
    assert child(service, "service.worker") == worker
    assert child(service, "service.server") != api


def test_the_job_of_a_killed_worker_runs_again_and_fails_when_that_happens_too_often_at_one_place(
    service: LiveService,
) -> None:
    path = service.http.post("/train", json=SLOW).headers["Location"]
    for attempt in (1, 2):
        wait_until(partial(is_in_attempt, service.http, path, attempt))
        assert service.http.get("/readyz").status_code == 200
        worker = child(service, "service.worker")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: service.http.get("/readyz").status_code == 503)
    wait_until(lambda: service.http.get(path).json()["terminal"])
    job = service.http.get(path).json()
    assert (job["status"], job["attempt"], job["stop_reason"]) == ("failed", 2, "error")
    assert job["error"]["code"] == "worker_lost"
    assert re.search(r"the last time by SIGKILL, having had up to [\d,]+ MiB of memory", job["error"]["detail"])
    wait_until(lambda: service.http.get("/readyz").status_code == 200)
    path = train(service.http, epochs=10)
    wait_until(lambda: service.http.get(path).json()["status"] == "succeeded")


def test_whoever_is_to_end_has_the_time_for_it_before_it_is_killed_and_all_end_within_five_seconds() -> None:
    """By what they go by: how long it takes depends on what else the machine does."""
    assert server.STOP_SECONDS + 2 * server.FAREWELL_SECONDS < supervisor.STOP_SECONDS
    assert worker_process.STOP_SECONDS + ending.LEAVE_SECONDS < supervisor.STOP_SECONDS < 5


def test_sigterm_ends_everything_and_puts_the_running_job_back_into_the_queue(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as service:
        path = train_long(service.http)
        waiting = threading.Thread(target=wait_for_another_job, args=(service.url,))
        waiting.start()
        wait_until(lambda: len(service.http.get("/jobs").json()["data"]) == 2)
        children = children_of(service.process.pid)
        assert len(children) == 2
        service.process.terminate()
        assert service.process.wait(60) == 0
        assert not [pid for pid in children if is_alive(pid)]
        waiting.join(60)
        assert not waiting.is_alive()
    job = stored(tmp_path / "data", path)
    assert (job.status, job.attempt, job.n_lost_workers, job.started_at) == ("queued", 1, 0, None)


def wait_for_another_job(url: str) -> None:
    """Be a client that waits for a job which does not end before the service does."""
    body = {"task": "linear_regression", "dataset": TWICE}
    with httpx.Client(timeout=60) as http:
        try:
            answer = http.post(f"{url}/train", json=body, headers={"Prefer": "wait=60"})
            assert answer.status_code >= 500 or not answer.json()["terminal"]
        except httpx.TransportError:
            pass  # the service has hung up


def test_when_the_supervisor_is_killed_api_and_worker_end_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--data-dir", str(tmp_path)]
    environment = environment_of(tmp_path, PYTHONUNBUFFERED="1")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        url = re.search(r"http://\S+", process.stdout.readline())
        assert url is not None
        with httpx.Client(base_url=url.group(), transport=httpx.HTTPTransport(retries=5), timeout=60) as http:
            wait_until_ready(http, with_worker=True)
            path = train_long(http)
        children = children_of(process.pid)
        assert len(children) == 2
        process.kill()
        wait_until(lambda: not [pid for pid in children if is_alive(pid)])
    assert stored(tmp_path, path).status == "queued"


def test_without_a_worker_jobs_wait_for_one_that_runs_by_itself_and_outlive_its_death(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--no-worker", DESCENT_LEASE_SECONDS="1") as service:
        assert list(children_of(service.process.pid)) == [child(service, "service.server")]
        answer = service.http.get("/readyz")
        assert answer.status_code == 503
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "no worker" in answer.json()["detail"]
        path = train(service.http, **LONG)
        assert service.http.get(path).json()["queue_position"] == 1
        with worker_alone(service.data_dir) as worker:
            wait_until_under_way(service.http, path)
            time.sleep(1.5)  # longer than the lease, which is renewed meanwhile
            wait_until(lambda: service.http.get("/readyz").status_code == 200)
            assert service.http.get(path).json()["attempt"] == 1
            worker.kill()
            worker.wait()
        with worker_alone(service.data_dir):
            wait_until_under_way(service.http, path, attempt=2)
            wait_until(lambda: service.http.get("/readyz").status_code == 200)
    job = stored(tmp_path / "data", path)
    assert (job.status, job.attempt) == ("queued", 2)
    assert job.progress > 0


def test_a_worker_that_is_stopped_in_a_long_step_keeps_its_job_to_its_end_and_gives_it_back_uncounted(
    tmp_path: Path,
) -> None:
    database = migrated_database(place_of(tmp_path))
    features = np.random.default_rng(0).normal(size=(300_000, 4))
    slow: dict[str, Any] = {"task": "mlp_regressor", "hidden_layers": [512, 512], "epochs": 1, "device": "cpu"}
    with database.writing() as session:
        queued = enqueue(session, Dataset(features.tolist(), features.sum(1).tolist()), **slow)

    def job() -> Job:
        with database.reading() as session:
            return jobs.get(session, queued.id)

    with worker_alone(tmp_path, lease_seconds=2) as worker:
        wait_until(lambda: job().engine)
        worker.terminate()
        while worker.poll() is None:  # which would take minutes if it waited for the first block of epochs
            with database.writing() as session:
                leases.release_expired(session, 3)  # as other workers do
            time.sleep(0.05)
        assert worker.returncode == 0
    assert (job().status, job().attempt, job().n_lost_workers) == ("queued", 1, 0)
    database.close()


def test_a_worker_has_a_folder_on_the_disk_of_its_data_for_large_arrays_under_way(service: LiveService) -> None:
    path = train(service.http, epochs=1)
    wait_until(lambda: service.http.get(path).json()["terminal"])
    assert (service.data_dir / "scratch").is_dir()
    assert list((service.data_dir / "scratch").iterdir()) == []
