"""Ownership: a session of somebody who may not see everything sees what is theirs, whatever is asked of it.

Every statement of such a session is narrowed down, in its subqueries too, so that no function of the store has to
think of it, nor may one forget. What counts or reserves something among all says so with `OF_ALL`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, FromClause, select
from sqlalchemy.orm import InstrumentedAttribute, ORMExecuteState, Session, with_loader_criteria

from service.store.tables import (
    LOCAL,
    AliasRow,
    CheckpointRow,
    DatasetRow,
    HistoryBlockRow,
    HoldingRow,
    IdempotencyRow,
    JobRow,
    ModelRow,
    Table,
    VersionRow,
)

OF_ALL = {"of_all": True}
"""Execution options of a statement that is about everybody's rows."""
_ACTOR = "actor"
_OWNERS = 1000


@dataclass(frozen=True)
class Actor:
    """Somebody who uses the store.

    `owner` is whose everything is that they make. `action` is what they do, `objects` what they name in doing so, for
    the audit; there is none where `action` is None.
    """

    owner: str = LOCAL
    sees_all: bool = True
    key_id: str | None = None
    action: str | None = None
    objects: tuple[str, ...] = ()
    request_id: str | None = None


NOBODY = Actor()
"""Who uses a session that was given to nobody: a worker, or the command line."""

# Tables that no statement narrows down again, under names that no statement has.
_jobs, _models, _holdings = (table.__table__.alias() for table in (JobRow, ModelRow, HoldingRow))


def _is_one(of: FromClause, *which: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(1).select_from(of).where(*which).correlate_except(of).exists()


def _of_job(sequence: InstrumentedAttribute[int], owner: str) -> ColumnElement[bool]:
    return _is_one(_jobs, _jobs.c.sequence == sequence, _jobs.c.owner == owner)


def _of_model(name: InstrumentedAttribute[str], owner: str) -> ColumnElement[bool]:
    return _is_one(_models, _models.c.name == name, _models.c.owner == owner)


OWNED: Mapping[type[Table], Callable[[str], ColumnElement[bool]]] = {
    JobRow: lambda owner: JobRow.owner == owner,
    ModelRow: lambda owner: ModelRow.owner == owner,
    HoldingRow: lambda owner: HoldingRow.owner == owner,
    IdempotencyRow: lambda owner: IdempotencyRow.owner == owner,
    VersionRow: lambda owner: _of_model(VersionRow.model, owner),
    AliasRow: lambda owner: _of_model(AliasRow.model, owner),
    DatasetRow: lambda owner: _is_one(
        _holdings,
        _holdings.c.dataset_id == DatasetRow.id,
        _holdings.c.owner == owner,
        _holdings.c.deleted_at.is_(None),
    ),
    HistoryBlockRow: lambda owner: _of_job(HistoryBlockRow.job_sequence, owner),
    CheckpointRow: lambda owner: _of_job(CheckpointRow.job_sequence, owner),
}
"""Which rows of a table are an owner's; a table that is not here is nobody's."""


def owner_of(session: Session) -> str:
    """Tell whose everything is that is made in a session."""
    return actor_of(session).owner


def actor_of(session: Session) -> Actor:
    """Tell who uses a session."""
    actor: Actor = session.info.get(_ACTOR, NOBODY)
    return actor


def give_to(session: Session, actor: Actor) -> None:
    """Let a session be somebody's from now on."""
    session.info[_ACTOR] = actor


@contextmanager
def seen_by(session: Session, actor: Actor) -> Iterator[None]:
    """Let a session be somebody's until the block ends, with nothing in it that was read before."""
    before = actor_of(session)
    session.expunge_all()
    give_to(session, actor)
    try:
        yield
    finally:
        session.expunge_all()
        give_to(session, before)


def narrow(state: ORMExecuteState) -> None:
    """Narrow a statement down to what its session may see; listens to `do_orm_execute`."""
    actor = actor_of(state.session)
    is_of_seen = state.is_column_load or state.is_relationship_load
    if not (actor.sees_all or is_of_seen or state.execution_options.get("of_all")):
        statement: Any = state.statement
        state.statement = statement.options(*_criteria(actor.owner))


@lru_cache(_OWNERS)
def _criteria(owner: str) -> tuple[Any, ...]:
    return tuple(with_loader_criteria(table, which(owner), include_aliases=True) for table, which in OWNED.items())
