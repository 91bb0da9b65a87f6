"""The database: one SQLite file, read by many, written by one at a time."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, PoolProxiedConnection, create_engine, event
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from service.errors import DatabaseUnavailable, InvalidSettings

logger = logging.getLogger(__name__)

__all__ = ["Database", "Session"]

BUSY_SECONDS = 30
"""How long a write waits for another process's write, unless told otherwise."""
WAL_SECONDS = 5
CONNECTIONS = 48
"""More than the threads that answer requests, so that none waits for a connection."""


class Database:
    """Sessions on the SQLite file at a path, which is made when missing.

    WAL mode lets readers and the one writer go on side by side. Writers take the write lock at their start
    (BEGIN IMMEDIATE): a reader that becomes a writer midway would fail at once when another wrote in between.

    Raises:
        InvalidSettings: when the folder of the file cannot be made.
    """

    def __init__(self, path: Path, busy_seconds: float = BUSY_SECONDS) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise InvalidSettings(f"the data directory {path.parent} cannot be made: {fault.strerror}") from None
        self.path = path
        self._watching: list[PoolProxiedConnection] = []
        self.engine = create_engine(
            URL.create("sqlite", database=str(path)), pool_size=CONNECTIONS, connect_args={"timeout": busy_seconds}
        )
        event.listen(self.engine, "connect", _configure)
        event.listen(self.engine, "begin", _begin)
        self._reading = sessionmaker(self.engine, expire_on_commit=False)
        self._writing = sessionmaker(self.engine.execution_options(writes=True), expire_on_commit=False)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that sees one unchanging state of the database."""
        with _translated(), self._reading() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session that holds the write lock; commits at the end, rolls back on an error."""
        with _translated(), self._writing.begin() as session:
            session.connection()  # takes the lock now, so that times noted from here on rise from commit to commit
            yield session

    @contextmanager
    def connection(self, *, writes: bool) -> Iterator[Connection]:
        """Open a connection for what sessions cannot do; commits at the end."""
        with _translated(), self.engine.execution_options(writes=writes).begin() as connection:
            yield connection

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Open a connection that may drop tables which others refer to, to put new ones in their place.

        References are checked at the end instead, before it commits.
        """
        with _translated(), self.engine.execution_options(writes=True, migrates=True).connect() as connection:
            with connection.begin():
                yield connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                if broken is not None:
                    raise IntegrityError("PRAGMA foreign_key_check", None, ValueError(f"{broken} refers to nothing"))
            connection.invalidate()  # what is opened next checks references again

    def changes(self) -> Callable[[], bool]:
        """Give a function that tells whether anything was committed since it was last asked; the first time it was.

        It asks SQLite for a counter, in some microseconds and without a lock, whoever committed in whichever process.
        Should that fail, it says yes: whoever reads then learns what is wrong.
        """
        connection = self.engine.raw_connection()
        last: object = None

        def changed() -> bool:
            nonlocal last
            cursor = connection.cursor()
            try:
                before, last = last, cursor.execute("PRAGMA data_version").fetchone()
            except sqlite3.Error:
                return True
            finally:
                cursor.close()
            return last != before

        self._watching.append(connection)
        return changed

    def close(self) -> None:
        """Close every connection."""
        for connection in self._watching:
            connection.close()
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    """Say in the domain's words that the database does not work; the log has the driver's."""
    try:
        yield
    except DatabaseError as fault:
        if not isinstance(fault, OperationalError) and type(fault) is not DatabaseError:
            raise  # a broken constraint, say, is a fault of ours
        logger.warning("the database failed: %s", fault.orig)
        raise DatabaseUnavailable(str(fault.orig)) from fault


def _configure(connection: sqlite3.Connection, record: Any) -> None:  # noqa: ARG001  the listener's signature
    connection.isolation_level = None  # the driver begins nothing by itself: `_begin` does
    # WAL and NORMAL lose nothing when a process dies; only a power cut may undo the last commits.
    for pragma in ("synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")
    deadline = time.monotonic() + WAL_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        # Of processes that open a new file at once, one may change its mode; SQLite lets the others fail, not wait.
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("migrates"):
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")  # which has no effect once a transaction has begun
    writes = options.get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
