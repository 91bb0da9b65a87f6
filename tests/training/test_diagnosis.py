from typing import Any

import numpy as np
import pytest

from service.dataset import Dataset
from service.errors import Finding, TrainingDiverged
from service.parameters import unflatten
from service.room import ROWS_AT_ONCE
from service.tasks import Task
from service.training.epochs import EpochBlock
from service.training.fit import Training
from tests.training.problems import hyperparameters, random_dataset

LINEAR: Task = "linear_regression"
LOGISTIC: Task = "logistic_regression"
PLAIN, LABELS = random_dataset(LINEAR, 1, 40), random_dataset(LOGISTIC, 0, 40)
F = PLAIN.features
SLOW_MODE = Dataset(np.hstack([F[:, :1], F[:, 1:2] * 1e-3]), 10 * F[:, 0] + 3 * F[:, 1])
TURNED = Dataset(np.hstack([F[:, :1] + 0.01 * F[:, 1:2], F[:, :1]]), 3 * F[:, 0] + F[:, 1])
SEPARABLE = Dataset(LABELS.features, (LABELS.features[:, 0] > 0).astype(float), LABELS.schema)


def limit_of(task: Task, dataset: Dataset) -> float:
    limit = Training(task, dataset, hyperparameters(learning_rate=1.0)).examination.advice.limit
    assert limit is not None
    return limit


def found(task: Task, dataset: Dataset, asked: dict[str, Any]) -> dict[str, Finding]:
    """Train, and give what is said of the course; `diverged` marks a training that failed."""
    blocks: list[EpochBlock] = []
    try:
        blocks.extend(Training(task, dataset, hyperparameters(**asked)).blocks())
    except TrainingDiverged as diverged:
        return {diverged.finding.code: diverged.finding, "diverged": diverged.finding}
    return {finding.code: finding for finding in blocks[-1].findings}


RATE, LOGISTIC_RATE = limit_of(LINEAR, PLAIN), limit_of(LOGISTIC, LABELS)
CASES: list[tuple[str, Task, Dataset, dict[str, Any], dict[str, Any]]] = [
    ("learning_rate_too_large", LINEAR, PLAIN, {"learning_rate": 3 * RATE}, {"learning_rate": 0.9 * RATE}),
    (
        "learning_rate_too_large",
        LINEAR,
        PLAIN,
        {"learning_rate": 1.001 * RATE, "epochs": 3000},
        {"learning_rate": 0.999 * RATE, "epochs": 3000},
    ),
    ("learning_rate_too_large", LINEAR, PLAIN, {"learning_rate": 30 * RATE, "batch_size": 5}, {"batch_size": 5}),
    ("oscillation", LINEAR, PLAIN, {"learning_rate": 1e6, "optimizer": "adam"}, {"optimizer": "adam"}),
    ("learning_rate_too_large", LINEAR, PLAIN, {"learning_rate": 9.0, "loss": "huber", "l2": 9.0}, {"loss": "huber"}),
    ("learning_rate_too_large", "mlp_regressor", PLAIN, {"learning_rate": 1e3, "seed": 1}, {"seed": 1}),
    ("oscillation", LOGISTIC, LABELS, {"learning_rate": 10 * LOGISTIC_RATE}, {"learning_rate": LOGISTIC_RATE}),
    ("oscillation", LOGISTIC, LABELS, {"learning_rate": 30 * LOGISTIC_RATE}, {"learning_rate": 3 * LOGISTIC_RATE}),
    ("learning_rate_too_small", LINEAR, PLAIN, {"learning_rate": 1e-5 * RATE}, {"learning_rate": 0.2 * RATE}),
    ("learning_rate_too_small", LOGISTIC, LABELS, {"learning_rate": 1e-4}, {"learning_rate": 1.0}),
    ("learning_rate_too_small", LOGISTIC, LABELS, {"learning_rate": 1e-6, "optimizer": "adam"}, {"optimizer": "adam"}),
    ("plateau", LINEAR, SLOW_MODE, {"epochs": 300}, {"epochs": 300, "scale": "standard"}),
    ("plateau", LINEAR, TURNED, {"epochs": 300}, {"epochs": 100_000}),
    ("separable_classes", LOGISTIC, SEPARABLE, {}, {"l2": 0.01}),
    ("separable_classes", "softmax_regression", SEPARABLE, {}, {"l1": 0.01}),
    ("separable_classes", LOGISTIC, SEPARABLE, {"learning_rate": 1e3 * LOGISTIC_RATE}, {"l2": 0.01}),
    ("separable_classes", LOGISTIC, SEPARABLE, {"learning_rate": 100.0, "optimizer": "rmsprop"}, {"l2": 0.01}),
    ("numbers_too_large", LINEAR, Dataset(F, F[:, 0] * 1e25), {"dtype": "float32"}, {"dtype": "float64"}),
    ("numbers_too_large", LINEAR, Dataset(F, F[:, 0] * 1e200), {}, {"scale_targets": "standard"}),
    ("numbers_too_large", LINEAR, Dataset(F * 1e200, F[:, 0]), {}, {"scale": "standard"}),
    ("numbers_too_large", LOGISTIC, Dataset(F * 1e200, LABELS.targets, LABELS.schema), {}, {"scale": "standard"}),
]


