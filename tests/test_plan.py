import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dataset import Dataset, Schema
from service.errors import InvalidDataset, InvalidHyperparameters
from service.hyperparameters import Hyperparameters, StartValues
from service.parameters import n_parameters
from service.plan import CHEAP_BYTES, CHEAP_EPOCHS, MAX_RECORDED_BYTES, layout_of, make_plan, start_layers
from service.tasks import Task

LINE = Dataset([[1, 2, 3], [4, 5, 7]], [1, 2])
TWO_TARGETS = Dataset([[1, 2, 3], [4, 5, 7]], [[1, 2], [3, 4]])


def labelled(*classes: str | int | bool) -> Dataset:
    codes = np.arange(len(classes))
    return Dataset(codes, codes, Schema(("x",), ("y",), classes))


def wide(n_features: int) -> Dataset:
    return Dataset(np.ones((1, n_features)), [1.0])


@pytest.mark.parametrize(
    ("task", "dataset", "sentence"),
    [
        ("linear_regression", labelled("a", "b"), "linear_regression needs numbers as targets, not labels"),
        ("logistic_regression", LINE, "logistic_regression needs labels as targets: give the dataset's classes"),
        ("logistic_regression", labelled("a"), "exactly 2 classes, and these have 1: 'a'"),
        ("logistic_regression", labelled("a", "b", "c"), "exactly 2 classes, and these have 3: 'a', 'b', 'c'"),
        ("logistic_regression", labelled(1, True, "1"), "these have 3: 1, True, '1'"),
        ("logistic_regression", labelled(*"abcdefg"), "these have 7: 'a', 'b', 'c', 'd', 'e', …"),
    ],
)
def test_targets_that_a_task_does_not_take_are_refused(task: Task, dataset: Dataset, sentence: str) -> None:
    with pytest.raises(InvalidDataset) as refused:
        make_plan(task, dataset, Hyperparameters())
    (fault,) = refused.value.faults
    assert fault.pointer == "/targets"
    assert sentence in fault.detail


@pytest.mark.parametrize(
    ("task", "dataset", "values", "pointer", "sentence"),
    [
        pytest.param(
            "linear_regression",
            LINE,
            {"loss": "binary_cross_entropy"},
            "/loss",
            "linear_regression cannot minimise binary_cross_entropy: use mse or half_mse",
            id="loss of a classification",
        ),
        pytest.param(
            "logistic_regression",
            labelled("a", "b"),
            {"loss": "mse"},
            "/loss",
            "logistic_regression cannot minimise mse: use binary_cross_entropy",
            id="loss of a regression",
        ),
        pytest.param(
            "linear_regression", LINE, {"frozen": ["bias", "weight"]}, "/frozen", "nothing to train", id="all frozen"
        ),
        pytest.param(
            "linear_regression",
            LINE,
            {"start": {"weight": [1, 2]}},
            "/start/weight",
            "the start's weight must have 3 numbers",
            id="weight too short",
        ),
        pytest.param("linear_regression", LINE, {"start": {"weight": 1}}, "/start/weight", "3 numbers", id="number"),
        pytest.param("linear_regression", LINE, {"start": {"weight": []}}, "/start/weight", "3 numbers", id="empty"),
        pytest.param(
            "linear_regression", LINE, {"start": {"weight": [[1, 2], [3]]}}, "/start/weight", "3 numbers", id="ragged"
        ),
        pytest.param(
            "linear_regression",
            TWO_TARGETS,
            {"start": {"weight": [1, 2, 3]}},
            "/start/weight",
            "2 rows of 3 numbers",
            id="weight for one output",
        ),
        pytest.param(
            "linear_regression",
            LINE,
            {"start": {"weight": [1, 2, 3], "bias": [1, 2]}},
            "/start/bias",
            "the start's bias must have 1 numbers",
            id="bias too long",
        ),
        pytest.param(
            "linear_regression",
            TWO_TARGETS,
            {"start": {"weight": [[1, 2, 3], [4, 5, 6]], "bias": 1}},
            "/start/bias",
            "must have 2 numbers, one for each output",
            id="bias for one output",
        ),
        pytest.param(
            "linear_regression",
            wide(100),
            {"epochs": 10_000_000, "record_every": 1},
            "/record_every",
            "recording every 1 of 10000000 epochs would take 84000",
            id="too much to record",
        ),
    ],
)
def test_hyperparameters_that_do_not_fit_are_refused_with_what_would_fit(
    task: Task, dataset: Dataset, values: dict[str, Any], pointer: str, sentence: str
) -> None:
    with pytest.raises(InvalidHyperparameters) as refused:
        make_plan(task, dataset, Hyperparameters.model_validate(values))
    (fault,) = refused.value.faults
    assert fault.pointer == pointer
    assert sentence in fault.detail


