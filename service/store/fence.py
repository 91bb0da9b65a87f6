"""The fence: what a worker does to a job counts only while that is running in the attempt that the worker claimed."""

from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy import Executable, Row, and_, bindparam
from sqlalchemy.orm import Session

from service.errors import LeaseLost
from service.store.statements import run
from service.store.tables import JobRow, core

_JOBS = core(JobRow)
IS_HELD = and_(
    _JOBS.c.sequence == bindparam("its_sequence"),
    _JOBS.c.attempt == bindparam("its_attempt"),
    _JOBS.c.status == "running",
)
"""What statements that go through the fence ask for."""


class Claimed(Protocol):
    """A job as it was claimed."""

    @property
    def sequence(self) -> int: ...  # noqa: D102

    @property
    def id(self) -> str: ...  # noqa: D102

    @property
    def attempt(self) -> int: ...  # noqa: D102


def through(session: Session, statement: Executable, job: Claimed, values: Mapping[str, Any]) -> Row[Any]:
    """Run a statement about a claimed job with `IS_HELD`, which gives its row.

    Raises:
        LeaseLost: when the job is no longer running, or in another attempt.
    """
    found = run(session, statement, {"its_sequence": job.sequence, "its_attempt": job.attempt, **values}).first()
    if found is None:
        raise LeaseLost(f"job {job.id} is no longer this worker's (attempt {job.attempt})")
    return found
