"""The database: one SQLite file, read by many, written by one at a time."""

import copy
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, PoolProxiedConnection, create_engine, event
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from service.errors import DatabaseFull, DatabaseUnavailable, InvalidSettings
from service.store import audit
from service.store.ownership import NOBODY, Actor, give_to, narrow

logger = logging.getLogger(__name__)

__all__ = ["Database", "Session"]

BUSY_SECONDS = 30
"""How long a write waits for another process's write, unless told otherwise."""
WAL_SECONDS = 5
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
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
        self.actor = NOBODY
        self._watching: list[_Changes] = []
        self.engine = create_engine(
            URL.create("sqlite", database=str(path)), pool_size=CONNECTIONS, connect_args={"timeout": busy_seconds}
        )
        event.listen(self.engine, "connect", _configure)
        event.listen(self.engine, "begin", _begin)
        event.listen(self.engine, "handle_error", _reopen_after)
        self._reading = sessionmaker(self.engine, expire_on_commit=False)
        self._writing = sessionmaker(self.engine.execution_options(writes=True), expire_on_commit=False)
        for sessions in (self._reading, self._writing):
            event.listen(sessions, "do_orm_execute", narrow)
        audit.listen(self._writing)

    def as_seen_by(self, actor: Actor) -> "Database":
        """Give the same database for somebody, whose sessions see what they may and tell the audit what they did."""
        seen = copy.copy(self)
        seen.actor = actor
        return seen

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that sees one unchanging state of the database."""
        with _translated(), self._reading() as session:
            give_to(session, self.actor)
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session that holds the write lock; commits at the end, rolls back on an error."""
        with _translated(), self._writing.begin() as session:
            give_to(session, self.actor)
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
        It raises DatabaseUnavailable when that fails, and tells of a change when it works again.
        """
        changes = _Changes(self.engine, self.path)
        self._watching.append(changes)
        return changes

    def close(self) -> None:
        """Close every connection."""
        for changes in self._watching:
            changes.close()
        self.engine.dispose()


class _Changes:
    """Looks whether anything was committed, on a connection of its own.

    It opens another after a fault, and where the file was replaced, as by one from a backup: all connections to the old
    one are then given up.
    """

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._inode: int | None = None
        self._connection: PoolProxiedConnection | None = None
        self._last: object = None

    def __call__(self) -> bool:
        before = self._last
        try:
            inode = os.stat(self._path).st_ino  # every request asks, and a Path takes twice as long
        except FileNotFoundError:
            inode = None
        if self._connection is not None and inode != self._inode:
            self.close()
            self._engine.dispose()
        try:
            if self._connection is None:
                self._connection, self._inode = self._engine.raw_connection(), inode
            assert self._connection.driver_connection is not None
            self._last = self._connection.driver_connection.execute("PRAGMA data_version").fetchone()
        except Exception:
            self.close()
            with _translated():
                raise
        return self._last != before

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.invalidate()
        self._connection = self._last = None


@contextmanager
def _translated() -> Iterator[None]:
    """Say in the domain's words that the database does not work; the log has the driver's.

    Raises:
        DatabaseFull, DatabaseUnavailable: in place of the driver's errors.
    """
    try:
        yield
    except (DatabaseError, sqlite3.DatabaseError) as fault:  # the latter where no session is between
        cause = fault.orig if isinstance(fault, DatabaseError) else fault
        if not isinstance(cause, sqlite3.OperationalError) and type(cause) is not sqlite3.DatabaseError:
            raise  # a broken constraint, say, is a fault of ours
        logger.warning("the database failed: %s", cause)
        is_full = getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        raise (DatabaseFull if is_full else DatabaseUnavailable)(str(cause)) from fault
    except (UnicodeDecodeError, json.JSONDecodeError) as fault:  # so the driver tells of a schema that is overwritten
        logger.warning("the database failed: what it holds cannot be read: %s", fault)
        raise DatabaseUnavailable(str(fault)) from fault


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


def _reopen_after(context: ExceptionContext) -> None:
    """Let go of connections to a file that is broken, so that the next ones find what was put in its place."""
    code = getattr(context.original_exception, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _BROKEN:  # the other bits tell more
        context.is_disconnect = True


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("migrates"):
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")  # which has no effect once a transaction has begun
    writes = options.get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
