"""What must not be asked for together: every refusal, and beside each its nearest neighbour that is allowed."""

from typing import Any

import numpy as np
import pytest

from service.dataset import Dataset, Outline, Schema
from service.errors import InvalidHyperparameters
from service.hyperparameters import Hyperparameters, LayerValues, StartLayers
from service.parameters import flatten
from service.plan import MAX_PARAMETERS, layout_of, make_plan
from service.rules import is_frozen, is_full_batch, part_sizes, start_layers
from service.tasks import Task

LINE = Dataset([[1, 2, 3], [4, 5, 7]], [1, 2])
TWO_TARGETS = Dataset([[1, 2, 3], [4, 5, 7]], [[1, 2], [3, 4]])


def labelled(*classes: str | int | bool) -> Dataset:
    codes = np.arange(len(classes))
    return Dataset(codes, codes, Schema(("x",), ("y",), classes))


DATASETS: dict[Task, Dataset] = {
    "linear_regression": LINE,
    "logistic_regression": labelled("a", "b"),
    "softmax_regression": labelled("a", "b", "c"),
    "mlp_regressor": LINE,
    "mlp_classifier": labelled("a", "b", "c"),
}
SHORT: dict[str, Task] = {"line": "linear_regression", "logistic": "logistic_regression"}
SHORT |= {"softmax": "softmax_regression", "mlp": "mlp_regressor", "classifier": "mlp_classifier"}

