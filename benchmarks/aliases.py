"""Predictions by an alias that moves meanwhile: each is to be one version's, and none is to fail."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from threading import Event

import httpx

from benchmarks.connections import ask
from benchmarks.measuring import Subject, Way
from benchmarks.service import Service

N_CONNECTIONS = 16
MOVE_SECONDS = 0.005
QUERY = "/predict?model=moved{}&x=5"
ALIASES = "/models/moved/aliases"


def subject(quick: bool) -> Subject:
    """Set up predictions by an alias that is moved all the time, and by one that rests, of two API processes."""
    service = Service(DESCENT_API_PROCESSES="2")
    n_requests = 500 if quick else 4000
    versions = {_published(service, epochs): number for number, epochs in ((1, 1), (2, 50))}
    for alias in ("moving", "resting"):
        _move(service.http, alias, 1)
    url = str(service.http.base_url)
    seen, n_moves = Counter[int](), 0

    def by(alias: str) -> None:
        ask(url, [QUERY.format(f"@{alias}")], n_requests, N_CONNECTIONS, check=see)

    def see(answer: bytes) -> None:
        assert answer in versions, answer
        seen[versions[answer]] += 1

    def move(has_ended: Event) -> None:
        nonlocal n_moves
        with httpx.Client(base_url=url, trust_env=False) as http:
            for number in cycle((2, 1)):
                _move(http, "moving", number)
                n_moves += 1
                if has_ended.wait(MOVE_SECONDS):
                    return

    def by_moving() -> None:
        has_ended = Event()
        with ThreadPoolExecutor(1) as others:
            moving = others.submit(move, has_ended)
            try:
                by("moving")
            finally:
                has_ended.set()
            moving.result()

    by_moving()
    counts = " and ".join(f"{seen[number]:,} by version {number}" for number in sorted(versions.values()))
    note = f"{n_requests:,} requests while the alias moved {n_moves} times: none failed, {counts}, each to the last bit"
    ways = [
        Way("by an alias that moves", by_moving, epochs=n_requests),
        Way("by an alias that rests", lambda: by("resting"), epochs=n_requests),
    ]
    return Subject(f"a prediction over {N_CONNECTIONS} connections, time a request", ways, 0, 7, 1, notes=[note])


def _published(service: Service, epochs: int) -> bytes:
    """Train a version; give what it answers."""
    dataset = {"features": [1, 2, 3], "targets": [2, 4, 6]}
    body = {"model": "moved", "task": "linear_regression", "dataset": dataset, "hyperparameters": {"epochs": epochs}}
    job = service.http.post("/train", json=body, headers={"Prefer": "wait=60"}).json()
    return service.http.get(QUERY.format(f"@{job['version']}")).content


def _move(http: httpx.Client, alias: str, version: int) -> None:
    assert http.put(f"{ALIASES}/{alias}", json={"version": version}).status_code == 200
