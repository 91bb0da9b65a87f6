"""The migration from the first schema to the second, on a database that the first one made and filled."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import text

from alembic import command
from service.dataset import Dataset
from service.hyperparameters import Hyperparameters
from service.parameters import Layer, to_bytes
from service.store import datasets, history, jobs, models, queue
from service.store.database import Database
from service.store.migrations import alembic_config, migrate
from service.store.revision import is_migrated
from tests.databases import place_of

DATASET = Dataset([1.0, 2.0], [3.0, 4.0])
TIME = "2026-11-20 10:00:00.000000"
RATE, N_BLOCKS, BLOCK_EPOCHS = 0.1, 1203, 2
OLD: dict[str, Any] = {"learning_rate": RATE, "epochs": 9, "record_every": 1, "loss": "mse", "seed": 5, "device": "cpu"}
RESULT = {"train_loss": 0.5, "objective": 0.5, "validation_loss": None, "metrics": {"train": {"mse": 0.5}}}


def npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def go_to(database: Database, revision: str) -> None:
    config = alembic_config()
    with database.migrating() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def insert(database: Database, table: str, **values: Any) -> None:
    columns = {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in values.items()}
    with database.connection(writes=True) as connection:
        names = ", ".join(columns)
        connection.execute(text(f"INSERT INTO {table} ({names}) VALUES (:{names.replace(', ', ', :')})"), columns)


def insert_job(database: Database, sequence: int, status: str, **values: Any) -> None:
    always = {"model": "old", "task": "linear_regression", "dataset_id": "ds_old", "requested": OLD, "layout": [[1, 1]]}
    made = {"user_metadata": {}, "created_at": TIME, "attempt": 1, "warnings": []}
    insert(database, "jobs", sequence=sequence, id=f"job_{sequence}", status=status, **{**always, **made, **values})


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Database]:
    """A database of the first schema, with rows in every table; one job's history has more blocks than go at once."""
    database = Database(place_of(tmp_path, migrated=False))
    go_to(database, "0001")
    about = {"sha256": DATASET.sha256, "n_samples": 2, "n_features": 1, "created_at": TIME}
    insert(database, "datasets", id="ds_old", content=DATASET.content, **about)
    insert_job(database, 1, "succeeded", resolved=OLD, version=1, progress=7.0, result=RESULT, engine="analytic")
    evidence = {"evidence": {"limit": 1.0}, "suggestion": {"learning_rate": 0.5}}
    diagnosis = {"code": "learning_rate_too_large", "epoch": 3, **evidence}
    error = {"code": "diverged", "detail": "too fast"}
    warnings = [{"code": "batch_size_exceeds_samples", "detail": "too many"}]
    insert_job(database, 2, "failed", resolved=OLD, diagnosis=diagnosis, error=error, warnings=warnings)
    insert_job(database, 3, "queued")
    for number in range(N_BLOCKS):
        epoch = np.arange(number * BLOCK_EPOCHS, (number + 1) * BLOCK_EPOCHS)
        vectors = {name: npy(np.stack([epoch, epoch + 0.5], axis=1)) for name in ("parameters", "gradient")}
        numbers = {name: npy(epoch / 3) for name in ("train_loss", "gradient_norm")}
        span = {"first_epoch": int(epoch[0]), "last_epoch": int(epoch[-1]), "n_epochs": len(epoch)}
        rate = RATE / (1 + number)
        insert(
            database,
            "history_blocks",
            job_sequence=1 + number % 2,
            learning_rate=rate,
            epoch=npy(epoch),
            **span,
            **numbers,
            **vectors,
        )
    insert(database, "models", name="old", latest_version=1, created_at=TIME, updated_at=TIME)
    parameters = to_bytes((Layer(np.array([[2.0]]), np.array([1.0])),))
    known = {"dataset_schema": DATASET.schema.to_json(), "hyperparameters": OLD, "user_metadata": {}, "result": RESULT}
    version = {"model": "old", "version": 1, "task": "linear_regression", "job_id": "job_1", "dataset_id": "ds_old"}
    insert(database, "versions", **version, **known, n_parameters=2, parameters=parameters, created_at=TIME)
    insert(database, "workers", id="worker_old", device="cpu", started_at=TIME, seen_at=TIME)
    yield database
    database.close()


