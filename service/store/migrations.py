"""Bringing the database to the newest schema, from the migrations in alembic/."""

from pathlib import Path

from alembic.config import Config
from alembic.util import CommandError

from alembic import command
from service.errors import DatabaseUnavailable, InvalidSettings
from service.store.database import Database
from service.store.revision import is_migrated

_PACKAGE = Path(__file__).resolve().parents[1]


def migrations_folder() -> Path:
    """Find the migrations: inside an installed package, beside it in a checkout."""
    installed = _PACKAGE / "_alembic"
    return installed if installed.is_dir() else _PACKAGE.parent / "alembic"


def alembic_config() -> Config:
    """Give alembic's configuration without its ini file."""
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    return config


def migrate(database: Database, revision: str = "head") -> None:
    """Bring the schema to a revision. Processes that start at once wait for the first: it holds the write lock.

    Raises:
        InvalidSettings: when the database cannot be read or written, is none, or is of a newer version.
    """
    try:
        if revision == "head" and is_migrated(database):
            return
        config = alembic_config()
        with database.migrating() as connection:
            config.attributes["connection"] = connection
            if revision == "head":
                command.upgrade(config, revision)
            else:
                command.downgrade(config, revision)
    except DatabaseUnavailable as fault:
        raise InvalidSettings(f"the database {database.name} cannot be used: {fault.reason}") from fault
    except CommandError as fault:
        newer = "was it made by a newer version of Descent?"
        raise InvalidSettings(f"the database {database.name} cannot be migrated ({fault}): {newer}") from fault
