"""The service as users run it, in processes of its own, to be measured from this one."""

import atexit
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

WATCH_SECONDS = 0.02
API = "API"
"""The process that answers."""


class Service:
    """`descent serve` in a folder of its own, until this process ends."""

    def __init__(self, **settings: str) -> None:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--data-dir", self._folder.name]
        limits = {f"DESCENT_MAX_{name}_BYTES": str(2**40) for name in ("UPLOAD", "STORAGE")}
        environment = {**os.environ, **limits, **settings, "PYTHONUNBUFFERED": "1", "DESCENT_LOG_LEVEL": "error"}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        atexit.register(self._end)
        assert self._process.stdout is not None
        found = re.search(r"http://\S+", self._process.stdout.readline())
        assert found is not None
        self.http = httpx.Client(base_url=found.group(), timeout=600, trust_env=False)
        while self._ready() != 200:
            time.sleep(0.1)

    def _ready(self) -> int:
        try:
            return self.http.get("/readyz").status_code
        except httpx.TransportError:
            return 0

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._folder.cleanup()

    @contextmanager
    def watched(self) -> Iterator[dict[str, int]]:
        """Give the most memory that each process of the service has of its own meanwhile, in bytes; Linux only.

        Pages of mapped files are left out: the system takes those back when it needs them.
        """
        peaks: dict[str, int] = {}
        has_ended = threading.Event()

        def watch() -> None:
            while True:
                for name, n_bytes in self._own_bytes():
                    peaks[name] = max(n_bytes, peaks.get(name, 0))
                if has_ended.wait(WATCH_SECONDS):
                    return

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield peaks
        finally:
            has_ended.set()
            watching.join()

    def processor_seconds(self) -> float:
        """Give the time of a processor that the process which answers has taken so far; Linux only."""
        (folder,) = [folder for name, folder in self._processes() if name == API]
        # The name of the program, in brackets, may hold anything.
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _own_bytes(self) -> Iterator[tuple[str, int]]:
        for name, folder in self._processes():
            with suppress(OSError):
                found = re.search(r"RssAnon:\s+(\d+)", (folder / "status").read_text())
                if found:
                    yield name, int(found.group(1)) * 1024

    def _processes(self) -> Iterator[tuple[str, Path]]:
        """Give what each process of the service is, and where the system tells of it."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                status, command = (folder / "status").read_text(), (folder / "cmdline").read_text()
            except OSError:
                continue
            if f"PPid:\t{self._process.pid}\n" in status:
                yield API if "service.server" in command else "worker", folder
