import math
from typing import Any

import numpy as np
import pytest

from service.dataset import Dataset
from service.errors import Finding, TrainingDiverged
from service.tasks import Task
from service.training.fit import Training
from tests.training.problems import hyperparameters
from tests.training.test_feature_scales import CANCER, DIABETES, DIGITS, IRIS, WINE, classified

STEPS = np.arange(31.0)
LINE = Dataset(STEPS, 90 * STEPS + np.random.default_rng(0).normal(0, 20, 31))
DRAW = np.random.default_rng(1)
NOISE = Dataset(DRAW.normal(size=(300, 5)), DRAW.normal(100, 10, size=300))


def loss_and_findings(dataset: Dataset, asked: dict[str, Any]) -> tuple[float, dict[str, Finding]]:
    """Train a perceptron; the loss is given as a share of that of a constant prediction."""
    task: Task = "mlp_regressor" if dataset.schema.classes is None else "mlp_classifier"
    training = Training(task, dataset, hyperparameters(seed=1, **asked))
    targets = training.examination.preparation.train.targets[:, 0]
    constant = float(targets.var())
    if task == "mlp_classifier":
        shares = np.unique(targets, return_counts=True)[1] / len(targets)
        constant = float(-(shares @ np.log(shares)))
    try:
        last = list(training.blocks())[-1]
    except TrainingDiverged as diverged:
        return math.inf, {diverged.finding.code: diverged.finding}
    assert last.learned is not None
    return last.learned.train_loss / constant, {finding.code: finding for finding in last.findings}


DEEP = {"hidden_layers": [10] * 8}


@pytest.mark.parametrize(
    ("code", "dataset", "asked"),
    [
        ("learning_rate_too_large", LINE, {"learning_rate": 0.1, "epochs": 200}),
        ("learning_rate_too_large", DIABETES, {"learning_rate": 0.1}),
        ("learning_rate_too_large", WINE, {"optimizer": "adam", "learning_rate": 0.1}),
        ("learning_rate_too_large", CANCER, {"optimizer": "adam", "learning_rate": 1.0}),
        ("plateau", IRIS, DEEP | {"activation": "sigmoid"}),
        ("plateau", IRIS, DEEP | {"activation": "sigmoid", "optimizer": "adam"}),
        ("plateau", IRIS, DEEP | {"activation": "tanh"}),
        ("plateau", IRIS, {"hidden_layers": [10] * 4, "activation": "sigmoid", "momentum": 0.9, "nesterov": True}),
        ("plateau", WINE, {"activation": "tanh"}),
        ("plateau", DIGITS, DEEP | {"activation": "sigmoid", "scale": "standard", "epochs": 100}),
        ("steps_too_short", DIABETES, {"activation": "tanh"}),
        ("steps_too_short", LINE, {"activation": "sigmoid"}),
        ("steps_too_short", WINE, {"batch_size": 32, "epochs": 30}),
    ],
)
def test_a_perceptron_no_better_than_a_constant_is_told_and_learns_with_the_suggestion(
    code: str, dataset: Dataset, asked: dict[str, Any]
) -> None:
    asked = {"epochs": 300} | asked
    before, findings = loss_and_findings(dataset, asked)
    assert before > 0.95
    finding = findings[code]
    assert finding.evidence["last_loss"] / finding.evidence["loss_without_features"] == pytest.approx(before, rel=0.01)
    after, findings = loss_and_findings(dataset, asked | finding.suggestion)
    assert after < 0.65
    assert findings.keys().isdisjoint({"learning_rate_too_large", "steps_too_short"})


def test_the_hidden_units_that_give_the_same_for_every_sample_are_counted() -> None:
    evidence = loss_and_findings(LINE, {"learning_rate": 0.1, "epochs": 200})[1]["learning_rate_too_large"].evidence
    assert evidence["share_of_still_units"] == 1
    assert evidence["limit"] < 1e-4


@pytest.mark.parametrize("asked", [{}, {"optimizer": "adam"}, {"batch_size": 32, "epochs": 50}, {"learning_rate": 0.3}])
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_of_targets_that_no_feature_tells_anything_about_nothing_is_said(
    activation: str, asked: dict[str, Any]
) -> None:
    codes = np.arange(300) % 3
    labels = type("Labels", (), {"data": NOISE.features, "target": codes, "target_names": ["a", "b", "c"]})
    for dataset, its in ((classified(labels), {}), (NOISE, {"scale_targets": "standard"})):
        asked = {"epochs": 300, "activation": activation, "hidden_layers": [10]} | its | asked
        _, findings = loss_and_findings(dataset, asked)
        assert not [finding for finding in findings.values() if "loss_without_features" in finding.evidence]


@pytest.mark.parametrize(("dataset", "activation"), [(LINE, "relu"), (DIGITS, "tanh"), (WINE, "sigmoid")])
def test_a_rate_far_above_the_estimated_limit_is_told_before_the_first_step(dataset: Dataset, activation: str) -> None:
    task: Task = "mlp_regressor" if dataset is LINE else "mlp_classifier"

    def warnings(rate: float | str, **asked: Any) -> dict[str, Finding]:
        given = hyperparameters(seed=1, activation=activation, learning_rate=rate, **asked)
        examination = Training(task, dataset, given).examination
        return {finding.code: finding for finding in examination.plan.warnings}

    given = hyperparameters(seed=1, activation=activation)
    limit = Training(task, dataset, given).examination.advice.limit
    assert limit is not None
    for rate in (1000 * limit, 1e30):
        finding = warnings(rate)["learning_rate_above_estimate"]
        assert finding.evidence["limit"] == pytest.approx(limit)
        assert "estimate" in finding.detail
        after, _ = loss_and_findings(dataset, {"epochs": 300, "activation": activation} | finding.suggestion)
        assert after < 0.3
    assert "learning_rate_above_estimate" not in warnings(5 * limit)
    assert "learning_rate_above_estimate" not in warnings("auto")
    assert "learning_rate_above_estimate" not in warnings(1000 * limit, optimizer="adam")
