"""Jobs in the queue as `POST /train` puts them there, without HTTP."""

from typing import Any

from service.dataset import Dataset
from service.hyperparameters import Hyperparameters
from service.plan import make_plan
from service.store import datasets, jobs, queue
from service.store.database import Session
from service.store.jobs import Asked, Job
from service.store.tables import Json
from service.tasks import Task

TWICE = Dataset([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])

SETTLED: Json = {"learning_rate": 0.25, "device": "cpu"}
SCALING = {"feature_mean": [0.5], "feature_scale": [2.0], "target_mean": [0.0], "target_scale": [1.0]}
ADVICE: Json = {
    "limit": 4.5e-5,
    "kind": "exact",
    "suggested": 2.2e-5,
    "fastest": None,
    "scaled_limit": None,
    "epochs_to_tolerance": None,
    "condition_number": None,
    "detail": "descent on this data converges at rates below 4.5e-05 and diverges above",
}
ENVIRONMENT = {"device": "cpu", "versions": {"numpy": "2.3"}}


def enqueue(
    session: Session,
    dataset: Dataset = TWICE,
    *,
    task: Task = "linear_regression",
    model: str | None = "twice",
    retry_of: str | None = None,
    priority: int = 0,
    **hyperparameters: Any,
) -> Job:
    given = Hyperparameters(**hyperparameters)
    plan = make_plan(task, dataset, given)
    return jobs.enqueue(
        session,
        model=model,
        task=task,
        dataset_id=datasets.keep(session, dataset),
        requested=given.model_dump(mode="json") | {"seed": plan.hyperparameters.seed},
        resolved=plan.hyperparameters.model_dump(mode="json"),
        layout=plan.layout,
        user_metadata={"asked_by": "a test"},
        warnings=[],
        retry_of=retry_of,
        priority=priority,
    )


def claim(session: Session, worker_id: str = "worker_a", lease_seconds: float = 60) -> Job:
    """Claim the next job, of which there must be one. A lease of less than 0 seconds has run out already."""
    job = queue.claim(session, worker_id, lease_seconds)
    assert job is not None
    return job


def settle(
    session: Session, job: Job, hyperparameters: Json = SETTLED, resumed_at: float | None = None
) -> Asked | None:
    """Settle a claimed job as its worker does before the first epoch."""
    noted = jobs.settled(
        job,
        hyperparameters=hyperparameters,
        engine="analytic",
        advice=ADVICE,
        warnings=[],
        scaling=SCALING,
        environment=ENVIRONMENT,
        resumed_at=resumed_at,
    )
    return jobs.advance(session, job, resumed_at or 0.0, noted=noted)
