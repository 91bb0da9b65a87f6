"""GET /algorithms: the tasks and their hyperparameters, described for machines and forms."""

from functools import cache
from typing import Any, get_args

from fastapi import APIRouter
from pydantic import Field

from service.api.dependencies import Response
from service.api.routes import LateRoute
from service.hyperparameters import Hyperparameters
from service.plan import SMALL_PERCEPTRON
from service.rules import lacking
from service.tasks import TRAITS, EngineName, LossName, Task

router = APIRouter(prefix="/algorithms", tags=["train"], route_class=LateRoute)

Json = dict[str, Any]

_MADE_UP: dict[Task, Json] = {
    "linear_regression": {"kind": "linear", "weights": [0.3], "bias": 0.5, "noise": 0.01},
    "logistic_regression": {"kind": "blobs", "n_classes": 2},
    "softmax_regression": {"kind": "blobs"},
    "mlp_regressor": {"kind": "linear", "weights": [0.3, -0.2], "n_outliers": 2},
    "mlp_classifier": {"kind": "moons"},
}


class Algorithm(Response):
    """A task, and all that it can be trained with."""

    task: Task = Field(description="Its name in `POST /train`.")
    sentence: str = Field(description="What it does, for a person.")
    classifies: bool = Field(description="Whether its targets are labels; else they are numbers.")
    losses: list[LossName] = Field(description="What it can minimise; the first is its own, which null takes.")
    engines: list[EngineName] = Field(
        description="How its epochs can be had; `auto` takes the first that can train what else is asked for."
    )
    hyperparameters: Json = Field(
        description="A JSON Schema (draft 2020-12) of `hyperparameters` for this task: those it has, each with a "
        "sentence, its bounds or choices, and the default as this task takes it."
    )
    example: Json = Field(description="A body for `POST /train`, with data that are made up.")


class Algorithms(Response):
    """What can be trained."""

    tasks: list[Algorithm] = Field(description="The tasks, the simplest first.")


@router.get("", response_description="The tasks.")
async def list_algorithms() -> Algorithms:
    """Describe the tasks and their hyperparameters: enough for a form to be made of it."""
    return algorithms()


@cache
def algorithms() -> Algorithms:
    """Describe all tasks."""
    return Algorithms(tasks=[_algorithm(task) for task in get_args(Task)])


def _algorithm(task: Task) -> Algorithm:
    traits = TRAITS[task]
    return Algorithm(
        task=task,
        sentence=traits.sentence,
        classifies=traits.classifies,
        losses=list(traits.losses),
        engines=list(traits.engines),
        hyperparameters=_schema(task),
        example={"task": task, "dataset": {"synthetic": _MADE_UP[task]}},
    )


def _schema(task: Task) -> Json:
    """Narrow the schema of all hyperparameters down to those of a task."""
    traits, schema = TRAITS[task], Hyperparameters.model_json_schema()
    properties = schema["properties"]
    for name in lacking(task):
        del properties[name]
    _narrow(properties["loss"], traits.losses)
    _narrow(properties["engine"], ("auto", *traits.engines))
    _narrow(properties["start"], traits.starts)
    defaults: Json = {"loss": traits.losses[0], "start": traits.starts[0], "hidden_layers": SMALL_PERCEPTRON}
    for name in defaults.keys() & properties.keys():
        properties[name]["default"] = defaults[name]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": f"Hyperparameters of {task}"}


def _narrow(field: Json, choices: tuple[str, ...]) -> None:
    """Leave some of the choices of a field, wherever in its schema they are."""
    forms = [field, *field.get("anyOf", ()), *field.get("oneOf", ())]
    for form in forms:
        if "enum" in form:
            form["enum"] = list(choices)
