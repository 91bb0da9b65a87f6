"""SQLite: one file, read by many, written by one at a time."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from sqlalchemy import URL, Connection, Engine, ExceptionContext, PoolProxiedConnection, create_engine, event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import ConnectionPoolEntry

from service.errors import DatabaseFull, DatabaseUnavailable

CONNECTIONS = 48
"""More than the threads that answer requests, so that none waits for a connection."""
WAL_SECONDS = 5
RETRY_SECONDS = 0.001
"""How often a writer asks for the write lock while another holds it."""
_IS_HASTY = "is_hasty"
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


class SQLite:
    """A file at a path, which is made when missing.

    WAL mode lets readers and the one writer go on side by side. Writers take the write lock at their start
    (BEGIN IMMEDIATE): a reader that becomes a writer midway would fail at once when another wrote in between.

    Args:
        path: of the file.
        busy_seconds: how long a write waits for another process's write.
    """

    driver_error: type[Exception] = sqlite3.DatabaseError
    tells_at_once = True

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self.name = str(path)
        self._path = path
        self._busy_seconds = busy_seconds
        self._asking = threading.Lock()
        self.engine = create_engine(
            URL.create("sqlite", database=str(path)), pool_size=CONNECTIONS, connect_args={"timeout": busy_seconds}
        )
        event.listen(self.engine, "connect", _configure)
        event.listen(self.engine, "begin", self._begin)
        event.listen(self.engine, "checkin", self._calm)
        event.listen(self.engine, "handle_error", _reopen_after)

    def fault_of(self, error: BaseException | None) -> type[DatabaseUnavailable] | None:
        """Tell what an error of the driver means; None when the database is not to blame: a broken constraint, say."""
        if not isinstance(error, sqlite3.OperationalError) and type(error) is not sqlite3.DatabaseError:
            return None
        is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        return DatabaseFull if is_full else DatabaseUnavailable

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Open a connection that may drop tables which others refer to, to put new ones in their place.

        References are checked at the end instead, before it commits.
        """
        with self.engine.execution_options(writes=True, migrates=True).connect() as connection:
            with connection.begin():
                yield connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                if broken is not None:
                    raise IntegrityError("PRAGMA foreign_key_check", None, ValueError(f"{broken} refers to nothing"))
            connection.invalidate()  # what is opened next checks references again

    def changes(self, *, asks: object, waits: bool) -> "_Changes":  # noqa: ARG002  it is always asked, and never waits
        """Look whether anything was committed: ask for a counter, in some microseconds and without a lock."""
        return _Changes(self.engine, self._path)

    def _begin(self, connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("migrates"):
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")  # which has no effect once a transaction has begun
        if options.get("writes", False):
            self._begin_to_write(connection)
        elif not options.get("reads_once"):
            driver: Any = connection.connection.driver_connection
            driver.execute("BEGIN")

    def _begin_to_write(self, connection: Connection) -> None:
        """Begin a transaction that holds the write lock; one thread of each process asks for it, and does so often.

        SQLite itself asks again after 1, 2, 5, 10 … 100 ms: where one process writes again and again, as when many jobs
        are asked for at once, others would hardly ever find the lock free.
        """
        driver: Any = connection.connection.driver_connection
        connection.connection.info[_IS_HASTY] = True
        driver.executescript("PRAGMA busy_timeout = 0")
        deadline = time.monotonic() + self._busy_seconds
        if self._asking.acquire(timeout=self._busy_seconds):
            try:
                while _is_locked(driver) and time.monotonic() < deadline:
                    time.sleep(RETRY_SECONDS)
            finally:
                self._asking.release()
        if not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # so that SQLAlchemy tells what is wrong

    def _calm(self, connection: sqlite3.Connection | None, record: ConnectionPoolEntry) -> None:
        """Let a connection wait again as others do, when it has written."""
        if connection is not None and record.info.pop(_IS_HASTY, False):
            # A script, for what `execute` has prepared once it keeps, and this works while it is prepared.
            connection.executescript(f"PRAGMA busy_timeout = {round(1000 * self._busy_seconds)}")


class _Changes:
    """Looks whether anything was committed, on a connection of its own.

    It opens another after a fault, and where the file was replaced, as by one from a backup: all connections to the old
    one are then given up.
    """

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = str(path)
        self._inode: int | None = None
        self._connection: PoolProxiedConnection | None = None
        self._asked: sqlite3.Connection | None = None
        """The driver's own, for the way to it through the pool's takes as long as the look."""
        self._last: object = None

    def look(self) -> bool:
        """Tell whether anything was committed since the last look; the first one after a fault finds that it was."""
        before = self._last
        try:
            inode = os.stat(self._path).st_ino  # every request asks, and a Path takes twice as long
        except FileNotFoundError:
            inode = None
        if self._asked is not None and inode != self._inode:
            self.close()
            self._engine.dispose()
        try:
            if self._asked is None:
                self._connection, self._inode = self._engine.raw_connection(), inode
                self._asked = cast(sqlite3.Connection, self._connection.driver_connection)
            self._last = self._asked.execute("PRAGMA data_version").fetchone()
        except Exception:
            self.close()
            raise
        return self._last != before

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.invalidate()
        self._connection = self._asked = self._last = None


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


def _is_locked(connection: sqlite3.Connection) -> bool:
    """Begin a transaction that writes, if that can be; tell whether another one is all that stands against it."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.DatabaseError as fault:
        return fault.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the other bits tell more
    return False


def _reopen_after(context: ExceptionContext) -> None:
    """Let go of connections to a file that is broken, so that the next ones find what was put in its place."""
    code = getattr(context.original_exception, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _BROKEN:  # the other bits tell more
        context.is_disconnect = True
