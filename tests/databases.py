"""New databases without the time that migrations take: what they make is made once a process, and copied."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from service.store.database import Database
from service.store.migrations import migrate
from tests import postgres


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
    reason = postgres.why_not()
    if reason is not None:
        raise postgres.CannotRun(reason)
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
