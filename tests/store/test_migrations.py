import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from service.dataset import Schema
from service.parameters import Layer
from service.store import history, jobs, models
from service.store.database import Database
from service.store.migrations import alembic_config, migrate, migrations_folder
from service.store.revision import NEWEST, is_migrated
from service.store.tables import Table
from tests.databases import environment_of, place_of
from tests.store.queueing import claim, enqueue
from tests.store.rivals import at_once, migrate_fresh_files

OURS = set(Table.metadata.tables)


def tables_of(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names())


def schema_of(database: Database) -> dict[str, Any]:
    """Describe every table of ours as SQLite itself sees it: columns, keys, defaults, indexes, also automatic ones."""
    with database.engine.connect() as connection:

        def ask(pragma: str, name: str) -> list[tuple[Any, ...]]:
            return sorted(tuple(row)[1:] for row in connection.execute(text(f"PRAGMA {pragma}('{name}')")))

        def columns_of(index: str) -> list[str]:
            return [row.name for row in connection.execute(text(f"PRAGMA index_info('{index}')"))]

        return {
            table: {
                "columns": ask("table_xinfo", table),
                "foreign_keys": ask("foreign_key_list", table),
                "indexes": {index[0]: (index, columns_of(index[0])) for index in ask("index_list", table)},
                "autoincrement": "AUTOINCREMENT"
                in connection.execute(text("SELECT sql FROM sqlite_master WHERE name = :t"), {"t": table}).scalar_one(),
            }
            for table in OURS
        }


def fill(database: Database) -> None:
    """Put a row into every table that points to another."""
    numbers = np.zeros(1)
    columns = dict.fromkeys(("train_loss", "gradient_norm", "learning_rate", "parameters", "gradient"), numbers)
    with database.writing() as session:
        enqueue(session)
        job = claim(session)
        history.record(session, job, epoch=np.zeros(1, dtype=np.int64), validation_loss=None, **columns)
        parameters = (Layer(np.zeros((1, 1)), np.zeros(1)),)
        version = models.publish(session, job, Schema(("x",), ("y",)), parameters, {}, scaled=None, scaling=None)
        jobs.succeed(session, job, version=version, result={}, stop_reason="epochs_completed", warnings=[])


def test_the_newest_revision_is_that_of_the_last_migration() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [NEWEST]


def test_nothing_becomes_the_newest_schema(tmp_path: Path) -> None:
    database = Database(place_of(tmp_path, migrated=False))
    assert not is_migrated(database)
    migrate(database)
    assert is_migrated(database)
    assert tables_of(database) - {"alembic_version"} == OURS
    database.close()


@pytest.mark.both_systems
def test_alembic_finds_no_difference_between_the_tables_and_the_migrated_schema(database: Database) -> None:
    with database.engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Table.metadata) == []


@pytest.mark.sqlite("asks its PRAGMAs")
def test_the_migrated_schema_is_what_the_tables_would_create(database: Database, tmp_path: Path) -> None:
    created = Database(tmp_path / "created.sqlite3")
    Table.metadata.create_all(created.engine)
    assert schema_of(database) == schema_of(created)
    created.close()


@pytest.mark.both_systems
def test_going_down_leaves_no_table_of_ours_and_up_again_works(database: Database) -> None:
    fill(database)
    migrate(database, "base")
    assert not tables_of(database) & OURS
    assert not is_migrated(database)
    migrate(database)
    assert is_migrated(database)
    fill(database)


@pytest.mark.sqlite("migrates files")
def test_four_processes_that_migrate_fresh_files_at_once_all_succeed(tmp_path: Path) -> None:
    n_files = 25  # for what goes wrong here goes wrong now and then only
    assert at_once(4, migrate_fresh_files, tmp_path, n_files) == [n_files] * 4


def test_a_migrated_file_is_left_alone_and_needs_no_lock(database: Database) -> None:
    fill(database)
    other = Database(database.place)
    with database.writing():  # would make a migration wait for half a minute
        migrate(other)
    other.close()
    with database.reading() as session:
        assert models.latest_version(session, "twice") == 1


def test_the_alembic_command_migrates_the_data_directory(tmp_path: Path) -> None:
    root = migrations_folder().parent
    place_of(tmp_path, migrated=False)
    subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=root,
        env=environment_of(tmp_path, DESCENT_DATA_DIR=str(tmp_path)),
        check=True,
        capture_output=True,
    )
    database = Database(place_of(tmp_path))
    assert is_migrated(database)
    database.close()
