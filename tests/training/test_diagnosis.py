from typing import Any

import numpy as np
import pytest

from service.dataset import Dataset
from service.errors import Finding, TrainingDiverged
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
    ("plateau", LINEAR, SLOW_MODE, {"epochs": 300}, {"epochs": 300, "scale": "standard"}),
    ("plateau", LINEAR, TURNED, {"epochs": 300}, {"epochs": 100_000}),
    ("separable_classes", LOGISTIC, SEPARABLE, {}, {"l2": 0.01}),
    ("separable_classes", "softmax_regression", SEPARABLE, {}, {"l1": 0.01}),
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
