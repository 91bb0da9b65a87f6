from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.dataset import Dataset, Schema
from service.errors import InvalidDataset, InvalidHyperparameters
from service.hyperparameters import Hyperparameters
from service.parameters import Layout, n_parameters
from service.plan import CHEAP_BYTES, CHEAP_EPOCHS, LARGEST_EIGENBASIS, MAX_RECORDED_BYTES, Plan, make_plan
from service.tasks import TRAITS, Task
from tests.strategies import VALUES

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
        ("logistic_regression", labelled(*"abcdefg"), "these have 7: 'a', 'b', 'c', 'd', 'e', …; softmax_regression"),
        ("softmax_regression", LINE, "softmax_regression needs labels as targets"),
        ("mlp_classifier", labelled("a"), "mlp_classifier needs targets of at least 2 classes, and these have 1: 'a'"),
        ("mlp_regressor", labelled("a", "b"), "mlp_regressor needs numbers as targets, not labels"),
    ],
)
def test_targets_that_a_task_does_not_take_are_refused(task: Task, dataset: Dataset, sentence: str) -> None:
    with pytest.raises(InvalidDataset) as refused:
        make_plan(task, dataset, Hyperparameters())
    (fault,) = refused.value.faults
    assert fault.pointer == "/targets"
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
    assert pointers == ["/loss", "/frozen", "/start/weight", "/start/bias", "/record_every"]


@pytest.mark.parametrize(
    ("task", "dataset", "layout"),
    [
        ("linear_regression", LINE, ((1, 3),)),
        ("linear_regression", TWO_TARGETS, ((2, 3),)),
        ("logistic_regression", labelled("a", "b"), ((1, 1),)),
        ("softmax_regression", labelled("a", "b"), ((2, 1),)),
        ("softmax_regression", labelled("a", "b", "c"), ((3, 1),)),
        ("mlp_regressor", TWO_TARGETS, ((32, 3), (2, 32))),
        ("mlp_classifier", labelled("a", "b"), ((32, 1), (2, 32))),
    ],
)
def test_the_layout_is_outputs_by_features(task: Task, dataset: Dataset, layout: Layout) -> None:
    assert make_plan(task, dataset, Hyperparameters()).layout == layout


def test_a_perceptron_has_the_hidden_layers_that_are_asked_for() -> None:
    plan = make_plan("mlp_regressor", TWO_TARGETS, Hyperparameters(hidden_layers=[4, 5]))
    assert plan.layout == ((4, 3), (5, 4), (2, 5))


@pytest.mark.parametrize(
    ("task", "dataset", "loss", "start", "hidden_layers"),
    [
        ("linear_regression", LINE, "mse", "zeros", None),
        ("logistic_regression", labelled("a", "b"), "binary_cross_entropy", "zeros", None),
        ("softmax_regression", labelled("a", "b", "c"), "cross_entropy", "zeros", None),
        ("mlp_regressor", LINE, "mse", "torch", [32]),
        ("mlp_classifier", labelled("a", "b", "c"), "cross_entropy", "torch", [32]),
    ],
)
def test_what_is_left_open_is_filled_in(
    task: Task, dataset: Dataset, loss: str, start: str, hidden_layers: list[int] | None
) -> None:
    resolved = make_plan(task, dataset, Hyperparameters()).hyperparameters
    assert (resolved.loss, resolved.start, resolved.hidden_layers) == (loss, start, hidden_layers)
    assert resolved.record_every == 1
    assert isinstance(resolved.seed, int)


