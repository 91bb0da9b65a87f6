"""How `descent serve` starts, stops, and restarts what dies."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from service.client import Descent
from service.errors import InvalidSettings
from service.serve import Service
from service.settings import Settings
from service.store import keys
from service.store.database import Database
from service.store.migrations import migrate
from tests.conftest import LiveService, serving
from tests.databases import environment_of, settings_of
from tests.processes import PROC, children_of, is_alive, wait_until

SCRIPT = str(Path(sys.executable).with_name("descent"))
TWICE = {"task": "linear_regression", "dataset": {"features": [1, 2, 3], "targets": [2, 4, 6]}}
finds_children = pytest.mark.skipif(not (PROC / "self").exists(), reason="children are found in /proc")


AS_A_SUPERVISOR_STARTS_IT = """
import gc, os, runpy, signal, socket, sys, threading

def look():
    os.read(ready, 1)
    print(gc.isenabled(), gc.get_freeze_count() > 0, "alembic" in sys.modules, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

ready, told = os.pipe()
threading.Thread(target=look, daemon=True).start()
sys.argv = ["server", "--socket", str(socket.create_server(("127.0.0.1", 0)).detach()), "--ready", str(told)]
runpy.run_module("service.server", run_name="__main__")
"""


@contextmanager
def starting(settings: Settings) -> Iterator[None]:
    with Service(settings):
        yield


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_without_keys_the_service_listens_for_nobody_but_this_machine(tmp_path: Path, host: str) -> None:
    settings = Settings(data_dir=tmp_path, host=host, port=0)
    with pytest.raises(InvalidSettings, match=r"other machines.*no access keys.*127\.0\.0\.1.*DESCENT_ALLOW_REMOTE"):
        starting(settings).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_another_kind_that_other_machines_reach_is_refused_by_the_command(tmp_path: Path) -> None:
    command = [SCRIPT, "serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path / "data")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith("descent: not listening on 0.0.0.0, which other machines may reach")


def test_a_host_that_is_none_is_refused_with_the_option_to_choose_another(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, host="no..host", port=0)
    with pytest.raises(InvalidSettings, match=r"^cannot listen on no\.\.host:0: .*--host or DESCENT_HOST$"):
        starting(settings).__enter__()


@pytest.mark.parametrize(("host", "allow_remote"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])
def test_loopback_is_always_fine_and_the_rest_is_when_it_is_allowed(
    tmp_path: Path, host: str, allow_remote: bool
) -> None:
    settings = settings_of(tmp_path, host=host, port=0, workers=0, allow_remote=allow_remote)
    with Service(settings) as service:
        port = int(service.url.rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


@pytest.mark.parametrize("of_settings", [False, True])
def test_with_a_key_the_service_listens_for_anybody(tmp_path: Path, of_settings: bool) -> None:
    of_web = f"web:read:{'0' * 64}" if of_settings else ""
    settings = settings_of(tmp_path, host="0.0.0.0", port=0, workers=0, api_keys=of_web)
    database = Database(settings.database_place)
    migrate(database)
    if not of_settings:
        with database.writing() as session:
            keys.revoke(session, keys.create(session, name=None, scope="read")[0].id)
    database.close()
    with Service(settings) as service:
        service.wait_until_up()
        answer = httpx.get(f"http://127.0.0.1:{service.url.rpartition(':')[2]}/jobs")
        assert (service.asks_for_keys, answer.status_code) == (True, 401)


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """A folder with files that have the names of modules which the service imports."""
    folder = tmp_path / "traps"
    for package in ("service", "numpy"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(f"raise ImportError('the wrong {package}')")
    for module in ("random.py", "torch.py", "json.py"):
        (folder / module).write_text(f"raise ImportError('the wrong {module}')")
    return folder


def test_files_in_the_current_directory_that_are_named_like_modules_do_no_harm(tmp_path: Path, traps: Path) -> None:
    command = [SCRIPT, "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    environment = environment_of(tmp_path / "data")
    with subprocess.Popen(command, cwd=traps, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = re.search(r"http://\S+", process.stdout.readline())
        assert url is not None
        with httpx.Client(base_url=url.group(), timeout=60) as http:
            answer = http.post("/train", json=TWICE, headers={"Prefer": "wait=60"})
            assert answer.json()["status"] == "succeeded"
        process.terminate()
        assert process.wait(60) == 0


def sabotaged(tmp_path: Path, module: str) -> dict[str, str]:
    """An environment in which a process that runs this module of the service dies of an import error."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        f"if '{module}' in ' '.join(sys.orig_argv):\n"
        "    import builtins\n"
        "    real = builtins.__import__\n"
        "    def refuse(name, *rest, **kw):\n"
        "        if name == 'uvicorn' or name.startswith('service.worker'):\n"
        "            raise ImportError('sabotage')\n"
        "        return real(name, *rest, **kw)\n"
        "    builtins.__import__ = refuse\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", str(Path.cwd()))])
    return environment_of(tmp_path / "data", PYTHONPATH=path)


