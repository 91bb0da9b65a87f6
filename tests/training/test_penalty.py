"""Suggested penalties, tried: a second training with what the findings of the first suggest ends about as well."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.linear_model import LogisticRegression

from service.dataset import Dataset, Schema
from service.errors import Finding
from service.parameters import unflatten
from service.tasks import Task
from service.training.fit import Training
from tests.training.problems import hyperparameters, random_dataset

LINEAR: Task = "linear_regression"
LOGISTIC: Task = "logistic_regression"
SOFTMAX: Task = "softmax_regression"
CODES = ("more_parameters_than_samples", "collinear_features", "separable_classes")
KEPT = 0.02
"""Share of the loss of a model without features that the loss of a second training may be higher by."""
Asked = dict[str, Any]


def trained(task: Task, dataset: Dataset, asked: Asked) -> tuple[float, float, dict[str, Finding], Training]:
    """Train to an end that is no divergence; give the loss, the length of the weights, and all findings."""
    training = Training(task, dataset, hyperparameters(**asked))
    last = list(training.blocks())[-1]
    assert last.learned is not None
    weight = unflatten(last.learned.parameters.astype(np.float64), training.plan.layout)[0].weight
    findings = {finding.code: finding for finding in (*training.plan.warnings, *last.findings)}
    return last.learned.train_loss, float(np.linalg.norm(weight)), findings, training


def merged(findings: dict[str, Finding]) -> Asked:
    """Give what a retry changes: of several suggestions about a hyperparameter the first is followed."""
    changes: Asked = {}
    for finding in reversed(findings.values()):
        changes |= finding.suggestion
    return changes


def labelled(features: Any, codes: Any, weights: Any = None) -> Dataset:
    features, codes = np.asarray(features, dtype=float), np.asarray(codes, dtype=float)
    names = tuple(f"x{n}" for n in range(features.shape[1]))
    return Dataset(features, codes, Schema(names, ("y",), tuple("abc"[: int(codes.max()) + 1])), weights)


def with_sum(features: NDArray[Any]) -> NDArray[Any]:
    return np.hstack([features, features.sum(axis=1, keepdims=True)])


def of_two_and_their_sum() -> Dataset:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(50, 2)) * 0.01
    return Dataset(with_sum(features), features @ [300.0, 200.0] + 0.1 * draw.normal(size=50))


def of_five_samples() -> Dataset:
    draw = np.random.default_rng(0)
    return Dataset(draw.normal(size=(5, 10)) * 0.01, draw.normal(size=5))


DIABETES, IRIS, WINE = load_diabetes(), load_iris(), load_wine()
EIGHT = Dataset(DIABETES.data[:8], DIABETES.target[:8])
TWO_FLOWERS = labelled(IRIS.data[:100], IRIS.target[:100])
WINES, FEW_WINES = labelled(WINE.data, WINE.target), labelled(WINE.data[::15], WINE.target[::15])
WINES_AND_SUM = labelled(with_sum(WINE.data), WINE.target)
SMALL = labelled([[-0.02], [-0.01], [0.01], [0.02]], [0, 0, 1, 1])
NO_INTERCEPT: Asked = {"fit_intercept": False}
CASES: list[tuple[str, Task, Dataset, Asked]] = [
    ("separable_classes", LOGISTIC, labelled([[-1], [1]], [0, 1]), {"learning_rate": 4.0}),
    ("separable_classes", LOGISTIC, SMALL, NO_INTERCEPT),
    ("separable_classes", LOGISTIC, SMALL, NO_INTERCEPT | {"learning_rate": 16000.0}),
    ("separable_classes", LOGISTIC, TWO_FLOWERS, {"epochs": 10}),
    ("separable_classes", LOGISTIC, TWO_FLOWERS, {"epochs": 10_000}),
    ("separable_classes", LOGISTIC, TWO_FLOWERS, {"optimizer": "adam"}),
    ("separable_classes", LOGISTIC, TWO_FLOWERS, {"optimizer": "lbfgs", "epochs": 300}),
    ("separable_classes", LOGISTIC, TWO_FLOWERS, {"learning_rate": 5.0}),
    ("separable_classes", SOFTMAX, WINES, {"scale": "standard"}),
    ("separable_classes", SOFTMAX, WINES, {"scale": "standard", "optimizer": "lbfgs", "epochs": 300}),
    ("separable_classes", SOFTMAX, labelled(WINE.data, WINE.target, np.linspace(0, 2, 178)), {"scale": "standard"}),
    ("more_parameters_than_samples", SOFTMAX, FEW_WINES, {}),
    ("more_parameters_than_samples", SOFTMAX, FEW_WINES, {"scale": "standard"}),
    ("more_parameters_than_samples", LOGISTIC, labelled(WINE.data[50:62], WINE.target[50:62]), {}),
    ("more_parameters_than_samples", LINEAR, of_five_samples(), NO_INTERCEPT | {"learning_rate": 1000.0}),
    ("more_parameters_than_samples", LINEAR, EIGHT, {}),
    ("more_parameters_than_samples", LINEAR, EIGHT, {"epochs": 100_000}),
    ("more_parameters_than_samples", LINEAR, EIGHT, {"epochs": 300, "optimizer": "lbfgs"}),
    ("more_parameters_than_samples", LINEAR, EIGHT, {"epochs": 10_000, "loss": "mae"}),
    ("more_parameters_than_samples", LINEAR, EIGHT, {"epochs": 10_000, "loss": "huber"}),
    ("more_parameters_than_samples", LINEAR, random_dataset(LINEAR, 0, 40, 1200), {"epochs": 300}),
    ("collinear_features", LINEAR, of_two_and_their_sum(), {"epochs": 20_000}),
    ("collinear_features", LINEAR, of_two_and_their_sum(), {"epochs": 20_000, "optimizer": "adam"}),
    ("collinear_features", LINEAR, of_two_and_their_sum(), {"epochs": 500, "batch_size": 10, "learning_rate": 0.2}),
    ("collinear_features", LINEAR, Dataset(with_sum(1e3 * DIABETES.data), DIABETES.target), {}),
    ("collinear_features", LINEAR, Dataset(with_sum(DIABETES.data), DIABETES.target), {"scale": "standard"}),
    ("collinear_features", SOFTMAX, WINES_AND_SUM, {}),
    ("collinear_features", SOFTMAX, WINES_AND_SUM, {"scale": "standard"}),
]


def without_features(task: Task, training: Training) -> float:
    """Give the loss of guessing: the same outputs for every sample."""
    if task != LINEAR:
        return math.log(training.plan.layout[0][0] + (task == LOGISTIC))
    targets, loss = training.examination.preparation.train.targets, training.plan.hyperparameters.loss
    return float(np.abs(targets - np.median(targets)).mean() if loss in ("mae", "huber") else targets.var())


@pytest.mark.parametrize(("code", "task", "dataset", "asked"), CASES)
def test_with_the_suggested_penalty_a_second_training_ends_about_as_well(
    code: str, task: Task, dataset: Dataset, asked: Asked
) -> None:
    asked = {"seed": 0} | asked
    before, _, findings, training = trained(task, dataset, asked)
    assert findings[code].suggestion["l2"] > 0
    assert code in CODES
    after, *_ = trained(task, dataset, asked | merged(findings))
    assert after <= before + KEPT * without_features(task, training)


@pytest.mark.parametrize(("code", "task", "dataset", "asked"), CASES)
def test_what_one_finding_suggests_does_by_itself(code: str, task: Task, dataset: Dataset, asked: Asked) -> None:
    asked = {"seed": 0} | asked
    before, _, findings, training = trained(task, dataset, asked)
    after, *_ = trained(task, dataset, asked | findings[code].suggestion)
    assert after <= before + KEPT * without_features(task, training)


@pytest.mark.parametrize("unit", [1e-3, 1.0])
@pytest.mark.parametrize(
    ("code", "task", "features", "targets"),
    [
        ("separable_classes", LOGISTIC, IRIS.data[:100], IRIS.target[:100]),
        ("more_parameters_than_samples", LINEAR, DIABETES.data[:8], DIABETES.target[:8]),
        ("collinear_features", LINEAR, with_sum(DIABETES.data[:, :3]), DIABETES.target),
    ],
)
def test_a_penalty_is_measured_in_the_units_of_the_features(
    code: str, task: Task, features: Any, targets: Any, unit: float
) -> None:
    features = (features - features.mean(axis=0)) / features.std() * unit

    def suggested(numbers: NDArray[Any]) -> float:
        dataset = labelled(numbers, targets) if task == LOGISTIC else Dataset(numbers, targets)
        *_, findings, _ = trained(task, dataset, NO_INTERCEPT)
        return float(findings[code].suggestion["l2"])

    assert suggested(2 * features) == pytest.approx(4 * suggested(features), rel=0.1)


@pytest.mark.parametrize("unit", [0.01, 1.0])
def test_with_the_suggested_penalty_the_weights_of_separable_classes_stay_bounded(unit: float) -> None:
    dataset = labelled(unit * TWO_FLOWERS.features, IRIS.target[:100])
    _, _, findings, _ = trained(LOGISTIC, dataset, {"epochs": 1000})
    penalty = findings["separable_classes"].suggestion["l2"]
    asked = {"optimizer": "lbfgs", "l2": penalty}
    _, length, *_ = trained(LOGISTIC, dataset, asked | {"epochs": 300})
    theirs = LogisticRegression(C=1 / (penalty * 100), tol=1e-10, max_iter=100_000)
    theirs.fit(dataset.features, dataset.targets[:, 0])
    assert length == pytest.approx(np.linalg.norm(theirs.coef_), rel=0.01)


def test_with_the_suggested_penalty_the_weights_of_collinear_features_do_not_depend_on_the_start() -> None:
    dataset = Dataset(with_sum(random_dataset(LINEAR, 0, 60).features), random_dataset(LINEAR, 0, 60).targets)
    asked = {"epochs": 5000, "start": "uniform"}
    penalty = merged(trained(LINEAR, dataset, asked | {"seed": 0})[2])
    lengths = [trained(LINEAR, dataset, asked | penalty | {"seed": seed})[1] for seed in range(5)]
    assert lengths == pytest.approx([lengths[0]] * 5, rel=1e-3)


def test_where_the_features_are_to_be_standardised_the_penalty_is_for_standardised_features() -> None:
    features = with_sum(DIABETES.data * 1e4)
    first = trained(LINEAR, Dataset(features, DIABETES.target), {})[2]["collinear_features"].suggestion
    assert first["scale"] == "standard"
    scaled = trained(LINEAR, Dataset(features, DIABETES.target), {"scale": "standard"})[2]
    assert first["l2"] == scaled["collinear_features"].suggestion["l2"]


def test_a_learning_rate_that_is_far_within_the_limit_is_kept() -> None:
    *_, findings, _ = trained(LINEAR, of_five_samples(), NO_INTERCEPT | {"learning_rate": 1000.0})
    assert findings["more_parameters_than_samples"].suggestion.keys() == {"l2"}


def test_a_learning_rate_that_the_penalty_takes_above_the_limit_is_not_kept() -> None:
    limit = trained(LINEAR, of_five_samples(), NO_INTERCEPT)[3].examination.advice.limit
    assert limit is not None
    asked = NO_INTERCEPT | {"learning_rate": limit * (1 - 1e-9)}
    *_, findings, _ = trained(LINEAR, of_five_samples(), asked)
    assert findings["more_parameters_than_samples"].suggestion["learning_rate"] == "auto"


def test_weights_that_do_not_learn_get_no_penalty() -> None:
    *_, findings, _ = trained(LINEAR, of_two_and_their_sum(), {"frozen": ["weight"]})
    assert "collinear_features" not in findings


def test_samples_that_do_not_count_may_be_wrong_where_classes_are_separable() -> None:
    weights = np.ones(100)
    weights[:3] = 0
    codes = IRIS.target[:100].copy()
    codes[:3] = 1
    *_, findings, _ = trained(LOGISTIC, labelled(IRIS.data[:100], codes, weights), {})
    assert "separable_classes" in findings
