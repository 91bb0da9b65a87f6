"""What a training came to, in every bit, so that two trainings can be held against each other."""

from typing import Any

import numpy as np

from service.store import history, jobs, models
from service.store.database import Database


def outcome_of(database: Database, job_id: str) -> dict[str, Any]:
    """Give all that is known of a job that has succeeded, but for when and how often it was begun.

    Its history is checked to have no epoch twice, and none out of order.
    """
    with database.reading() as session:
        job = jobs.get(session, job_id)
        assert job.status == "succeeded", (job.id, job.status, job.error)
        assert job.version is not None
        found = history.read(session, job, first=0, last=None, max_points=10**7)
        path = history.read_trajectory(session, job, first=0, last=None, max_points=10**7)
        version = models.load(session, job.model, job.version)
    assert np.array_equal(found.epoch, np.unique(found.epoch))
    told = ("result", "warnings", "stop_reason", "progress", "hyperparameters", "scaling", "engine")
    columns = {name: column for name, column in vars(found).items() if column is not None}
    columns |= {"path_epoch": path.epoch, "path": path.parameters}
    for number, layer in enumerate(version.parameters):
        columns |= {f"{number}.weight": layer.weight, f"{number}.bias": layer.bias}
    bits = {name: (column.dtype.str, column.shape, column.tobytes()) for name, column in columns.items()}
    return {name: getattr(job, name) for name in told} | bits


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Name what is not the same in every bit."""
    return [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]
