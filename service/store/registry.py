"""What the registry of models counts: the versions of each name, and how often some name changed its meaning."""

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, case, exists, insert, or_, select, update
from sqlalchemy.orm import Session

from service.dataset import Schema
from service.errors import NameTaken
from service.parameters import Parameters, n_parameters, to_bytes
from service.ranges import FeatureRanges
from service.store import audit
from service.store.columns import now
from service.store.statements import run
from service.store.tables import ModelRow, RegistryRow, VersionRow, core

_MODELS, _REGISTRY = core(ModelRow), core(RegistryRow)
_IS_THIS = _MODELS.c.name == bindparam("its_name")
_IS_GONE = _MODELS.c.latest_version == 0
_IS_THERE = select(exists().where(_IS_THIS))
_NEXT = (
    update(_MODELS)
    .where(_IS_THIS, or_(_MODELS.c.owner == bindparam("its_owner"), _IS_GONE))
    .values(
        owner=bindparam("its_owner"),
        latest_version=_MODELS.c.last_number + 1,
        last_number=_MODELS.c.last_number + 1,
        created_at=case((_IS_GONE, bindparam("moment")), else_=_MODELS.c.created_at),
        updated_at=bindparam("moment"),
    )
    .returning(_MODELS.c.last_number)
)
_INSERT_MODEL, _INSERT_VERSION = insert(_MODELS), insert(core(VersionRow))
_N_CHANGES = select(_REGISTRY.c.n_changes)
_NOTE_CHANGE = update(_REGISTRY).values(n_changes=_REGISTRY.c.n_changes + 1)


def add_version(
    session: Session,
    name: str,
    owner: str,
    *,
    schema: Schema,
    parameters: Parameters,
    scaled: Parameters | None,
    ranges: FeatureRanges | None,
    **columns: Any,
) -> int:
    """Add the newest version of an owner's model, see `service.store.models.publish`; give its number.

    Args:
        columns: the other columns of its row, by name.

    Raises:
        NameTaken: when the name is another owner's model.
    """
    moment = now()
    number = _next_number(session, name, owner, moment)
    columns |= {
        "model": name,
        "version": number,
        "dataset_schema": schema.to_json(),
        "ranges": None if ranges is None else ranges.to_json(),
        "n_parameters": n_parameters(tuple(layer.weight.shape for layer in parameters)),
        "parameters": to_bytes(parameters, scaled),
        "created_at": moment,
    }
    run(session, _INSERT_VERSION, columns)
    audit.note(session, f"{name}@{number}")
    note_change(session)
    return number


def n_changes(session: Session) -> int:
    """Tell how often it has changed what names mean: the same number, the same meaning."""
    return int(run(session, _N_CHANGES).scalar_one())


def note_change(session: Session) -> None:
    """Note that some name means another version now, or none."""
    run(session, _NOTE_CHANGE)


def _next_number(session: Session, name: str, owner: str, moment: datetime) -> int:
    """Give the number of the next version of an owner's model; none is ever given twice.

    Raises:
        NameTaken: when the name is another owner's model.
    """
    number: int | None = run(session, _NEXT, {"its_name": name, "its_owner": owner, "moment": moment}).scalar()
    if number is not None:
        return number
    if run(session, _IS_THERE, {"its_name": name}).scalar():
        raise NameTaken(f"the name {name!r} has become another's model meanwhile: choose another")
    new = {"owner": owner, "latest_version": 1, "last_number": 1, "user_metadata": {}}
    run(session, _INSERT_MODEL, {"name": name, **new, "created_at": moment, "updated_at": moment})
    return 1
