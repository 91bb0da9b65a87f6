"""Which migration the database has come to; told without the migrations, for what migrates takes long to import."""

from sqlalchemy import inspect, text

from service.store.database import Database

NEWEST = "0009"
"""The revision of the last migration in alembic/versions, after which the tables are as `service.store.tables` says."""


def is_migrated(database: Database) -> bool:
    """Tell whether the schema is the newest."""
    with database.connection(writes=False) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return False
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [NEWEST]
