"""PostgreSQL: a server, by psycopg, which is in the extra `postgres`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from sqlalchemy import URL, Connection, Engine, ExceptionContext, Select, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from service.errors import DatabaseFull, DatabaseUnavailable, InvalidSettings
from service.store import clock, dialect

KEPT_CONNECTIONS = 8
MORE_CONNECTIONS = 40
"""Opened when they are needed, and closed then: with those that are kept more than the threads that answer requests."""
_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_CONNECTING: dict[str, Any] = {
    "application_name": "descent",
    "autocommit": True,  # for `dialect` begins transactions
    "connect_timeout": 5,
    "keepalives_idle": 30,  # so that a server that is gone without a word is noticed, also while it is listened to
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_CONFIGURE = (
    "SELECT set_config('timezone', 'UTC', false), set_config('lock_timeout', '{milliseconds}', false), "
    "set_config('datestyle', 'ISO', false), set_config('default_transaction_isolation', 'read committed', false), "
    "(SELECT set_config(name, 'lz4', false) FROM pg_settings "
    "WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)), clock_timestamp()"
)
"""What a server, a database or a role may be set to otherwise: psycopg reads times in ISO's style only, and a writer is
to see what was committed while it waited for the lock."""
_ENCODINGS = ("UTF8", "SQL_ASCII")
"""Of databases that any text can be written in; the latter, of a server that was set up without a locale, keeps the
bytes of UTF-8 as they are sent."""
_LISTEN = b"LISTEN descent"
_FULL = "53100"
_NOT_OURS = ("42P01", "42703", "42501")
"""A table or column that is not there, for the database is not migrated, or a right that is missing."""
_ELSEWHERE = "25006"
"""The server only reads: another one has taken its place."""


class PostgreSQL:
    """A database on a server, named by a URL.

    Writers take an advisory lock at their start, so that they come one after the other as with SQLite: what one does
    is seen by the next as a whole, nothing deadlocks or has to be done again, and the times that are noted rise from
    commit to commit. Readers see one unchanging state (REPEATABLE READ) and wait for nobody. A commit tells those who
    listen (NOTIFY).

    A writer gives its lock back before it waits for the disk, so that the disk is written to once for all who wait.
    What it wrote is seen by others as soon: what somebody reads may be ahead of the disk by that moment.

    Args:
        url: with the password, if there is one, which is shown nowhere.
        busy_seconds: how long a statement waits for a lock.

    Raises:
        InvalidSettings: when it is no such URL, or the driver is not installed; and where it is first connected to,
            when not every text can be written in the database.
    """

    tells_at_once = False

    def __init__(self, url: str, busy_seconds: float) -> None:
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError):
            parsed = None
        if parsed is None or parsed.drivername not in _SCHEMES or not parsed.database:
            raise InvalidSettings(
                "DESCENT_DATABASE_URL is no URL of a PostgreSQL database: postgresql://USER:PASSWORD@HOST/DATABASE "
                "is one, with special characters in the password written as %XX"
            )
        shown = {part: getattr(parsed, part) for part in ("username", "host", "port", "database")}
        self.name = URL.create("postgresql", **shown).render_as_string()
        arguments = {name: value for name, value in _CONNECTING.items() if name not in parsed.query}
        arguments["client_encoding"] = "utf8"
        try:
            self.engine = create_engine(
                parsed.set(drivername=dialect.NAME),
                connect_args=arguments,
                busy_seconds=busy_seconds,
                use_native_hstore=False,
                pool_size=KEPT_CONNECTIONS,
                max_overflow=MORE_CONNECTIONS,
                pool_use_lifo=True,  # so that few have prepared what all ask for
            )
        except ModuleNotFoundError:
            raise InvalidSettings(
                "DESCENT_DATABASE_URL names a PostgreSQL database, and the driver for it is not installed: "
                "pip install 'descent[postgres]'"
            ) from None
        self._configuring = _CONFIGURE.format(milliseconds=round(1000 * busy_seconds))
        self._driver = cast(Any, self.engine.dialect.dbapi)
        self.driver_error: type[Exception] = self._driver.Error
        self._listener = _Listener(self.engine)
        event.listen(self.engine, "connect", self._configure)
        event.listen(self.engine, "begin", dialect.prepare)
        event.listen(self.engine, "handle_error", _reconnect_after)

    def fault_of(self, error: BaseException | None) -> type[DatabaseUnavailable] | None:
        """Tell what an error of the driver means; None when the database is not to blame: a broken constraint, say."""
        if not isinstance(error, self.driver_error):
            return None
        state = getattr(error, "sqlstate", None)
        if state == _FULL:
            return DatabaseFull
        # The driver's own complaints have no state: a connection that is lost, an option that it does not know.
        of_server = (self._driver.OperationalError, self._driver.InterfaceError, self._driver.InternalError)
        is_server = isinstance(error, of_server) or state is None or state in _NOT_OURS
        return DatabaseUnavailable if is_server else None

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Open a connection that may change tables, while nobody else writes."""
        with self.engine.execution_options(writes=True).begin() as connection:
            yield connection

    def changes(self, *, asks: Select[*tuple[Any, ...]] | None, waits: bool) -> "_Changes":
        """Look whether anything was committed: see what the server has told of, or what it answers."""
        text = None if asks is None else str(asks.compile(self.engine)).encode()
        return _Changes(self._listener, asks=text, waits=waits)

    def _configure(self, connection: Any, record: Any) -> None:  # noqa: ARG002  the listener's signature
        encoding = connection.info.parameter_status("server_encoding")
        if encoding not in _ENCODINGS:
            connection.close()
            raise InvalidSettings(
                f"the database {self.name} is encoded in {encoding}, which has no place for most characters: use one "
                "that was made with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
            )
        with connection.cursor() as cursor:
            cursor.execute(self._configuring)
            clock.OF_THE_DATABASE.note(cursor.fetchone()[-1])


