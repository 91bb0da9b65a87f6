from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from service.hyperparameters import Hyperparameters, StartValues, Stop
from service.tasks import TRAITS

MODELS: tuple[type[BaseModel], ...] = (Hyperparameters, Stop, StartValues)
FIELDS = [pytest.param(model, name, id=f"{model.__name__}.{name}") for model in MODELS for name in model.model_fields]
OPTIONAL = [
    pytest.param(model, name, id=f"{model.__name__}.{name}") for model in MODELS[:2] for name in model.model_fields
]
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def hyperparameters(draw: st.DrawFn) -> Hyperparameters:
    values = st.builds(StartValues, weight=NUMBERS | st.lists(NUMBERS) | st.lists(st.lists(NUMBERS)), bias=NUMBERS)
    return draw(
        st.builds(
            Hyperparameters,
            learning_rate=st.just("auto") | st.floats(0, 1e38, exclude_min=True),
            epochs=st.integers(1, 10_000_000),
            batch_size=st.none() | st.integers(1),
            shuffle=st.booleans(),
            momentum=st.floats(0, 1, exclude_max=True),
            loss=st.none() | st.sampled_from([loss for traits in TRAITS.values() for loss in traits.losses]),
            start=st.sampled_from(["zeros", "torch", "uniform"]) | values,
            frozen=st.lists(st.sampled_from(["weight", "bias"]), max_size=2),
            stop=st.builds(Stop, target_loss=st.none() | st.floats(0, allow_infinity=False)),
            record_every=st.just("auto") | st.integers(1, 10_000_000),
            dtype=st.sampled_from(["float32", "float64"]),
            device=st.sampled_from(["auto", "cpu", "cuda"]) | st.integers(0, 999).map(lambda number: f"cuda:{number}"),
            seed=st.none() | st.integers(0, 2**53 - 1),
        )
    )


def branches(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives that a field's JSON schema gives, unnested."""
    alternatives = schema.get("anyOf", []) + schema.get("oneOf", [])
    return [schema] if not alternatives else [branch for one in alternatives for branch in branches(one)]


@pytest.mark.parametrize(("model", "name"), FIELDS)
def test_every_hyperparameter_has_a_sentence(model: type[BaseModel], name: str) -> None:
    description = model.model_fields[name].description
    assert description
    assert description[0].isupper()
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


@given(hyperparameters())
def test_hyperparameters_come_back_from_their_json(given_values: Hyperparameters) -> None:
    assert Hyperparameters.model_validate_json(given_values.model_dump_json()) == given_values
    assert Hyperparameters.model_validate(given_values.model_dump(mode="json")) == given_values


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
        {"optimizer": "adam"},
        {"momentum": 1},
        {"momentum": -0.1},
        {"loss": "mae"},
        {"start": "ones"},
        {"start": [0, 0]},
        {"start": {"bias": 1}},
        {"start": {"weight": ["a"]}},
        {"start": {"weight": [True]}},
        {"start": {"weight": [[1], 2]}},
        {"start": {"weight": [1], "bais": 1}},
        {"frozen": ["wieght"]},
        {"frozen": "bias"},
        {"stop": {"target_loss": -1}},
        {"stop": {"target": 1}},
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
