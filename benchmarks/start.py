"""How long an API process takes to start, as its supervisor starts it, beside a bare FastAPI app."""

import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import Subject, Way
from service.settings import Settings
from service.store.database import open_database
from service.store.migrations import migrate


def subject(quick: bool) -> Subject:
    """Set up starts of single processes, over a data directory that is there."""
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    database = open_database(Settings(data_dir=Path(folder.name)))
    migrate(database)
    database.close()
    # As it is installed: with its modules compiled, which the first start sees to in a checkout.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def api() -> None:
        environment = {**inherited, "DESCENT_DATA_DIR": folder.name, "DESCENT_LOG_LEVEL": "error"}
        ready, told = os.pipe()
        with socket.create_server(("127.0.0.1", 0)) as listening, os.fdopen(ready, "rb") as telling:
            given = ["--socket", str(listening.fileno()), "--ready", str(told)]
            command = [sys.executable, "-P", "-m", "service.server", *given]
            process = subprocess.Popen(command, pass_fds=(listening.fileno(), told), env=environment)
            os.close(told)
            assert telling.read(1), "the process has ended before it was ready"
        process.kill()
        process.wait()

    def bare() -> None:
        with subprocess.Popen([sys.executable, "-m", "benchmarks.bare"], stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert any(re.search(r"http://\S+", line) for line in process.stderr)
            process.kill()

    api()
    ways = [Way("Descent: an API process, until it is ready", api), Way("FastAPI: the bare endpoints", bare)]
    notes = ["An API process is to be ready within 1 s"]
    return Subject("starts of the API", ways, 0, 3 if quick else 9, 1, notes=notes)
