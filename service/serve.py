"""The whole service: API and workers, kept alive by one supervisor."""

import ipaddress
import socket
import sys

from service.errors import InvalidSettings
from service.settings import PREFIX, Settings
from service.store import keys, leases, workers
from service.store.database import Database
from service.store.identifiers import new_identifier
from service.store.migrations import migrate
from service.supervisor import Child, Supervisor

BUSY_SECONDS = 2
"""The supervisor does not wait longer for the database: it has processes to watch, and leases run out by themselves."""


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
        self._database = Database(self._settings.database_path, busy_seconds=BUSY_SECONDS)
        migrate(self._database)
        # The children read their settings from the environment.
        environment = {PREFIX + name.upper(): str(getattr(self._settings, name)) for name in Settings.model_fields}
        environment[f"{PREFIX}API_KEY"] = ""  # which is for those who ask, not for those who answer
        self._api = self._api_process()
        workers = [self._worker_process(n) for n in range(self._settings.workers)]
        self._supervisor = Supervisor([self._api, *workers], environment)
        self._supervisor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._supervisor.stop()
        self._socket.close()
        self._database.close()

    def wait_until_up(self) -> None:
        """Come back when the API answers.

        Raises:
            NeverStarted: when it never will, or no worker ever will be ready.
        """
        self._supervisor.wait_until_ready(self._api)

    def wait(self) -> None:
        """Serve until a signal whose handler raises; raises NeverStarted as `wait_until_up` does."""
        self._supervisor.wait()

    @property
    def url(self) -> str:
        """Where the service is reached."""
        return url_of(*self._socket.getsockname()[:2])

    def _api_process(self) -> Child:
        command = [*python_module("service.server"), *_CHILD, "--socket", str(self._socket.fileno())]
        return Child("api", lambda: command, inherited=(self._socket.fileno(),))

    def _worker_process(self, number: int) -> Child:
        def command() -> list[str]:
            return [*python_module("service.worker"), *_CHILD, "--id", new_identifier("worker_")]

        def release(command: list[str], died_by_itself: bool) -> None:
            with self._database.writing() as session:
                workers.remove(session, command[-1])
                if died_by_itself:
                    leases.release_lost(session, command[-1], self._settings.max_lost_workers)
                else:
                    leases.release_stopped(session, command[-1])

        return Child(f"worker {number + 1}", command, release)


def url_of(host: str, port: int) -> str:
    """Give the URL of an address; IPv6 goes in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _asks_for_keys(settings: Settings) -> bool:
    """Tell whether every request needs a key, because one was ever made."""
    if settings.keys:
        return True
    if not settings.database_path.exists():
        return False
    database = Database(settings.database_path)
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
        raise InvalidSettings(
            f"cannot listen on {host}:{port}: {fault.strerror}; choose another with --port or {PREFIX}PORT"
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
