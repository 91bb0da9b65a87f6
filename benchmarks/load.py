"""Many tiny jobs at once, and one alone that is waited for, end to end over HTTP.

What is wanted of them are times by the clock, so beside each stands the time that is its goal.
"""

import http.client
import json
import statistics
import threading
import time
from typing import Any

import numpy as np

from benchmarks.measuring import Goal, Subject, Way, Yardstick
from benchmarks.service import Service

N_CLIENTS = 8
N_SAMPLES = 30
N_EPOCHS = 10_000
"""Of the training that is waited for."""
ASK_SECONDS = 0.02
"""How often the job is asked for whose answers are timed."""
SUCCEEDED = 'descent_jobs{status="succeeded"}'


def load(quick: bool) -> Subject:
    """Set up thousands of jobs that are asked for by several clients in one go."""
    n_jobs = 200 if quick else 5000
    service = Service()
    notes: list[str] = []
    ways = [
        Way(
            f"Descent: a job, of {n_jobs:,} from {N_CLIENTS} clients",
            lambda: _load(service, n_jobs, notes),
            None,
            n_jobs,
        )
    ]
    goal = Yardstick("100 jobs a second", lambda _: 0.01, Goal("at least", 1))
    title = f"{n_jobs:,} trainings of {N_SAMPLES} samples, 1000 epochs, from the first request to the last end"
    return Subject(title, ways, 0, 1, 1, [goal], notes)


def wait(quick: bool) -> Subject:
    """Set up a job that is asked for and waited for."""
    service = Service()
    body = json.dumps(_body(None) | {"hyperparameters": {"epochs": N_EPOCHS}}).encode()
    connection = _connection(service)

    def train() -> None:
        status, job = _ask(connection, "POST", "/train", body, {"Prefer": "wait=60"})
        assert (status, job["status"]) == (201, "succeeded"), job

    ways = [Way("Descent: POST /train with Prefer: wait", train)]
    goal = Yardstick("20 ms", lambda _: 0.02, Goal("at least", 1))
    return Subject(
        f"a training of {N_SAMPLES} samples, {N_EPOCHS} epochs, waited for", ways, 0, 20 if quick else 200, 1, [goal]
    )


def _load(service: Service, n_jobs: int, notes: list[str]) -> None:
    """Have all jobs asked for, and wait until the last has ended; note what was seen of it."""
    asked: list[list[str]] = [[] for _ in range(N_CLIENTS)]
    n_before = _count(service, SUCCEEDED)
    start = time.perf_counter()
    clients = [
        threading.Thread(target=_submit, args=(service, asked[number], n_jobs // N_CLIENTS))
        for number in range(N_CLIENTS)
    ]
    for client in clients:
        client.start()
    seconds: list[float] = []
    ended = threading.Event()
    asking = threading.Thread(target=_time_answers, args=(service, asked, seconds, ended))
    asking.start()
    for client in clients:
        client.join()
    submitted = time.perf_counter() - start
    _wait_for(service, n_before + n_jobs)
    took = time.perf_counter() - start
    ended.set()
    asking.join()
    _check_order(service, n_jobs)
    p99 = float(np.quantile(seconds, 0.99))
    notes[:] = [
        f"all asked for after {submitted:.1f} s; {n_jobs / took:.0f} jobs a second; all succeeded, in order",
        f"GET /jobs/ID meanwhile, {len(seconds)} times: median {1000 * statistics.median(seconds):.1f} ms, "
        f"99 of 100 within {1000 * p99:.1f} ms (goal: 100 ms, {'met' if p99 <= 0.1 else 'MISSED'})",
    ]


def _submit(service: Service, job_ids: list[str], n_jobs: int) -> None:
    connection = _connection(service)
    body = json.dumps(_body("load")).encode()
    for _ in range(n_jobs):
        status, job = _ask(connection, "POST", "/train", body)
        assert status == 202, job
        job_ids.append(job["id"])


def _time_answers(service: Service, asked: list[list[str]], seconds: list[float], ended: threading.Event) -> None:
    """Ask for the newest job again and again, and note how long each answer takes."""
    connection = _connection(service)
    while not ended.wait(ASK_SECONDS):
        newest = next((job_ids[-1] for job_ids in asked if job_ids), None)
        if newest is not None:
            start = time.perf_counter()
            assert _ask(connection, "GET", f"/jobs/{newest}")[0] == 200
            seconds.append(time.perf_counter() - start)


def _wait_for(service: Service, n_succeeded: float) -> None:
    while _count(service, SUCCEEDED) < n_succeeded:
        assert _count(service, 'descent_jobs{status="failed"}') == 0
        time.sleep(0.25)


def _count(service: Service, name: str) -> float:
    lines = service.http.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0)


def _check_order(service: Service, n_jobs: int) -> None:
    """See that jobs were started in the order in which they came."""
    started: list[str] = []
    after: dict[str, Any] = {}
    while len(started) < n_jobs:
        page = service.http.get("/jobs", params={"limit": 1000, **after}).json()
        started += [job["started_at"] for job in page["data"]]
        after = {"after": page["next"]}
    assert started == sorted(started, reverse=True)


def _connection(service: Service) -> http.client.HTTPConnection:
    url = service.http.base_url
    return http.client.HTTPConnection(url.host, url.port, timeout=60)


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, Any]]:
    connection.request(method, path, body, {"Content-Type": "application/json"} | (headers or {}))
    answer = connection.getresponse()
    found: dict[str, Any] = json.loads(answer.read())
    return answer.status, found


def _body(model: str | None) -> dict[str, Any]:
    draws = np.random.default_rng(0)
    features = draws.uniform(0, 10, N_SAMPLES)
    targets = 0.3 * features + 0.5 + 0.01 * draws.standard_normal(N_SAMPLES)
    dataset = {"features": features.round(4).tolist(), "targets": targets.round(4).tolist()}
    return {"model": model, "task": "linear_regression", "dataset": dataset}