class _Listener:
    """Hears what the server tells of commits, for all of a process, on a connection of its own, another after a fault.

    The server tells those who listen at the latest with its next answer to them, so that one who asks it anything has
    heard then of all that was committed before.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._connection: Any = None
        self._n_heard = self._n_lost = 0

    def hear(self, *, asks: bytes | None, waits: bool) -> object:
        """Give what is another one when something was committed meanwhile, or was lost; None when nobody listens.

        Args:
            asks: a statement without parameters; what is given then is another one when its answer is.
            waits: for other threads, and for the server.
        """
        if not self._lock.acquire(blocking=waits):
            return self._n_heard
        try:
            answer = None
            if self._connection is None:
                if not waits:
                    return None
                self._connect()
            elif asks is None:
                self._connection.pgconn.consume_input()
            if asks is not None:
                answer = self._ask(asks)
            while self._connection.pgconn.notifies() is not None:
                self._n_heard += 1
        except Exception:
            self._disconnect()
            raise
        finally:
            self._lock.release()
        return self._n_heard if asks is None else (self._n_lost, answer)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._disconnect()

    def _connect(self) -> None:
        pooled = self._engine.raw_connection()
        self._connection = pooled.driver_connection
        pooled.detach()
        self._ask(_LISTEN)

    def _ask(self, statement: bytes) -> list[bytes | None]:
        result = cast(dialect.Dialect, self._engine.dialect).run(self._connection, statement)
        return [result.get_value(0, column) for column in range(result.nfields)]

    def _disconnect(self) -> None:
        self._n_heard += 1  # nobody knows what happens until somebody listens again
        self._n_lost += 1
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class _Changes:
    """Looks whether anything was heard since the last look."""

    def __init__(self, listener: _Listener, *, asks: bytes | None, waits: bool) -> None:
        self._hear = partial(listener.hear, asks=asks, waits=waits)
        self._last: object = None
        self.close = listener.close

    def look(self) -> bool:
        """Tell whether anything was committed since the last look; the first one after a fault finds that it was."""
        before, self._last = self._last, self._hear()
        return self._last is None or self._last != before


def _reconnect_after(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "sqlstate", None) == _ELSEWHERE:
        context.is_disconnect = True
