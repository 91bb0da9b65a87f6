"""The history of a job: its recorded epochs, in blocks of some thousand, in the units of the descent."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, delete, func, insert, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.errors import EpochNotRecorded, NotFound
from service.parameters import n_parameters
from service.store.columns import long
from service.store.jobs import Job
from service.store.statements import run
from service.store.tables import HistoryBlockRow, core

_KEYS_AT_ONCE = 500
_INSERT = insert(core(HistoryBlockRow))


@dataclass(frozen=True)
class History:
    """Recorded epochs as columns; those who asked for fewer points get them evenly spread, first and last included."""

    epoch: NDArray[np.int64]  # (n,)
    train_loss: NDArray[np.float64]  # (n,)
    validation_loss: NDArray[np.float64] | None  # (n,); None when it was not measured
    gradient_norm: NDArray[np.float64]  # (n,)
    learning_rate: NDArray[np.float64]  # (n,)


@dataclass(frozen=True)
class Trajectory:
    """The flat parameter vectors of recorded epochs, as scaled as the training was."""

    epoch: NDArray[np.int64]  # (n,)
    parameters: NDArray[Any]  # (n, n_parameters)


@dataclass(frozen=True)
class RecordedEpoch:
    """The flat parameter vector after an epoch, and the gradient there, both (n_parameters,), as scaled as it was."""

    epoch: int
    parameters: NDArray[Any]
    gradient: NDArray[Any]


def record(
    session: Session,
    job: Job,
    *,
    epoch: NDArray[np.int64],
    train_loss: NDArray[np.float64],
    validation_loss: NDArray[np.float64] | None,
    gradient_norm: NDArray[np.float64],
    learning_rate: NDArray[np.float64],
    parameters: NDArray[Any] | None,
    gradient: NDArray[Any] | None,
) -> None:
    """Add a block of epochs, at least one, after those recorded before.

    Args:
        epoch: rising, (n,), as are all columns but `parameters` and `gradient`, which are (n, n_parameters).
        validation_loss: None when no samples are held out, in every block of a job or in none.
        parameters: None, like `gradient`, when the job does not record them.
    """
    run(
        session,
        _INSERT,
        {
            "job_sequence": job.sequence,
            "first_epoch": int(epoch[0]),
            "last_epoch": int(epoch[-1]),
            "n_epochs": len(epoch),
            "epoch": epoch,
            "train_loss": train_loss,
            "validation_loss": validation_loss,
            "gradient_norm": gradient_norm,
            "learning_rate": learning_rate,
            "parameters": parameters,
            "gradient": gradient,
        },
    )


def clear(session: Session, job: Job, after: int = -1) -> None:
    """Forget what an earlier attempt recorded after an epoch, which is the last of a block; all of it by default."""
    block = HistoryBlockRow
    session.execute(delete(block).where(block.job_sequence == job.sequence, block.first_epoch > after))


def read(session: Session, job: Job, *, first: int, last: int | None, max_points: int) -> History:
    """Read the history from epoch `first` to `last`, both included, in at most `max_points` points.

    Reads one block at a time and keeps what is wanted of it, however long the history is.
    """
    block = HistoryBlockRow
    columns = (block.epoch, block.train_loss, block.validation_loss, block.gradient_norm, block.learning_rate)
    parts = [
        [None if column is None else column[rows] for column in block_columns]
        for block_columns, rows in _thinned(session, job, columns, first, last, max_points)
    ]
    if not parts:
        return History(np.empty(0, dtype=np.int64), np.empty(0), None, np.empty(0), np.empty(0))
    joined: list[Any] = [None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True)]
    return History(*joined)


def read_trajectory(session: Session, job: Job, *, first: int, last: int | None, max_points: int) -> Trajectory:
    """Read the parameters from epoch `first` to `last`, both included, in at most `max_points` points.

    Of the blocks, one at a time is in memory, and those of which nothing is wanted are not read.

    Raises:
        NotFound: when the job does not record parameters.
    """
    _check_recorded(job)
    block = HistoryBlockRow
    epochs = [np.empty(0, dtype=np.int64)]
    parameters: list[NDArray[Any]] = []
    for columns, rows in _thinned(session, job, (block.epoch, block.parameters), first, last, max_points):
        epochs.append(columns.epoch[rows])
        parameters.append(columns.parameters[rows])
    if not parameters:
        return Trajectory(epochs[0], np.empty((0, n_parameters(job.layout))))
    return Trajectory(np.concatenate(epochs), np.concatenate(parameters))


def read_epoch(session: Session, job: Job, epoch: int | None) -> RecordedEpoch:
    """Read what was recorded at an epoch; at the last one when none is named.

    Raises:
        NotFound: when the job does not record parameters, or has not come to the epoch (yet).
        EpochNotRecorded: when it has gone through the epoch; with the one before it that was recorded.
    """
    _check_recorded(job)
    block = HistoryBlockRow
    query = select(block.epoch, block.parameters, block.gradient).where(block.job_sequence == job.sequence)
    if epoch is not None:
        query = query.where(block.first_epoch <= long(epoch))
    row = session.execute(query.order_by(block.first_epoch.desc()).limit(1)).first()
    if row is None:
        raise NotFound(f"job {job.id} has recorded no epoch yet")
    index = len(row.epoch) - 1 if epoch is None else int(np.searchsorted(row.epoch, epoch, side="right")) - 1
    if epoch is not None and row.epoch[index] != epoch:
        latest = session.scalars(select(func.max(block.last_epoch)).where(block.job_sequence == job.sequence)).one()
        raise (EpochNotRecorded if epoch < latest else NotFound)(
            f"epoch {epoch} was not recorded; the last one recorded before it is {row.epoch[index]} "
            f"(record_every is {job.hyperparameters['record_every']})"
        )
    return RecordedEpoch(int(row.epoch[index]), row.parameters[index], row.gradient[index])


def _check_recorded(job: Job) -> None:
    if job.hyperparameters.get("record_parameters") is False:  # jobs of the first version have no such key
        learned = f"GET /models/{job.model}/versions/{job.version}/parameters gives what it learned"
        if job.version is None:
            learned = "what it learns is in the parameters of the model that it publishes"
        raise NotFound(f"job {job.id} records no parameters along the way (record_parameters is false): {learned}")


def _thinned(
    session: Session,
    job: Job,
    columns: tuple[InstrumentedAttribute[Any], ...],
    first: int,
    last: int | None,
    max_points: int,
) -> Iterator[tuple[Row[Any], NDArray[np.int64]]]:
    """Give these columns of one block after the other, and which of its rows are wanted, at least one."""
    block = HistoryBlockRow
    inside = [block.job_sequence == job.sequence, block.last_epoch >= long(first)]
    # By this the key finds where to begin: a long training has thousands of blocks before that.
    at_first = select(func.max(block.first_epoch)).where(inside[0], block.first_epoch <= long(first)).scalar_subquery()
    inside.append(block.first_epoch >= func.coalesce(at_first, long(first)))
    if last is not None:
        inside.append(block.first_epoch <= long(last))
    sizes = select(block.first_epoch, block.last_epoch, block.n_epochs).where(*inside).order_by(block.first_epoch)
    wanted = _wanted([_span(session, job, *size, first, last) for size in session.execute(sizes)], max_points)
    keys = list(wanted)
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        query = select(*columns).where(block.job_sequence == job.sequence, block.first_epoch.in_(some))
        found = session.execute(query.order_by(block.first_epoch).execution_options(yield_per=1))
        for key, row in zip(some, found, strict=True):
            yield row, wanted[key]


def _wanted(spans: list[tuple[int, int, int]], max_points: int) -> dict[int, NDArray[np.int64]]:
    """Spread points evenly over spans of rows, first and last included; give the rows wanted of each, if any."""
    n_points = sum(high - low for _, low, high in spans)
    points = np.linspace(0, n_points - 1, min(n_points, max_points)).round().astype(np.int64)
    found, before = {}, 0
    for key, low, high in spans:
        rows = points[np.searchsorted(points, before) : np.searchsorted(points, before + high - low)] - before + low
        before += high - low
        if len(rows):
            found[key] = rows
    return found


def _span(
    session: Session, job: Job, first_epoch: int, last_epoch: int, n_epochs: int, first: int, last: int | None
) -> tuple[int, int, int]:
    """Give a block's first epoch, and which of its rows lie between two epochs, both included.

    Only a block at an end is read for it.
    """
    if first_epoch >= first and (last is None or last_epoch <= last):
        return first_epoch, 0, n_epochs
    this = (HistoryBlockRow.job_sequence == job.sequence, HistoryBlockRow.first_epoch == first_epoch)
    epoch = session.scalars(select(HistoryBlockRow.epoch).where(*this)).one()
    low = int(np.searchsorted(epoch, first))
    return first_epoch, low, n_epochs if last is None else max(low, int(np.searchsorted(epoch, last, side="right")))