@pytest.mark.parametrize(("code", "task", "dataset", "asked", "healthy"), CASES)
def test_a_finding_is_told_where_it_is_true_and_not_beside_it_and_its_suggestion_ends_it(
    code: str, task: Task, dataset: Dataset, asked: dict[str, Any], healthy: dict[str, Any]
) -> None:
    findings = found(task, dataset, {"epochs": 200} | asked)
    assert code in findings
    finding = findings[code]
    assert finding.evidence["learning_rate" if "rate" in code else next(iter(finding.evidence))] is not None
    assert finding.suggestion
    assert found(task, dataset, {"epochs": 200} | healthy).keys().isdisjoint({code, "diverged"})
    repaired = found(task, dataset, {"epochs": 200} | asked | finding.suggestion)
    assert repaired.keys().isdisjoint({code, "diverged"})


@pytest.mark.parametrize("task", ["linear_regression", "softmax_regression", "mlp_regressor"])
def test_of_a_training_that_went_well_nothing_is_said(task: Task) -> None:
    for seed in range(5):
        dataset = random_dataset(task, seed, 60)
        assert found(task, dataset, {"epochs": 400, "seed": seed, "l2": 1e-3}) == {}


def test_a_divergence_that_scaling_helps_against_suggests_it() -> None:
    dataset = Dataset(F * [1, 1, 1000], PLAIN.targets)
    finding = found(LINEAR, dataset, {"learning_rate": 0.1})["diverged"]
    assert finding.suggestion.keys() == {"learning_rate", "scale"}
    assert found(LINEAR, dataset, finding.suggestion) == {}
    assert finding.evidence["scaled_limit"] > 1e4 * finding.evidence["limit"]
    assert f"epoch {finding.epoch}" in finding.detail


