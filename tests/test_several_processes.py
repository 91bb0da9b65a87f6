"""Several workers and several API processes over one database, as they are run together."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.serve import worker_environments
from service.settings import Settings
from service.training.threads import n_processors
from tests.conftest import LiveService, serving
from tests.postgres import Server
from tests.processes import PROC, children_of, is_alive, wait_until

pytestmark = pytest.mark.skipif(not (PROC / "self").exists(), reason="children are found in /proc")

TWICE = {"task": "linear_regression", "dataset": {"features": [1, 2, 3], "targets": [2, 4, 6]}}
LONG = {**TWICE, "hyperparameters": {"epochs": 10_000_000, "engine": "analytic", "learning_rate": 0.01}}


def found(service: LiveService, module: str) -> list[int]:
    return [pid for pid, command in children_of(service.process.pid).items() if module in command]


def samples(service: LiveService) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What is measured, as one of the processes tells it, by a connection of its own."""
    told: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(httpx.get(f"{service.url}/metrics").text):
        for sample in family.samples:
            told.setdefault(sample.name, []).append((sample.labels, sample.value))
    return told


def n_answered(service: LiveService, route: str) -> float:
    counted = samples(service).get("descent_http_request_seconds_count", [])
    return sum(number for labels, number in counted if labels["route"] == route)


def test_two_apis_and_two_workers_do_everything_once_and_count_together(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--workers", "2", "--api-processes", "2") as service:
        apis = found(service, "service.server")
        assert (len(apis), len(found(service, "service.worker"))) == (2, 2)
        wait_until(lambda: samples(service)["descent_workers_alive"] == [({}, 2)])
        long = [service.http.post("/train", json=LONG).json()["links"]["self"] for _ in range(2)]
        wait_until(lambda: all(service.http.get(path).json()["status"] == "running" for path in long))
        for path in long:  # each waits in one process for what another one writes
            assert httpx.post(f"{service.url}{path}/cancel").status_code == 202
        answers = [
            httpx.post(f"{service.url}/train", json=TWICE, headers={"Prefer": "wait=30", "Idempotency-Key": f"{n}"})
            for n in (1, 2, 3, 1, 2, 3)
        ]
        assert {answer.json()["status"] for answer in answers} == {"succeeded"}
        assert [answer.json()["id"] for answer in answers[:3]] == [answer.json()["id"] for answer in answers[3:]]
        before = n_answered(service, "/models")
        for _ in range(20):
            assert httpx.get(f"{service.url}/models").status_code == 200
        assert n_answered(service, "/models") == before + 20
        assert {labels["process"] for labels, _ in samples(service)["process_resident_memory_bytes"]} == {
            str(pid) for pid in apis
        }
        os.kill(apis[0], signal.SIGKILL)
        wait_until(lambda: not is_alive(apis[0]))
        assert n_answered(service, "/models") == before + 20  # what was counted there is not forgotten
        wait_until(lambda: len(samples(service)["process_resident_memory_bytes"]) == 2)
        assert samples(service)["descent_http_requests_in_flight"] == [({}, 1)]


@contextmanager
def worker_elsewhere(data_dir: Path, url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `descent worker` by itself, as on another machine that has the same folder."""
    command = [sys.executable, "-m", "service.cli", "worker", "--data-dir", str(data_dir)]
    environment = {**os.environ, "DESCENT_DATABASE_URL": url, "DESCENT_LEASE_SECONDS": "1"}
    with (
        data_dir.with_name("worker.log").open("ab") as log,
        subprocess.Popen(command, stderr=log, env=environment) as worker,
    ):
        try:
            yield worker
        finally:
            worker.kill()


def upload(http: httpx.Client) -> dict[str, Any]:
    rows = "".join(f"{number / 100},{number / 50}\n" for number in range(100))
    answer = http.post("/datasets", content=f"x,y\n{rows}", headers={"Content-Type": "text/csv"})
    assert answer.status_code == 201
    return {"id": answer.json()["id"], "target": "y"}


def test_on_postgresql_workers_elsewhere_train_and_what_one_leaves_another_one_takes_up(
    tmp_path: Path, postgres: Server
) -> None:
    data_dir, url = tmp_path / "data", postgres.fresh()
    arguments = ("--no-worker", "--api-processes", "2")
    with serving(data_dir, *arguments, DESCENT_DATABASE_URL=url, DESCENT_LEASE_SECONDS="1") as service:
        http = service.http
        body = {**LONG, "dataset": upload(http)}
        with worker_elsewhere(data_dir, url) as worker:
            path = http.post("/train", json=body).json()["links"]["self"]
            wait_until(lambda: http.get(path).json()["progress"]["epoch"] > 0)
            assert http.get("/readyz").status_code == 200
            worker.kill()
            worker.wait()
        with worker_elsewhere(data_dir, url) as worker:
            wait_until(lambda: (job := http.get(path).json())["attempt"] == 2 and job["status"] == "running")
            assert http.post(f"{path}/cancel").status_code == 202
            answer = http.post("/train", json={**TWICE, "model": "twice"}, headers={"Prefer": "wait=30"})
            assert answer.json()["status"] == "succeeded"
            predicted = http.get("/predict?model=twice&x=4").json()["predictions"][0]
            assert abs(predicted - 8) < 0.1
            worker.terminate()
            assert worker.wait(60) == 0
        children = children_of(service.process.pid)
        commands = [(PROC / str(pid) / "cmdline").read_text() for pid in (*children, service.process.pid)]
        assert not [command for command in commands if "not-to-be-shown" in command]
    assert not (data_dir / "descent.sqlite3").exists()
    for log in (data_dir.with_name("data.log"), data_dir.with_name("worker.log")):
        assert "not-to-be-shown" not in log.read_text()


def environments(workers: Any, jobs_per_gpu: int = 1) -> list[str | None]:
    settings = Settings(workers=workers, jobs_per_gpu=jobs_per_gpu)
    return [one.get("CUDA_VISIBLE_DEVICES") for one in worker_environments(settings)]


@pytest.mark.skipif(any(Path("/dev").glob("nvidia[0-9]*")), reason="there are GPUs here")
def test_without_a_gpu_auto_starts_workers_by_processors_and_none_is_told_of_gpus() -> None:
    assert environments("auto") == [None] * max(1, min(8, n_processors() // 2))
    assert environments(3) == [None] * 3
    assert environments(0) == []


@pytest.mark.gpu
@pytest.mark.skipif(not any(Path("/dev").glob("nvidia[0-9]*")), reason="there is no GPU here")
def test_workers_share_the_gpus_evenly_and_those_beyond_have_none() -> None:
    gpus = environments("auto")
    assert len(set(gpus)) == len(gpus) > 0
    assert environments("auto", 2) == gpus * 2
    assert environments(2 * len(gpus) + 1, 2) == [*gpus * 2, ""]
    assert environments(1) == [None]
