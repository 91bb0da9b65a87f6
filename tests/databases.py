"""Where the databases of the tests are, and new ones without the time that migrations take.

A service's database is known by its data directory: it is the SQLite file therein, or one on a PostgreSQL server for
folders that are said to be kept there.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import SecretStr

from service.settings import Settings
from service.store.database import Database
from service.store.migrations import migrate
from tests import postgres

_servers: dict[Path, postgres.Server] = {}
_urls: dict[Path, str] = {}


def keep_on(server: postgres.Server, folder: Path) -> None:
    """Keep the databases of all data directories in a folder on a server."""
    _servers[folder] = server


def place_of(data_dir: Path, *, migrated: bool = True) -> Path | str:
    """Tell where the database of a data directory is: the path of its file, or the URL of its own on a server.

    One on a server is made when it is first asked for, empty and `migrated`.
    """
    if data_dir not in _urls:
        server = next((_servers[folder] for folder in (data_dir, *data_dir.parents) if folder in _servers), None)
        if server is None:
            return Settings(data_dir=data_dir).database_path
        _urls[data_dir] = server.fresh(migrated=migrated)
    return _urls[data_dir]


def settings_of(data_dir: Path, **others: Any) -> Settings:
    """Give the settings of a service with this data directory, which name its database."""
    place = place_of(data_dir)
    return Settings(data_dir=data_dir, database_url=SecretStr(place if isinstance(place, str) else ""), **others)


def environment_of(data_dir: Path, **others: str) -> dict[str, str]:
    """Give the environment of another process that works with this data directory, and so with its database."""
    place = place_of(data_dir)
    return {**os.environ, **({"DESCENT_DATABASE_URL": place} if isinstance(place, str) else {}), **others}


def drop_below(folder: Path) -> None:
    """Drop what servers have for the data directories in a folder."""
    for data_dir in [data_dir for data_dir in _urls if data_dir.is_relative_to(folder)]:
        server = next(_servers[above] for above in (data_dir, *data_dir.parents) if above in _servers)
        server.drop(_urls.pop(data_dir))


def migrated_database(place: Path | str) -> Database:
    """Open the database at a place; a file that is not there yet is made as `migrate` makes it.

    Those on a server are made by `tests.postgres`, likewise.
    """
    if isinstance(place, Path) and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(_content())
    return Database(place)


@contextmanager
def fresh_urls(*, on_postgresql: bool, settings: Mapping[str, str] = postgres.HASTY) -> Iterator[Callable[[], str]]:
    """Give what makes a database for a service: its URL on a server of one's own, or none, for a file of the service's.

    Args:
        on_postgresql: which of the two.
        settings: of the server.

    Raises:
        CannotRun: when there is no such server here.
    """
    if not on_postgresql:
        yield str
        return
    with postgres.serving(settings) as server:
        yield server.fresh


@cache
def _content() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "descent.sqlite3"
        database = Database(path)
        migrate(database)
        database.close()  # which brings all of its log into the file
        return path.read_bytes()
