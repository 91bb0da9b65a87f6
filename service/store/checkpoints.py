"""Checkpoints of running jobs, one for each at most: where to go on from after the last block that came with one.

They are written by `jobs.advance` only, behind its fence, and deleted when their job ends.
"""

from collections.abc import Collection

from sqlalchemy import delete as delete_rows
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.store.tables import CheckpointRow


def save(session: Session, job_sequence: int, content: bytes) -> None:
    """Write a job's checkpoint in the place of the one before."""
    delete(session, [job_sequence])
    session.add(CheckpointRow(job_sequence=job_sequence, content=content))
    session.flush()


def load(session: Session, job_sequence: int) -> bytes | None:
    """Read a job's checkpoint, if it has one."""
    return session.scalar(select(CheckpointRow.content).where(CheckpointRow.job_sequence == job_sequence))


def delete(session: Session, job_sequences: Collection[int]) -> None:
    """Forget the checkpoints of these jobs."""
    if job_sequences:
        session.execute(
            delete_rows(CheckpointRow)
            .where(CheckpointRow.job_sequence.in_(job_sequences))
            .execution_options(synchronize_session=False)
        )
