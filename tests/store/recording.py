"""Jobs with a history and a model, written straight into the store: no training took place."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset
from service.parameters import n_parameters, unflatten
from service.scaling import learn_scaling
from service.store import history, jobs, models
from service.store.database import Session
from service.store.jobs import Job
from service.tasks import Task
from tests.store.queueing import ADVICE, claim, enqueue

RESULT: dict[str, Any] = {
    "epoch": 0,
    "train_loss": 0.5,
    "validation_loss": None,
    "objective": 0.5,
    "metrics": {"train": {}, "validation": None, "test": None},
    "optimum": None,
}


def start(session: Session, task: Task, dataset: Dataset, **hyperparameters: Any) -> Job:
    """Enqueue a job, claim it, and settle it with the scaling that its dataset asks for."""
    enqueue(session, dataset, task=task, **hyperparameters)
    job = claim(session)
    given = job.hyperparameters
    scaling = learn_scaling(dataset.features, dataset.targets, given["scale"], given["scale_targets"])
    job = replace(job, scaling=None if scaling is None else scaling.to_json())
    settled: dict[str, Any] = {"hyperparameters": given, "engine": "analytic", "advice": ADVICE, "scaling": job.scaling}
    jobs.advance(session, job, 0.0, noted=jobs.settled(job, **settled, warnings=[], environment={}))
    return job


def record(session: Session, job: Job, parameters: NDArray[Any], gradient: NDArray[Any]) -> None:
    """Record these vectors as the epochs from 0 on, in two blocks."""
    records, validates = job.hyperparameters["record_parameters"], job.hyperparameters["validation_fraction"] > 0
    for epoch in np.array_split(np.arange(len(parameters)), 2):
        history.record(
            session,
            job,
            epoch=epoch,
            train_loss=1 / (1 + epoch),
            validation_loss=2 / (1 + epoch) if validates else None,
            gradient_norm=1 / (2 + epoch),
            learning_rate=0.1 / (1 + epoch),
            parameters=parameters[epoch] if records else None,
            gradient=gradient[epoch] if records else None,
        )


def publish(session: Session, job: Job, dataset: Dataset, original: NDArray[Any], scaled: NDArray[Any] | None) -> None:
    """End a job with a model of these parameters."""
    version = models.publish(
        session,
        job,
        dataset.schema,
        unflatten(original, job.layout),
        RESULT,
        scaled=None if scaled is None else unflatten(scaled, job.layout),
        scaling=job.scaling,
    )
    jobs.succeed(session, job, version=version, result=RESULT, stop_reason="epochs_completed", warnings=[])


def random_vectors(job: Job, n_epochs: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((n_epochs, n_parameters(job.layout)))
