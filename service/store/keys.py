"""The access keys that are kept here."""

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from service.errors import NotFound
from service.keys import Key, Scope, new_secret, sha256_of
from service.store.columns import now
from service.store.identifiers import new_identifier
from service.store.tables import KeyRow, core

_KEYS = core(KeyRow)
FINGERPRINT = select(func.count(), func.max(_KEYS.c.id), func.count(_KEYS.c.revoked_at)).select_from(_KEYS)
"""Gives what is another whenever the keys are: keys are made and revoked, and nothing else."""


def create(session: Session, *, name: str | None, scope: Scope) -> tuple[Key, str]:
    """Make a key; give it, and the secret that it is, which is not kept.

    Args:
        name: whose everything is that is made with it; the key's own id when left out.
        scope: what it may be used for.
    """
    secret, identifier = new_secret(), new_identifier("key_")
    row = KeyRow(
        id=identifier, name=name or identifier, scope=scope, sha256=sha256_of(secret), created_at=now(), revoked_at=None
    )
    session.add(row)
    session.flush()
    return row.as_value(Key), secret


def listing(session: Session) -> list[Key]:
    """Read all keys, also those that were revoked, oldest first."""
    return [row.as_value(Key) for row in session.scalars(select(KeyRow).order_by(KeyRow.id))]


def revoke(session: Session, key_id: str) -> Key:
    """Let a key be refused from now on; one that is revoked already stays as it is.

    Raises:
        NotFound: when there is none of this id.
    """
    row = session.get(KeyRow, key_id)
    if row is None:
        raise NotFound(f"there is no key {key_id!r}: `descent keys list` lists them")
    if row.revoked_at is None:
        row.revoked_at = now()
        session.flush()
    return row.as_value(Key)


def fingerprint(session: Session) -> tuple[int, str | None, int]:
    """Give what `FINGERPRINT` gives."""
    n_keys, newest, n_revoked = session.execute(FINGERPRINT).one()
    return n_keys, newest, n_revoked


def any_made(session: Session) -> bool:
    """Tell whether there is a key, or was one before it was revoked."""
    return bool(session.scalar(select(exists().where(KeyRow.id.is_not(None)))))
