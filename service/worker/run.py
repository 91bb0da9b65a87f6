"""One job, from its dataset to its model: pull blocks of epochs, record each, publish what was learned."""

import dataclasses
import errno
import logging
import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from service.data.choice import choose
from service.dataset import Dataset
from service.errors import (
    DatabaseUnavailable,
    Finding,
    InvalidRequest,
    LeaseLost,
    NotFound,
    StorageFull,
    TrainingDiverged,
    TrainingFailed,
)
from service.hyperparameters import Hyperparameters, StartModel
from service.library import encoded, kept_table, while_files_are_there
from service.selection import Selection
from service.settings import Settings
from service.store import datasets, history, jobs, leases, models
from service.store.database import Database, Session
from service.store.jobs import Job
from service.training.environment import environment_of
from service.training.epochs import EpochBlock
from service.training.fit import Training
from service.training.result import outcome_of, trained_vector
from service.training.threads import n_threads_for
from service.worker.watching import watched

logger = logging.getLogger(__name__)


class _EndedEarly(Exception):
    """The job is back in the queue, and the database knows."""


def run_job(database: Database, settings: Settings, job: Job, stopping: threading.Event) -> None:
    """Train a claimed job to its end: succeeded, failed or cancelled; or back to the queue, to be stopped or paused.

    Args:
        database: where the job is.
        settings: say where datasets are, and how much space there is.
        job: as it was claimed.
        stopping: is set when the worker has to end.

    Raises:
        DatabaseUnavailable: when the database fails; the job is running still, as far as it was recorded.
    """
    about = {"job": job.id, "attempt": job.attempt}
    logger.info("job started", extra=about)
    try:
        _train(database, settings, job, stopping)
    except LeaseLost as lost:
        logger.warning(lost.detail, extra=about)
    except _EndedEarly:
        logger.info("job ended while its dataset was encoded", extra=about)
    except TrainingFailed as failure:
        logger.info("job failed: %s", failure.detail, extra=about)
        _fail(database, job, failure.code, failure.detail, failure)
    except (InvalidRequest, NotFound) as refused:
        # It was accepted once; what a training may be, or the model that it starts from, has changed since.
        logger.info("job refused: %s", refused.detail, extra=about)
        _fail(database, job, "invalid_request", refused.detail)
    except (MemoryError, torch.OutOfMemoryError):
        logger.exception("out of memory", extra=about)
        _fail(database, job, "out_of_memory", "the training needs more memory than the worker has: use fewer samples")
    except StorageFull as full:
        logger.warning("job failed: %s", full.detail, extra=about)
        _fail(database, job, "storage_full", full.detail)
    except DatabaseUnavailable:
        raise  # no fault of the job's: its worker puts it back into the queue
    except Exception as error:
        logger.exception("job failed", extra=about)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _fail(database, job, "storage_full", "the training needs more of the disk than is free: delete datasets")
            return
        _fail(database, job, "internal_error", f"the service is at fault; its log tells more under {job.id}")


def _train(database: Database, settings: Settings, job: Job, stopping: threading.Event) -> None:
    with database.writing() as session:
        leases.check(session, job)
        history.clear(session, job)
    given = Hyperparameters.model_validate(job.requested)
    dataset, about_dataset = _dataset(database, settings, job, given, stopping)
    torch.set_num_threads(n_threads_for(dataset.features.size))
    training = Training(job.task, dataset, given, _start(database, given))
    warnings = [dataclasses.asdict(finding) for finding in (*about_dataset, *training.plan.warnings)]
    job = _settle(database, job, training, warnings)
    if job.status != "running":
        return
    for block in training.blocks():
        outcome = None if block.learned is None else outcome_of(training, block.learned)
        with database.writing() as session:
            asked = jobs.advance(session, job, block.progress)  # first, for it is what the fence refuses
            _record(session, job, block)
            if asked == "cancel":
                jobs.end_cancelled(session, job)
                return
            if outcome is not None and block.stop_reason is not None:
                version = models.publish(
                    session,
                    job,
                    dataset.schema,
                    outcome.parameters,
                    outcome.result,
                    scaled=outcome.scaled,
                    scaling=job.scaling,
                )
                jobs.succeed(
                    session,
                    job,
                    version=version,
                    result=outcome.result,
                    stop_reason=block.stop_reason,
                    warnings=warnings + [dataclasses.asdict(finding) for finding in block.findings],
                )
            elif stopping.is_set() or asked == "pause":
                jobs.release(session, job)
                return


def _dataset(
    database: Database, settings: Settings, job: Job, given: Hyperparameters, stopping: threading.Event
) -> tuple[Dataset, tuple[Finding, ...]]:
    """Read what to train on, encoded as the job says, and give it with what is worth knowing of it.

    Raises:
        InvalidDataset: when it cannot be read or encoded.
        LeaseLost: when the job is taken away while a large dataset is gone through.
        NotFound: when its files are gone.
        StorageFull: when there is no space for what is encoded.
        _EndedEarly: when the worker has to end meanwhile.
    """
    if job.selection is None:
        with database.reading() as session:
            return datasets.load(session, job.dataset_id), ()
    selection = Selection.model_validate(job.selection)

    def look_up() -> None:
        with database.reading() as session:
            leases.check(session, job)
        if stopping.is_set():
            with database.writing() as session:
                jobs.release(session, job)
            raise _EndedEarly

    with while_files_are_there(job.dataset_id):
        with database.reading() as session:
            kept = kept_table(session, settings.datasets_path, job.dataset_id)
        kept = dataclasses.replace(kept, table=watched(kept.table, look_up))
        found = choose(kept.table, selection, job.task).warnings
        return encoded(database, settings, kept, selection, job.task, given, look_up), found


def _start(database: Database, given: Hyperparameters) -> NDArray[np.float64] | None:
    """Read the parameters of the model that a training goes on from, if it does."""
    if not isinstance(given.start, StartModel):
        return None
    with database.reading() as session:
        name, number = models.resolve(session, given.start.model)
        return trained_vector(models.load(session, name, number).parameters)


def _settle(database: Database, job: Job, training: Training, warnings: list[dict[str, Any]]) -> Job:
    """Note how the job will really be trained; give it with that, and cancelled or queued if that is asked for."""
    plan, scaling = training.plan, training.examination.preparation.scaling
    resolved = plan.hyperparameters.model_dump(mode="json")
    its_scaling = None if scaling is None else scaling.to_json()
    with database.writing() as session:
        asked = jobs.settle(
            session,
            job,
            hyperparameters=resolved,
            engine=plan.engine,
            warnings=warnings,
            scaling=its_scaling,
            environment=environment_of(
                datasets.get(session, job.dataset_id).sha256, training.dataset.features.size, plan.hyperparameters
            ),
        )
        if asked == "cancel":
            jobs.end_cancelled(session, job)
        elif asked == "pause":
            jobs.release(session, job)
    status: jobs.Status = "cancelled" if asked == "cancel" else "queued" if asked else "running"
    return dataclasses.replace(job, resolved=resolved, scaling=its_scaling, status=status)


def _record(session: Session, job: Job, block: EpochBlock) -> None:
    if len(block.columns):
        columns = {field.name: getattr(block.columns, field.name) for field in dataclasses.fields(block.columns)}
        history.record(session, job, **columns)


def _fail(database: Database, job: Job, code: str, detail: str, failure: TrainingFailed | None = None) -> None:
    diagnosis = dataclasses.asdict(failure.finding) if isinstance(failure, TrainingDiverged) else None
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
