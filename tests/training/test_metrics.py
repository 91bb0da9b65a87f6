import numpy as np
import pytest
from sklearn import metrics

from service.dataset import Dataset
from service.parameters import Layer
from service.training.metrics import evaluate
from tests.training.problems import random_dataset


@pytest.mark.parametrize("n_targets", [1, 3])
def test_regression_metrics_are_scikit_learns(n_targets: int) -> None:
    dataset = random_dataset("linear_regression", seed=1, n_targets=n_targets)
    layer = Layer(np.full((n_targets, 3), 0.5, dtype=np.float32), np.full(n_targets, 0.1, dtype=np.float32))
    predicted = dataset.features @ layer.weight.T.astype(float) + layer.bias.astype(float)
    found = evaluate("linear_regression", dataset, (layer,))
    assert found["mse"] == pytest.approx(metrics.mean_squared_error(dataset.targets, predicted))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(dataset.targets, predicted))
    assert found["r2"] == pytest.approx(metrics.r2_score(dataset.targets, predicted))


def test_classification_metrics_are_scikit_learns() -> None:
    dataset = random_dataset("logistic_regression", seed=1)
    layer = Layer(np.array([[0.5, -0.2, 0.8]]), np.array([0.1]))
    logits = dataset.features @ layer.weight[0] + layer.bias
    found = evaluate("logistic_regression", dataset, (layer,))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(dataset.targets[:, 0], logits > 0))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(dataset.targets[:, 0], 1 / (1 + np.exp(-logits))))


def test_r2_is_null_where_it_means_nothing() -> None:
    layer = Layer(np.array([[1.0]]), np.array([0.0]))
    assert evaluate("linear_regression", Dataset([1.0], [2.0]), (layer,))["r2"] is None
    assert evaluate("linear_regression", Dataset([1.0, 2.0], [2.0, 2.0]), (layer,))["r2"] is None


def test_a_metric_that_overflows_is_null() -> None:
    layer = Layer(np.array([[1.0]]), np.array([0.0]))
    assert evaluate("linear_regression", Dataset([1.0, 2.0], [1e200, 2e200]), (layer,))["mse"] is None
