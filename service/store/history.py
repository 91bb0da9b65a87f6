"""The history of a job: its recorded epochs, in blocks of some thousand."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, delete, select
from sqlalchemy.orm import InstrumentedAttribute, Session, load_only

from service.errors import NotFound
from service.store.jobs import Job
from service.store.tables import HistoryBlockRow


@dataclass(frozen=True)
class History:
    """Recorded epochs as columns; those who asked for fewer points get them evenly spread, first and last included."""

    epoch: NDArray[np.int64]  # (n,)
    train_loss: NDArray[np.float64]  # (n,)
    gradient_norm: NDArray[np.float64]  # (n,)
    learning_rate: NDArray[np.float64]  # (n,)


@dataclass(frozen=True)
class RecordedEpoch:
    """The flat parameter vector after an epoch, and the gradient there, both (n_parameters,)."""

    epoch: int
    parameters: NDArray[Any]
    gradient: NDArray[Any]


def record(
    session: Session,
    job: Job,
    *,
    epoch: NDArray[np.int64],
    train_loss: NDArray[np.float64],
    gradient_norm: NDArray[np.float64],
    learning_rate: float,
    parameters: NDArray[Any],
    gradient: NDArray[Any],
) -> None:
    """Add a block of epochs, at least one, after those recorded before."""
    session.add(
        HistoryBlockRow(
            job_sequence=job.sequence,
            first_epoch=int(epoch[0]),
            last_epoch=int(epoch[-1]),
            learning_rate=learning_rate,
            epoch=epoch,
            train_loss=train_loss,
            gradient_norm=gradient_norm,
            parameters=parameters,
            gradient=gradient,
        )
    )
    session.flush()


def clear(session: Session, job: Job) -> None:
    """Forget what an earlier attempt recorded."""
    session.execute(delete(HistoryBlockRow).where(HistoryBlockRow.job_sequence == job.sequence))


def read(session: Session, job: Job, *, first: int, last: int | None, max_points: int | None) -> History:
    """Read the history from epoch `first` to `last`, both included, in at most `max_points` points."""
    block = HistoryBlockRow
    query = _blocks(job, block.learning_rate, block.epoch, block.train_loss, block.gradient_norm)
    query = query.where(block.last_epoch >= first)
    if last is not None:
        query = query.where(block.first_epoch <= last)
    rows = session.scalars(query).all()
    if not rows:
        return History(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0), np.empty(0))
    epoch = np.concatenate([row.epoch for row in rows])
    wanted = np.flatnonzero((epoch >= first) & (epoch <= (np.inf if last is None else last)))
    if max_points is not None and len(wanted) > max_points:
        wanted = wanted[np.linspace(0, len(wanted) - 1, max_points).round().astype(int)]
    return History(
        epoch[wanted],
        np.concatenate([row.train_loss for row in rows])[wanted],
        np.concatenate([row.gradient_norm for row in rows])[wanted],
        np.concatenate([np.full(len(row.epoch), row.learning_rate) for row in rows])[wanted],
    )


def read_epoch(session: Session, job: Job, epoch: int | None) -> RecordedEpoch:
    """Read what was recorded at an epoch; at the last one when none is named.

    Raises:
        NotFound: when the epoch was not recorded (yet); says which ones near it were.
    """
    block = HistoryBlockRow
    query = (
        _blocks(job, block.epoch, block.parameters, block.gradient).order_by(None).order_by(block.first_epoch.desc())
    )
    if epoch is not None:
        query = query.where(block.first_epoch <= epoch)
    row = session.scalars(query.limit(1)).first()
    if row is None:
        raise NotFound(f"job {job.id} has recorded no epoch yet")
    index = len(row.epoch) - 1 if epoch is None else int(np.searchsorted(row.epoch, epoch, side="right")) - 1
    if epoch is not None and row.epoch[index] != epoch:
        raise NotFound(
            f"epoch {epoch} was not recorded; the last one recorded before it is {row.epoch[index]} "
            f"(record_every is {job.hyperparameters['record_every']})"
        )
    return RecordedEpoch(int(row.epoch[index]), row.parameters[index], row.gradient[index])


def _blocks(job: Job, *columns: InstrumentedAttribute[Any]) -> Select[HistoryBlockRow]:
    """Select a job's blocks in order, reading no more than these columns."""
    query = select(HistoryBlockRow).options(load_only(*columns))
    return query.where(HistoryBlockRow.job_sequence == job.sequence).order_by(HistoryBlockRow.first_epoch)