def test_every_hyperparameter_that_does_not_fit_is_told_of_at_once() -> None:
    values = {
        "loss": "binary_cross_entropy",
        "frozen": ["weight", "bias"],
        "start": {"weight": [1], "bias": [1, 2]},
        "epochs": 10_000_000,
        "record_every": 1,
        "dtype": "float64",
    }
    dataset = Dataset(np.ones((1, 20)), [1.0])
    with pytest.raises(InvalidHyperparameters) as refused:
        make_plan("linear_regression", dataset, Hyperparameters.model_validate(values))
    pointers = [fault.pointer for fault in refused.value.faults]
    assert pointers == ["/loss", "/start/weight", "/start/bias", "/frozen", "/record_every"]


@pytest.mark.parametrize(
    ("start", "dataset", "weight", "bias"),
    [
        (StartValues(weight=2.0, bias=1.0), Dataset([1, 2], [1, 2]), [[2]], [1]),
        (StartValues(weight=[2.0], bias=[1.0]), Dataset([1, 2], [1, 2]), [[2]], [1]),
        (StartValues(weight=[1.0, 2.0, 3.0]), LINE, [[1, 2, 3]], [0]),
        (StartValues(weight=[[1.0, 2.0, 3.0]], bias=4.0), LINE, [[1, 2, 3]], [4]),
        (StartValues(weight=[[1.0, 2, 3], [4, 5, 6]], bias=[7.0, 8]), TWO_TARGETS, [[1, 2, 3], [4, 5, 6]], [7, 8]),
        (StartValues(weight=[[1.0, 2, 3], [4, 5, 6]]), TWO_TARGETS, [[1, 2, 3], [4, 5, 6]], [0, 0]),
    ],
)
def test_start_values_are_taken_in_the_shapes_in_which_parameters_are_reported(
    start: StartValues, dataset: Dataset, weight: list[list[float]], bias: list[float]
) -> None:
    (layer,) = start_layers(start, layout_of("linear_regression", dataset))
    assert layer.weight.tolist() == weight
    assert layer.bias.tolist() == bias
    assert layer.weight.dtype == layer.bias.dtype == np.float64
    hyperparameters = Hyperparameters(start=start)
    assert make_plan("linear_regression", dataset, hyperparameters).hyperparameters.start == start


@pytest.mark.parametrize(
    ("task", "dataset", "layout"),
    [
        ("linear_regression", LINE, ((1, 3),)),
        ("linear_regression", TWO_TARGETS, ((2, 3),)),
        ("logistic_regression", labelled("a", "b"), ((1, 1),)),
    ],
)
def test_the_layout_is_outputs_by_features(task: Task, dataset: Dataset, layout: tuple[tuple[int, int], ...]) -> None:
    assert make_plan(task, dataset, Hyperparameters()).layout == layout


