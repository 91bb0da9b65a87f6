from typing import Any, get_args

import pytest
from jsonschema_rs import Draft202012Validator

from service.hyperparameters import Hyperparameters
from service.tasks import TRAITS, Task
from tests.api.conftest import Json, LocalService

CHOICES: dict[str, tuple[Any, ...]] = {
    "loss": (None, "mse", "half_mse", "mae", "huber", "binary_cross_entropy", "cross_entropy"),
    "engine": ("auto", "exact", "analytic", "autograd"),
    "start": (None, "zeros", "torch", "uniform", {"model": "line"}),
    "hidden_layers": ([4], [3, 2]),
    "activation": ("tanh", "sigmoid"),
    "dropout": (0.5,),
    "scale_targets": ("center", "standard"),
    "class_weight": ("balanced",),
    "epochs": (0, 1, 10_000_000, 10_000_001),
    "learning_rate": ("auto", "fast", 0, 0.1),
    "momentum": (0.9, 1),
    "schedule": ("cosine", {"kind": "step", "step_size": 5}, {"kind": "step", "size": 5}),
    "stop": ({"patience": 3}, {"patience": 0}),
    "frozen": (["bias"], ["slope"]),
    "rate": (1,),
}
"""Values of hyperparameters, some of which no task takes, and some of which not every task does."""
each_task = pytest.mark.parametrize("task", get_args(Task))


@pytest.fixture(scope="module")
def algorithms(standing: LocalService) -> dict[str, Json]:
    """What is told of each task."""
    return {one["task"]: one for one in standing.http.get("/algorithms").json()["tasks"]}


def check(service: LocalService, algorithm: Json, hyperparameters: Json) -> Any:
    """Ask for a check of an algorithm's example with these hyperparameters."""
    return service.post("/train/check", {**algorithm["example"], "hyperparameters": hyperparameters})


def test_every_task_is_told_of(algorithms: dict[str, Json]) -> None:
    assert list(algorithms) == list(get_args(Task))
    for task, traits in TRAITS.items():
        told = algorithms[task]
        assert (told["sentence"], told["classifies"], told["losses"]) == (
            traits.sentence,
            traits.classifies,
            list(traits.losses),
        )


@each_task
def test_a_schema_takes_what_the_service_takes(standing: LocalService, algorithms: dict[str, Json], task: Task) -> None:
    validator = Draft202012Validator(algorithms[task]["hyperparameters"])
    for name, values in CHOICES.items():
        for value in values:
            if value == {"model": "line"} and task != "linear_regression":
                continue  # whether a start's model is of this task is not the schema's to tell
            answer = check(standing, algorithms[task], {name: value})
            assert answer.status_code in (200, 422)
            assert validator.is_valid({name: value}) == (answer.status_code == 200), (name, value, answer.text)


@each_task
def test_a_schemas_defaults_are_what_leaving_everything_out_gives(
    standing: LocalService, algorithms: dict[str, Json], task: Task
) -> None:
    algorithm = algorithms[task]
    schema = algorithm["hyperparameters"]
    defaults = {name: field["default"] for name, field in schema["properties"].items()}
    Draft202012Validator(schema).validate(defaults)
    given = check(standing, algorithm, {**defaults, "seed": 7}).json()
    left_out = check(standing, algorithm, {"seed": 7}).json()
    assert given == left_out
    assert left_out["engine"] == algorithm["engines"][0]
    assert left_out["hyperparameters"]["loss"] == algorithm["losses"][0]
    for name in defaults.keys() & {"loss", "start", "hidden_layers"}:  # which differ from task to task
        assert defaults[name] == left_out["hyperparameters"][name]


def test_what_a_task_has_not_is_described_for_those_that_have_it(algorithms: dict[str, Json]) -> None:
    described = [algorithm["hyperparameters"]["properties"] for algorithm in algorithms.values()]
    assert {name for its in described for name in its} == Hyperparameters.model_fields.keys()
    for name in Hyperparameters.model_fields:
        assert all(its[name]["description"] for its in described if name in its)


def test_every_example_trains(local: LocalService, algorithms: dict[str, Json]) -> None:
    for algorithm in algorithms.values():
        assert local.train({**algorithm["example"], "hyperparameters": {"epochs": 3}})["status"] == "succeeded"
