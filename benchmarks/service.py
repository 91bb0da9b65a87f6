"""The service as users run it, in processes of its own, to be measured from this one."""

import atexit
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx


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

    def peaks(self) -> dict[str, int]:
        """Give the most memory that each process of the service has had, without what is only mapped from files."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                status, command = (folder / "status").read_text(), (folder / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if f"PPid:\t{self._process.pid}\n" in status:
                name = "API" if "service.server" in command else "worker"
                found[name] = int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) * 1024
        return found
