"""New databases without the time that migrations take: what they make is made once a process, and copied."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from service.store.database import Database
from service.store.migrations import migrate


def migrated_database(place: Path | str) -> Database:
    """Open the database at a place; a file that is not there yet is made as `migrate` makes it.

    Those on a server are made by `tests.postgres`, likewise.
    """
    if isinstance(place, Path) and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(_content())
    return Database(place)


@cache
def _content() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "descent.sqlite3"
        database = Database(path)
        migrate(database)
        database.close()  # which brings all of its log into the file
        return path.read_bytes()
