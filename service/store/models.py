"""Models and their versions."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.dataset import Schema
from service.errors import NotFound
from service.hyperparameters import ActivationName, Hyperparameters
from service.parameters import Parameters, from_bytes, n_parameters, to_bytes
from service.scaling import Scaling
from service.store.columns import now
from service.store.jobs import Job
from service.store.tables import Json, ModelRow, VersionRow
from service.tasks import Task


@dataclass(frozen=True)
class Model:
    """A model: a name whose versions are 1 … latest_version."""

    name: str
    latest_version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Version:
    """A version of a model, without its parameters."""

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


@dataclass(frozen=True)
class TrainedModel:
    """All that a prediction takes: parameters in original units, and the scaling that they were learned in, if any."""

    model: str
    version: int
    task: Task
    schema: Schema
    parameters: Parameters
    activation: ActivationName
    scaling: Scaling | None


def publish(
    session: Session,
    job: Job,
    schema: Schema,
    parameters: Parameters,
    result: Json,
    *,
    scaled: Parameters | None,
    scaling: Json | None,
) -> int:
    """Make a job's outcome the newest version of its model; give the version's number.

    Args:
        job: as it was settled, for its hyperparameters are the version's.
        parameters: in original units.
        scaled: the same in scaled units; None, like `scaling`, when nothing was scaled.
    """
    moment = now()
    known = update(ModelRow).where(ModelRow.name == job.model)
    another = known.values(latest_version=ModelRow.latest_version + 1, updated_at=moment)
    number = session.scalar(another.returning(ModelRow.latest_version))
    if number is None:
        number = 1
        session.add(ModelRow(name=job.model, latest_version=number, created_at=moment, updated_at=moment))
        session.flush()
    session.add(
        VersionRow(
            model=job.model,
            version=number,
            task=job.task,
            job_id=job.id,
            dataset_id=job.dataset_id,
            dataset_schema=schema.to_json(),
            hyperparameters=job.hyperparameters,
            user_metadata=job.user_metadata,
            result=result,
            scaling=scaling,
            n_parameters=n_parameters(job.layout),
            parameters=to_bytes(parameters, scaled),
            created_at=moment,
        )
    )
    session.flush()
    return number


def page(session: Session, *, limit: int, after: str | None = None) -> tuple[list[Model], bool]:
    """Read up to `limit` models by name, those after a given name; and tell whether there are more."""
    query = select(ModelRow).order_by(ModelRow.name).limit(limit + 1)
    if after is not None:
        query = query.where(ModelRow.name > after)
    rows = session.scalars(query).all()
    return [row.as_value(Model) for row in rows[:limit]], len(rows) > limit


def get(session: Session, name: str) -> Model:
    """Read a model.

    Raises:
        NotFound: when there is none of this name.
    """
    row = session.get(ModelRow, name)
    if row is None:
        raise NotFound(f"there is no model {name!r}: GET /models lists them")
    return row.as_value(Model)


def versions(session: Session, name: str) -> list[Version]:
    """Read all versions of a model, newest first."""
    query = select(VersionRow).where(VersionRow.model == name).order_by(VersionRow.version.desc())
    return [row.as_value(Version) for row in session.scalars(query)]


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
    )


def resolve(session: Session, reference: str) -> tuple[str, int]:
    """Tell which version `NAME`, `NAME@latest` or `NAME@3` means: its model's name and its number.

    A number is taken at its word; to read the version tells whether there is one.

    Raises:
        NotFound: when there is no such model, or no alias of this name.
    """
    name, _, version = reference.partition("@")
    if version in ("", "latest"):
        return name, latest_version(session, name)
    if version.isascii() and version.isdigit() and len(version) < 10:
        return name, int(version)
    raise NotFound(f"model {name!r} has no version or alias {version!r}: name one as {name}@3 or {name}@latest")


def latest_version(session: Session, name: str) -> int:
    """Give the number of a model's newest version.

    Raises:
        NotFound: when there is no such model.
    """
    latest: int = get(session, name).latest_version
    return latest


def _version_row(session: Session, name: str, number: int) -> VersionRow:
    latest = latest_version(session, name)
    row = session.scalar(select(VersionRow).where(VersionRow.model == name, VersionRow.version == number))
    if row is None:
        raise NotFound(f"model {name!r} has no version {number}: its newest is {latest}")
    return row
