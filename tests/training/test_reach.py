import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression

from service.dataset import Dataset, Schema, default_names
from service.errors import Finding, TrainingDiverged
from service.tasks import Task
from service.training.fit import Training
from service.training.result import outcome_of
from service.training.way import longest_way
from tests.training.problems import hyperparameters

LINEAR: Task = "linear_regression"
DIABETES = Dataset(*load_diabetes(return_X_y=True))
RAW_DIABETES = Dataset(*load_diabetes(return_X_y=True, scaled=False))
DRAW = np.random.default_rng(0)
HOUSES = DRAW.normal([100, 3, 1980], [30, 1, 20], size=(300, 3))
PRICES = Dataset(HOUSES, HOUSES @ [1500, 8000, 300] - 570_000 + DRAW.normal(0, 20_000, 300))


def r2_and_findings(task: Task, dataset: Dataset, asked: dict[str, Any]) -> tuple[float, dict[str, Finding]]:
    training = Training(task, dataset, hyperparameters(seed=1, **asked))
    try:
        last = list(training.blocks())[-1]
    except TrainingDiverged as diverged:
        return -math.inf, {diverged.finding.code: diverged.finding}
    assert last.learned is not None
    r2 = outcome_of(training, last.learned).result["metrics"]["train"]["r2"]
    return r2, {finding.code: finding for finding in last.findings}


def least_squares(dataset: Dataset) -> float:
    targets = dataset.targets[:, 0]
    return float(LinearRegression().fit(dataset.features, targets).score(dataset.features, targets))


@pytest.mark.parametrize("dataset", [DIABETES, RAW_DIABETES, PRICES], ids=["diabetes", "raw", "prices"])
@pytest.mark.parametrize(
    "asked",
    [
        {"optimizer": "adam"},
        {"optimizer": "adamw", "epochs": 5},
        {"optimizer": "rmsprop", "learning_rate": 1e-3},
        {"optimizer": "adagrad", "batch_size": 32, "epochs": 20},
        {"optimizer": "adam", "scale": "standard", "learning_rate": 0.05},
        {"clip_gradient_norm": 0.1},
    ],
)
def test_steps_too_short_for_the_targets_are_told_and_the_suggestion_leads_to_least_squares(
    dataset: Dataset, asked: dict[str, Any]
) -> None:
    before, findings = r2_and_findings(LINEAR, dataset, asked)
    finding = findings["steps_too_short"]
    assert before < least_squares(dataset) - 0.05
    assert finding.evidence["reach"] < finding.evidence["distance"]
    assert finding.suggestion["scale_targets"] == "standard"
    after, findings = r2_and_findings(LINEAR, dataset, asked | finding.suggestion)
    assert after > least_squares(dataset) - 0.05
    assert findings == {}


@pytest.mark.parametrize(
    "asked", [{"optimizer": "adam"}, {"clip_gradient_norm": 1.0}, {"optimizer": "adam", "loss": "huber"}]
)
def test_a_perceptron_that_is_worse_than_a_model_without_features_is_told_the_same(asked: dict[str, Any]) -> None:
    asked = {"scale": "standard", "epochs": 300} | asked
    finding = r2_and_findings("mlp_regressor", PRICES, asked)[1]["steps_too_short"]
    assert finding.evidence["last_loss"] > finding.evidence["loss_without_features"]
    assert finding.evidence["parameter"] == "the bias"
    r2, findings = r2_and_findings("mlp_regressor", PRICES, asked | finding.suggestion)
    assert r2 > least_squares(PRICES) - 0.05
    assert findings == {}


@pytest.mark.parametrize("loss", ["mae", "huber"])
def test_steps_along_a_straight_loss_are_too_short_for_targets_far_from_zero(loss: str) -> None:
    years = Dataset(DIABETES.features, 2000 + DIABETES.targets / 20)
    finding = r2_and_findings(LINEAR, years, {"loss": loss})[1]["steps_too_short"]
    assert finding.evidence["distance"] == pytest.approx(np.median(years.targets))
    assert r2_and_findings(LINEAR, years, {"loss": loss} | finding.suggestion)[0] > 0.5


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_of_steps_too_long_a_rate_is_suggested_with_what_its_steps_need(optimizer: str) -> None:
    asked = {"optimizer": optimizer, "learning_rate": 1e6, "loss": "mae"}
    (finding,) = r2_and_findings(LINEAR, PRICES, asked)[1].values()
    assert "too short" in finding.detail
    r2, findings = r2_and_findings(LINEAR, PRICES, asked | finding.suggestion)
    assert r2 > least_squares(PRICES) - 0.05
    assert findings == {}


