"""How transactions begin and end on PostgreSQL: each by one way to the server, and past what the driver does for it."""

import threading
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from service.store import clock

NAME = "postgresql+descent"
"""What a URL begins with to get it."""
IDLE_SECONDS = 10
"""A writer that was frozen for so long with the lock held loses its connection, and with it the lock."""
_LOCK = 0x0DE5CE27  # a number of our own among the advisory locks of the database
_BEGIN_TO_READ = b"BEGIN ISOLATION LEVEL REPEATABLE READ"
_BEGIN_TO_WRITE = (
    f"BEGIN ISOLATION LEVEL READ COMMITTED; WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock({_LOCK})) "
    "SELECT extract(epoch FROM clock_timestamp()), set_config('synchronous_commit', 'off', true), "
    f"set_config('idle_in_transaction_session_timeout', '{IDLE_SECONDS}s', true) FROM locked"
).encode()
_COMMIT = (
    b"SELECT pg_notify('descent', '') WHERE txid_current_if_assigned() IS NOT NULL; COMMIT; "
    b"SELECT pg_logical_emit_message(true, 'descent', '')"
)
"""Who listens is told if anything was written. The message, which nobody reads, is a commit of its own: it waits for
the disk, or for whatever the server is told to wait for."""
_WRITES, _READS_ONCE = "writes", "reads_once"


class Dialect(PGDialect_psycopg):
    """SQLAlchemy's, with our transactions, on connections whose driver begins and ends none: it is in autocommit.

    The driver would ask the server once more for each, and have it forget what it has prepared with each rollback.
    Of the threads of a process one at a time asks for the write lock, so that it goes from process to process: where
    many of one process stood in line for it, the others would be kept from their work.

    Args:
        busy_seconds: how long a thread waits for others of its process.
    """

    supports_statement_cache = True

    def __init__(self, busy_seconds: float, **others: Any) -> None:
        super().__init__(**others)  # type: ignore[no-untyped-call]
        self._busy_seconds = busy_seconds
        self._asking = threading.Lock()

    def do_begin(self, dbapi_connection: Any) -> None:
        """Begin what `prepare` has noted; a single statement needs no transaction around it."""
        if dbapi_connection.info.get(_WRITES):
            self._begin_to_write(dbapi_connection)
        elif not dbapi_connection.info.get(_READS_ONCE):
            self.run(dbapi_connection, _BEGIN_TO_READ)

    def do_commit(self, dbapi_connection: Any) -> None:
        """Commit; a writer's is on the disk then, and the lock was given back before that."""
        if dbapi_connection.info.get(_WRITES):
            self.run(dbapi_connection, _COMMIT)
        elif not self._is_idle(dbapi_connection):
            self.run(dbapi_connection, b"COMMIT")

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Roll back, if there is anything."""
        if not self._is_idle(dbapi_connection):
            self.run(dbapi_connection, b"ROLLBACK")

    def run(self, dbapi_connection: Any, statements: bytes) -> Any:
        """Have the server run statements without parameters; give the driver's result of the last one.

        Raises:
            Error: the driver's, for the first that fails.
        """
        result = dbapi_connection.pgconn.exec_(statements)
        if result.status >= self._driver.pq.ExecStatus.BAD_RESPONSE:
            raise self._driver.errors.error_from_result(result)
        return result

    def _begin_to_write(self, dbapi_connection: Any) -> None:
        if not self._asking.acquire(timeout=self._busy_seconds):
            raise self._driver.errors.LockNotAvailable("other threads of this process wait for the write lock")
        try:
            result = self.run(dbapi_connection, _BEGIN_TO_WRITE)
        finally:
            self._asking.release()
        clock.OF_THE_DATABASE.note(datetime.fromtimestamp(float(result.get_value(0, 0)), UTC))

    def _is_idle(self, dbapi_connection: Any) -> bool:
        return bool(dbapi_connection.pgconn.transaction_status == self._driver.pq.TransactionStatus.IDLE)

    @property
    def _driver(self) -> Any:
        return self.loaded_dbapi


def prepare(connection: Connection) -> None:
    """Note for `Dialect` what is about to begin; listens to `begin`."""
    options, info = connection.get_execution_options(), connection.connection.info
    info[_WRITES], info[_READS_ONCE] = options.get(_WRITES), options.get(_READS_ONCE)


registry.register("postgresql.descent", __name__, Dialect.__name__)
