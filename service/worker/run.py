"""One job, from its dataset to its model: pull blocks of epochs, record each, publish what was learned."""

import dataclasses
import errno
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from service.data.choice import choose
from service.data.outlines import warnings_about
from service.dataset import Dataset, Schema
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
from service.store import aliases, checkpoints, datasets, history, jobs, leases, models
from service.store.database import Database, Session
from service.store.jobs import Job
from service.training.checkpoint import Checkpoint
from service.training.epochs import EpochBlock
from service.training.fit import Training
from service.training.result import Outcome, outcome_of, trained_vector
from service.training.threads import n_threads_for
from service.worker.settling import SettledTraining
from service.worker.watching import watched

logger = logging.getLogger(__name__)

CHECKPOINT_SHARE = 0.05
"""Checkpoints take at most this share of the time: those of large models come with some blocks only."""

FAIR_SHARE = 0.01
FAIR_SECONDS = 60.0
"""An attempt whose checkpoints come so much of all epochs further, or so long a training, gets its job on.

The deaths of workers before it are then held against the job no more. Less does not count, or a job that kills its
worker soon after each start, when a block or two are recorded, would be tried a million times.
"""

Claim = Callable[[Session], Job | None]


class _EndedEarly(Exception):
    """The job is back in the queue, and the database knows."""


def run_job(
    database: Database, settings: Settings, job: Job, stopping: threading.Event, claim: Claim = lambda _: None
) -> Job | None:
    """Train a claimed job to its end: succeeded, failed or cancelled; or back to the queue, to be stopped or paused.

    Args:
        database: where the job is.
        settings: say where datasets are, and how much space there is.
        job: as it was claimed.
        stopping: is set when the worker has to end.
        claim: claims the next job, which is given, in the transaction in which this one succeeds.

    Raises:
        DatabaseUnavailable: when the database fails; the job is running still, as far as it was recorded.
    """
    about = {"job": job.id, "attempt": job.attempt}
    logger.info("job started", extra=about)
    try:
        return _train(database, settings, job, stopping, claim)
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
        else:
            _fail(database, job, "internal_error", f"the service is at fault; its log tells more under {job.id}")
    return None


def _train(database: Database, settings: Settings, job: Job, stopping: threading.Event, claim: Claim) -> Job | None:
    checkpoint = None if job.attempt == 1 else _checkpoint(database, job)
    given = _given(job, checkpoint)
    dataset, about_dataset = _dataset(database, settings, job, given, stopping)
    torch.set_num_threads(n_threads_for(dataset.features.size))
    training = Training(job.task, dataset, given, _start(database, given))
    warnings = [dataclasses.asdict(finding) for finding in (*about_dataset, *training.plan.warnings)]
    if checkpoint is not None and not training.fits(checkpoint):
        checkpoint = None
    settled = SettledTraining(database, job, training, warnings, checkpoint)
    started, next_checkpoint_at = time.monotonic(), 0.0
    for block in settled.blocks():
        outcome = None if block.learned is None else outcome_of(training, block.learned)
        begun, stops = time.monotonic(), stopping.is_set()
        is_due = block.checkpoint is not None and (stops or begun >= next_checkpoint_at)
        content = block.checkpoint().to_bytes() if is_due and block.checkpoint is not None else None
        with database.writing() as session:
            held = leases.check(session, job)  # first, for it is what the fence refuses
            job, noted = settled.noted(session, held)
            _record(session, job, block)
            if held.asked == "cancel":
                jobs.end_cancelled(session, job, noted | {"progress": block.progress})
                return None
            if outcome is not None:
                _succeed(session, job, dataset.schema, block, outcome, warnings, noted | {"progress": block.progress})
                return claim(session)
            gets_on = content is not None and _gets_on(job, block.progress, begun - started)
            jobs.advance(session, job, block.progress, content, gets_on=gets_on, noted=noted)
            if stops or held.asked == "pause":
                jobs.release(session, job)
                return None
        if content is not None:
            now = time.monotonic()
            next_checkpoint_at = now + (now - begun) * (1 / CHECKPOINT_SHARE - 1)
    return None


def _checkpoint(database: Database, job: Job) -> Checkpoint | None:
    """Read the checkpoint of an earlier attempt, if there is one."""
    with database.reading_once() as session:
        content = checkpoints.load(session, job.sequence)
    return None if content is None else Checkpoint.from_bytes(content)


def _gets_on(job: Job, progress: float, seconds: float) -> bool:
    """Tell whether an attempt that has trained for so long, up to here, is more than a try that came to nothing."""
    gained = progress - job.progress
    enough = FAIR_SHARE * float(job.hyperparameters["epochs"])
    return bool(job.n_lost_workers) and (gained >= enough or (gained > 0 and seconds >= FAIR_SECONDS))


def _given(job: Job, checkpoint: Checkpoint | None) -> Hyperparameters:
    """Give the hyperparameters that were asked for, to stop as planned: not later than a training may.

    Where any device would do, it is that of the checkpoint, if it is here: on another one nothing would come out the
    same in every bit, so the training would begin anew.
    """
    planned = Hyperparameters.model_validate(job.hyperparameters)
    given = Hyperparameters.model_validate(job.requested).model_copy(update={"stop": planned.stop})
    if checkpoint is None or job.resolved is None or given.device != "auto":
        return given
    before = job.resolved["device"]
    is_here = before == "cpu" or torch.cuda.is_available()
    return given.model_copy(update={"device": before}) if is_here else given


def _dataset(
    database: Database, settings: Settings, job: Job, given: Hyperparameters, stopping: threading.Event
) -> tuple[Dataset, list[Finding]]:
    """Read what to train on, encoded as the job says, and give it with what is worth knowing of it.

    Raises:
        InvalidDataset: when it cannot be read or encoded.
        LeaseLost: when the job is taken away while a large dataset is gone through.
        NotFound: when its files are gone.
        StorageFull: when there is no space for what is encoded.
        _EndedEarly: when the worker has to end meanwhile.
    """
    if job.selection is None:
        with database.reading_once() as session:
            return datasets.load(session, job.dataset_id), []
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
        dataset = encoded(database, settings, kept, selection, job.task, given, look_up)
        return dataset, warnings_about(choose(kept.table, selection, job.task), selection, dataset.schema.encoding)


def _start(database: Database, given: Hyperparameters) -> NDArray[np.float64] | None:
    """Read the parameters of the model that a training goes on from, if it does."""
    if not isinstance(given.start, StartModel):
        return None
    with database.reading() as session:
        name, number = aliases.resolve(session, given.start.model)
        return trained_vector(models.load(session, name, number).parameters)


def _succeed(
    session: Session,
    job: Job,
    schema: Schema,
    block: EpochBlock,
    outcome: Outcome,
    warnings: list[dict[str, Any]],
    noted: dict[str, Any],
) -> None:
    assert block.stop_reason is not None
    version = models.publish(
        session,
        job,
        schema,
        outcome.parameters,
        outcome.result,
        scaled=outcome.scaled,
        scaling=job.scaling,
        ranges=outcome.ranges,
    )
    jobs.succeed(
        session,
        job,
        version=version,
        result=outcome.result,
        stop_reason=block.stop_reason,
        warnings=warnings + [dataclasses.asdict(finding) for finding in block.findings],
        noted=noted,
    )


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