Case = tuple[str, dict[str, Any], dict[str, Any], str, str]
CASES: list[Case] = [
    # a task, what is refused, its nearest neighbour that is not, the pointer, words of the sentence
    ("line", {"loss": "cross_entropy"}, {"loss": "huber"}, "/loss", "it has mse, half_mse, mae, huber"),
    ("logistic", {"loss": "mse"}, {"loss": "binary_cross_entropy"}, "/loss", "logistic_regression cannot minimise mse"),
    ("softmax", {"loss": "binary_cross_entropy"}, {"loss": "cross_entropy"}, "/loss", "it has cross_entropy"),
    ("mlp", {"loss": "cross_entropy"}, {"loss": "mae"}, "/loss", "mlp_regressor cannot minimise cross_entropy"),
    (
        "line",
        {"hidden_layers": [4]},
        {"hidden_layers": None},
        "/hidden_layers",
        "linear_regression has no hidden layer",
    ),
    ("softmax", {"activation": "tanh"}, {"activation": "relu"}, "/activation", "train an mlp_regressor or mlp_class"),
    ("logistic", {"dropout": 0.1}, {"dropout": 0.0}, "/dropout", "logistic_regression has no hidden layers"),
    ("logistic", {"scale_targets": "center"}, {"scale": "center"}, "/scale_targets", "labels, which have no scale"),
    ("mlp", {"class_weight": "balanced"}, {"class_weight": None}, "/class_weight", "numbers, not classes: use null"),
    (
        "mlp",
        {"engine": "analytic"},
        {"engine": "autograd"},
        "/engine",
        "cannot train mlp_regressor: use autograd or auto",
    ),
    ("line", {"optimizer": "adam", "momentum": 0.9}, {"momentum": 0.9}, "/momentum", "the optimizer is adam"),
    ("line", {"optimizer": "adagrad", "nesterov": True}, {"optimizer": "adagrad"}, "/nesterov", "belongs to sgd"),
    ("line", {"optimizer": "lbfgs", "dampening": 0.5}, {"optimizer": "lbfgs"}, "/dampening", "leave it out or use sgd"),
    ("line", {"nesterov": True}, {"nesterov": True, "momentum": 0.1}, "/nesterov", "give a momentum above 0"),
    ("line", {"dampening": 0.5}, {"dampening": 0.5, "momentum": 0.1}, "/dampening", "give a momentum above 0"),
    (
        "line",
        {"dampening": 0.5, "momentum": 0.1, "nesterov": True},
        {"dampening": 0.0, "momentum": 0.1, "nesterov": True},
        "/dampening",
        "do not go together, as in torch: drop one",
    ),
    (
        "line",
        {"optimizer": "lbfgs", "clip_gradient_norm": 1.0},
        {"optimizer": "adam", "clip_gradient_norm": 1.0},
        "/clip_gradient_norm",
        "needs the gradient as it is",
    ),
    ("mlp", {"optimizer": "lbfgs", "dropout": 0.5}, {"optimizer": "adam", "dropout": 0.5}, "/dropout", "or adam"),
    (
        "line",
        {"learning_rate": 0.001, "schedule": {"kind": "cosine", "eta_min": 5.0}},
        {"learning_rate": 0.001, "schedule": {"kind": "cosine", "eta_min": 0.001}},
        "/schedule/eta_min",
        "eta_min 5 is above the learning rate 0.001, from which the schedule falls: 0.001 is the limit; use less",
    ),
    (
        "line",
        {"learning_rate": 0.1, "schedule": {"kind": "plateau", "min_learning_rate": 0.2}},
        {"schedule": {"kind": "plateau", "min_learning_rate": 0.2}},
        "/schedule/min_learning_rate",
        "min_learning_rate 0.2 is above the learning rate 0.1",
    ),
    ("line", {"optimizer": "lbfgs", "batch_size": 1}, {"optimizer": "lbfgs", "batch_size": 2}, "/batch_size", "null"),
    (
        "line",
        {"stop": {"min_delta": 0.1}},
        {"stop": {"min_delta": 0.1, "patience": 3}},
        "/stop/min_delta",
        "give a patience too",
    ),
    (
        "line",
        {"validation_fraction": 0.9},
        {"validation_fraction": 0.6},
        "/validation_fraction",
        "of 2 samples 2 for validation and 0 for test leave none to train on",
    ),
    (
        "line",
        {"test_fraction": 0.9},
        {"test_fraction": 0.1},
        "/test_fraction",
        "0 for validation and 2 for test leave none to train on: hold out less",
    ),
    (
        "softmax",
        {"validation_fraction": 0.5, "test_fraction": 0.1},
        {"validation_fraction": 0.3, "test_fraction": 0.1},
        "/validation_fraction",
        "2 for validation and 1 for test",
    ),
    ("line", {"frozen": ["0.bias"]}, {"frozen": ["bias"]}, "/frozen", "'0.bias' to freeze: there are weight, bias"),
    (
        "mlp",
        {"frozen": ["2.weight"]},
        {"frozen": ["1.weight"]},
        "/frozen",
        "there are 0.weight, 0.bias, 1.weight, 1.bias, and weight and bias for those of all layers",
    ),
    ("line", {"frozen": ["weight", "bias"]}, {"frozen": ["weight"]}, "/frozen", "frozen, so there is nothing to train"),
    (
        "line",
        {"frozen": ["weight"], "fit_intercept": False},
        {"frozen": ["bias"], "fit_intercept": False},
        "/frozen",
        "frozen, or without an intercept, so there is nothing to train",
    ),
    (
        "mlp",
        {"frozen": ["0.weight", "1.weight", "bias"]},
        {"frozen": ["0.weight", "0.bias", "1.bias"]},
        "/frozen",
        "nothing to train",
    ),
    ("mlp", {"start": "zeros"}, {"start": "uniform"}, "/start", "from zeros all units of a hidden layer stay alike"),
    (
        "line",
        {"start": {"weight": [1, 2, 3], "bias": 1}, "fit_intercept": False},
        {"start": {"weight": [1, 2, 3], "bias": 0}, "fit_intercept": False},
        "/start/bias",
        "the start has a bias, and fit_intercept is false",
    ),
    (
        "mlp",
        {"hidden_layers": [1], "start": [{"weight": [1, 2, 3]}, {"weight": 2, "bias": 1}], "fit_intercept": False},
        {"hidden_layers": [1], "start": [{"weight": [1, 2, 3]}, {"weight": 2, "bias": 0}], "fit_intercept": False},
        "/start/1/bias",
        "the start has a bias, and fit_intercept is false",
    ),
    (
        "mlp",
        {"hidden_layers": [1], "start": {"parameters": [{"weight": [1, 2, 3], "bias": 1}, {"weight": 2}]}}
        | {"fit_intercept": False},
        {"hidden_layers": [1], "start": {"parameters": [{"weight": [1, 2, 3]}, {"weight": 2}]}}
        | {"fit_intercept": False},
        "/start/parameters/0/bias",
        "the start has a bias, and fit_intercept is false",
    ),
    ("line", {"start": [{"weight": 1}]}, {"start": [{"weight": [1, 2, 3]}]}, "/start/0/weight", "must have 3 numbers"),
    (
        "line",
        {"start": [{"weight": [1, 2, 3]}, {"weight": 1}]},
        {"start": [{"weight": [1, 2, 3], "bias": 1}]},
        "/start",
        "the start has 2 layers and the model 1",
    ),
    (
        "line",
        {"scale": "center", "fit_intercept": False},
        {"scale": "standard", "fit_intercept": False},
        "/scale",
        "centred numbers have a bias in original units",
    ),
    (
        "line",
        {"scale_targets": "center", "fit_intercept": False},
        {"scale_targets": "center", "frozen": ["bias"]},
        "/scale_targets",
        "use standard, which only divides",
    ),
    ("line", {"start": {"weight": [1, 2]}}, {"start": {"weight": [1, 2, 3]}}, "/start/weight", "must have 3 numbers"),
    ("line", {"start": {"weight": 1}}, {"start": {"weight": [[1, 2, 3]]}}, "/start/weight", "must have 3 numbers"),
    (
        "softmax",
        {"start": {"weight": [[1], [2], [3]], "bias": 1}},
        {"start": {"weight": [[1], [2], [3]], "bias": 0}},
        "/start/bias",
        "must have 3 numbers, one for each output",
    ),
    (
        "mlp",
        {"hidden_layers": [1], "start": {"weight": [1, 2, 3]}},
        {"hidden_layers": [1], "start": {"parameters": [{"weight": [1, 2, 3]}, {"weight": 2}]}},
        "/start",
        "the start has 1 layer and the model 2: give weight and bias of each",
    ),
    (
        "mlp",
        {"hidden_layers": [1], "start": {"parameters": [{"weight": [1, 2, 3]}, {"weight": [1, 2]}]}},
        {"hidden_layers": [2], "start": {"parameters": [{"weight": [[1, 2, 3]] * 2}, {"weight": [1, 2]}]}},
        "/start/parameters/1/weight",
        "must have 1 number",
    ),
    (
        "mlp",
        {"hidden_layers": [4000, 4000]},
        {"hidden_layers": [400, 400]},
        "/hidden_layers",
        f"and {MAX_PARAMETERS} is the limit: use fewer units",
    ),
    (
        "mlp",
        {"epochs": 10_000_000, "record_every": 10, "record_parameters": True},
        {"epochs": 10_000_000, "record_every": 10, "record_parameters": False},
        "/record_every",
        "use a larger record_every or auto",
    ),
]