@pytest.mark.parametrize(
    ("task", "dataset", "loss"),
    [("linear_regression", LINE, "mse"), ("logistic_regression", labelled("a", "b"), "binary_cross_entropy")],
)
def test_what_is_left_open_is_filled_in(task: Task, dataset: Dataset, loss: str) -> None:
    resolved = make_plan(task, dataset, Hyperparameters()).hyperparameters
    assert resolved.loss == loss
    assert resolved.record_every == 1
    assert isinstance(resolved.seed, int)


def test_what_is_given_stays_as_it_is() -> None:
    given_values = Hyperparameters(
        loss="half_mse", seed=7, record_every=3, learning_rate=0.5, epochs=10, engine="analytic"
    )
    assert make_plan("linear_regression", LINE, given_values).hyperparameters == given_values


def test_a_seed_that_is_not_given_is_drawn_anew_each_time() -> None:
    seeds = {make_plan("linear_regression", LINE, Hyperparameters()).hyperparameters.seed for _ in range(5)}
    assert len(seeds) > 1


@pytest.mark.parametrize(
    ("epochs", "n_features", "every"),
    [
        (1, 1, 1),
        (CHEAP_EPOCHS, 1, 1),
        (CHEAP_EPOCHS + 1, 1, 2),
        (10 * CHEAP_EPOCHS, 1, 10),
        (8346, 1000, 1),
        (8347, 1000, 2),
    ],
)
def test_auto_records_every_epoch_while_that_is_cheap(epochs: int, n_features: int, every: int) -> None:
    plan = make_plan("linear_regression", wide(n_features), Hyperparameters(epochs=epochs))
    assert plan.hyperparameters.record_every == every


@given(st.integers(1, 10_000_000), st.integers(1, 300), st.sampled_from(["float32", "float64"]))
def test_auto_thins_no_more_than_it_must(epochs: int, n_features: int, dtype: Any) -> None:
    plan = make_plan("linear_regression", wide(n_features), Hyperparameters(epochs=epochs, dtype=dtype))
    every = plan.hyperparameters.record_every
    assert isinstance(every, int)
    itemsize = {"float32": 4, "float64": 8}[dtype]
    epoch_bytes = 2 * n_parameters(plan.layout) * itemsize + 4 * 8
    assert math.ceil(epochs / every) <= CHEAP_EPOCHS
    assert math.ceil(epochs / every) * epoch_bytes <= CHEAP_BYTES
    if every > 1:
        n_denser = math.ceil(epochs / (every - 1))
        assert n_denser > CHEAP_EPOCHS or n_denser * epoch_bytes > CHEAP_BYTES - epoch_bytes


@given(st.integers(1, 10_000_000), st.integers(1, 300), st.integers(1, 100))
def test_recording_is_refused_exactly_when_it_would_take_too_much(epochs: int, n_features: int, every: int) -> None:
    n_recorded = epochs // every + 1 + (epochs % every > 0)  # the start, every so many, and the last
    recorded_bytes = n_recorded * (2 * (n_features + 1) * 4 + 4 * 8)
    hyperparameters = Hyperparameters(epochs=epochs, record_every=every)
    if recorded_bytes > MAX_RECORDED_BYTES:
        with pytest.raises(InvalidHyperparameters, match="use a larger record_every or auto"):
            make_plan("linear_regression", wide(n_features), hyperparameters)
    elif recorded_bytes < 0.99 * MAX_RECORDED_BYTES:
        assert make_plan("linear_regression", wide(n_features), hyperparameters).hyperparameters.record_every == every


@pytest.mark.parametrize(("batch_size", "warns"), [(None, False), (1, False), (2, False), (3, True)])
def test_a_batch_larger_than_the_dataset_is_warned_of(batch_size: int | None, warns: bool) -> None:
    plan = make_plan("linear_regression", LINE, Hyperparameters(batch_size=batch_size))
    assert [warning.code for warning in plan.warnings] == ["batch_size_exceeds_samples"] * warns
    if warns:
        assert "batch_size 3 is more than the 2 samples" in plan.warnings[0].detail
