"""The whole service: API and workers, kept alive by one supervisor."""

import errno
import ipaddress
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from service.errors import InvalidSettings
from service.settings import PREFIX, Settings
from service.store import keys, leases, workers
from service.store.database import open_database
from service.store.identifiers import new_identifier
from service.store.migrations import migrate
from service.supervisor import Child, Death, Supervisor
from service.training.threads import n_processors

BUSY_SECONDS = 2
"""The supervisor does not wait longer for the database: it has processes to watch, and leases run out by themselves."""
MOST_WORKERS = 8
"""So many `auto` starts at the most, where there is no GPU."""
_GPU_FILES = ("nvidia[0-9]*", "kfd", "dxg")
"""Files in /dev, without one of which there is no GPU: asking torch takes seconds."""
_ID = "--id"
_CHILD = ("--lifeline", "{lifeline}", "--ready", "{ready}")


def python_module(name: str) -> list[str]:
    """Give the command that runs a module, whatever files lie in the current directory: random.py, or service/."""
    return [sys.executable, "-P", "-m", name]


class Service:
    """API and workers, from entering the context to leaving it.

    Raises:
        InvalidSettings: on entering, when the address cannot be listened on, or must not, for others reach it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __enter__(self) -> "Service":
        self.asks_for_keys = _asks_for_keys(self._settings)
        may_be_remote = self._settings.allow_remote or self.asks_for_keys
        self._socket = _listen(self._settings.host, self._settings.port, may_be_remote)
        self._database = open_database(self._settings, BUSY_SECONDS)
        migrate(self._database)
        n_apis = self._settings.api_processes
        self._counts = TemporaryDirectory(prefix="descent-counts-") if n_apis > 1 else None
        self._apis = [self._api_process("api" if n_apis == 1 else f"api {number + 1}") for number in range(n_apis)]
        workers = [self._worker_process(n, its) for n, its in enumerate(worker_environments(self._settings))]
        # The key is for those who ask, not for those who answer.
        for_children = self._settings.model_copy(update={"api_key": ""})
        self._supervisor = Supervisor([*self._apis, *workers], for_children.as_environment())
        self._supervisor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._supervisor.stop()
        if self._counts is not None:
            self._counts.cleanup()
        self._socket.close()
        self._database.close()

    def wait_until_up(self) -> None:
        """Come back when each process of the API answers.

        Raises:
            NeverStarted: when it never will, or no worker ever will be ready.
        """
        for api in self._apis:
            self._supervisor.wait_until_ready(api)

    def wait(self) -> None:
        """Serve until a signal whose handler raises; raises NeverStarted as `wait_until_up` does."""
        self._supervisor.wait()

    @property
    def url(self) -> str:
        """Where the service is reached."""
        return url_of(*self._socket.getsockname()[:2])

    def _api_process(self, name: str) -> Child:
        command = [*python_module("service.server"), *_CHILD, "--socket", str(self._socket.fileno())]
        # Several processes add up what they count in files of this folder.
        counting = {} if self._counts is None else {"PROMETHEUS_MULTIPROC_DIR": self._counts.name}
        return Child(name, lambda: command, inherited=(self._socket.fileno(),), environment=counting)

    def _worker_process(self, number: int, environment: Mapping[str, str]) -> Child:
        def command() -> list[str]:
            return [*python_module("service.worker"), _ID, new_identifier("worker_"), *_CHILD]

        def release(death: Death) -> None:
            worker_id = death.command[death.command.index(_ID) + 1]
            with self._database.writing() as session:
                workers.remove(session, worker_id)
                if death.by_itself:
                    leases.release_lost(session, worker_id, self._settings.max_lost_workers, str(death))
                else:
                    leases.release_stopped(session, worker_id)

        return Child(f"worker {number + 1}", command, release, environment=environment)


def worker_environments(settings: Settings) -> list[dict[str, str]]:
    """Tell how many workers there shall be, and give the variables that say which GPU each of them sees.

    A worker that is alone sees all that there are. Of several, each sees one, or none where all have their share.
    """
    if settings.workers in (0, 1):
        return [{}] * settings.workers
    gpus = _gpus()
    shares = [gpu for _ in range(settings.jobs_per_gpu) for gpu in gpus]
    # Half of the processors: a small training keeps one busy, a large one takes all that are free, and the API and the
    # database need some. At the most 8: each worker takes some hundred megabytes before it trains anything.
    by_processors = max(1, min(MOST_WORKERS, n_processors() // 2))
    n_workers = settings.workers if isinstance(settings.workers, int) else len(shares) or by_processors
    if not gpus:
        return [{} for _ in range(n_workers)]
    return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in (shares + [""] * n_workers)[:n_workers]]


def _gpus() -> list[str]:
    """Name the GPUs that may be used here, as CUDA_VISIBLE_DEVICES does; torch is asked, in a process of its own."""
    if not any(path for pattern in _GPU_FILES for path in Path("/dev").glob(pattern)):
        return []
    asked = subprocess.run(python_module("service.worker.gpus"), capture_output=True, text=True, check=True)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    numbers = [str(number) for number in range(int(asked.stdout))]
    return numbers if visible is None else visible.split(",")[: len(numbers)]


def url_of(host: str, port: int) -> str:
    """Give the URL of an address; IPv6 goes in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _asks_for_keys(settings: Settings) -> bool:
    """Tell whether every request needs a key, because one was ever made."""
    if settings.keys:
        return True
    if settings.database_place == settings.database_path and not settings.database_path.exists():
        return False
    database = open_database(settings)
    try:
        migrate(database)
        with database.reading() as session:
            return keys.any_made(session)
    finally:
        database.close()


def _listen(host: str, port: int, may_be_remote: bool) -> socket.socket:
    """Listen before anything is started, so that a port that is taken is told of at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as fault:
        listener.close()
        which = "port" if fault.errno in (errno.EADDRINUSE, errno.EACCES) else "host"
        raise InvalidSettings(
            f"cannot listen on {host}:{port}: {fault.strerror}; choose another {which} with --{which} or "
            f"{PREFIX}{which.upper()}"
        ) from None
    address = listener.getsockname()[0]
    if not (may_be_remote or ipaddress.ip_address(address).is_loopback):
        listener.close()
        raise InvalidSettings(
            f"not listening on {host or address}, which other machines may reach, since there are no access keys: "
            "whoever reaches the port may use the service. Make a key with `descent keys create`, listen on 127.0.0.1, "
            f"or set {PREFIX}ALLOW_REMOTE=true if something in front of it asks who is there"
        )
    listener.listen(1024)
    return listener
