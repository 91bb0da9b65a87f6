"""What is struck: a whole service as users run it, started again on its port when its supervisor dies."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from service.settings import Settings
from tests.processes import children_of, is_alive, wait_until

START_SECONDS = 60
LEASE_SECONDS = 2
MAX_LOST_WORKERS = 100
"""Strikes come so thick that several may fall on a training before it gets on; when to give up is tested elsewhere."""
PARTS = {"worker": "service.worker", "api": "service.server"}
STRIKES = (
    ("kill", "worker", 40),
    ("freeze", "worker", 20),
    ("kill", "api", 14),
    ("freeze", "api", 8),
    ("kill", "supervisor", 8),
    ("freeze", "supervisor", 4),
    ("kill", "everything", 6),
)
"""What is done to whom, and how often of a hundred."""


class Target:
    """A running service with its processes.

    Args:
        settings: say where it keeps everything; its log lies beside.
        chance: draws what is done to it.
        n_workers: how many it has.
    """

    def __init__(self, settings: Settings, chance: random.Random, n_workers: int = 2) -> None:
        self._data_dir = settings.data_dir
        self._database_url = settings.database_url.get_secret_value()
        self._chance = chance
        self._n_workers = n_workers
        self._data_dir.parent.mkdir(exist_ok=True)
        self._log = self._data_dir.with_suffix(".log").open("ab")
        self._port = 0
        self._seen: set[int] = set()
        self._thaws: list[threading.Timer] = []
        self.url = ""
        self._start()

    def strike(self) -> str:
        """Kill or freeze something that lives; start the service again if that ends it. Tell what was done."""
        kinds = [(verb, whom) for verb, whom, _ in STRIKES]
        ((verb, whom),) = self._chance.choices(kinds, [share for *_, share in STRIKES])
        pids = self._living(whom)
        if not pids:
            return f"no {whom} lives"
        if verb == "freeze":
            seconds = self._chance.uniform(0.05, 2 * LEASE_SECONDS if whom == "worker" else 1)
            self._freeze(pids[0], seconds)
            return f"freeze {whom} for {seconds:.2f} s"
        for pid in pids:
            self._send(pid, signal.SIGKILL)
        if whom in ("supervisor", "everything"):
            self._process.wait()
            self._start()
            return f"kill {whom}, and start again"
        return f"kill {whom}"

    def end(self) -> None:
        """End the service as it should be ended; nothing of it lives on."""
        for thaw in self._thaws:
            thaw.join()
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0
        wait_until(lambda: not any(map(is_alive, self._seen)))

    def give_up(self) -> None:
        """Leave nothing of the service behind, whatever state it is in."""
        for thaw in self._thaws:
            thaw.cancel()
        for pid in {*self._seen, *self._note()}:
            if is_alive(pid) and self._is_ours(pid):
                self._send(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def _start(self) -> None:
        """Start until it serves: right after a death the port is still listened on by the API of before."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._process = self._spawn()
            assert self._process.stdout is not None
            found = re.search(r"http://\S+:(\d+)", self._process.stdout.readline())
            self._note()
            if found is not None:
                break
            self._process.stdout.close()
            self._process.wait()
            assert time.monotonic() < deadline, f"the service does not start; see {self._log.name}"
            time.sleep(0.1)
        self.url, self._port = found.group(), int(found.group(1))

    def _spawn(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "service.cli", "serve", "--port", str(self._port)]
        command += ["--data-dir", str(self._data_dir), "--workers", str(self._n_workers)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "DESCENT_LEASE_SECONDS": str(LEASE_SECONDS)}
        environment["DESCENT_MAX_LOST_WORKERS"] = str(MAX_LOST_WORKERS)
        environment["DESCENT_DATABASE_URL"] = self._database_url
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment)

    def _living(self, whom: str) -> list[int]:
        """Give the pids of what is struck: one of its kind, or all that there is, the supervisor first."""
        children = self._note()
        if whom == "supervisor":
            return [self._process.pid]
        if whom == "everything":
            return [self._process.pid, *children]
        pids = sorted(pid for pid, command in children.items() if PARTS[whom] in command)
        return [self._chance.choice(pids)] if pids else []

    def _note(self) -> dict[int, str]:
        children = children_of(self._process.pid)
        self._seen.update(children)
        return children

    def _freeze(self, pid: int, seconds: float) -> None:
        self._send(pid, signal.SIGSTOP)
        thaw = threading.Timer(seconds, self._send, (pid, signal.SIGCONT))
        thaw.start()
        self._thaws.append(thaw)

    def _is_ours(self, pid: int) -> bool:
        try:
            return str(self._data_dir) in Path(f"/proc/{pid}/environ").read_text()
        except OSError:
            return False

    @staticmethod
    def _send(pid: int, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
