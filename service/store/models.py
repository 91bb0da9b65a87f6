"""Models and their versions; what names mean is told by `aliases`, beside this.

Numbers of versions are never given twice, so that `NAME@3` means the same for ever, or nothing any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from service.dataset import Schema
from service.errors import NotFound, VersionInUse
from service.hyperparameters import ActivationName, Hyperparameters
from service.parameters import Parameters, from_bytes
from service.ranges import FeatureRanges
from service.scaling import Scaling
from service.store import registry
from service.store.columns import CodePoints
from service.store.jobs import Job
from service.store.tables import AliasRow, JobRow, Json, ModelRow, VersionRow
from service.tasks import Task

NO_ORIGIN = ""
"""Stands for the job and the dataset of a version that was not trained here."""


@dataclass(frozen=True)
class Model:
    """A model: a name with versions, of which `latest_version` is the newest."""

    name: str
    owner: str
    latest_version: int
    description: str | None
    user_metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Version:
    """A version of a model, without its parameters; `job_id` and `dataset_id` are `NO_ORIGIN` for an imported one."""

    model: str
    version: int
    task: Task
    job_id: str
    dataset_id: str
    dataset_schema: Json
    hyperparameters: Json
    user_metadata: dict[str, str]
    result: Json
    scaling: Json | None
    n_parameters: int
    created_at: datetime

    @property
    def is_imported(self) -> bool:
        """Whether it was not trained here: then no hyperparameters, and no result, are known."""
        return self.job_id == NO_ORIGIN


@dataclass(frozen=True)
class TrainedModel:
    """All that a prediction takes: parameters in original units, and the scaling that they were learned in, if any.

    `ranges` of the features are None for versions that were published before such were kept.
    """

    model: str
    version: int
    task: Task
    schema: Schema
    parameters: Parameters
    activation: ActivationName
    scaling: Scaling | None
    ranges: FeatureRanges | None


def publish(
    session: Session,
    job: Job,
    schema: Schema,
    parameters: Parameters,
    result: Json,
    *,
    scaled: Parameters | None,
    scaling: Json | None,
    ranges: FeatureRanges | None = None,
) -> int:
    """Make a job's outcome the newest version of its model; give the version's number.

    Args:
        job: as it was settled, for its hyperparameters are the version's.
        parameters: in original units.
        scaled: the same in scaled units; None, like `scaling`, when nothing was scaled.
        ranges: of the features that it was trained on, where they are known.

    Raises:
        NameTaken: when the name is another owner's model.
    """
    return registry.add_version(
        session,
        job.model,
        job.owner,
        schema=schema,
        parameters=parameters,
        scaled=scaled,
        ranges=ranges,
        task=job.task,
        job_id=job.id,
        dataset_id=job.dataset_id,
        hyperparameters=job.hyperparameters,
        user_metadata=job.user_metadata,
        result=result,
        scaling=scaling,
    )


def page(session: Session, *, limit: int, after: str | None = None) -> tuple[list[Model], bool]:
    """Read up to `limit` models by name, those after a given name; and tell whether there are more."""
    query = select(ModelRow).where(ModelRow.latest_version > 0).order_by(CodePoints(ModelRow.name)).limit(limit + 1)
    if after is not None:
        query = query.where(CodePoints(ModelRow.name) > after)
    rows = session.scalars(query).all()
    return [row.as_value(Model) for row in rows[:limit]], len(rows) > limit


def get(session: Session, name: str) -> Model:
    """Read a model.

    Raises:
        NotFound: when there is none of this name.
    """
    return _model_row(session, name).as_value(Model)


def describe(session: Session, name: str, description: str | None, user_metadata: Mapping[str, str]) -> Model:
    """Change what is told of a model; give it as it is then.

    Raises:
        NotFound: when there is no model of this name.
    """
    row = _model_row(session, name)
    row.description, row.user_metadata = description, dict(user_metadata)
    return row.as_value(Model)


def versions(session: Session, name: str) -> list[Version]:
    """Read all versions of a model, newest first."""
    query = select(VersionRow).where(VersionRow.model == name).order_by(VersionRow.version.desc())
    return [row.as_value(Version) for row in session.scalars(query)]


def version_numbers(session: Session, name: str | None = None) -> list[tuple[str, int]]:
    """Give the model's name and the number of each version, oldest first; of all models, or of one."""
    query = select(VersionRow.model, VersionRow.version).order_by(CodePoints(VersionRow.model), VersionRow.version)
    found = session.execute(query if name is None else query.where(VersionRow.model == name))
    return [(model, number) for model, number in found]


