"""Runs migrations: on the connection that `service.store.migrations` hands over, else on the data directory's."""

from typing import Literal

from sqlalchemy import Connection
from sqlalchemy.types import TypeDecorator

from alembic import context
from service.settings import Settings
from service.store.database import open_database
from service.store.tables import Table


def render_plainly(kind: str, item: object, _: object) -> str | Literal[False]:
    """Write our column types as what they are in the database, so that a migration does not change with the code."""
    return f"sa.{item.impl!r}" if kind == "type" and isinstance(item, TypeDecorator) else False


def run(connection: Connection) -> None:
    """Run in one transaction, with tables rebuilt where SQLite cannot alter them."""
    context.configure(
        connection=connection, target_metadata=Table.metadata, render_as_batch=True, render_item=render_plainly
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    database = open_database(Settings())
    with database.migrating() as own:
        run(own)
    database.close()
