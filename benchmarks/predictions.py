"""Predictions over HTTP, beside bare FastAPI endpoints; the servers have one core, and who asks has the other."""

import atexit
import io
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import httpx
import numpy as np
import polars as pl

from benchmarks import peers
from benchmarks.connections import ask
from benchmarks.measuring import Goal, Subject, Way, Yardstick
from benchmarks.service import Service

EXAMS = {
    "features": [[73, 80, 75], [93, 88, 93], [89, 91, 90], [96, 98, 100], [73, 66, 70]],
    "feature_names": ["quiz1", "quiz2", "quiz3"],
    "targets": [152, 185, 180, 196, 142],
}
JSON = {"Content-Type": "application/json"}


class _Bare:
    """The bare endpoints in a process of their own, until this one ends."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "benchmarks.bare"], stderr=subprocess.PIPE, text=True)
        atexit.register(self._process.terminate)
        assert self._process.stderr is not None
        lines = iter(self._process.stderr.readline, "")
        self.url = next(found.group() for line in lines if (found := re.search(r"http://\S+", line)))
        os.sched_setaffinity(self._process.pid, {0})
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)


@cache
def _servers() -> tuple[Service, _Bare]:
    """Start both servers, with a model, on the first core; what asks them takes the last."""
    service, bare = Service(), _Bare()
    for process in _api_processes():
        os.sched_setaffinity(process, {0})
    os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
    body = {"model": "exams", "task": "linear_regression", "dataset": EXAMS, "hyperparameters": {"epochs": 10}}
    assert service.http.post("/train", json=body, headers={"Prefer": "wait=30"}).json()["status"] == "succeeded"
    return service, bare


def _api_processes() -> list[int]:
    commands = {path.parent.name: path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [int(process) for process, command in commands.items() if b"service.server" in command]


def _url(service: Service) -> str:
    return str(service.http.base_url)


def many(quick: bool) -> Subject:
    """Set up single predictions over 16 connections."""
    subject = _single(16, 500 if quick else 4000, Goal("within", 1 / 0.85))
    others = peers.start(EXAMS)
    n_requests = 20 if quick else 200
    ways = [
        Way(
            f"{one.name}: POST of the same features",
            lambda one=one: _nothing(ask(one.url, [one.path], n_requests, 16, one.body)),  # type: ignore[misc]
            Goal("at least", 3),
            n_requests,
            rounds=3,
        )
        for one in others
    ]
    notes = [*subject.notes, *([] if others else [peers.MISSING])]
    return replace(subject, ways=[*subject.ways, *ways], notes=notes)


def one(quick: bool) -> Subject:
    """Set up single predictions over one connection."""
    return _single(1, 200 if quick else 2000, Goal("within", 1.3))


def _single(n_connections: int, n_requests: int, goal: Goal) -> Subject:
    service, bare = _servers()
    asked = _queries(1000)  # so that nobody who remembers answers is quicker
    paths: dict[str, tuple[str, list[str]]] = {
        "Descent: GET /predict of 3 features": (_url(service), [f"/predict?model=exams&{its}" for its in asked]),
        "FastAPI: GET that multiplies 3 numbers": (bare.url, [f"/multiply?{its}" for its in asked]),
    }
    notes = []
    for name, (url, its) in paths.items():
        ask(url, its, n_requests // 4, n_connections)
        taken = np.sort(ask(url, its, n_requests, n_connections)) * 1e6
        p50, p99 = np.percentile(taken, [50, 99])
        notes.append(f"{name}: p50 {p50:.0f} µs, p99 {p99:.0f} µs")
    goals = [None, goal]
    ways = [
        Way(name, lambda url=url, its=its: _nothing(ask(url, its, n_requests, n_connections)), goal, n_requests)  # type: ignore[misc]
        for (name, (url, its)), goal in zip(paths.items(), goals, strict=True)
    ]
    return Subject(f"a prediction over {n_connections} connections, time a request", ways, 0, 7, 1, notes=notes)


def _queries(n: int) -> list[str]:
    """Make up features, as the names and numbers of a query."""
    numbers = np.random.default_rng(0).uniform([73, 66, 70], [96, 98, 100], (n, 3)).round(1)
    return [
        "&".join(f"{name}={number}" for name, number in zip(EXAMS["feature_names"], row, strict=True))
        for row in numbers
    ]


def rows(quick: bool) -> Subject:
    """Set up predictions of many rows as JSON and as Arrow."""
    service, bare = _servers()
    n_rows = 1000 if quick else 10_000
    features = np.random.default_rng(0).uniform(70, 95, (n_rows, 3))
    body = json.dumps({"model": "exams", "features": features.tolist()}).encode()
    stream = io.BytesIO()
    pl.DataFrame(dict(zip(EXAMS["feature_names"], features.T, strict=True))).write_ipc(stream)
    arrow = stream.getvalue()
    kind = "application/vnd.apache.arrow.file"
    headers = {"Content-Type": kind, "Accept": kind}

    def send_arrow() -> None:
        assert service.http.post("/predict?model=exams", content=arrow, headers=headers).status_code == 200

    def send_json() -> None:
        assert service.http.post("/predict", content=body, headers=JSON).status_code == 200

    def parse() -> None:
        assert bare.http.post("/parse", content=body, headers=JSON).status_code == 200

    def transfer() -> None:
        assert bare.http.post("/transfer", content=arrow).status_code == 200

    ours, sent, raw = (
        "Descent: POST /predict as JSON",
        "Descent: POST /predict as Arrow",
        "FastAPI: takes and gives bytes",
    )
    ways = [
        Way(ours, send_json),
        Way("FastAPI: parses the JSON and writes the answer's", parse, Goal("within", 1.5)),
        Way(sent, send_arrow),
        Way(raw, transfer),
    ]
    over = Yardstick("  Arrow over the transfer", lambda times: times[sent] - times[raw])
    return Subject(
        f"{n_rows:,} rows of 3 features", ways, 0, 15, 1, [over], ["Arrow is to take 5 ms over the transfer"]
    )


def models(quick: bool) -> Subject:
    """Set up predictions of many models in turn."""
    service, _ = _servers()
    n_models, n_requests = (20, 200) if quick else (1000, 4000)
    for number in range(n_models):
        body = {"model": f"m{number}", "task": "linear_regression", "dataset": EXAMS, "hyperparameters": {"epochs": 1}}
        assert service.http.post("/train", json=body).status_code == 202
    while service.http.get("/jobs?limit=1").json()["data"][0]["status"] != "succeeded":
        time.sleep(0.2)
    paths = [f"/predict?model=m{number}&{its}" for number, its in enumerate(_queries(n_models))]
    url = _url(service)
    ways = [
        Way(f"{n_models} models in turn", lambda: _nothing(ask(url, paths, n_requests, 16)), epochs=n_requests),
        Way("one model", lambda: _nothing(ask(url, paths[:1], n_requests, 16)), Goal("within", 1 / 0.8), n_requests),
    ]
    with service.watched() as peaks:
        ask(url, paths, n_models, 16)
    note = f"the API's own memory with them, at its peak: {peaks['API'] / 2**20:.0f} MiB"
    return Subject("predictions of many models, time a request", ways, 0, 7, 1, notes=[note])


def _nothing(_: object) -> None:
    return None
