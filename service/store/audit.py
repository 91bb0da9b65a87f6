"""The audit: who did what, written in the transaction that does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, event, insert, select
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction, sessionmaker

from service.store.columns import long, now
from service.store.ownership import actor_of
from service.store.statements import run
from service.store.tables import AuditRow, HoldingRow, KeyRow, Table, core

_MADE = "made"
_NAMED: Mapping[type[Table], Callable[[Any], str]] = {
    HoldingRow: lambda row: str(row.dataset_id),
    KeyRow: lambda row: str(row.id),
}
"""What is worth naming when it is made or comes back as a row of a class, by its id; `note` names the rest."""
_INSERT = insert(core(AuditRow))


@dataclass(frozen=True)
class Entry:
    """Something that was done; `objects` are the ids and names of what it was done to and of what it made."""

    sequence: int
    at: datetime
    key_id: str | None
    owner: str
    action: str
    objects: str
    request_id: str | None


def listen(sessions: sessionmaker[Session]) -> None:
    """Have the sessions of somebody who acts write what they changed into the audit, as they commit."""
    event.listen(sessions, "do_orm_execute", _note_statement)
    event.listen(sessions, "after_flush", _note_rows)
    event.listen(sessions, "before_commit", _write)


def note(session: Session, name: str) -> None:
    """Name what was made by a statement, without a row of a class."""
    if actor_of(session).action is not None:
        session.info.setdefault(_MADE, []).append(name)


def page(session: Session, *, limit: int, after: int | None = None) -> tuple[list[Entry], bool]:
    """Read up to `limit` entries, newest first, those after a given one; and tell whether there are more."""
    query = select(AuditRow).order_by(AuditRow.sequence.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(AuditRow.sequence < long(after))
    rows = session.scalars(query).all()
    return [row.as_value(Entry) for row in rows[:limit]], len(rows) > limit


def forget(session: Session, days: float, limit: int) -> int:
    """Remove up to so many entries that are older; tell how many there were."""
    old = select(AuditRow.sequence).where(AuditRow.at < now() - timedelta(days=days)).order_by(AuditRow.sequence)
    found = session.scalars(old.limit(limit)).all()
    session.execute(delete(AuditRow).where(AuditRow.sequence.in_(found)))
    return len(found)


def _note_statement(state: ORMExecuteState) -> None:
    if not state.is_select and actor_of(state.session).action is not None:
        state.session.info.setdefault(_MADE, [])


def _note_rows(session: Session, _: UOWTransaction) -> None:
    if actor_of(session).action is None:
        return
    made = session.info.setdefault(_MADE, [])
    rows = (*session.new, *session.dirty)
    made += [name(row) for row in rows for kind, name in _NAMED.items() if type(row) is kind]


def _write(session: Session) -> None:
    session.flush()
    actor, made = actor_of(session), session.info.pop(_MADE, None)
    if actor.action is None or made is None:
        return
    objects = " ".join(dict.fromkeys((*actor.objects, *made)))
    entry = {
        "at": now(),
        "key_id": actor.key_id,
        "owner": actor.owner,
        "action": actor.action,
        "objects": objects,
        "request_id": actor.request_id,
    }
    run(session, _INSERT, entry)
