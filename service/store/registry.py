"""What the registry of models counts: the versions of each name, and how often some name changed its meaning."""

from datetime import datetime

from sqlalchemy import bindparam, case, exists, insert, or_, select, update
from sqlalchemy.orm import Session

from service.errors import NameTaken
from service.store.jobs import Job
from service.store.tables import ModelRow, RegistryRow, core

_MODELS = core(ModelRow)
_IS_THIS = _MODELS.c.name == bindparam("its_name")


def next_number(session: Session, job: Job, moment: datetime) -> int:
    """Give the number of the version that a job's outcome becomes; none is ever given twice.

    Raises:
        NameTaken: when the name is another owner's model.
    """
    number: int | None = session.scalar(
        update(_MODELS)
        .where(_IS_THIS, or_(_MODELS.c.owner == job.owner, _MODELS.c.latest_version == 0))
        .values(
            owner=job.owner,
            latest_version=_MODELS.c.last_number + 1,
            last_number=_MODELS.c.last_number + 1,
            created_at=case((_MODELS.c.latest_version == 0, moment), else_=_MODELS.c.created_at),
            updated_at=moment,
        )
        .returning(_MODELS.c.last_number),
        {"its_name": job.model},
    )
    if number is not None:
        return number
    if session.scalar(select(exists().where(_IS_THIS)), {"its_name": job.model}):
        raise NameTaken(f"the name {job.model!r} has become another's model meanwhile: train under another name")
    new = {"owner": job.owner, "latest_version": 1, "last_number": 1, "user_metadata": {}}
    session.execute(insert(_MODELS), {"name": job.model, **new, "created_at": moment, "updated_at": moment})
    return 1


def n_changes(session: Session) -> int:
    """Tell how often it has changed what names mean: the same number, the same meaning."""
    return session.scalars(select(RegistryRow.n_changes)).one()


def note_change(session: Session) -> None:
    """Note that some name means another version now, or none."""
    session.execute(update(RegistryRow).values(n_changes=RegistryRow.n_changes + 1))
