"""Checkpoints of running jobs, one for each at most: where to go on from after the last block that came with one.

They are written by `jobs.advance` only, behind its fence, and deleted when their job ends.
"""

from collections.abc import Collection

from sqlalchemy import bindparam, insert, select
from sqlalchemy import delete as delete_rows
from sqlalchemy.orm import Session

from service.store.statements import run
from service.store.tables import CheckpointRow, core

_CHECKPOINTS = core(CheckpointRow)
_INSERT = insert(_CHECKPOINTS)
_DELETE = delete_rows(_CHECKPOINTS).where(_CHECKPOINTS.c.job_sequence == bindparam("its_sequence"))


def save(session: Session, job_sequence: int, content: bytes) -> None:
    """Write a job's checkpoint in the place of the one before."""
    delete(session, [job_sequence])
    run(session, _INSERT, {"job_sequence": job_sequence, "content": content})


def load(session: Session, job_sequence: int) -> bytes | None:
    """Read a job's checkpoint, if it has one."""
    return session.scalar(select(CheckpointRow.content).where(CheckpointRow.job_sequence == job_sequence))


def delete(session: Session, job_sequences: Collection[int]) -> None:
    """Forget the checkpoints of these jobs."""
    if job_sequences:
        run(session, _DELETE, [{"its_sequence": sequence} for sequence in job_sequences])