def get_version(session: Session, name: str, number: int) -> Version:
    """Read a version.

    Raises:
        NotFound: when there is no such model or version.
    """
    return _version_row(session, name, number).as_value(Version)


def parameter_bytes(session: Session, name: str, number: int) -> bytes:
    """Read a version's parameters as safetensors, as `service.parameters.to_bytes` wrote them.

    Raises:
        NotFound: when there is no such model or version.
    """
    content: bytes = _version_row(session, name, number).parameters
    return content


def load(session: Session, name: str, number: int) -> TrainedModel:
    """Read all of a version that a prediction takes.

    Raises:
        NotFound: when there is no such model or version.
    """
    row = _version_row(session, name, number)
    version = row.as_value(Version)
    return TrainedModel(
        version.model,
        version.version,
        version.task,
        Schema.from_json(version.dataset_schema),
        from_bytes(row.parameters),
        Hyperparameters.model_validate(version.hyperparameters).activation,
        None if version.scaling is None else Scaling.from_json(version.scaling),
        None if row.ranges is None else FeatureRanges.from_json(row.ranges),
    )


def latest_version(session: Session, name: str) -> int:
    """Give the number of a model's newest version.

    Raises:
        NotFound: when there is no such model.
    """
    return get(session, name).latest_version


def delete_version(session: Session, name: str, number: int) -> None:
    """Delete a version; `latest` then means the newest of the others, and without others the model is gone, too.

    Raises:
        NotFound: when there is no such model or version.
        VersionInUse: when an alias names it, or a queued or running job starts from it.
    """
    row = _version_row(session, name, number)
    _check_unused(session, name, number)
    session.delete(row)
    session.flush()
    newest = session.scalar(select(func.max(VersionRow.version)).where(VersionRow.model == name))
    _set_latest(session, name, newest or 0)


def delete_model(session: Session, name: str) -> None:
    """Delete a model with all of its versions.

    Raises:
        NotFound: when there is none of this name.
        VersionInUse: when an alias names one of its versions, or a queued or running job starts from one.
    """
    _model_row(session, name)
    _check_unused(session, name)
    session.execute(delete(VersionRow).where(VersionRow.model == name))
    _set_latest(session, name, 0)


def _set_latest(session: Session, name: str, number: int) -> None:
    gone: Json = {} if number else {"description": None, "user_metadata": {}}
    session.execute(update(ModelRow).where(ModelRow.name == name).values(latest_version=number, **gone))
    registry.note_change(session)


def _check_unused(session: Session, name: str, number: int | None = None) -> None:
    """Refuse to delete a version that is needed; any of the model's, when no number is given."""
    named = select(AliasRow.alias, AliasRow.version).where(AliasRow.model == name).order_by(CodePoints(AliasRow.alias))
    start = JobRow.requested["start"]["model"].as_string()
    starting = select(JobRow.id).where(JobRow.status.in_(("queued", "running"))).order_by(JobRow.sequence)
    if number is None:
        starting = starting.where(start.startswith(f"{name}@", autoescape=True))
    else:
        named, starting = named.where(AliasRow.version == number), starting.where(start == f"{name}@{number}")
    aliases = [f"{alias!r} ({name}@{version})" for alias, version in session.execute(named)]
    if aliases:
        what = f"the alias {aliases[0]} names it" if len(aliases) == 1 else f"the aliases {', '.join(aliases)} name it"
        way = f"move or delete them first: DELETE /models/{name}/aliases/ALIAS"
        raise VersionInUse(f"{_shown(name, number)} cannot be deleted, for {what}: {way}")
    jobs = list(session.scalars(starting))
    if jobs:
        what = f"{len(jobs)} queued or running jobs start from it, as {jobs[0]}"
        raise VersionInUse(f"{_shown(name, number)} cannot be deleted, for {what}: let them end, or cancel them")


def _shown(name: str, number: int | None) -> str:
    return f"model {name!r}" if number is None else f"version {number} of model {name!r}"


def _model_row(session: Session, name: str) -> ModelRow:
    row = session.get(ModelRow, name)
    if row is None or not row.latest_version:
        was_here = "; it was deleted" if row is not None else ""
        raise NotFound(f"there is no model {name!r}{was_here}: GET /models lists them")
    return row


def _version_row(session: Session, name: str, number: int) -> VersionRow:
    model = _model_row(session, name)
    row = session.scalar(select(VersionRow).where(VersionRow.model == name, VersionRow.version == number))
    if row is None:
        was_here = " any more" if number <= model.last_number else ""
        raise NotFound(f"model {name!r} has no version {number}{was_here}: its newest is {model.latest_version}")
    return row