def n_rows(database: Database) -> dict[str, int]:
    tables = ("datasets", "jobs", "history_blocks", "models", "versions", "workers")
    with database.connection(writes=False) as connection:
        return {table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables}


def test_no_row_is_lost_on_the_way_up_nor_on_the_way_down(old: Database) -> None:
    before = n_rows(old)
    assert min(before.values()) > 0
    migrate(old)
    assert is_migrated(old)
    assert n_rows(old) == before
    migrate(old, "0001")
    assert n_rows(old) == before
    migrate(old)
    assert n_rows(old) == before


@pytest.mark.parametrize("there_and_back", [False, True])
def test_the_history_is_what_it_was_with_a_learning_rate_for_each_epoch(old: Database, there_and_back: bool) -> None:
    migrate(old)
    if there_and_back:
        migrate(old, "0001")
        migrate(old)
    with old.reading() as session:
        job = jobs.get(session, "job_1")
        found = history.read(session, job, first=0, last=None, max_points=100_000)
        trajectory = history.read_trajectory(session, job, first=0, last=None, max_points=100_000)
        last = history.read_epoch(session, job, None)
    number = np.repeat(np.arange(0, N_BLOCKS, 2), BLOCK_EPOCHS)
    epoch = BLOCK_EPOCHS * number + np.tile([0, 1], len(number) // 2)
    assert np.array_equal(found.epoch, epoch)
    assert np.array_equal(found.learning_rate, RATE / (1 + number))
    assert np.array_equal(found.train_loss, epoch / 3)
    assert np.array_equal(found.gradient_norm, epoch / 3)
    assert found.validation_loss is None
    assert np.array_equal(trajectory.parameters, np.stack([epoch, epoch + 0.5], axis=1))
    assert np.array_equal(last.gradient, [epoch[-1], epoch[-1] + 0.5])


def test_jobs_are_what_they_were_and_the_queue_goes_on(old: Database) -> None:
    migrate(old)
    with old.writing() as session:
        succeeded, failed, queued = (jobs.get(session, f"job_{number}") for number in (1, 2, 3))
        claimed = queue.claim(session, "worker_new", 60)
    assert claimed is not None
    assert claimed.id == queued.id
    for job in (succeeded, failed, queued):
        assert job.hyperparameters == OLD
        assert Hyperparameters.model_validate(job.hyperparameters).epochs == 9
        assert (job.scaling, job.environment, job.retry_of) == (None, None, None)
    assert succeeded.result == {**RESULT, "epoch": 7, "optimum": None}
    assert (queued.result, queued.diagnosis, queued.warnings) == (None, None, [])
    told: dict[str, Any] = {"evidence": {}, "suggestion": {}, "epoch": None}
    assert failed.warnings == [{"code": "batch_size_exceeds_samples", "detail": "too many", **told}]
    assert failed.diagnosis == {
        "code": "learning_rate_too_large",
        "detail": "too fast",
        "epoch": 3,
        "evidence": {"limit": 1.0},
        "suggestion": {"learning_rate": 0.5},
    }


def test_models_and_datasets_are_what_they_were(old: Database) -> None:
    migrate(old)
    with old.reading() as session:
        model, version = models.load(session, "old", 1), models.get_version(session, "old", 1)
        dataset = datasets.load(session, "ds_old")
    ((layer,), schema) = (model.parameters, model.schema)
    assert (layer.weight.tolist(), layer.bias.tolist(), schema) == ([[2.0]], [1.0], DATASET.schema)
    assert (model.activation, model.scaling) == ("relu", None)
    assert version.result == {**RESULT, "epoch": 7, "optimum": None}
    assert version.hyperparameters == OLD
    assert dataset.content == DATASET.content