def plan(name: str, values: dict[str, Any]) -> Any:
    return make_plan(SHORT[name], DATASETS[SHORT[name]], Hyperparameters.model_validate(values))


@pytest.mark.parametrize(("name", "refused", "allowed", "pointer", "words"), CASES)
def test_what_does_not_go_together_is_refused_by_its_place_and_its_nearest_neighbour_is_not(
    name: str, refused: dict[str, Any], allowed: dict[str, Any], pointer: str, words: str
) -> None:
    with pytest.raises(InvalidHyperparameters) as found:
        plan(name, refused)
    (fault,) = found.value.faults
    assert fault.pointer == pointer
    assert words in fault.detail
    assert plan(name, allowed).task == SHORT[name]


@pytest.mark.parametrize("n_samples", [2, 3, 10, 1000])
@pytest.mark.parametrize("fractions", [(0.0, 0.0), (0.001, 0.0), (0.25, 0.25), (0.5, 0.1), (0.0, 0.9)])
def test_a_part_that_is_asked_for_has_its_share_of_the_samples_and_at_least_one(
    n_samples: int, fractions: tuple[float, float]
) -> None:
    given_values = Hyperparameters(validation_fraction=fractions[0], test_fraction=fractions[1])
    sizes = part_sizes(Outline(n_samples, Schema(("x",), ("y",))), given_values)
    assert sum(sizes) == n_samples
    for size, fraction in zip(sizes[1:], fractions, strict=True):
        assert (size > 0) is (fraction > 0)
        assert size == 1 or abs(size - fraction * n_samples) <= 0.5