def test_going_on_from_a_model_that_fits_is_no_divergence_whatever_the_noise_of_the_steps() -> None:
    line = Dataset([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    start = {"weight": 2.0, "bias": 1e-6}
    for optimizer in ("adam", "adamw", "rmsprop", "adagrad"):
        for batch_size in (None, 1):
            asked = {"optimizer": optimizer, "batch_size": batch_size, "start": start, "epochs": 100, "seed": 1}
            assert "diverged" not in found(LINEAR, line, asked)


@pytest.mark.parametrize("weights", [None, np.ones(ROWS_AT_ONCE + 1000)], ids=["alike", "weighted"])
@pytest.mark.parametrize("some", [slice(1000), slice(-1000, None)], ids=["first", "last"])
def test_going_on_from_a_model_that_fits_is_no_divergence_where_only_some_of_many_samples_are_not_zero(
    weights: Any, some: slice
) -> None:
    features = np.zeros(ROWS_AT_ONCE + 1000)
    features[some] = np.linspace(1, 2, 1000)
    asked = {"optimizer": "adam", "batch_size": 2**14, "start": {"weight": 2.0, "bias": 1e-6}, "epochs": 5, "seed": 1}
    assert "diverged" not in found(LINEAR, Dataset(features, 2 * features, sample_weight=weights), asked)


def test_a_loss_that_rises_because_a_penalty_is_brought_down_is_no_divergence() -> None:
    start = {"weight": np.linalg.lstsq(F, PLAIN.targets[:, 0], rcond=None)[0].tolist()}
    for optimizer in ("sgd", "adam"):
        asked = {"start": start, "l2": 5.0, "optimizer": optimizer, "epochs": 300, "engine": "autograd"}
        training = Training(LINEAR, PLAIN, hyperparameters(**asked, learning_rate=0.05))
        losses = np.concatenate([block.columns.train_loss for block in training.blocks()])
        assert losses[-1] > 1.1 * losses[0]


def test_the_separable_are_told_by_the_margin_that_all_samples_have() -> None:
    evidence = found(LOGISTIC, SEPARABLE, {"epochs": 500})["separable_classes"].evidence
    assert evidence["smallest_margin"] > 0
    assert evidence["weight_norm"] > 1


def test_a_divergence_of_the_exact_engine_that_stays_finite_keeps_its_history() -> None:
    blocks: list[EpochBlock] = []
    training = Training(LINEAR, PLAIN, hyperparameters(learning_rate=1.001 * RATE, epochs=3000))
    assert training.plan.engine == "exact"
    with pytest.raises(TrainingDiverged) as caught:
        blocks.extend(training.blocks())
    assert caught.value.finding.epoch == 3000
    assert np.concatenate([block.columns.epoch for block in blocks]).tolist() == list(range(3001))
    assert all(block.stop_reason is None and block.learned is None for block in blocks)


def with_rare_class(seed: int) -> Dataset:
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(60, 3))
    codes = (features @ [1.0, -1.0, 0.5] + draw.normal(size=60) > 1.5).astype(float)
    return Dataset(features, codes, LABELS.schema)


@pytest.mark.parametrize("batch_size", [None, 10])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(
    ("task", "l1", "dataset"),
    [(LINEAR, 10.0, Dataset(F * 5, PLAIN.targets + 3)), (LINEAR, 0.1, PLAIN), (LOGISTIC, 1.0, with_rare_class(3))],
)
def test_with_l1_the_suggested_rate_ends_below_the_start(
    task: Task, l1: float, dataset: Dataset, momentum: float, batch_size: int | None
) -> None:
    asked = {"l1": l1, "scale": "standard", "momentum": momentum, "batch_size": batch_size, "seed": 0}
    training = Training(task, dataset, hyperparameters(**asked))
    blocks = list(training.blocks())
    learned = blocks[-1].learned
    assert learned is not None
    weights = unflatten(learned.parameters, training.plan.layout)[0].weight
    assert learned.train_loss + l1 * np.abs(weights).sum() < blocks[0].columns.train_loss[0]
    assert "plateau" not in {finding.code for finding in blocks[-1].findings}


@pytest.mark.parametrize("task", [LINEAR, LOGISTIC])
def test_an_objective_that_steps_of_l1_keep_above_its_start_has_diverged_at_a_rate_within_the_limit_too(
    task: Task,
) -> None:
    dataset, asked = (PLAIN if task == LINEAR else LABELS), {"l1": 10.0, "scale": "standard"}
    limit = Training(task, dataset, hyperparameters(**asked)).examination.advice.limit
    assert limit is not None
    finding = found(task, dataset, asked | {"learning_rate": limit / 2})["diverged"]
    assert finding.evidence["last_objective"] > 1.1 * finding.evidence["first_objective"]
    assert f"the learning rate {limit / 2:.3g} is too large" in finding.detail
    assert finding.suggestion["learning_rate"] <= limit / 20
    assert "diverged" not in found(task, dataset, asked | {"learning_rate": "auto"})


def test_noise_of_mini_batches_at_the_suggested_rate_is_no_divergence_where_there_is_nothing_to_learn() -> None:
    draw = np.random.default_rng(0)
    for seed in range(20):
        dataset = Dataset(draw.choice([-1.0, 1.0], size=(40, 2)), draw.normal(size=40))
        assert "diverged" not in found(LINEAR, dataset, {"batch_size": 1, "seed": seed, "epochs": 30})


@pytest.mark.parametrize("asked", [{"l1": 0.5}, {"loss": "mae"}])
def test_where_the_gradient_does_not_vanish_at_the_lowest_point_there_is_no_plateau(asked: dict[str, Any]) -> None:
    assert found(LINEAR, random_dataset(LINEAR, 4, 40), asked | {"epochs": 3000}) == {}


@pytest.mark.parametrize(
    ("asked", "suggestion"),
    [
        ({}, {"momentum", "learning_rate"}),
        ({"momentum": 0.95, "learning_rate": 0.05}, {"learning_rate"}),
        ({"momentum": 0.95, "learning_rate": 0.95}, {"epochs"}),
    ],
)
def test_off_a_plateau_only_what_has_not_been_done_is_suggested(asked: dict[str, Any], suggestion: set[str]) -> None:
    nearly_the_same = Dataset(np.hstack([F[:, :1] + 1e-4 * F[:, 1:2], F[:, :1]]), 3 * F[:, 0] + F[:, 1])
    asked = {"epochs": 1000, "scale": "standard"} | asked
    finding = found(LINEAR, nearly_the_same, asked)["plateau"]
    assert finding.suggestion.keys() == suggestion
    assert all(asked.get(name) != value for name, value in finding.suggestion.items())


@pytest.mark.parametrize(("optimizer", "batch_size"), [("sgd", None), ("sgd", 5), ("adam", None)])
def test_a_loss_that_is_not_finite_before_any_step_is_not_put_down_to_the_rate(
    optimizer: str, batch_size: int | None
) -> None:
    asked = {"dtype": "float32", "optimizer": optimizer, "batch_size": batch_size, "learning_rate": 0.1}
    finding = found(LINEAR, Dataset(F, F[:, 0] * 1e25), asked)["numbers_too_large"]
    assert "before any step" in finding.detail
    scaled = {"scale": "standard", "scale_targets": "standard", "start": {"weight": [1e200, 0.0, 0.0]}}
    again = found(LINEAR, PLAIN, asked | scaled | {"dtype": "float64"})["numbers_too_large"]
    assert again.suggestion == {}


@pytest.mark.parametrize("restores", [True, False])
def test_a_descent_that_goes_astray_after_a_good_epoch_succeeds_when_that_epoch_is_given_back(restores: bool) -> None:
    dataset = random_dataset(LINEAR, 3, 60)
    asked: dict[str, Any] = {
        "learning_rate": 15 * limit_of(LINEAR, dataset),
        "schedule": "one_cycle",
        "epochs": 200,
        "stop": {"patience": 20, "restore_best": restores},
    }
    training = Training(LINEAR, dataset, hyperparameters(**asked))
    if not restores:
        with pytest.raises(TrainingDiverged):
            list(training.blocks())
        return
    last = list(training.blocks())[-1]
    assert last.stop_reason == "no_improvement"
    assert last.learned is not None
    assert training.optimum is not None
    assert last.learned.train_loss < 1.1 * training.optimum.train_loss
