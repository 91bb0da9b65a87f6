"""A PostgreSQL server of the test run's own, on a socket in a temporary folder; and a fresh database for each test."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, make_url

from service.store.database import Database
from service.store.migrations import migrate
from tests.processes import wait_until

DEBIAN = Path("/usr/lib/postgresql")
USERS = ("postgres", "nobody")
"""PostgreSQL refuses to run as root: so one of these runs it where the tests run as root."""
BY_LANGUAGE = ("--locale-provider=icu", "--icu-locale=en-US")
"""Texts are sorted as a language does, as on most servers, where this one can (PostgreSQL 15 and newer, with ICU)."""
PRIVATE = {"listen_addresses": ""}
"""Of a server that is as PostgreSQL comes, but for who can reach it."""
HASTY = PRIVATE | {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "max_wal_size": "64MB",
    "autovacuum": "off",
}
"""Of a server whose data need not outlast it."""


def find_programs() -> Path | None:
    """Find the folder with the programs of the server: by PATH, else the newest where Debian keeps them."""
    found = shutil.which("postgres")
    places = [Path(found)] if found else sorted(DEBIAN.glob("*/bin/postgres"), key=lambda path: path.parts[-3].zfill(3))
    folders = [place.resolve().parent for place in places]
    return next((folder for folder in folders[::-1] if (folder / "initdb").exists()), None)


def why_not() -> str | None:
    """Tell why there can be no server here; None when there can."""
    if find_programs() is None:
        return "there is no PostgreSQL server here: neither PATH nor /usr/lib/postgresql has initdb and postgres"
    if os.getuid() == 0 and not any(map(_is_there, USERS)):
        return f"PostgreSQL does not run as root, and here is no user {' or '.join(USERS)}"
    return None


class CannotRun(Exception):
    """There is no server here, or there is one, and this machine does not let it run."""


class Server:
    """A server that runs until it is stopped, and can be started again."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self._settings = settings
        self._user = next(user for user in USERS if _is_there(user)) if os.getuid() == 0 else None
        if self._user is not None:
            shutil.chown(folder, self._user, pwd.getpwnam(self._user).pw_gid)
        self._names = (f"test_{number}" for number in itertools.count())
        self._process: subprocess.Popen[bytes] | None = None
        programs = find_programs()
        assert programs is not None
        self._programs = programs
        options = ["--no-sync", "-A", "trust", "-U", "descent", "--locale=C", "-E", "UTF8", "-D", str(self._data)]
        command = [str(programs / "initdb"), *options]
        try:
            self._sorts_by_language = not self._run([*command, *BY_LANGUAGE], check=False).returncode
            if not self._sorts_by_language:
                self._run(command, check=True)
        except (OSError, subprocess.CalledProcessError) as fault:
            raise CannotRun(f"PostgreSQL does not run here: {getattr(fault, 'stderr', fault)}") from fault

    def prepare(self) -> None:
        """Migrate what fresh databases are copied from."""
        template = Database(self.url("template1"))
        migrate(template)
        template.close()

    def _run(self, command: list[str], *, check: bool) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, user=self._user, cwd=self.folder, check=check, capture_output=True, text=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def url(self, name: str) -> str:
        """Give the URL of a database. Its password is one that the server does not ask for."""
        return f"postgresql://descent:not-to-be-shown@/{name}?host={self.folder}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(self._data), "-k", str(self.folder), *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=self._user, cwd=self.folder)
        wait_until(self._answers, 30)

    def stop(self, how: int = signal.SIGINT) -> None:
        """Stop, breaking every connection, as when the machine goes down in an orderly way; SIGQUIT is faster."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()

    def fresh(self, *, migrated: bool = True) -> str:
        """Make a database that is empty, and migrated unless told otherwise; give its URL."""
        name = next(self._names)
        self.execute(f"CREATE DATABASE {name} TEMPLATE {'template1' if migrated else 'template0'} STRATEGY file_copy")
        return self.url(name)

    def encoded(self, encoding: str) -> str:
        """Make a database that is not migrated, with texts in an encoding; give its URL."""
        name = next(self._names)
        provider = " LOCALE_PROVIDER libc" if self._sorts_by_language else ""
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'{provider}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database that was made so, whoever is connected to it."""
        self.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Have the server do something from outside of the database that is tested."""
        engine = create_engine(self.url("postgres").replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        status = self._data / "postmaster.pid"
        return status.exists() and status.read_text().rstrip().endswith("ready")


def _is_there(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


@contextmanager
def serving(settings: Mapping[str, str] = HASTY) -> Iterator[Server]:
    """Run a server until the block ends, in a folder of its own, which its user may enter and nobody else.

    Raises:
        CannotRun: when there is no server here, or it does not run.
    """
    reason = why_not()
    if reason is not None:
        raise CannotRun(reason)
    folder = Path(tempfile.mkdtemp(prefix="descent-pg-"))
    try:
        server = Server(folder, settings)
        try:
            server.start()
            server.prepare()
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder)