@pytest.mark.parametrize("batch_size", [None, 32])
def test_steps_that_are_adaptive_and_stay_far_above_the_optimum_are_called_an_oscillation(
    batch_size: int | None,
) -> None:
    asked = {"optimizer": "rmsprop", "learning_rate": 0.1, "scale": "standard", "scale_targets": "standard"}
    asked |= {"batch_size": batch_size, "epochs": 1000 if batch_size is None else 100}
    finding = r2_and_findings(LINEAR, DIABETES, asked)[1]["oscillation"]
    assert finding.suggestion == {"learning_rate": 0.01}
    r2, findings = r2_and_findings(LINEAR, DIABETES, asked | finding.suggestion)
    assert r2 > least_squares(DIABETES) - 0.05
    assert findings == {}


def test_losses_to_stop_at_are_put_into_the_units_of_the_scaled_targets() -> None:
    stop = {"target_loss": 3500.0, "patience": 50, "min_delta": 1.0}
    asked = {"optimizer": "adam", "stop": stop}
    suggestion = r2_and_findings(LINEAR, DIABETES, asked)[1]["steps_too_short"].suggestion
    training = Training(LINEAR, DIABETES, hyperparameters(**asked | suggestion))
    last = list(training.blocks())[-1]
    assert last.stop_reason == "target_loss_reached"
    assert last.learned is not None
    assert outcome_of(training, last.learned).result["metrics"]["train"]["mse"] == pytest.approx(3500, rel=0.01)
    assert suggestion["stop"] == pytest.approx(
        stop | {name: stop[name] / np.var(DIABETES.targets) for name in ("target_loss", "min_delta")}
    )


@pytest.mark.parametrize(
    ("asked", "make"),
    [
        ({"optimizer": "adam"}, torch.optim.Adam),
        ({"optimizer": "rmsprop"}, torch.optim.RMSprop),
        ({"optimizer": "adagrad"}, torch.optim.Adagrad),
    ],
)
@pytest.mark.parametrize("gradient", [1e-3, 1e6])
def test_the_longest_way_is_what_torchs_optimizers_go_along_a_gradient_that_stays_the_same(
    asked: dict[str, Any], make: Any, gradient: float
) -> None:
    parameter = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    parameter.grad = torch.full((1,), -gradient, dtype=torch.float64)
    optimizer = make([parameter], lr=0.5)
    for _ in range(2000):
        optimizer.step()
    way = longest_way(hyperparameters(**asked), 2000)
    assert way is not None
    assert 0.5 * way == pytest.approx(parameter.item(), rel=0.02)


def test_nothing_is_said_where_the_way_is_unknown_or_the_features_tell_nothing() -> None:
    noise = Dataset(DRAW.normal(size=(200, 3)), DRAW.normal(size=200))
    assert r2_and_findings(LINEAR, noise, {"optimizer": "adam", "epochs": 200})[1] == {}
    assert longest_way(hyperparameters(), 100) is None


def test_of_a_training_that_stopped_early_the_epochs_that_it_had_count() -> None:
    asked: dict[str, Any] = {"optimizer": "adam", "scale": "standard", "scale_targets": "standard", "epochs": 1_000_000}
    asked |= {"stop": {"patience": 50, "min_delta": 10.0}}
    finding = r2_and_findings(LINEAR, DIABETES, asked)[1]["steps_too_short"]
    assert finding.evidence["n_steps"] == 50
    assert finding.suggestion == {"learning_rate": pytest.approx(2 * finding.evidence["distance"] / 50, rel=0.01)}


def test_a_training_that_reached_the_loss_it_was_to_stop_at_went_far_enough() -> None:
    assert r2_and_findings(LINEAR, DIABETES, {"optimizer": "adam", "stop": {"target_loss": 29_000.0}})[1] == {}


