"""POST /models/{name}/evaluate: how good a model is on other data, and which samples it misses most."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel, Discriminator, Field, Tag, WithJsonSchema

from service.api.access import needs
from service.api.dependencies import Response, TheDatabase, TheSettings
from service.api.long_lists import MayBeLong
from service.api.planning import in_dataset, known_dataset
from service.api.problems import describe
from service.api.references import Named
from service.api.routes import LateRoute
from service.api.rows import SCALAR, Rows
from service.api.train import Name, SampleWeight, SyntheticDataset, form_of
from service.data.json_numbers import Records
from service.data.samples import (
    Samples,
    samples_of_dataset,
    samples_of_records,
    samples_of_rows,
    samples_of_table,
)
from service.data.synthetic import synthetic_dataset
from service.dataset import Label
from service.errors import Fault, InvalidDataset
from service.hyperparameters import FROZEN_VALUES
from service.library import kept_table, while_files_are_there
from service.metrics import losses, score
from service.outputs import outputs_of
from service.prediction.forward import said_by
from service.room import room_for, slices_of
from service.selection import ColumnName, ColumnNames, Reading, Selection
from service.settings import Settings
from service.store.database import Database
from service.store.models import TrainedModel
from service.tasks import Task

router = APIRouter(prefix="/models", tags=["models"], route_class=LateRoute)

Answer = Label | list[float]


class InlineSamples(BaseModel):
    """Features and targets as rows."""

    model_config = FROZEN_VALUES

    features: Rows = Field(
        description="A row of raw values for each sample, in the order of the model's columns; a flat list "
        "for a single one."
    )
    feature_names: list[Name] | None = Field(
        default=None, description="The columns' names, where they are in another order than the model's."
    )
    targets: Annotated[
        list[Any],
        MayBeLong(),
        WithJsonSchema({"type": "array", "items": {"type": ["string", "number", "boolean", "array"]}}),
    ] = Field(description="One for each sample: a number, a row of numbers for several targets, or a label.")
    sample_weight: SampleWeight = None


class RecordSamples(BaseModel):
    """Samples as objects, one of whose fields is the target."""

    model_config = FROZEN_VALUES

    records: Annotated[
        list[dict[str, Any]],
        MayBeLong((Records,)),
        WithJsonSchema({"type": "array", "items": {"type": "object", "additionalProperties": SCALAR}}),
    ] = Field(description="An object for each sample: the columns that the model takes, and the target.")
    target: Name | None = Field(default=None, description="The field to compare with; the model's target if left out.")
    sample_weight: SampleWeight = None


class StoredSamples(Reading):
    """A dataset that is kept. The model itself says which columns it takes, and how they are encoded.

    What a training's dataset says of that beside may stay, and changes nothing but for the `types` of targets. Nor do
    `sample_weight` and `split`: every sample counts, and counts once.
    """

    id: Name = Field(description="The dataset's id, as POST /datasets gave it.", examples=["ds_5b1f0c9e4d7a8236"])
    target: ColumnNames | None = Field(
        default=None, description="The column to compare with; the model's own targets if left out."
    )
    features: Annotated[list[ColumnName], Field(min_length=1)] | None = Field(
        default=None, description="The columns that the model takes, in any order; it knows them if they are left out."
    )


class EvaluateRequest(BaseModel):
    """What to evaluate a model on."""

    model_config = FROZEN_VALUES

    dataset: Annotated[
        Annotated[InlineSamples, Tag("<inline>")]
        | Annotated[RecordSamples, Tag("<records>")]
        | Annotated[StoredSamples, Tag("<stored>")]
        | Annotated[SyntheticDataset, Tag("<synthetic>")],
        Discriminator(
            form_of,
            custom_error_type="no_form",
            custom_error_message="give features and targets, or records, or the id of a dataset that is kept, or "
            "synthetic with a recipe",
        ),
    ] = Field(description="Samples with their targets: a training's dataset, in any of its forms, as it is.")
    worst: int = Field(
        default=10, ge=0, le=1000, description="So many samples that the model misses most are told.", examples=[2]
    )


class WorstSample(Response):
    """A sample that the model misses."""

    index: int = Field(description="The number of the sample, from 0.")
    target: Answer = Field(description="What it should be.")
    prediction: Answer = Field(description="What the model says.")
    loss: float | None = Field(
        description="The squared error, of several targets their mean, or minus the log of the probability that the "
        "model gives to the target; null beyond the largest number."
    )


class Evaluation(Response):
    """How good a version is on other data."""

    model: str = Field(description="The model's name.", examples=["exam-scores"])
    version: int = Field(description="The version that was evaluated.")
    task: Task = Field(description="What it was trained for.")
    n_samples: int = Field(description="How many samples it was evaluated on.")
    metrics: dict[str, Any] = Field(description="The same as a job's `result.metrics.train` has, in original units.")
    worst: list[WorstSample] = Field(description="The samples that it misses most, the worst first.")


@router.post(
    "/{name}/evaluate",
    response_description="Metrics, and the worst samples.",
    responses=describe(404, 413, 415),
)
@needs("read")
def evaluate_model(database: TheDatabase, settings: TheSettings, trained: Named, body: EvaluateRequest) -> Evaluation:
    """Measure a model on samples that come with their targets; large datasets that are kept are read in parts."""
    with known_dataset(), in_dataset():
        samples, dataset_id = _samples(database, settings, trained, body), getattr(body.dataset, "id", "")
        with while_files_are_there(dataset_id):
            outputs, targets = _outputs(trained, samples)
    classes = trained.schema.classes
    return Evaluation(
        model=trained.model,
        version=trained.version,
        task=trained.task,
        n_samples=samples.n_samples,
        metrics=score(trained.task, outputs, targets, classes),
        worst=_worst(trained, outputs, targets, body.worst),
    )


def _samples(database: Database, settings: Settings, trained: TrainedModel, body: EvaluateRequest) -> Samples:
    given, schema = body.dataset, trained.schema
    if isinstance(given, InlineSamples):
        return samples_of_rows(schema, given.features.given, given.feature_names, given.targets)
    if isinstance(given, RecordSamples):
        return samples_of_records(schema, given.records, given.target)
    if isinstance(given, StoredSamples):
        with while_files_are_there(given.id), database.reading() as session:
            table = kept_table(session, settings.datasets_path, given.id).table
        target = list(schema.target_names) if given.target is None else given.target
        asked = Selection(target=target, features=given.features, types=given.types)
        return samples_of_table(schema, trained.task, table, asked)
    try:
        return samples_of_dataset(schema, synthetic_dataset(given.synthetic))
    except InvalidDataset as invalid:
        raise invalid.moved(lambda pointer: f"/synthetic{pointer}") from None


def _outputs(trained: TrainedModel, samples: Samples) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute the outputs for all samples, and gather their targets, part by part."""
    n_targets = 1 if trained.schema.classes is not None else len(trained.schema.target_names)
    outputs = room_for((samples.n_samples, len(trained.parameters[-1].bias)), np.float64)
    targets = room_for((samples.n_samples, n_targets), np.float64)
    first = 0
    for features, answers in samples.parts:
        rows = slice(first, first + len(features))
        outputs[rows], targets[rows] = outputs_of(trained.parameters, features, trained.activation), answers
        wrong = np.flatnonzero(~np.isfinite(outputs[rows]).all(axis=1))
        if len(wrong):
            detail = f"the prediction for sample {first + wrong[0]} is beyond the largest number"
            raise InvalidDataset([Fault("/features", f"{detail}: its features are too large")])
        first += len(features)
    return outputs, targets


def _worst(trained: TrainedModel, outputs: NDArray[Any], targets: NDArray[Any], n_worst: int) -> list[WorstSample]:
    kept = np.empty(0, dtype=np.int64)
    of_kept = np.empty(0)
    for some in slices_of(len(outputs)):
        its = losses(trained.task, outputs[some], targets[some])
        rows, both = np.concatenate([kept, np.arange(some.start, some.stop)]), np.concatenate([of_kept, its])
        order = np.argsort(-both, kind="stable")[:n_worst]
        kept, of_kept = rows[order], both[order]
    predictions = said_by(trained.task, outputs[kept]).answers(trained.schema.classes)
    return [
        WorstSample(
            index=int(row),
            target=_said(trained, targets[row]),
            prediction=prediction,
            loss=float(loss) if np.isfinite(loss) else None,
        )
        for row, prediction, loss in zip(kept, predictions, of_kept, strict=True)
    ]


def _said(trained: TrainedModel, target: NDArray[Any]) -> Answer:
    classes = trained.schema.classes
    if classes is not None:
        return classes[int(target[0])]
    values: list[float] = target.tolist()
    return values[0] if len(values) == 1 else values
