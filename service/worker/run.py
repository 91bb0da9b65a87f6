"""One job, from its dataset to its model: pull blocks of epochs, record each, publish what was learned."""

import dataclasses
import logging
import math
import os
import threading

import torch

from service.dataset import Dataset
from service.errors import LeaseLost, TrainingDiverged, TrainingFailed
from service.hyperparameters import Hyperparameters
from service.parameters import unflatten
from service.plan import Plan
from service.store import datasets, history, jobs, models
from service.store.database import Database, Session
from service.store.jobs import Job
from service.training.epochs import EpochBlock
from service.training.fit import fit, resolve
from service.training.metrics import evaluate, penalty

logger = logging.getLogger(__name__)

LARGE_TABLE = 2**23
"""Below so many numbers, threads cost more to bring together than they save, ten times as much on a busy machine."""


def run_job(database: Database, job: Job, stopping: threading.Event) -> None:
    """Train a claimed job to its end: succeeded, failed or cancelled; or back to the queue when `stopping` is set."""
    about = {"job": job.id, "attempt": job.attempt}
    logger.info("job started", extra=about)
    try:
        _train(database, job, stopping)
    except LeaseLost as lost:
        logger.warning(lost.detail, extra=about)
    except TrainingFailed as failure:
        logger.info("job failed: %s", failure.detail, extra=about)
        _fail(database, job, failure.code, failure.detail, failure)
    except (MemoryError, torch.OutOfMemoryError):
        logger.exception("out of memory", extra=about)
        _fail(database, job, "out_of_memory", "the training needs more memory than the worker has: use fewer samples")
    except Exception:
        logger.exception("job failed", extra=about)
        _fail(database, job, "internal_error", f"the service is at fault; its log tells more under {job.id}")


def _train(database: Database, job: Job, stopping: threading.Event) -> None:
    with database.reading() as session:
        dataset = datasets.load(session, job.dataset_id)
    with database.writing() as session:
        history.clear(session, job)
    torch.set_num_threads(1 if dataset.features.size < LARGE_TABLE else os.cpu_count() or 1)
    plan = resolve(job.task, dataset, Hyperparameters.model_validate(job.requested))
    resolved = plan.hyperparameters.model_dump(mode="json")
    warnings = [dataclasses.asdict(warning) for warning in plan.warnings]
    job = dataclasses.replace(job, resolved=resolved)
    with database.writing() as session:
        engine = plan.hyperparameters.engine
        if jobs.settle(session, job, hyperparameters=resolved, engine=engine, warnings=warnings):
            jobs.end_cancelled(session, job)
            return
    for block in fit(job.task, dataset, plan.hyperparameters):
        result = _result(plan, dataset, block)
        with database.writing() as session:
            cancelled = jobs.advance(session, job, block.progress)  # first, for it is what the fence refuses
            _record(session, job, block)
            if cancelled:
                jobs.end_cancelled(session, job)
                return
            if block.stop_reason is not None:
                parameters = unflatten(block.columns.parameters[-1], plan.layout)
                version = models.publish(session, job, dataset.schema, parameters, result)
                jobs.succeed(session, job, version=version, result=result, stop_reason=block.stop_reason)
            elif stopping.is_set():
                jobs.release(session, job)
                return


def _record(session: Session, job: Job, block: EpochBlock) -> None:
    columns = block.columns
    if len(columns):
        history.record(
            session,
            job,
            epoch=columns.epoch,
            train_loss=columns.train_loss,
            gradient_norm=columns.gradient_norm,
            learning_rate=block.learning_rate,
            parameters=columns.parameters,
            gradient=columns.gradient,
        )


def _result(plan: Plan, dataset: Dataset, block: EpochBlock) -> dict[str, object]:
    """Sum up what the last block learned; before that there is nothing to sum up."""
    if block.stop_reason is None:
        return {}
    parameters = unflatten(block.columns.parameters[-1], plan.layout)
    train_loss = float(block.columns.train_loss[-1])
    objective = train_loss + penalty(parameters, plan.hyperparameters.l2)
    return {
        "train_loss": train_loss,
        "objective": objective if math.isfinite(objective) else None,
        "validation_loss": None,
        "metrics": {"train": evaluate(plan.task, dataset, parameters), "validation": None, "test": None},
    }


def _fail(database: Database, job: Job, code: str, detail: str, failure: TrainingFailed | None = None) -> None:
    diagnosis = dataclasses.asdict(failure.diagnosis) if isinstance(failure, TrainingDiverged) else None
    try:
        with database.writing() as session:
            jobs.fail(
                session,
                job,
                stop_reason="diverged" if diagnosis else "error",
                error={"code": code, "detail": detail},
                diagnosis=diagnosis,
            )
    except LeaseLost as lost:
        logger.warning(lost.detail)
