from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

from service.dataset import Dataset, Schema, default_names
from service.errors import Finding, TrainingDiverged
from service.tasks import TRAITS, Task
from service.training.fit import Training
from service.training.result import outcome_of
from tests.training.problems import hyperparameters


def classified(data: Any, n_samples: int | None = None) -> Dataset:
    features, codes = data.data[:n_samples], data.target[:n_samples]
    names = default_names("x", features.shape[1])
    return Dataset(features, codes, Schema(names, ("kind",), tuple(map(str, data.target_names))))


def standardised(dataset: Dataset) -> Dataset:
    features = np.asarray(dataset.features)
    deviation = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    return Dataset(scaled, dataset.targets, dataset.schema)


IRIS, WINE, CANCER = (classified(load()) for load in (load_iris, load_wine, load_breast_cancer))
DIGITS = classified(load_digits(), 600)
DIABETES = Dataset(*load_diabetes(return_X_y=True, scaled=False))
SMALL_DIABETES = Dataset(*load_diabetes(return_X_y=True))


def error_and_warning(task: Task, dataset: Dataset, asked: dict[str, Any]) -> tuple[float, Finding | None]:
    """Give the train loss of a classifier, the unexplained share of the variance of a regression."""
    training = Training(task, dataset, hyperparameters(seed=1, **asked))
    warnings = {warning.code: warning for warning in training.plan.warnings}
    try:
        last = list(training.blocks())[-1]
    except TrainingDiverged:
        return np.inf, warnings.get("feature_scales")
    assert last.learned is not None
    if TRAITS[task].classifies:
        return last.learned.train_loss, warnings.get("feature_scales")
    r2 = outcome_of(training, last.learned).result["metrics"]["train"]["r2"]
    return 1 - r2, warnings.get("feature_scales")


@pytest.mark.parametrize(
    ("task", "dataset", "asked"),
    [
        ("mlp_classifier", WINE, {}),
        ("mlp_classifier", WINE, {"batch_size": 32, "epochs": 30}),
        ("mlp_classifier", WINE, {"optimizer": "adam"}),
        ("mlp_classifier", WINE, {"optimizer": "lbfgs"}),
        ("softmax_regression", WINE, {"optimizer": "rmsprop"}),
        ("softmax_regression", WINE, {"optimizer": "adam", "learning_rate": 0.1}),
        ("mlp_classifier", IRIS, {}),
        ("mlp_classifier", CANCER, {"optimizer": "adagrad"}),
        ("logistic_regression", CANCER, {"optimizer": "adam", "batch_size": 32, "epochs": 30}),
        ("logistic_regression", CANCER, {"optimizer": "adam", "learning_rate": 1.0}),
        ("mlp_classifier", DIGITS, {}),
        ("mlp_regressor", DIABETES, {}),
        ("mlp_regressor", DIABETES, {"optimizer": "adam"}),
        ("mlp_regressor", DIABETES, {"loss": "huber"}),
        ("mlp_regressor", SMALL_DIABETES, {}),
        ("linear_regression", DIABETES, {"optimizer": "rmsprop"}),
        ("linear_regression", DIABETES, {"loss": "huber"}),
        ("linear_regression", DIABETES, {"loss": "mae"}),
        ("linear_regression", DIABETES, {"clip_gradient_norm": 1.0}),
        ("linear_regression", DIABETES, {"loss": "huber", "batch_size": 32, "epochs": 30}),
    ],
)
def test_scales_that_hold_a_training_up_are_told_and_it_gets_further_with_the_suggestion(
    task: Task, dataset: Dataset, asked: dict[str, Any]
) -> None:
    asked = {"epochs": 300} | asked
    before, finding = error_and_warning(task, dataset, asked)
    assert finding is not None
    deviation = np.asarray(dataset.features).std(axis=0)
    assert finding.evidence["smallest_deviation"] == pytest.approx(deviation[deviation > 0].min(), 0.01)
    after, finding = error_and_warning(task, dataset, asked | finding.suggestion)
    assert finding is None
    assert after < 0.9 * before


@pytest.mark.parametrize("asked", [{}, {"optimizer": "adam"}, {"batch_size": 32}, {"optimizer": "lbfgs"}])
@pytest.mark.parametrize(
    ("task", "dataset"),
    [
        ("softmax_regression", standardised(WINE)),
        ("mlp_classifier", standardised(CANCER)),
        ("mlp_classifier", standardised(DIGITS)),
        ("mlp_regressor", standardised(DIABETES)),
        ("mlp_regressor", Dataset(np.arange(31.0), 90 * np.arange(31.0))),
    ],
)
def test_of_scales_that_are_alike_nothing_is_said(task: Task, dataset: Dataset, asked: dict[str, Any]) -> None:
    warnings = Training(task, dataset, hyperparameters(seed=1, **asked)).plan.warnings
    assert "feature_scales" not in {warning.code for warning in warnings}


@pytest.mark.parametrize(
    ("task", "dataset", "asked"),
    [
        ("softmax_regression", DIGITS, {"optimizer": "adam"}),
        ("mlp_classifier", DIGITS, {"optimizer": "adam"}),
        ("linear_regression", DIABETES, {"optimizer": "lbfgs"}),
        ("mlp_classifier", WINE, {"frozen": ["0.weight"]}),
    ],
)
def test_of_scales_that_do_not_hold_a_training_up_nothing_is_said(
    task: Task, dataset: Dataset, asked: dict[str, Any]
) -> None:
    before, finding = error_and_warning(task, dataset, {"epochs": 200} | asked)
    assert finding is None
    if "frozen" not in asked:
        assert error_and_warning(task, dataset, {"epochs": 200, "scale": "standard"} | asked)[0] > 0.95 * before
