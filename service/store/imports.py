"""Versions that came from elsewhere: no job of this service trained them."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from service.dataset import Schema
from service.errors import Fault, InvalidRequest, NameTaken
from service.hyperparameters import ActivationName
from service.parameters import Parameters
from service.ranges import FeatureRanges
from service.scaling import Scaling
from service.store import aliases, models, registry
from service.store.models import NO_ORIGIN, Version
from service.store.ownership import owner_of
from service.tasks import Task


@dataclass(frozen=True)
class ImportedModel:
    """A model as it was given; `scaled`, like `scaling`, is None when nothing was scaled."""

    name: str
    task: Task
    schema: Schema
    parameters: Parameters
    activation: ActivationName
    scaled: Parameters | None
    scaling: Scaling | None
    ranges: FeatureRanges | None
    user_metadata: dict[str, str]


def add(session: Session, given: ImportedModel) -> Version:
    """Make a model that was given the newest version of its name, and give that version.

    Raises:
        InvalidRequest: when the name is another owner's.
    """
    owner = owner_of(session)
    aliases.check_name(session, given.name, owner)
    try:
        number = registry.add_version(
            session,
            given.name,
            owner,
            schema=given.schema,
            parameters=given.parameters,
            scaled=given.scaled,
            ranges=given.ranges,
            task=given.task,
            job_id=NO_ORIGIN,
            dataset_id=NO_ORIGIN,
            hyperparameters={"activation": given.activation},
            user_metadata=given.user_metadata,
            result={},
            scaling=None if given.scaling is None else given.scaling.to_json(),
        )
    except NameTaken as taken:
        raise InvalidRequest([Fault("/model", taken.detail)]) from None
    return models.get_version(session, given.name, number)