@pytest.mark.parametrize(("module", "child"), [("service.server", "api"), ("service.worker", "worker 1")])
def test_a_process_that_never_gets_ready_ends_the_service_with_what_it_said(
    tmp_path: Path, module: str, child: str
) -> None:
    command = [SCRIPT, "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    found = subprocess.run(command, env=sabotaged(tmp_path, module), capture_output=True, text=True, timeout=100)
    assert found.returncode == 1
    assert child != "api" or found.stdout == ""
    assert "ImportError: sabotage" in found.stderr
    assert f"descent: {child} ended 4 times before it was ready, the last time with exit code 1" in found.stderr


def test_an_api_process_that_is_ready_looks_for_garbage_again_and_does_not_know_the_migrations(tmp_path: Path) -> None:
    command = [sys.executable, "-c", AS_A_SUPERVISOR_STARTS_IT]
    environment = environment_of(tmp_path, DESCENT_DATA_DIR=str(tmp_path))
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert found.stdout == "True True False\n", found.stderr


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    with serving(tmp_path_factory.mktemp("service") / "data") as service:
        yield service


def api_of(service: LiveService) -> int:
    def found() -> list[int]:
        return [pid for pid, command in children_of(service.process.pid).items() if "service.server" in command]

    wait_until(found)
    (pid,) = found()
    return pid


@finds_children
def test_while_the_api_is_restarted_no_request_is_lost(service: LiveService) -> None:
    faults: list[object] = []
    n_answered = 0
    stopping = threading.Event()

    def ask(keeps_its_connection: bool) -> None:
        nonlocal n_answered
        http = httpx.Client(base_url=service.url, timeout=30)
        while not stopping.is_set():
            try:
                answer = http.get("/jobs")
                n_answered += 1
                if answer.status_code != 200:
                    faults.append(answer.text)
            except httpx.HTTPError as fault:
                faults.append(fault)
            if not keeps_its_connection:
                http.close()
                http = httpx.Client(base_url=service.url, timeout=30)
            time.sleep(0.002)
        http.close()

    threads = [threading.Thread(target=ask, args=(keeps,)) for keeps in (True, True, False)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        old = api_of(service)
        time.sleep(0.5)
        before = n_answered
        os.kill(old, signal.SIGTERM)
        wait_until(lambda old=old: not is_alive(old))  # type: ignore[misc]
        wait_until(lambda before=before: n_answered > before + 50)  # type: ignore[misc]
        assert api_of(service) != old
    stopping.set()
    for thread in threads:
        thread.join()
    assert faults == []


@finds_children
def test_as_soon_as_the_api_is_to_end_it_is_not_ready(service: LiveService) -> None:
    wait_until(lambda: service.http.get("/readyz").status_code == 200)
    with closing(http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=60)) as connection:
        connection.request("GET", "/readyz")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        old = api_of(service)
        os.kill(old, signal.SIGSTOP)  # so that it sees the signal and the request at once, whichever comes first
        os.kill(old, signal.SIGTERM)
        connection.request("GET", "/readyz")
        os.kill(old, signal.SIGCONT)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (503, "close")
        assert b"about to end" in answer.read()
    wait_until(lambda: not is_alive(old))


@finds_children
def test_a_job_and_who_follows_it_go_on_while_worker_and_api_are_restarted_in_turn(service: LiveService) -> None:
    given = {"epochs": 10_000_000, "engine": "analytic", "learning_rate": 1e-6, "record_parameters": False}
    job_id = service.http.post("/train", json={**TWICE, "hyperparameters": given}).json()["id"]
    seen: list[dict[str, Any]] = []

    def follow() -> None:
        with Descent(service.url) as client:
            client.job(job_id).follow(seen.append)

    def gets_beyond(epoch: int, attempt: int) -> int:
        def does() -> bool:
            now.update(service.http.get(f"/jobs/{job_id}").json())
            is_at_it = (now["status"], now["attempt"]) == ("running", attempt) and now["engine"] is not None
            return bool(is_at_it and now["progress"]["epoch"] > epoch)

        now: dict[str, Any] = {}
        wait_until(does)
        return int(now["progress"]["epoch"])

    following = threading.Thread(target=follow)
    following.start()
    reached = gets_beyond(0, 1)
    for attempt, module in ((2, "service.worker"), (2, "service.server"), (3, "service.worker")):
        (old,) = [pid for pid, command in children_of(service.process.pid).items() if module in command]
        os.kill(old, signal.SIGTERM)
        wait_until(lambda old=old: not is_alive(old))  # type: ignore[misc]
        reached = gets_beyond(reached, attempt)
    service.http.post(f"/jobs/{job_id}/cancel")
    following.join()
    last = seen[-1]
    assert (last["status"], last["attempt"]) == ("cancelled", 3)
    assert last["environment"]["resumed_at"] > 0
    assert {"running", "queued"} <= {job["status"] for job in seen}
    assert max(job["progress"]["epoch"] for job in seen) >= reached
    history = service.http.get(f"/jobs/{job_id}/history", params={"max_points": 100_000}).json()
    assert len(history["epoch"]) == len(set(history["epoch"]))


@finds_children
def test_an_api_process_that_is_to_end_ends_by_itself_also_with_slow_requests_open(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--no-worker") as service:
        address = ("127.0.0.1", int(service.url.rpartition(":")[2]))
        slow = []
        for head in (
            b"POST /datasets HTTP/1.1\r\nHost: [::1]\r\nContent-Type: text/csv\r\nContent-Length: 1000\r\n\r\na,b\n1,",
            b"POST /train HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
            b"GET /jobs HTTP/1.1\r\nHost: ",
            b"",
        ):
            connection = socket.create_connection(address)
            connection.sendall(head)
            slow.append(connection)
        time.sleep(0.3)
        (api,) = children_of(service.process.pid)
        os.kill(api, signal.SIGTERM)  # to it alone, for its supervisor would kill it after a while
        wait_until(lambda: not is_alive(api))
        answers = [connection.recv(2000) for connection in slow]
        for connection in slow:
            connection.close()
    assert [answer.split(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 503 Service Unavailable"] * 2 + [b""] * 2
    assert "Traceback" not in (tmp_path / "data.log").read_text()


@finds_children
def test_signals_that_come_while_the_service_ends_change_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as service:
        children = children_of(service.process.pid)
        service.process.terminate()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            time.sleep(0.05)
            service.process.send_signal(number)
        assert service.process.wait(60) == 0
        assert not [pid for pid in children if is_alive(pid)]
    assert "Traceback" not in (tmp_path / "data.log").read_text()
