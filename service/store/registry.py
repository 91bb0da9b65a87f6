"""What the registry of models counts: the versions of each name, and how often some name changed its meaning."""

from datetime import datetime

from sqlalchemy import case, or_, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from service.errors import NameTaken
from service.store.jobs import Job
from service.store.tables import ModelRow, RegistryRow


def next_number(session: Session, job: Job, moment: datetime) -> int:
    """Give the number of the version that a job's outcome becomes; none is ever given twice.

    Raises:
        NameTaken: when the name is another owner's model.
    """
    fresh = insert(ModelRow).values(
        name=job.model,
        owner=job.owner,
        latest_version=1,
        last_number=1,
        user_metadata={},
        created_at=moment,
        updated_at=moment,
    )
    number: int | None = session.scalar(
        fresh.on_conflict_do_update(
            index_elements=[ModelRow.name],
            set_={
                "owner": job.owner,
                "latest_version": ModelRow.last_number + 1,
                "last_number": ModelRow.last_number + 1,
                "created_at": case((ModelRow.latest_version == 0, moment), else_=ModelRow.created_at),
                "updated_at": moment,
            },
            where=or_(ModelRow.owner == job.owner, ModelRow.latest_version == 0),
        ).returning(ModelRow.last_number)
    )
    if number is None:
        raise NameTaken(f"the name {job.model!r} has become another's model meanwhile: train under another name")
    return number


def n_changes(session: Session) -> int:
    """Tell how often it has changed what names mean: the same number, the same meaning."""
    return session.scalars(select(RegistryRow.n_changes)).one()


def note_change(session: Session) -> None:
    """Note that some name means another version now, or none."""
    session.execute(update(RegistryRow).values(n_changes=RegistryRow.n_changes + 1))