@pytest.mark.parametrize(
    ("values", "frozen"),
    [
        ({}, []),
        ({"frozen": ["bias"]}, ["0.bias", "1.bias"]),
        ({"frozen": ["1.weight"]}, ["1.weight"]),
        ({"fit_intercept": False}, ["0.bias", "1.bias"]),
    ],
)
def test_a_kind_freezes_the_parameters_of_all_layers(values: dict[str, Any], frozen: list[str]) -> None:
    every = ("0.weight", "0.bias", "1.weight", "1.bias")
    assert [name for name in every if is_frozen(Hyperparameters.model_validate(values), name)] == frozen


@pytest.mark.parametrize(
    ("start", "dataset", "weight", "bias"),
    [
        (LayerValues(weight=2.0, bias=1.0), Dataset([1, 2], [1, 2]), [[2]], [1]),
        (LayerValues(weight=[2.0], bias=[1.0]), Dataset([1, 2], [1, 2]), [[2]], [1]),
        (LayerValues(weight=[1.0, 2.0, 3.0]), LINE, [[1, 2, 3]], [0]),
        (LayerValues(weight=[[1.0, 2.0, 3.0]], bias=4.0), LINE, [[1, 2, 3]], [4]),
        (LayerValues(weight=[[1.0, 2, 3], [4, 5, 6]], bias=[7.0, 8]), TWO_TARGETS, [[1, 2, 3], [4, 5, 6]], [7, 8]),
        (LayerValues(weight=[[1.0, 2, 3], [4, 5, 6]]), TWO_TARGETS, [[1, 2, 3], [4, 5, 6]], [0, 0]),
        ([LayerValues(weight=[1.0, 2.0, 3.0], bias=4.0)], LINE, [[1, 2, 3]], [4]),
    ],
)
def test_start_values_are_taken_in_the_shapes_in_which_parameters_are_reported(
    start: LayerValues | list[LayerValues], dataset: Dataset, weight: list[list[float]], bias: list[float]
) -> None:
    given_values = Hyperparameters(start=start)
    (layer,) = start_layers(start, layout_of("linear_regression", dataset, given_values))
    assert layer.weight.tolist() == weight
    assert layer.bias.tolist() == bias
    assert layer.weight.dtype == layer.bias.dtype == np.float64
    assert make_plan("linear_regression", dataset, given_values).hyperparameters.start == start


def test_every_fault_of_the_layers_of_a_start_is_told_of_at_once() -> None:
    layers = [LayerValues(weight=1.0), LayerValues(weight=[[1.0, 2.0], [3.0]], bias=[1.0, 2.0])]
    for start, where in ((layers, "/start"), (StartLayers(parameters=layers), "/start/parameters")):
        with pytest.raises(InvalidHyperparameters) as found:
            start_layers(start, ((2, 3), (1, 2)))
        places = ["0/weight", "1/weight", "1/bias"]
        assert [fault.pointer for fault in found.value.faults] == [f"{where}/{place}" for place in places]


def test_a_bare_list_of_layers_is_the_same_start_as_the_list_by_its_name() -> None:
    layers = [LayerValues(weight=[[1.0, 2, 3], [4, 5, 6]], bias=[7.0, 8]), LayerValues(weight=[9.0, 10], bias=11.0)]
    layout = ((2, 3), (1, 2))
    bare, named = start_layers(layers, layout), start_layers(StartLayers(parameters=layers), layout)
    assert flatten(bare).tolist() == flatten(named).tolist() == list(range(1, 12))


@pytest.mark.parametrize("batch_size", [None, 1, 4, 5, 6])
def test_a_batch_is_full_when_a_step_takes_every_training_sample(batch_size: int | None) -> None:
    n_steps = -(-5 // min(5, batch_size or 5))
    assert is_full_batch(5, Hyperparameters(batch_size=batch_size)) is (n_steps == 1)
