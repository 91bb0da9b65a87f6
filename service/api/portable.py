"""A model as it leaves one service and comes into another: all that predictions take, in one JSON document."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, WithJsonSchema

from service.api.train import METADATA_PAIRS, MetadataKey, MetadataValue, ModelName
from service.encoding import ColumnEncoding, DatePart, UnseenPolicy
from service.hyperparameters import FROZEN_VALUES, ActivationName, LayerValues
from service.parameters import Parameters, parameters_as_json
from service.store.models import TrainedModel
from service.tasks import Task

FORMAT_VERSION = 1
_LABEL = {"type": ["string", "number", "boolean"]}

Dtype = Literal["float32", "float64"]
Numbers = list[float]


def _form(value: Any) -> str:
    return "<list>" if isinstance(value, list) else "<values>"


Layers = Annotated[
    Annotated[LayerValues, Tag("<values>")] | Annotated[list[LayerValues], Field(min_length=1), Tag("<list>")],
    Discriminator(_form),
]


class PortableColumn(BaseModel):
    """How a column becomes features, as GET /models/{name}/versions/{version} tells it."""

    model_config = FROZEN_VALUES

    column: str = Field(description="The column.", examples=["kind"])
    type: Literal["number", "category", "boolean", "date"] = Field(
        description="What its values are.", examples=["category"]
    )
    categories: list[str] = Field(
        default=[], description="Of a category: those that are known, each of which is a feature.", examples=[["flat"]]
    )
    parts: list[DatePart] = Field(default=[], description="Of a date: those that are features.", examples=[["year"]])
    fill: float | str | None = Field(
        default=None,
        description="What a missing value is taken for: a number (1 or 0 for a boolean), a category, a date as ISO "
        "8601 writes it; null where it is not.",
    )
    has_indicator: bool = Field(
        default=False, description="Whether there is one more feature, which tells that the value is missing."
    )
    unseen: UnseenPolicy = Field(default="refuse", description="What becomes of a category that is not known.")


class PortableScaled(BaseModel):
    """The same model in the units of its descent: (value - mean) / scale."""

    model_config = FROZEN_VALUES

    dtype: Dtype = Field(default="float64", description="The type of these numbers.")
    parameters: Layers = Field(description="Weight and bias, or a list of layers, in scaled units.")
    feature_mean: Numbers = Field(description="What is taken away from each feature.", examples=[[84.8, 84.6, 85.6]])
    feature_scale: Numbers = Field(description="What each is then divided by.", examples=[[10.2, 12.1, 11.3]])
    target_mean: Numbers = Field(description="The same for each target; one 0 for classification.", examples=[[171.0]])
    target_scale: Numbers = Field(description="The same for each target; one 1 for classification.", examples=[[21.1]])


class PortableRanges(BaseModel):
    """What training saw of each feature, which warnings and explanations need."""

    model_config = FROZEN_VALUES

    lowest: Numbers = Field(description="The lowest value of each feature.", examples=[[73, 66, 70]])
    highest: Numbers = Field(description="The highest value of each feature.", examples=[[96, 98, 100]])
    mean: Numbers = Field(description="The mean of each feature.", examples=[[84.8, 84.6, 85.6]])
    known: list[str] = Field(
        default=[], description="Columns of categories of which every training sample had one that is known."
    )


class PortableModel(BaseModel):
    """A model that stands alone: all that predictions take. What is needed is `name`, `task` and `parameters`.

    Imported, it predicts in every bit what the version predicts that it was exported from.
    """

    model_config = FROZEN_VALUES

    format_version: int = Field(
        default=FORMAT_VERSION, ge=FORMAT_VERSION, le=FORMAT_VERSION, description="Of this format."
    )
    name: ModelName = Field(
        description="The name to publish under: letters, digits, `.`, `_`, `-`. One of yours gets a new version."
    )
    task: Task = Field(description="What its outputs are.")
    feature_names: list[str] | None = Field(
        default=None,
        description="A name for each feature, in the order of the (first) weight; `x1, x2 …` when left out, and `x` "
        "for a single one. With an `encoding` they are those that it gives.",
    )
    encoding: list[PortableColumn] | None = Field(
        default=None, description="How columns become features, in their order; null where all are numbers as they are."
    )
    target_names: list[str] | None = Field(
        default=None, description="A name for each target; `y1, y2 …` when left out, and `y` for a single one."
    )
    classes: Annotated[
        list[Any] | None, WithJsonSchema({"anyOf": [{"type": "array", "items": _LABEL}, {"type": "null"}]})
    ] = Field(
        default=None,
        description="For classification: the labels, any JSON scalars, in the order of the outputs; of "
        "logistic_regression's two the second is what a positive output means.",
        examples=[["no", "yes"]],
    )
    activation: ActivationName = Field(default="relu", description="For perceptrons: what follows each hidden layer.")
    dtype: Dtype = Field(default="float64", description="The type of the parameters, which are rounded to it.")
    parameters: Layers = Field(
        description="Weight and bias in original units, as GET …/parameters has them; for perceptrons a list of layers."
    )
    scaled: PortableScaled | None = Field(
        default=None, description="The same in scaled units; null when nothing was scaled."
    )
    ranges: PortableRanges | None = Field(
        default=None, description="What training saw; without it nothing is warned of or explained."
    )
    metadata: dict[MetadataKey, MetadataValue] = Field(
        default={}, max_length=METADATA_PAIRS, description=f"Up to {METADATA_PAIRS} pairs of strings."
    )


def as_portable(
    trained: TrainedModel, scaled: Parameters | None, metadata: dict[str, str], *, with_parameters: bool = True
) -> dict[str, Any]:
    """Describe a version as a `PortableModel` in JSON values.

    Args:
        trained: the version.
        scaled: its parameters in scaled units, where there are any.
        metadata: that were given to its training.
        with_parameters: whether all is told, or all but the parameters, which then stand beside it.
    """
    schema, encoding = trained.schema, trained.schema.encoding
    in_scaled = None
    if scaled is not None and trained.scaling is not None:
        in_scaled = {**_numbers(scaled, with_parameters=with_parameters), **trained.scaling.to_json()}
    return {
        "format_version": FORMAT_VERSION,
        "name": trained.model,
        "task": trained.task,
        "feature_names": list(schema.feature_names),
        "encoding": None if encoding is None else [_column(column) for column in encoding],
        "target_names": list(schema.target_names),
        "classes": None if schema.classes is None else list(schema.classes),
        "activation": trained.activation,
        **_numbers(trained.parameters, with_parameters=with_parameters),
        "scaled": in_scaled,
        "ranges": None if trained.ranges is None else trained.ranges.to_json(),
        "metadata": metadata,
    }


def _numbers(parameters: Parameters, *, with_parameters: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"dtype": str(parameters[0].weight.dtype)}
    if with_parameters:
        content = parameters_as_json(parameters)
        told["parameters"] = content.get("parameters", content)
    return told


def _column(column: ColumnEncoding) -> dict[str, Any]:
    content = asdict(column)
    return {"column": content.pop("column"), "type": content.pop("kind"), **content}
