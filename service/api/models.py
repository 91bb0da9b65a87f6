"""/models: the models and their versions; what is told of them, and away with them."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from service.api.dependencies import After, Limit, Page, Reading, Response, Writing
from service.api.jobs import Result
from service.api.problems import describe
from service.api.routes import LateRoute
from service.api.train import METADATA_PAIRS, MetadataKey, MetadataValue
from service.dataset import Label, Schema
from service.encoding import ColumnEncoding, DatePart, Kind, UnseenPolicy
from service.errors import Fault, InvalidRequest
from service.hyperparameters import FROZEN_VALUES, Hyperparameters
from service.store import aliases, models
from service.store.database import Session
from service.store.models import Model, Version
from service.tasks import Task

router = APIRouter(prefix="/models", tags=["models"], route_class=LateRoute)

ModelName = Annotated[str, Path(description="The model's name.", max_length=200, examples=["exam-scores"])]
VersionNumber = Annotated[int, Path(description="The version's number, from 1.", ge=1, le=2**31 - 1)]


class VersionLinks(Response):
    """Where to go on."""

    self: str = Field(description="The version.")
    job: str | None = Field(
        description="The job that trained it, 404 when it has been deleted; null for an imported one."
    )
    dataset: str | None = Field(
        description="The dataset that it was trained on, 404 when it has been deleted; null for an imported one."
    )
    parameters: str = Field(description="What it has learned.")
    export: str = Field(description="All of it, to import it elsewhere.")
    onnx: str = Field(description="All of it, as an ONNX file.")


class ColumnEncodingResponse(Response):
    """How a column becomes features."""

    column: str = Field(description="The column.", examples=["kind"])
    type: Kind = Field(description="What its values are.", examples=["category"])
    categories: list[str] = Field(description="Of a category, those that are known, each of which is a feature.")
    parts: list[DatePart] = Field(description="Of a date, those that are features.")
    fill: float | str | None = Field(description="What a missing value is taken for; null where it is not.")
    has_indicator: bool = Field(description="Whether the last feature tells that the value is missing.")
    unseen: UnseenPolicy = Field(description="What becomes of a category that is not known.")
    feature_names: list[str] = Field(description="The features that it becomes, in order.")


class VersionResponse(Response):
    """A version of a model: the outcome of one job, or imported. It never changes."""

    model: str = Field(description="The model's name.", examples=["exam-scores"])
    version: int = Field(description="The version's number, from 1.")
    task: Task = Field(description="What was trained.")
    feature_names: list[str] = Field(
        description="What a prediction takes, in order: columns, where there is an encoding."
    )
    encoding: list[ColumnEncodingResponse] | None = Field(
        description="How columns become features, in their order; null where all are numbers as they are."
    )
    target_names: list[str] = Field(description="What it predicts.")
    classes: list[Label] | None = Field(description="The labels, for classification.")
    n_parameters: int = Field(description="How many numbers were learned.")
    imported: bool = Field(description="Whether it came by POST /models: no job of this service trained it.")
    hyperparameters: Hyperparameters | None = Field(description="How it was trained; null for an imported one.")
    metadata: dict[str, str] = Field(description="As given to POST /train, or POST /models.")
    result: Result | None = Field(description="What the training came to; null for an imported one.")
    created_at: datetime = Field(description="When it was published.")
    job: str | None = Field(
        description="The id of the job that trained it, which may have been deleted since; null for an imported one."
    )
    dataset: str | None = Field(description="The id of the dataset that it was trained on; null for an imported one.")
    links: VersionLinks = Field(description="Where to go on.")


class ModelResponse(Response):
    """A model: a name with versions."""

    name: str = Field(description="The model's name.", examples=["exam-scores"])
    owner: str = Field(description="Whose it is; `local` where no key was needed.", examples=["local"])
    latest_version: int = Field(description="The number of the newest version; `@latest` names it.")
    aliases: dict[str, int] = Field(
        description="The version that each alias names, and the newest as `latest`: `NAME@ALIAS` means it.",
        examples=[{"production": 1, "latest": 2}],
    )
    description: str | None = Field(description="As PATCH /models/{name} gave it.", examples=["Final from quizzes."])
    metadata: dict[str, str] = Field(description="As PATCH /models/{name} gave it.", examples=[{"owner": "algebra"}])
    created_at: datetime = Field(description="When its first version was published.")
    updated_at: datetime = Field(description="When a version was last published, which may have been deleted since.")


class ModelChange(BaseModel):
    """What is to be told of a model; what is left out stays as it is."""

    model_config = FROZEN_VALUES

    description: str | None = Field(
        default=None,
        max_length=2000,
        description="What the model is for; null takes it away.",
        examples=["Final from quizzes."],
    )
    metadata: dict[MetadataKey, MetadataValue | None] = Field(
        default={},
        description=f"Pairs of strings, up to {METADATA_PAIRS} in all: given ones are added or replaced, and null "
        "takes one away.",
        examples=[{"owner": "algebra", "trial": None}],
    )


class ModelWithVersions(ModelResponse):
    """A model and all of its versions, newest first."""

    versions: list[VersionResponse] = Field(description="All versions, newest first.")


class ModelPage(Page):
    """Models by name."""

    data: list[ModelResponse] = Field(description="The models.")


def _models(session: Session, found: list[Model]) -> list[ModelResponse]:
    """Put models into the words of the wire."""
    named = aliases.of_models(session, [model.name for model in found])
    return [
        ModelResponse(
            **asdict(model),
            aliases={**named[model.name], aliases.LATEST: model.latest_version},
            metadata=model.user_metadata,
        )
        for model in found
    ]


def version_response(version: Version) -> VersionResponse:
    """Put a version into the words of the wire."""
    path = f"/models/{version.model}/versions/{version.version}"
    values = {name: getattr(version, name) for name in VersionResponse.model_fields if hasattr(version, name)}
    schema = Schema.from_json(version.dataset_schema)
    values |= {
        "feature_names": schema.input_names,
        "encoding": schema.encoding and [_encoding(column) for column in schema.encoding],
        "target_names": schema.target_names,
        "classes": schema.classes,
        "imported": version.is_imported,
        "metadata": version.user_metadata,
        "job": version.job_id,
        "dataset": version.dataset_id,
        "hyperparameters": Hyperparameters.model_validate(version.hyperparameters),
    }
    links: dict[str, str | None] = {"job": f"/jobs/{version.job_id}", "dataset": f"/datasets/{version.dataset_id}"}
    if version.is_imported:
        values |= dict.fromkeys(("job", "dataset", "hyperparameters", "result"))
        links = {"job": None, "dataset": None}
    its = {name: f"{path}/{name}" for name in ("parameters", "export", "onnx")}
    return VersionResponse.model_validate({**values, "links": {"self": path, **links, **its}})


def _encoding(column: ColumnEncoding) -> ColumnEncodingResponse:
    return ColumnEncodingResponse(**asdict(column), type=column.kind, feature_names=column.feature_names)


@router.get("", response_description="A page of models.")
def list_models(session: Reading, limit: Limit = 100, after: After = None) -> ModelPage:
    """List the models by name."""
    found, has_more = models.page(session, limit=limit, after=after)
    return ModelPage(data=_models(session, found), has_more=has_more, next=found[-1].name if has_more else None)


@router.get("/{name}", response_description="The model with its versions.", responses=describe(404))
def get_model(session: Reading, name: ModelName) -> ModelWithVersions:
    """Tell of a model and all of its versions."""
    (model,) = _models(session, [models.get(session, name)])
    versions = [version_response(version) for version in models.versions(session, name)]
    return ModelWithVersions(**dict(model), versions=versions)


@router.patch("/{name}", response_description="The model as it is now.", responses=describe(404, 413, 415, 507))
def change_model(session: Writing, name: ModelName, body: ModelChange) -> ModelResponse:
    """Change what is told of a model: its description, and pairs of its metadata."""
    model = models.get(session, name)
    description = body.description if "description" in body.model_fields_set else model.description
    pairs = {**model.user_metadata, **body.metadata}
    metadata = {key: value for key, value in pairs.items() if value is not None}
    if len(metadata) > METADATA_PAIRS:
        detail = f"metadata would have {len(metadata)} pairs, and {METADATA_PAIRS} is the limit: take some away by null"
        raise InvalidRequest([Fault("/metadata", detail)])
    (changed,) = _models(session, [models.describe(session, name, description, metadata)])
    return changed


@router.delete("/{name}", status_code=204, response_description="It is gone.", responses=describe(404, 409, 507))
def delete_model(session: Writing, name: ModelName) -> None:
    """Delete a model with all versions: refused while an alias names one, or a job that has not ended starts from one.

    A training under its name makes the model anew; its versions go on counting, so that no number comes twice.
    """
    models.delete_model(session, name)


@router.get("/{name}/versions/{version}", response_description="The version.", responses=describe(404))
def get_version(session: Reading, name: ModelName, version: VersionNumber) -> VersionResponse:
    """Tell of one version."""
    return version_response(models.get_version(session, name, version))


@router.delete(
    "/{name}/versions/{version}",
    status_code=204,
    response_description="It is gone.",
    responses=describe(404, 409, 507),
)
def delete_version(session: Writing, name: ModelName, version: VersionNumber) -> None:
    """Delete a version: refused while an alias names it, or a job that has not ended starts from it.

    `latest` moves to the newest of the others; with its only version a model is gone, too.
    """
    models.delete_version(session, name, version)
