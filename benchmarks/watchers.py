"""Many who watch one job: what they cost the API, what others notice of them, and how soon they know of a change."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import numpy as np
import uvloop

from benchmarks.measuring import Subject, Way
from benchmarks.service import Service

N_WATCHERS = 200
PATIENCE_SECONDS = 30
SETTLE_SECONDS = 1.0
"""For what greets new watchers, and the first requests, to be over."""
ASK_SECONDS = 0.02
"""How often the job is asked for whose answers are timed."""
LONG = 10_000_000
QUIET, BUSY = "records little", "records much"
JOBS = {QUIET: {"record_every": LONG}, BUSY: {"record_every": 20}}
MOST_OF_A_CORE = 0.05
SOON_SECONDS = 0.05


def subject(quick: bool) -> Subject:
    """Set up changes of a job that many watch, having measured what they cost while there are none."""
    n_watchers, seconds = (20, 1.0) if quick else (N_WATCHERS, 8.0)
    service = Service()
    notes: list[str] = []
    for name, given in JOBS.items():
        with _running(service, given) as path:
            notes += _compare(service, path, name, n_watchers, seconds)
    with _running(service, JOBS[QUIET]) as path:
        notes += _idle(service, path, n_watchers, seconds)
    changes = _Changes(service, n_watchers)
    notes.append("")

    def change() -> None:
        changes.pause_and_resume()
        notes[-1] = changes.summary()

    way = Way(f"Descent: a change, from asking for it until all {n_watchers} know", change, None, 2)
    return Subject(f"{n_watchers} watchers of one job", [way], 0, 3 if quick else 50, 1, notes=notes)


class Watchers:
    """Connections that follow the events of a job, read in a thread until the block ends.

    Args:
        url: of the service.
        path: of the job.
        n: how many.
    """

    def __init__(self, url: str, path: str, n: int) -> None:
        self._address = urlsplit(url)
        self._request = f"GET {path}/events HTTP/1.1\r\nHost: {self._address.netloc}\r\n\r\n".encode()
        self._n = n
        self._counts: Counter[bytes] = Counter()
        self._reached: SimpleQueue[tuple[bytes, float]] = SimpleQueue()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="watchers")
        self._transports: list[asyncio.BaseTransport] = []

    def __enter__(self) -> "Watchers":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._connect(), self._loop).result(PATIENCE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        for transport in self._transports:
            self._loop.call_soon_threadsafe(transport.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait_for(self, attempt: int, status: str) -> float:
        """Come back when all have been told that a job is there; give the time at which the last one was."""
        expected = f"{attempt}-{status}".encode()
        while True:
            found, at = self._reached.get(timeout=PATIENCE_SECONDS)
            if found == expected:
                return at

    def note(self, standing: bytes) -> None:
        """Note that one of them has been told that the job has come to a status in an attempt."""
        self._counts[standing] += 1
        if self._counts[standing] == self._n:
            self._reached.put((standing, time.time()))

    async def _connect(self) -> None:
        for _ in range(self._n):
            transport, _ = await self._loop.create_connection(
                lambda: _Stream(self._request, self), self._address.hostname, self._address.port
            )
            self._transports.append(transport)


class _Stream(asyncio.Protocol):
    """Reads of each event what the id says: `attempt-status-…`."""

    def __init__(self, request: bytes, watchers: Watchers) -> None:
        self._request, self._watchers = request, watchers
        self._rest = b""
        self._standing = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the events."""
        cast(asyncio.WriteTransport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """Look where the job stands after the last whole event."""
        self._rest += data
        end = self._rest.rfind(b"\n\n")
        start = self._rest.rfind(b"\nid: ", 0, end)
        if start < 0:
            return
        standing = b"-".join(self._rest[start + 5 : end].split(b"-")[:2])
        self._rest = self._rest[end:]
        if standing != self._standing:
            self._standing = standing
            self._watchers.note(standing)


class _Changes:
    """A job that many watch, paused and resumed again and again."""

    def __init__(self, service: Service, n_watchers: int) -> None:
        self._service = service
        self._entered = ExitStack()
        self._path = self._entered.enter_context(_running(service, JOBS[QUIET]))
        self._watchers = self._entered.enter_context(Watchers(_url(service), self._path, n_watchers))
        self._moments = self._entered.enter_context(_moments(service))
        self._attempt = 1
        self._watchers.wait_for(self._attempt, "running")
        self._seconds: list[float] = []

    def pause_and_resume(self) -> None:
        """Have the status change twice, and note how long it took from either commit until all knew of it."""
        self._change("pause", "queued")
        self._attempt += 1
        self._change("resume", "running")

    def summary(self) -> str:
        """Tell how soon all knew."""
        half, p95, most = np.quantile(self._seconds, (0.5, 0.95, 1))
        return (
            f"from a commit until all know, {len(self._seconds)} times: median {1000 * half:.1f} ms, 95 of 100 within "
            f"{1000 * p95:.1f} ms (goal: 50 ms, {_verdict(p95 <= SOON_SECONDS)}), at most {1000 * most:.1f} ms"
        )

    def _change(self, action: str, status: str) -> None:
        self._service.http.post(f"{self._path}/{action}").raise_for_status()
        at = self._watchers.wait_for(self._attempt, status)
        self._seconds.append(at - next(self._moments))


def _compare(service: Service, path: str, name: str, n_watchers: int, seconds: float) -> Iterator[str]:
    """Tell what the watchers of a running job cost, and what one who asks for it notices of them."""
    alone = _observe(service, path, seconds)
    with Watchers(_url(service), path, n_watchers) as watchers:
        watchers.wait_for(1, "running")
        watched = _observe(service, path, seconds)
        share = _share(service, seconds)
    yield (
        f"a job that runs and {name}: the API takes {share:.1%} of a core for its watchers "
        f"(goal: {MOST_OF_A_CORE:.0%}, {_verdict(share <= MOST_OF_A_CORE)})"
    )
    yield f"  GET /jobs/ID meanwhile: 99 of 100 within {1000 * watched:.1f} ms; without watchers {1000 * alone:.1f} ms"


def _idle(service: Service, path: str, n_watchers: int, seconds: float) -> Iterator[str]:
    """Tell what the watchers of a paused job cost."""
    service.http.post(f"{path}/pause").raise_for_status()
    with Watchers(_url(service), path, n_watchers) as watchers:
        watchers.wait_for(1, "queued")
        share = _share(service, seconds)
    verdict = _verdict(share <= MOST_OF_A_CORE)
    yield f"a job that is paused: the API takes {share:.1%} of a core (goal: {MOST_OF_A_CORE:.0%}, {verdict})"


def _share(service: Service, seconds: float) -> float:
    """Give the share of a core that the API takes for a while."""
    time.sleep(SETTLE_SECONDS)
    before, start = service.processor_seconds(), time.perf_counter()
    time.sleep(seconds)
    return (service.processor_seconds() - before) / (time.perf_counter() - start)


def _observe(service: Service, path: str, seconds: float) -> float:
    """Ask for a job again and again for a while; give the seconds within which 99 of 100 answers came."""
    taken: list[float] = []
    until = time.perf_counter() + SETTLE_SECONDS + seconds
    while (start := time.perf_counter()) < until:
        service.http.get(path).raise_for_status()
        if start > until - seconds:
            taken.append(time.perf_counter() - start)
        time.sleep(ASK_SECONDS)
    return float(np.quantile(taken, 0.99))


@contextmanager
def _running(service: Service, given: dict[str, Any]) -> Iterator[str]:
    """Give the path of a job that runs until the block ends."""
    body = {
        "task": "linear_regression",
        "dataset": {"features": [1, 2, 3], "targets": [2, 4, 6]},
        "hyperparameters": {
            "epochs": LONG,
            "engine": "analytic",
            "learning_rate": 1e-6,
            "record_parameters": False,
            **given,
        },
    }
    path = service.http.post("/train", json=body).raise_for_status().headers["Location"]
    while service.http.get(path).json()["progress"]["epoch"] == 0:
        time.sleep(0.02)
    yield path
    service.http.post(f"{path}/cancel").raise_for_status()
    while not service.http.get(path).json()["terminal"]:
        time.sleep(0.02)


@contextmanager
def _moments(service: Service) -> Iterator[Iterator[float]]:
    """Give the times at which statuses changed from now on, as they are told to those who watch all jobs."""
    with httpx.stream("GET", f"{_url(service)}/events", timeout=PATIENCE_SECONDS, trust_env=False) as answer:
        ids = (line.removeprefix("id: ") for line in answer.iter_lines() if line.startswith("id: "))
        next(ids)  # of what was before
        yield (int(identifier.partition("-")[0]) / 1e6 for identifier in ids)


def _url(service: Service) -> str:
    return str(service.http.base_url)


def _verdict(is_met: "bool | np.bool") -> str:
    return "met" if is_met else "MISSED"
