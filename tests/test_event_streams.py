"""Event streams as clients see them, of a real server."""

import asyncio
import random
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.api.event_stream import Event, Json, Reader, events_in
from tests.conftest import LiveService, serving
from tests.processes import children_of, is_alive, wait_until

N_WATCHERS = 200


def line(epochs: int, **hyperparameters: object) -> Json:
    dataset = {"features": [1, 2, 3], "targets": [2, 4, 6]}
    given = {"epochs": epochs, "engine": "analytic", "learning_rate": 1e-6, **hyperparameters}
    return {"task": "linear_regression", "dataset": dataset, "hyperparameters": given}


def enqueue(live: LiveService, body: Json) -> str:
    answer = live.http.post("/train", json=body)
    assert answer.status_code == 202
    return str(answer.json()["id"])


def api_of(live: LiveService) -> int:
    """Give the pid of the process that answers."""
    (api,) = [pid for pid, command in children_of(live.process.pid).items() if "service.server" in command]
    return api


@contextmanager
def streaming(live: LiveService, path: str, last_id: str = "") -> Iterator[Iterator[Event]]:
    """Open a stream, and give its events."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with httpx.stream("GET", f"{live.url}{path}", headers=headers, timeout=60) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events_in(answer.iter_lines())


@contextmanager
def silent_reader(live: LiveService, path: str) -> Iterator[socket.socket]:
    """Ask for a stream, and read nothing of it."""
    url = httpx.URL(live.url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((url.host, url.port))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode())
        yield connection


@pytest.mark.parametrize("seed", range(3))
def test_a_reader_that_is_cut_off_again_and_again_gets_every_recorded_epoch_once(live: LiveService, seed: int) -> None:
    job_id = enqueue(live, line(15_000, validation_fraction=0.34))
    reader, cuts = Reader(), random.Random(seed)
    while reader.end is None:
        with streaming(live, f"/jobs/{job_id}/events", reader.last_id) as events:
            for _, event in zip(range(cuts.randint(1, 6)), events, strict=False):
                reader.take(event)
    history = live.http.get(f"/jobs/{job_id}/history").json()
    assert reader.columns == history
    assert len(history["epoch"]) == 15_001
    assert reader.end == live.http.get(f"/jobs/{job_id}").json()
    assert [status for status, _ in reader.statuses[-2:]] == ["running", "succeeded"]
    assert reader.warnings == reader.end["warnings"]
    after = live.http.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": reader.last_id})
    assert (after.status_code, after.content) == (204, b"")


def test_two_hundred_watchers_all_get_the_same_end_and_one_who_does_not_read_keeps_nobody_waiting(
    live: LiveService,
) -> None:
    job_id = enqueue(live, line(10_000_000, record_every=20, record_parameters=False))
    path = f"/jobs/{job_id}/events"

    async def watch(http: httpx.AsyncClient) -> Reader:
        reader, block = Reader(), list[str]()
        async with http.stream("GET", path) as answer:
            async for line in answer.aiter_lines():
                block.append(line)
                if not line:
                    for event in events_in(block):
                        reader.take(event)
                        watching.add(id(reader))
                    block = []
        return reader

    watching: set[int] = set()

    async def watch_all() -> list[Reader]:
        limits = httpx.Limits(max_connections=N_WATCHERS + 5)
        async with httpx.AsyncClient(base_url=live.url, limits=limits, timeout=60) as http:
            tasks = [asyncio.create_task(watch(http)) for _ in range(N_WATCHERS)]
            while len(watching) < N_WATCHERS:
                await asyncio.sleep(0.01)
            assert (await http.get(f"/jobs/{job_id}")).json()["status"] == "running"
            assert (await http.post(f"/jobs/{job_id}/cancel")).status_code == 202
            return await asyncio.gather(*tasks)

    with silent_reader(live, path):
        wait_until(lambda: live.http.get(f"/jobs/{job_id}").json()["progress"]["epoch"] > 0)
        readers = asyncio.run(watch_all())
    job = live.http.get(f"/jobs/{job_id}").json()
    history = live.http.get(f"/jobs/{job_id}/history", params={"max_points": 2}).json()
    assert job["status"] == "cancelled"
    for reader in readers:
        assert reader.end == job
        assert [reader.columns["epoch"][index] for index in (0, -1)] == history["epoch"]


def test_all_jobs_are_told_of_by_model_and_to_those_who_come_back(live: LiveService) -> None:
    live.train(line(5))
    with streaming(live, "/events?model=told-of") as events:
        live.train(line(5))
        first = live.train({**line(5), "model": "told-of"}).json()
        seen = [next(events)]
        while seen[-1].kind != "end":
            seen.append(next(events))
    assert {event.data["id"] for event in seen} == {first["id"]}
    assert [event.kind for event in seen[-2:]] == ["status", "end"]
    assert seen[-1].data == first
    second = live.train({**line(5), "model": "told-of"}).json()
    third = enqueue(live, {**line(10_000_000), "model": "told-of"})
    with streaming(live, "/events?model=told-of", seen[-1].id) as events:
        missed = [next(events) for _ in range(3)]
        assert [(event.kind, event.data["id"]) for event in missed] == [
            ("status", second["id"]),
            ("end", second["id"]),
            ("status", third),
        ]
        live.http.post(f"/jobs/{third}/cancel")
        assert any(event.kind == "end" and event.data["status"] == "cancelled" for event in events)


def test_a_client_that_vanishes_is_noticed(live: LiveService) -> None:
    api = api_of(live)

    def n_files() -> int:
        return len(list(Path(f"/proc/{api}/fd").iterdir()))

    job_id = enqueue(live, line(10_000_000))
    before = n_files()
    with ExitStack() as clients:
        for _ in range(50):
            clients.enter_context(silent_reader(live, f"/jobs/{job_id}/events")).recv(10)
        assert n_files() >= before + 40  # what else was open may have been closed since
    wait_until(lambda: n_files() < before + 20)
    live.http.post(f"/jobs/{job_id}/cancel")


def test_sigterm_ends_open_streams_at_once_and_the_service_with_exit_code_0(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as live, ExitStack() as clients:
        api = api_of(live)
        job_id = enqueue(live, line(10_000_000))
        paths = [f"/jobs/{job_id}/events", "/events"] * 10
        streams = [clients.enter_context(streaming(live, path)) for path in paths]
        assert {next(events).kind for events in streams[::2]} == {"status"}
        clients.enter_context(silent_reader(live, paths[0]))
        live.process.send_signal(signal.SIGTERM)
        for events in streams:
            assert "end" not in [event.kind for event in events]
        wait_until(lambda: not is_alive(api))
        assert live.process.wait(60) == 0  # the worker takes its own time
