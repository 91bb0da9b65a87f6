"""The database: read by many, written by one at a time, be it a SQLite file or on a PostgreSQL server."""

import copy
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, Select, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.orm import Session, sessionmaker

from service.errors import DatabaseUnavailable, InvalidSettings
from service.settings import Settings
from service.store import audit
from service.store.ownership import NOBODY, Actor, give_to, narrow
from service.store.postgresql import PostgreSQL
from service.store.sqlite import SQLite

logger = logging.getLogger(__name__)

__all__ = ["Database", "Session", "open_database"]

BUSY_SECONDS = 30
"""How long a write waits for another process's write, unless told otherwise."""


class _Changes(Protocol):
    def look(self) -> bool: ...

    def close(self) -> None: ...


class _System(Protocol):
    """What SQLite and PostgreSQL do each in its own way."""

    name: str
    engine: Engine
    driver_error: type[Exception]
    tells_at_once: bool

    def fault_of(self, error: BaseException | None) -> type[DatabaseUnavailable] | None: ...

    def migrating(self) -> AbstractContextManager[Connection]: ...

    def changes(self, *, asks: Select[*tuple[Any, ...]] | None, waits: bool) -> _Changes: ...


def open_database(settings: Settings, busy_seconds: float = BUSY_SECONDS) -> "Database":
    """Give the database that the settings name, and make the data directory where it is missing.

    Raises:
        InvalidSettings: when the directory cannot be made, or the URL is none.
    """
    _make_folder(settings.data_dir)
    return Database(settings.database_place, busy_seconds)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise InvalidSettings(f"the data directory {folder} cannot be made: {fault.strerror}") from None


class Database:
    """Sessions on a database: a path is that of a SQLite file, which is made when missing, a text a PostgreSQL URL.

    Raises:
        InvalidSettings: when the folder of the file cannot be made, or the URL is none.
    """

    def __init__(self, place: Path | str, busy_seconds: float = BUSY_SECONDS) -> None:
        if isinstance(place, Path):
            _make_folder(place.parent)
        self.place = place
        self._system: _System = (
            SQLite(place, busy_seconds) if isinstance(place, Path) else PostgreSQL(place, busy_seconds)
        )
        self.name = self._system.name
        """Where it is, without the password."""
        self.tells_at_once = self._system.tells_at_once
        """Whether it takes no waiting to ask whether anything was committed."""
        self.engine = self._system.engine
        self.actor = NOBODY
        self._watching: list[_Changes] = []
        self._to_write = self.engine.execution_options(writes=True)
        self._reading = sessionmaker(self.engine, expire_on_commit=False)
        self._reading_once = sessionmaker(self.engine.execution_options(reads_once=True), expire_on_commit=False)
        self._writing = sessionmaker(self._to_write, expire_on_commit=False)
        for sessions in (self._reading, self._reading_once, self._writing):
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
        with self._translated(), self._reading() as session:
            give_to(session, self.actor)
            yield session

    @contextmanager
    def reading_once(self) -> Iterator[Session]:
        """Open a session for a single statement: of several, each sees the state of its own moment."""
        with self._translated(), self._reading_once() as session:
            give_to(session, self.actor)
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session that holds the write lock; commits at the end, rolls back on an error."""
        with self._translated(), self._writing.begin() as session:
            give_to(session, self.actor)
            session.connection()  # takes the lock now, so that times noted from here on rise from commit to commit
            yield session

    @contextmanager
    def connection(self, *, writes: bool) -> Iterator[Connection]:
        """Open a connection for what sessions cannot do; commits at the end."""
        with self._translated(), (self._to_write if writes else self.engine).begin() as connection:
            yield connection

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Open a connection that holds the write lock and may change tables; commits at the end."""
        with self._translated(), self._system.migrating() as connection:
            yield connection

    def changes(self, *, asks: Select[*tuple[Any, ...]] | None = None, waits: bool = True) -> Callable[[], bool]:
        """Give a function that tells whether anything was committed since it was last asked; the first time it was.

        It takes some microseconds and no lock, whoever committed in whichever process. It raises DatabaseUnavailable
        when the database fails, and tells of a change when it works again. A file tells of a commit at once, a server
        within some milliseconds, unless it is asked.

        Args:
            asks: a statement without parameters that a server is asked, which takes its answer's way; of all that was
                committed before it tells then what changes the answer. That anything was is known from then on to all
                functions of this process. A file tells of every commit.
            waits: for the server where it is to be asked, or to be connected with anew; otherwise anything may have
                changed as long as there is no connection.
        """
        changes = self._system.changes(asks=asks, waits=waits)
        self._watching.append(changes)

        def changed() -> bool:
            try:
                return changes.look()
            except Exception:  # a context around each look would take as long as the look
                with self._translated():
                    raise

        return changed

    def close(self) -> None:
        """Close every connection."""
        for changes in self._watching:
            changes.close()
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Say in the domain's words that the database does not work; the log has the driver's.

        Raises:
            DatabaseFull, DatabaseUnavailable: in place of the driver's errors.
        """
        try:
            yield
        except (DBAPIError, self._system.driver_error) as fault:  # the latter where no session is between
            cause = fault.orig if isinstance(fault, DBAPIError) else fault
            meaning = self._system.fault_of(cause)
            if meaning is None:
                raise  # a broken constraint, say, is a fault of ours
            logger.warning("the database failed: %s", cause)
            raise meaning(str(cause)) from fault
        except NoConnection as fault:
            logger.warning("the database failed: no connection became free: %s", fault)
            raise DatabaseUnavailable(str(fault)) from fault
        except (UnicodeDecodeError, json.JSONDecodeError) as fault:  # so the driver tells of what is overwritten
            logger.warning("the database failed: what it holds cannot be read: %s", fault)
            raise DatabaseUnavailable(str(fault)) from fault
