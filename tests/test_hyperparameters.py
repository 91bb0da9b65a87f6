from typing import Any, get_args

import pytest
from hypothesis import given
from pydantic import BaseModel, ValidationError

from service.hyperparameters import Hyperparameters, LayerValues, StartLayers, StartModel, Stop
from service.schedules import Schedule, ScheduleName, schedule_of
from service.tasks import TRAITS
from tests.strategies import VALUES

SCHEDULES: tuple[type[Schedule], ...] = get_args(Schedule)
MODELS: tuple[type[BaseModel], ...] = (Hyperparameters, Stop, *SCHEDULES, LayerValues, StartLayers, StartModel)
FIELDS = [pytest.param(model, name, id=f"{model.__name__}.{name}") for model in MODELS for name in model.model_fields]
OPTIONAL = [
    pytest.param(model, name, id=f"{model.__name__}.{name}") for model in MODELS[:-3] for name in model.model_fields
]


def branches(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives that a field's JSON schema gives, unnested."""
    alternatives = schema.get("anyOf", []) + schema.get("oneOf", [])
    return [schema] if not alternatives else [branch for one in alternatives for branch in branches(one)]


@pytest.mark.parametrize(("model", "name"), FIELDS)
def test_every_hyperparameter_has_a_sentence(model: type[BaseModel], name: str) -> None:
    description = model.model_fields[name].description
    assert description
    assert description.lstrip("`")[0].isupper()
    assert description.endswith(".")


@pytest.mark.parametrize(("model", "name"), OPTIONAL)
def test_every_hyperparameter_has_a_default_that_it_accepts(model: type[BaseModel], name: str) -> None:
    field = model.model_fields[name]
    assert not field.is_required()
    assert getattr(model.model_validate({name: field.get_default()}), name) == field.get_default()


@pytest.mark.parametrize(("model", "name"), OPTIONAL)
def test_every_numeric_hyperparameter_has_a_bound(model: type[BaseModel], name: str) -> None:
    bounds = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}
    for branch in branches(model.model_json_schema()["properties"][name]):
        assert branch.get("type") not in ("number", "integer") or bounds & branch.keys()


@given(VALUES)
def test_hyperparameters_come_back_from_their_json(values: dict[str, Any]) -> None:
    sent = Hyperparameters.model_validate(values)
    assert Hyperparameters.model_validate_json(sent.model_dump_json()) == sent
    assert Hyperparameters.model_validate(sent.model_dump(mode="json")) == sent


@given(VALUES)
def test_what_was_not_given_is_not_among_what_was(values: dict[str, Any]) -> None:
    sent = Hyperparameters.model_validate(values)
    given_values = sent.model_dump(mode="json", exclude_unset=True)
    assert given_values.keys() == values.keys()
    assert Hyperparameters.model_validate(given_values) == sent


@pytest.mark.parametrize("name", get_args(ScheduleName))
def test_the_name_of_a_schedule_stands_for_the_schedule_with_its_defaults(name: ScheduleName) -> None:
    schedule = schedule_of(name)
    assert schedule.kind == name
    assert schedule == schedule_of(Hyperparameters.model_validate({"schedule": {"kind": name}}).schedule)
    assert [kind.model_fields["kind"].default for kind in SCHEDULES] == list(get_args(ScheduleName))


@pytest.mark.parametrize(
    "values",
    [
        {"learning_rate": 0},
        {"learning_rate": -0.1},
        {"learning_rate": 1.1e38},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"learning_rate": True},
        {"learning_rate": "0.1"},
        {"learning_rate": "fast"},
        {"learning_rate": None},
        {"epochs": 0},
        {"epochs": 10_000_001},
        {"epochs": 10.0},
        {"epochs": "10"},
        {"epochs": True},
        {"batch_size": 0},
        {"batch_size": 1.5},
        {"shuffle": 1},
        {"optimizer": "Adam"},
        {"nesterov": 1},
        {"dampening": 1},
        {"schedule": "linear"},
        {"schedule": None},
        {"schedule": {"gamma": 0.5}},
        {"schedule": {"kind": "step", "gamma": 0}},
        {"schedule": {"kind": "step", "gamma": 1.5}},
        {"schedule": {"kind": "step", "power_t": 1}},
        {"schedule": {"kind": "one_cycle", "pct_start": 1}},
        {"schedule": {"kind": "plateau", "patience": -1}},
        {"l2": -0.1},
        {"l1": float("inf")},
        {"fit_intercept": 0},
        {"scale": "minmax"},
        {"scale_targets": None},
        {"validation_fraction": 1},
        {"test_fraction": -0.1},
        {"stratify": "yes"},
        {"class_weight": "auto"},
        {"clip_gradient_norm": 0},
        {"hidden_layers": []},
        {"hidden_layers": [0]},
        {"hidden_layers": [10_001]},
        {"hidden_layers": [4] * 21},
        {"hidden_layers": 4},
        {"activation": "gelu"},
        {"dropout": 1},
        {"record_parameters": "all"},
        {"engine": "gpu"},
        {"momentum": 1},
        {"momentum": -0.1},
        {"loss": "rmse"},
        {"start": "ones"},
        {"start": [0, 0]},
        {"start": {"bias": 1}},
        {"start": {"weight": ["a"]}},
        {"start": {"weight": [True]}},
        {"start": {"weight": [[1], 2]}},
        {"start": {"weight": [1], "bais": 1}},
        {"start": []},
        {"start": [{"bias": 1}]},
        {"start": [[1]]},
        {"start": 5},
        {"start": {"parameters": []}},
        {"start": {"parameters": [{"bias": 1}]}},
        {"start": {"model": ""}},
        {"start": {"model": "line@1", "weight": 1}},
        {"frozen": ["wieght"]},
        {"frozen": ["-1.weight"]},
        {"frozen": "bias"},
        {"stop": {"target_loss": -1}},
        {"stop": {"target": 1}},
        {"stop": {"patience": 0}},
        {"stop": {"min_delta": -1}},
        {"stop": {"max_seconds": 0}},
        {"stop": {"restore_best": 1}},
        {"stop": None},
        {"record_every": 0},
        {"record_every": 10_000_001},
        {"record_every": "all"},
        {"record_every": 2.5},
        {"dtype": "float16"},
        {"device": "gpu"},
        {"device": "cuda:"},
        {"device": "cpu\n"},
        {"seed": -1},
        {"seed": 2**53},
        {"seed": 1.0},
        {"lr": 0.1},
    ],
    ids=str,
)
def test_a_value_out_of_bounds_or_of_another_type_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        Hyperparameters.model_validate(values)
    assert {error["loc"][0] for error in refused.value.errors()} == set(values)


@pytest.mark.parametrize(
    ("model", "name"), [(Hyperparameters, "epochs"), (Stop, "target_loss"), (Hyperparameters, "stop")]
)
def test_hyperparameters_never_change(model: type[BaseModel], name: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(model(), name, 1)


@pytest.mark.parametrize("task", TRAITS)
def test_every_task_says_what_it_does_and_names_losses_that_there_are(task: Any) -> None:
    traits = TRAITS[task]
    assert traits.sentence
    for loss in traits.losses:
        assert Hyperparameters(loss=loss).loss == loss
