"""How a job is really trained, noted as it begins: along with its first block where that comes at once."""

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

from service.errors import TrainingFailed
from service.store import checkpoints, history, jobs, leases
from service.store.database import Database, Session
from service.store.jobs import Job
from service.store.leases import Held
from service.store.tables import Json
from service.training.checkpoint import Checkpoint
from service.training.environment import environment_of
from service.training.epochs import EpochBlock
from service.training.fit import Training

logger = logging.getLogger(__name__)


class SettledTraining:
    """A training whose job is settled before anything else is written for it.

    Args:
        database: where the job is.
        job: as it was claimed.
        training: ready to start.
        warnings: all that is worth knowing before its first step, as JSON values.
        checkpoint: to go on from, if there is one.
    """

    def __init__(
        self,
        database: Database,
        job: Job,
        training: Training,
        warnings: list[dict[str, Any]],
        checkpoint: Checkpoint | None,
    ) -> None:
        self._database = database
        self._job = job
        self._training = training
        self._warnings = warnings
        self._checkpoint = checkpoint
        self._is_settled = False

    def blocks(self) -> Iterator[EpochBlock]:
        """Train, as `Training.blocks` does; no block comes of a job that has been cancelled or paused before.

        The exact engine has its first block at once, and what is settled is left to the transaction that records that.
        Others may take long for a step, and settle before it.
        """
        blocks = self._training.blocks(self._checkpoint)
        if self._training.plan.engine == "exact":
            try:
                first = next(blocks)
            except TrainingFailed:
                if self._settle_alone():
                    raise
                return
            yield first
        elif not self._settle_alone():
            return
        yield from blocks

    def noted(self, session: Session, held: Held) -> tuple[Job, Json]:
        """Give the job as it is settled, with the progress that it begins from, and the values that are to be noted.

        There are none where they are noted already. What was recorded after the checkpoint, or all without one, is
        forgotten before.

        Args:
            session: which holds the write lock.
            held: the job, as it was found in the session.
        """
        if self._is_settled:
            return self._job, {}
        job, training, checkpoint = self._job, self._training, self._checkpoint
        plan, scaling = training.plan, training.examination.preparation.scaling
        progress = 0.0 if checkpoint is None else checkpoint.progress
        resolved = plan.hyperparameters.model_dump(mode="json")
        its_scaling = None if scaling is None else scaling.to_json()
        values = jobs.settled(
            job,
            hyperparameters=resolved,
            engine=plan.engine,
            advice=training.examination.advice_as_json(),
            warnings=self._warnings,
            scaling=its_scaling,
            environment=environment_of(held.dataset_sha256, training.dataset.features.size, plan.hyperparameters),
            resumed_at=None if checkpoint is None else progress,
        )
        if checkpoint is None and job.attempt > 1:
            history.clear(session, job)
            checkpoints.delete(session, [job.sequence])
        elif checkpoint is not None:
            history.clear(session, job, after=checkpoint.last_recorded)
            logger.info("job goes on", extra={"job": job.id, "attempt": job.attempt, "epoch": progress})
        self._job = dataclasses.replace(job, resolved=resolved, scaling=its_scaling, progress=progress)
        self._is_settled = True
        return self._job, values

    def _settle_alone(self) -> bool:
        """Settle in a transaction of its own; tell whether the job goes on, and was not to be cancelled or paused."""
        with self._database.writing() as session:
            job, values = self.noted(session, leases.check(session, self._job))
            asked = jobs.advance(session, job, job.progress, noted=values)
            if asked == "cancel":
                jobs.end_cancelled(session, job)
            elif asked == "pause":
                jobs.release(session, job)
        return asked is None
