"""The whole service: API and workers, kept alive by one supervisor."""

import socket
import sys

from service.errors import InvalidSettings
from service.settings import PREFIX, Settings
from service.store import leases, workers
from service.store.database import Database
from service.store.identifiers import new_identifier
from service.store.migrations import migrate
from service.supervisor import Child, Supervisor

BUSY_SECONDS = 2
"""The supervisor does not wait longer for the database: it has processes to watch, and leases run out by themselves."""


class Service:
    """API and workers, from entering the context to leaving it.

    Raises:
        InvalidSettings: on entering, when the address cannot be listened on.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __enter__(self) -> "Service":
        self._socket = _listen(self._settings.host, self._settings.port)
        self._database = Database(self._settings.database_path, busy_seconds=BUSY_SECONDS)
        migrate(self._database)
        # The children read their settings from the environment.
        environment = {PREFIX + name.upper(): str(getattr(self._settings, name)) for name in Settings.model_fields}
        children = [self._api(), *(self._worker(n) for n in range(self._settings.workers))]
        self._supervisor = Supervisor(children, environment)
        self._supervisor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._supervisor.stop()
        self._socket.close()
        self._database.close()

    @property
    def url(self) -> str:
        """Where the service is reached."""
        return url_of(*self._socket.getsockname()[:2])

    def _api(self) -> Child:
        command = [sys.executable, "-m", "service.server", "--socket", str(self._socket.fileno())]
        return Child("api", lambda: [*command, "--lifeline", "{lifeline}"], inherited=(self._socket.fileno(),))

    def _worker(self, number: int) -> Child:
        def command() -> list[str]:
            worker_id = new_identifier("worker_")
            return [sys.executable, "-m", "service.worker", "--lifeline", "{lifeline}", "--id", worker_id]

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


def _listen(host: str, port: int) -> socket.socket:
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
    listener.listen(1024)
    return listener
