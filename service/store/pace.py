"""The pace of running jobs, and how long they will go on at it."""

import math

from service.store.columns import now
from service.store.jobs import RESUMED_AT, Job


def epochs_per_second(job: Job) -> float | None:
    """Give the epochs that the running attempt of a job has done, by its time; None where that is not known yet.

    Those of earlier attempts, which it went on from, do not count; nor does any before it is settled from which.
    """
    if job.status != "running" or job.engine is None:
        return None
    n_epochs = job.progress - float((job.environment or {}).get(RESUMED_AT, 0.0))
    return n_epochs / max(1e-3, seconds_so_far(job)) if n_epochs > 0 else None


def seconds_to_end(job: Job) -> float | None:
    """Estimate how long a running job will go on at its pace; None where that is not known."""
    pace = epochs_per_second(job)
    if pace is None:
        return None
    return min((float(job.hyperparameters["epochs"]) - job.progress) / pace, most_seconds(job))


def most_seconds(job: Job) -> float:
    """Tell how long a running job may go on at the most, by its `stop.max_seconds`."""
    limit = (job.hyperparameters.get("stop") or {}).get("max_seconds")  # jobs of the first version have none
    return math.inf if limit is None else max(0.0, limit - seconds_so_far(job))


def seconds_so_far(job: Job) -> float:
    """Tell how long the running attempt of a job has lasted."""
    return 0.0 if job.started_at is None else max(0.0, (now() - job.started_at).total_seconds())
