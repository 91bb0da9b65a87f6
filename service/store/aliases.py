"""What names mean, and whose they are: `NAME`, `NAME@latest`, `NAME@3`, and the aliases that users give to versions."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.orm import Session

from service.errors import Fault, InvalidRequest, NotFound
from service.store import models, registry
from service.store.columns import CodePoints, now
from service.store.statements import run
from service.store.tables import AliasRow, JobRow, ModelRow, VersionRow, core

LATEST = "latest"
"""The alias that every model has: it moves by itself to the newest version."""
MAX_DIGITS = 9
"""A version's number has so many at the most."""
SHOWN_ALIASES = 10

# Names are among all owners.
_MODELS, _JOBS = core(ModelRow), core(JobRow)
_OWNER = select(_MODELS.c.owner).where(_MODELS.c.name == bindparam("its_name"), _MODELS.c.latest_version > 0)
_OTHER_TO_BE = (
    select(_JOBS.c.owner)
    .where(
        _JOBS.c.model == bindparam("its_name"),
        _JOBS.c.finished_at.is_(None),
        _JOBS.c.owner != bindparam("its_owner"),
    )
    .limit(1)
)
_TAKEN_BY = select(func.coalesce(_OWNER.scalar_subquery(), _OTHER_TO_BE.scalar_subquery()))


@dataclass(frozen=True)
class Alias:
    """A name for a version of a model."""

    model: str
    alias: str
    version: int
    updated_at: datetime


def of_models(session: Session, names: Collection[str]) -> dict[str, dict[str, int]]:
    """Give the aliases of models with their versions' numbers, those of each by name, `latest` included."""
    query = select(AliasRow).where(AliasRow.model.in_(names)).order_by(CodePoints(AliasRow.alias))
    found: dict[str, dict[str, int]] = {name: {} for name in names}
    for row in session.scalars(query):
        found[row.model][row.alias] = row.version
    return found


def assign(session: Session, model: str, alias: str, version: int) -> Alias:
    """Let an alias name a version, in place of the one that it may have named before.

    Raises:
        NotFound: when there is no such model.
        InvalidRequest: when there is no such version, or the alias is `latest`.
    """
    newest = models.latest_version(session, model)
    _refuse_latest(alias)
    if not _is_there(session, model, version):
        detail = f"model {model!r} has no version {version}: its newest is {newest}"
        raise InvalidRequest([Fault("/version", detail)])
    assigned = Alias(model, alias, version, now())
    session.merge(AliasRow(model=model, alias=alias, version=version, updated_at=assigned.updated_at))
    session.flush()
    registry.note_change(session)
    return assigned


def remove(session: Session, model: str, alias: str) -> None:
    """Take an alias away; the version that it named stays.

    Raises:
        NotFound: when there is no such model, or it has no such alias.
        InvalidRequest: when the alias is `latest`.
    """
    models.get(session, model)
    _refuse_latest(alias)
    its = AliasRow.model == model, AliasRow.alias == alias
    if session.scalar(delete(AliasRow).where(*its).returning(AliasRow.version)) is None:
        raise NotFound(f"model {model!r} has no alias {alias!r}: {_those_of(session, model)}")
    registry.note_change(session)


def resolve(session: Session, reference: str) -> tuple[str, int]:
    """Tell which version `NAME`, `NAME@latest`, `NAME@3` or `NAME@ALIAS` means: its model's name and its number.

    Raises:
        NotFound: when there is no such model, version or alias.
    """
    name, at, meant = reference.partition("@")
    newest = models.latest_version(session, name)
    if not at or meant == LATEST:
        return name, newest
    if is_number(meant):
        number = int(meant)
        if not _is_there(session, name, number):
            raise NotFound(f"model {name!r} has no version {number}: its newest is {newest}")
        return name, number
    version = session.scalar(select(AliasRow.version).where(AliasRow.model == name, AliasRow.alias == meant))
    if version is None:
        raise NotFound(f"model {name!r} has no version or alias {meant!r}: {_those_of(session, name)}")
    return name, version


def check_name(session: Session, name: str, owner: str) -> None:
    """See that an owner may publish under a name: that no other has such a model, nor, while nobody has, a job for one.

    A name means the same model whoever asks, so that it is one owner's among all. That it is taken tells that another
    has it, and no more.

    Raises:
        InvalidRequest: when it is taken.
    """
    its = {"its_name": name, "its_owner": owner}
    if run(session, _TAKEN_BY, its).scalar() not in (None, owner):
        raise InvalidRequest([Fault("/model", f"the name {name!r} is taken: choose another")])


def is_number(meant: str) -> bool:
    """Tell whether what stands after the @ of a reference is a version's number."""
    return meant.isascii() and meant.isdigit() and len(meant) <= MAX_DIGITS


def _refuse_latest(alias: str) -> None:
    if alias == LATEST:
        detail = f"{LATEST} moves by itself to the newest version: give another name"
        raise InvalidRequest([Fault("/path/alias", detail)])


def _is_there(session: Session, model: str, version: int) -> bool:
    query = select(VersionRow.id).where(VersionRow.model == model, VersionRow.version == version)
    return session.scalar(query) is not None


def _those_of(session: Session, model: str) -> str:
    query = (
        select(AliasRow.alias)
        .where(AliasRow.model == model)
        .order_by(CodePoints(AliasRow.alias))
        .limit(SHOWN_ALIASES + 1)
    )
    names = list(session.scalars(query))
    listed = ", ".join([*names[:SHOWN_ALIASES], "…"] if len(names) > SHOWN_ALIASES else names)
    return f"its aliases are {LATEST}{', ' if names else ''}{listed}"
