import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st

from service.dataset import Dataset, Outline, Schema
from service.errors import InvalidDataset, InvalidHyperparameters
from service.hyperparameters import Hyperparameters
from service.plan import make_plan
from service.split import split_dataset
from service.tasks import Task
from service.training.examination import draw_alike, examine, memory_bytes, plan_of
from service.training.fit import Training
from service.training.start import draw_start
from tests.training.problems import hyperparameters, random_dataset

TASKS = ["linear_regression", "logistic_regression", "softmax_regression", "mlp_regressor", "mlp_classifier"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("asked", [{}, {"scale": "standard", "validation_fraction": 0.2, "l2": 0.1}, {"batch_size": 4}])
def test_what_is_known_beforehand_is_what_will_be_trained(task: Task, asked: dict[str, Any]) -> None:
    dataset = random_dataset(task, seed=1)
    start = {} if task.startswith("mlp") else {"start": "zeros"}
    given = Hyperparameters.model_validate({"seed": 3, **asked, **start})
    known, training = examine(task, dataset, given, draw=draw_start), Training(task, dataset, given)
    settled = training.plan.hyperparameters
    assert known.plan.hyperparameters.model_copy(update={"device": settled.device}) == settled
    assert known.plan.warnings == training.plan.warnings
    np.testing.assert_array_equal(known.start, training.examination.start)
    assert known.advice == training.examination.advice
    assert known.advice_as_json() == training.examination.advice_as_json()
    assert known.advice.scaled_condition_number == training.examination.advice.scaled_condition_number


@pytest.mark.parametrize("task", TASKS)
def test_an_automatic_rate_is_the_suggested_one_and_another_is_left_as_it_was_asked_for(task: Task) -> None:
    dataset = random_dataset(task, seed=1)
    automatic = examine(task, dataset, hyperparameters(seed=1))
    assert automatic.plan.hyperparameters.learning_rate == automatic.advice.suggested
    asked = examine(task, dataset, hyperparameters(seed=1, learning_rate=1e-3))
    assert asked.plan.hyperparameters.learning_rate == 1e-3
    assert asked.advice.suggested == automatic.advice.suggested


def test_a_seed_that_is_not_given_is_drawn_and_reported() -> None:
    dataset = random_dataset("linear_regression", seed=1)
    seeds = {examine("linear_regression", dataset, hyperparameters()).plan.hyperparameters.seed for _ in range(5)}
    assert len(seeds) == 5
    assert None not in seeds


@pytest.mark.parametrize("start", ["uniform", "torch"])
def test_a_start_that_is_drawn_without_torch_has_the_distribution_of_torchs(start: str) -> None:
    given = hyperparameters(start=start, seed=1)
    layout = ((300, 100), (100, 300))
    ours, torchs = draw_alike(given, layout), draw_start(given, layout)
    assert ours.shape == torchs.shape
    for part in (slice(0, 300 * 100), slice(300 * 101, 300 * 201)):
        for share in (0.0, 0.1, 0.5, 0.9, 1.0):
            assert np.quantile(ours[part], share) == pytest.approx(np.quantile(torchs[part], share), abs=0.02)


def test_what_does_not_go_together_is_refused_with_every_fault_at_once() -> None:
    dataset = random_dataset("linear_regression", 1)
    with pytest.raises(InvalidHyperparameters) as refused:
        examine("linear_regression", dataset, hyperparameters(dropout=0.5, nesterov=True))
    assert {fault.pointer for fault in refused.value.faults} == {"/dropout", "/nesterov"}


@settings(max_examples=100, deadline=None)
@draw(
    n_samples=st.integers(3, 12),
    counting=st.integers(1, 3),
    fractions=st.sampled_from([(0.0, 0.0), (0.2, 0.0), (0.0, 0.4), (0.3, 0.3)]),
    seed=st.integers(0, 1000),
)
def test_a_split_that_leaves_a_part_without_weight_is_refused_and_no_other(
    n_samples: int, counting: int, fractions: tuple[float, float], seed: int
) -> None:
    values = np.random.default_rng(seed).normal(size=(2, n_samples))
    weights = np.zeros(n_samples)
    weights[:counting] = 2.0
    dataset = Dataset(values[0], values[1], sample_weight=weights)
    given = hyperparameters(seed=seed, validation_fraction=fractions[0], test_fraction=fractions[1])
    split = split_dataset("linear_regression", dataset, given)
    parts = {"training": np.arange(n_samples) if split.train is None else split.train, "validation": split.validation}
    empty = [part for part, rows in parts.items() if len(rows) and weights[rows].sum() == 0]
    if not empty:
        examine("linear_regression", dataset, given)
        return
    with pytest.raises(InvalidDataset) as refused:
        examine("linear_regression", dataset, given)
    assert [fault.pointer for fault in refused.value.faults] == ["/sample_weight"] * len(empty)
    for part, fault in zip(empty, refused.value.faults, strict=True):
        assert f"under seed {seed} the samples drawn for {part} all have the weight 0" in fault.detail


def test_memory_grows_with_the_samples_and_the_exact_engine_copies_none() -> None:
    needs = {}
    for n_samples in (1000, 100_000):
        dataset = random_dataset("linear_regression", 0, n_samples)
        for engine in ("exact", "analytic"):
            given = Hyperparameters.model_validate({"engine": engine})
            needs[n_samples, engine] = memory_bytes(make_plan("linear_regression", dataset, given), dataset)
        assert dataset.features.nbytes < needs[n_samples, "exact"] < needs[n_samples, "analytic"]
    assert 80 < needs[100_000, "analytic"] / needs[1000, "analytic"] < 110


@pytest.mark.parametrize("engine", ["exact", "analytic"])
def test_of_a_large_dataset_in_files_neither_it_nor_the_copy_of_it_takes_memory(engine: str) -> None:
    n_samples = 10_000_000
    outline = Outline(n_samples, Schema(tuple(f"x{number}" for number in range(20)), ("y",)))
    plan = plan_of("linear_regression", outline, Hyperparameters.model_validate({"engine": engine}))
    in_files = dataclasses.replace(outline, in_files=True)
    assert memory_bytes(plan, outline) - memory_bytes(plan, in_files) == n_samples * 21 * 8
    assert memory_bytes(plan, in_files) < 20 * n_samples


def test_an_outline_of_a_small_dataset_takes_the_memory_that_it_does() -> None:
    dataset = random_dataset("linear_regression", 0, 1000)
    outline, given = Outline(1000, dataset.schema), Hyperparameters()
    assert dataset.features.dtype == np.float64
    plan = plan_of("linear_regression", outline, given)
    assert memory_bytes(plan, outline) == memory_bytes(plan, dataset)


def test_without_an_intercept_no_start_has_one() -> None:
    dataset = Dataset([1.0, 2.0, 4.0], [1.0, 3.0, 2.0])
    for asked in ({"start": "uniform"}, {"start": "torch"}, {"start": {"weight": [2.0]}, "scale": "standard"}):
        examination = examine("linear_regression", dataset, hyperparameters(fit_intercept=False, **asked))
        assert examination.start[-1] == 0
        assert examination.start[0] != 0