def test_what_is_given_stays_as_it_is() -> None:
    given_values = Hyperparameters(
        loss="half_mse",
        seed=7,
        record_every=3,
        record_parameters=False,
        learning_rate=0.5,
        epochs=10,
        engine="analytic",
        start="uniform",
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
        (8338, 1000, 1),
        (8339, 1000, 2),
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
    most = min(CHEAP_EPOCHS, CHEAP_BYTES // (2 * n_parameters(plan.layout) * itemsize + 5 * 8))
    assert epochs / every <= most
    assert every == 1 or epochs / (every - 1) > most


@pytest.mark.parametrize(("n_features", "records"), [(83_000, True), (84_000, False)])
def test_auto_records_parameters_unless_that_leaves_fewer_than_a_hundred_epochs(n_features: int, records: bool) -> None:
    settled = make_plan("linear_regression", wide(n_features), Hyperparameters(epochs=20_000)).hyperparameters
    assert settled.record_parameters is records
    short = make_plan("linear_regression", wide(n_features), Hyperparameters(epochs=99)).hyperparameters
    assert short.record_parameters is True
    assert (settled.record_every == 1, short.record_every) == (not records, 1)


def test_no_training_records_more_than_a_quarter_of_a_gibibyte() -> None:
    assert MAX_RECORDED_BYTES == 2**28
    with pytest.raises(InvalidHyperparameters, match="bytes and 268435456 is the limit: use a larger record_every or"):
        make_plan("linear_regression", LINE, Hyperparameters(epochs=4_000_000, record_every=1))
    make_plan("linear_regression", LINE, Hyperparameters(epochs=3_000_000, record_every=1))


@given(st.integers(1, 10_000_000), st.integers(1, 300), st.integers(1, 100))
def test_recording_is_refused_exactly_when_it_would_take_too_much(epochs: int, n_features: int, every: int) -> None:
    n_recorded = epochs // every + 1 + (epochs % every > 0)  # the start, every so many, and the last
    recorded_bytes = n_recorded * (2 * (n_features + 1) * 4 + 5 * 8)
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


DATASETS: dict[Task, Dataset] = {
    "linear_regression": LINE,
    "logistic_regression": labelled("a", "b"),
    "softmax_regression": labelled("a", "b", "c"),
    "mlp_regressor": LINE,
    "mlp_classifier": labelled("a", "b", "c"),
}
NOT_EXACT: list[tuple[Task, dict[str, Any]]] = [
    ("linear_regression", {"loss": "mae"}),
    ("linear_regression", {"loss": "huber"}),
    ("linear_regression", {"l1": 0.1}),
    ("linear_regression", {"optimizer": "adam"}),
    ("linear_regression", {"optimizer": "lbfgs"}),
    ("linear_regression", {"schedule": "cosine"}),
    ("linear_regression", {"schedule": {"kind": "step", "gamma": 1}}),
    ("linear_regression", {"clip_gradient_norm": 1.0}),
    ("linear_regression", {"batch_size": 1}),
    ("logistic_regression", {}),
    ("softmax_regression", {}),
    ("mlp_regressor", {}),
    ("mlp_classifier", {}),
]
EXACT: list[dict[str, Any]] = [
    {},
    {"loss": "half_mse"},
    {"l2": 0.1},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.9, "dampening": 0.5},
    {"schedule": {"kind": "constant"}},
    {"batch_size": 2},
    {"batch_size": 1, "validation_fraction": 0.5},
    {"start": "torch", "frozen": ["bias"]},
    {"fit_intercept": False, "scale": "standard", "scale_targets": "standard"},
    {"stop": {"patience": 3, "target_loss": 0.1}},
]


def plan(task: Task, values: dict[str, Any]) -> Plan:
    return make_plan(task, DATASETS[task], Hyperparameters.model_validate(values))


@pytest.mark.parametrize(("task", "values"), NOT_EXACT)
def test_the_exact_engine_is_refused_where_there_is_no_closed_form_and_auto_takes_another(
    task: Task, values: dict[str, Any]
) -> None:
    with pytest.raises(InvalidHyperparameters) as found:
        plan(task, {**values, "engine": "exact"})
    (fault,) = found.value.faults
    assert fault.pointer == "/engine"
    is_linear = task == "linear_regression"
    assert ("exact needs mse or half_mse" if is_linear else f"exact cannot train {task}: use a") in fault.detail
    assert plan(task, values).engine == ("autograd" if TRAITS[task].is_perceptron else "analytic")


@pytest.mark.parametrize("values", EXACT, ids=str)
def test_auto_takes_the_exact_engine_wherever_there_is_a_closed_form(values: dict[str, Any]) -> None:
    assert plan("linear_regression", values).engine == "exact"
    for engine in ("exact", "analytic", "autograd"):
        assert plan("linear_regression", {**values, "engine": engine}).engine == engine


@pytest.mark.parametrize(
    ("n_features", "engine"), [(LARGEST_EIGENBASIS, "exact"), (LARGEST_EIGENBASIS + 1, "analytic")]
)
def test_the_exact_engine_takes_no_more_features_than_an_eigenbasis_is_found_of_quickly(
    n_features: int, engine: str
) -> None:
    dataset = Dataset(np.ones((1, n_features)), [1.0])
    assert make_plan("linear_regression", dataset, Hyperparameters()).engine == engine


@settings(max_examples=300)
@given(st.sampled_from(get_args(Task)), st.sampled_from([*DATASETS.values(), TWO_TARGETS, labelled("a")]), VALUES)
def test_anything_is_planned_or_refused_and_what_is_planned_is_settled(
    task: Task, dataset: Dataset, values: dict[str, Any]
) -> None:
    try:
        settled = make_plan(task, dataset, Hyperparameters.model_validate(values))
    except (InvalidDataset, InvalidHyperparameters):
        return
    resolved = settled.hyperparameters
    open_still = {name for name, value in resolved.model_dump().items() if value == "auto"}
    assert open_still <= {"learning_rate", "device"}
    sent = Hyperparameters.model_validate_json(resolved.model_dump_json())
    assert sent == resolved
    assert make_plan(task, dataset, sent).hyperparameters == resolved