FLOWERS, KINDS = load_iris(return_X_y=True)
IRIS = Dataset(FLOWERS, KINDS, Schema(default_names("x", 4), ("kind",), ("setosa", "versicolor", "virginica")))


@pytest.mark.parametrize("task", ["softmax_regression", "mlp_classifier"])
@pytest.mark.parametrize("asked", [{"scale": "standard", "epochs": 150}, {"batch_size": 32, "epochs": 20}])
def test_adaptive_steps_that_lead_one_way_to_the_end_are_told_and_longer_ones_lead_on(
    task: Task, asked: dict[str, Any]
) -> None:
    asked = {"optimizer": "adam", "seed": 1, **asked}
    first = list(Training(task, IRIS, hyperparameters(**asked)).blocks())[-1]
    (finding,) = first.findings
    assert finding.code == "steps_too_short"
    assert finding.suggestion == {"learning_rate": 0.01}
    again = list(Training(task, IRIS, hyperparameters(**asked | finding.suggestion)).blocks())[-1]
    assert first.learned is not None
    assert again.learned is not None
    assert again.learned.train_loss < 0.6 * first.learned.train_loss
    longer = asked | finding.suggestion | {"epochs": 5 * asked["epochs"]}
    assert "steps_too_short" not in {
        finding.code for finding in list(Training(task, IRIS, hyperparameters(**longer)).blocks())[-1].findings
    }


SLOPES = np.array([1.0, -2.0, 0.5])
FEW = np.random.default_rng(0).normal(size=(200, 3))
NOISE = np.random.default_rng(1).normal(size=200)
OFFSET = Dataset(FEW, 50 + FEW @ SLOPES + NOISE)


@pytest.mark.parametrize(
    ("task", "dataset", "asked"),
    [
        # It falls still, and no step was too long.
        ("mlp_regressor", OFFSET, {"batch_size": 100, "learning_rate": 0.003, "epochs": 1, "hidden_layers": [4]}),
        (LINEAR, OFFSET, {"optimizer": "adam", "learning_rate": 0.01, "l1": 1e-6, "epochs": 5200}),
        (LINEAR, OFFSET, {"optimizer": "lbfgs", "learning_rate": 1.5, "l1": 1e-6, "epochs": 1}),
        # It has arrived, after as many steps as the way takes and some more.
        (LINEAR, OFFSET, {"optimizer": "adam", "learning_rate": 0.05, "loss": "mae", "epochs": 1150}),
        (LINEAR, OFFSET, {"optimizer": "rmsprop", "learning_rate": 0.05, "loss": "huber", "epochs": 1150}),
        # What is left is rounding.
        (
            LINEAR,
            Dataset(FEW, FEW @ SLOPES),
            {"batch_size": 16, "learning_rate": 0.3, "fit_intercept": False, "dtype": "float32"},
        ),
        # The last epoch is far off, and the one that was learned is not.
        (
            LINEAR,
            Dataset(FEW, FEW @ SLOPES + 0.3 * NOISE),
            {"optimizer": "rmsprop", "learning_rate": 10.0, "batch_size": 16, "epochs": 300, "stop": {"patience": 40}},
        ),
    ],
)
def test_of_steps_that_led_far_enough_nothing_is_said(task: Task, dataset: Dataset, asked: dict[str, Any]) -> None:
    _, findings = r2_and_findings(task, dataset, {"epochs": 200} | asked)
    assert not {"steps_too_short", "oscillation"} & set(findings)


def test_a_model_without_features_is_one_for_the_samples_that_weigh() -> None:
    targets, weights = np.where(np.arange(200) < 150, 0.0, 1000.0) + NOISE, np.where(np.arange(200) < 150, 1e-9, 1.0)
    dataset = Dataset(FEW, targets[:, None], Schema(default_names("x", 3), ("y",)), weights)
    _, findings = r2_and_findings(LINEAR, dataset, {"loss": "mae", "learning_rate": 0.05, "epochs": 100})
    finding = findings["steps_too_short"]
    assert finding.evidence["loss_without_features"] < 2
    assert "move the bias by about" in finding.detail
