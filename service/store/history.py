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
            n_epochs=len(epoch),
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


def read(session: Session, job: Job, *, first: int, last: int | None, max_points: int) -> History:
    """Read the history from epoch `first` to `last`, both included, in at most `max_points` points.

    Reads one block at a time and keeps what is wanted of it, however long the history is.
    """
    block = HistoryBlockRow
    inside = [block.job_sequence == job.sequence, block.last_epoch >= first]
    if last is not None:
        inside.append(block.first_epoch <= last)
    sizes = select(block.first_epoch, block.last_epoch, block.n_epochs).where(*inside).order_by(block.first_epoch)
    query = _blocks(job, block.learning_rate, block.epoch, block.train_loss, block.gradient_norm).where(*inside)
    spans = [_span(session, job, *size, first, last) for size in session.execute(sizes)]
    n_points = sum(high - low for low, high in spans)
    wanted = np.linspace(0, n_points - 1, min(n_points, max_points)).round().astype(int)
    parts, before = [], 0
    for row, (low, high) in zip(session.scalars(query).yield_per(16), spans, strict=True):
        rows = wanted[np.searchsorted(wanted, before) : np.searchsorted(wanted, before + high - low)] - before + low
        before += high - low
        rates = np.full(len(rows), row.learning_rate)
        parts.append((row.epoch[rows], row.train_loss[rows], row.gradient_norm[rows], rates))
    if not parts:
        return History(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0), np.empty(0))
    return History(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _span(
    session: Session, job: Job, first_epoch: int, last_epoch: int, n_epochs: int, first: int, last: int | None
) -> tuple[int, int]:
    """Tell which rows of a block lie between two epochs, both included; only a block at an end is read for it."""
    if first_epoch >= first and (last is None or last_epoch <= last):
        return 0, n_epochs
    this = (HistoryBlockRow.job_sequence == job.sequence, HistoryBlockRow.first_epoch == first_epoch)
    epoch = session.scalars(select(HistoryBlockRow.epoch).where(*this)).one()
    low = int(np.searchsorted(epoch, first))
    return low, n_epochs if last is None else max(low, int(np.searchsorted(epoch, last, side="right")))


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
