"""Real datasets of scikit-learn, trained here and over HTTP, against scikit-learn's models on the same samples."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from service.dataset import Dataset, Schema, default_names
from service.hyperparameters import Hyperparameters
from service.tasks import TRAITS, Task
from service.training.fit import Training
from service.training.result import outcome_of
from tests.conftest import LiveService
from tests.threads import one_thread

ADAM: dict[str, Any] = {"optimizer": "adam", "batch_size": 32, "hidden_layers": [32]}


class OnHeldOutSamples:
    """Trains on seventy percent of a real dataset, and has scikit-learn do so too; scores are on the rest."""

    def __init__(self, task: Task, load: Callable[[], Any], seed: int, **asked: Any) -> None:
        data = load()
        classes = None
        if TRAITS[task].classifies:
            classes = tuple(str(name) for name in data.target_names)
        names = default_names("x", data.data.shape[1])
        dataset = Dataset(data.data, data.target.astype(float), Schema(names, ("y",), classes))
        given = {"scale": "standard", "test_fraction": 0.3, "device": "cpu", "seed": seed, **asked}
        self._training = Training(task, dataset, Hyperparameters.model_validate(given))
        with one_thread():
            learned = list(self._training.blocks())[-1].learned
        assert learned is not None
        outcome = outcome_of(self._training, learned)
        self.score = outcome.result["metrics"]["test"]["accuracy" if classes else "r2"]
        assert outcome.scaled is not None
        self.coefficients = outcome.scaled[0].weight
        preparation = self._training.examination.preparation
        self._train, self._test = preparation.split.train, preparation.split.test
        self.n_train = len(preparation.train)

    def sklearn(self, model: Any) -> tuple[float, NDArray[np.float64]]:
        """Give the score of a model on standardised features, and its coefficients, if any."""
        dataset, pipeline = self._training.dataset, make_pipeline(StandardScaler(), model)
        targets = dataset.targets[:, 0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            pipeline.fit(dataset.features[self._train], targets[self._train])
        score = float(pipeline.score(dataset.features[self._test], targets[self._test]))
        return score, np.atleast_2d(getattr(model, "coef_", np.zeros(1)))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("engine", ["exact", "analytic"])
def test_diabetes_held_out_is_predicted_as_by_least_squares(engine: str, seed: int) -> None:
    asked = {"engine": engine, "epochs": 20_000, "dtype": "float64", "momentum": 0.9}
    ours = OnHeldOutSamples("linear_regression", load_diabetes, seed, **asked)
    score, coefficients = ours.sklearn(LinearRegression())
    assert ours.score == pytest.approx(score, abs=1e-8)
    np.testing.assert_allclose(ours.coefficients, coefficients, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("l2", [0.01, 1.0])
def test_diabetes_held_out_is_predicted_as_by_a_ridge_regression(l2: float) -> None:
    ours = OnHeldOutSamples("linear_regression", load_diabetes, 1, l2=l2, epochs=5000, dtype="float64")
    score, coefficients = ours.sklearn(Ridge(alpha=l2 * ours.n_train / 2))
    assert ours.score == pytest.approx(score, abs=1e-6)
    np.testing.assert_allclose(ours.coefficients, coefficients, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
@pytest.mark.parametrize(
    ("task", "load"),
    [
        ("logistic_regression", load_breast_cancer),
        ("softmax_regression", load_iris),
        ("softmax_regression", load_wine),
        ("softmax_regression", load_digits),
    ],
)
def test_classes_held_out_are_told_apart_as_by_a_logistic_regression_with_the_same_penalty(
    task: Task, load: Callable[[], Any], optimizer: str
) -> None:
    momentum, epochs = (0.95, 3000) if optimizer == "sgd" else (0.0, 200)
    asked = {"optimizer": optimizer, "l2": 0.01, "momentum": momentum, "dtype": "float64", "epochs": epochs}
    ours = OnHeldOutSamples(task, load, 3, **asked)
    model = LogisticRegression(C=1 / (0.01 * ours.n_train), tol=1e-10, max_iter=10_000)
    score, coefficients = ours.sklearn(model)
    assert ours.score == score > 0.9
    size = np.abs(coefficients).max()
    np.testing.assert_allclose(ours.coefficients, coefficients, atol=(5e-3 if optimizer == "sgd" else 1e-4) * size)


@pytest.mark.parametrize("load", [load_breast_cancer, load_iris, load_wine, load_digits])
def test_a_perceptron_tells_held_out_classes_apart_as_well_as_that_of_scikit_learn(load: Callable[[], Any]) -> None:
    ours, theirs = [], []
    for seed in (0, 1):
        found = OnHeldOutSamples("mlp_classifier", load, seed, epochs=60, learning_rate=0.005, **ADAM)
        model = MLPClassifier((32,), alpha=0, batch_size=32, learning_rate_init=0.005, max_iter=60, random_state=seed)
        ours.append(found.score)
        theirs.append(found.sklearn(model)[0])
    assert np.mean(ours) > np.mean(theirs) - 0.03
    assert np.mean(ours) > 0.9


def test_a_perceptron_predicts_diabetes_held_out_as_well_as_that_of_scikit_learn() -> None:
    ours, theirs = [], []
    for seed in (0, 1, 2):
        asked = {"l2": 0.05, "scale_targets": "standard", "learning_rate": 0.005}
        found = OnHeldOutSamples("mlp_regressor", load_diabetes, seed, epochs=40, **ADAM, **asked)
        model = MLPRegressor(
            hidden_layer_sizes=(32,), alpha=0.05 * found.n_train, batch_size=32, max_iter=100, random_state=seed
        )
        ours.append(found.score)
        theirs.append(found.sklearn(model)[0])
    assert np.mean(ours) > np.mean(theirs) - 0.05
    assert np.mean(ours) > 0.35


def test_steps_of_adam_too_short_for_diabetes_are_told_and_mended_by_the_suggestion_of_the_job(
    live: LiveService,
) -> None:
    features, targets = load_diabetes(return_X_y=True)
    body = {
        "task": "linear_regression",
        "dataset": {"features": features.tolist(), "targets": targets.tolist()},
        "hyperparameters": {"optimizer": "adam"},
    }
    job = live.train(body).json()
    assert [warning["code"] for warning in job["warnings"]] == ["steps_too_short"]
    assert job["result"]["metrics"]["train"]["r2"] < 0
    again = live.http.post(f"{job['links']['self']}/retry", json={"apply": "suggestion"}).json()
    with live.http.stream("GET", again["links"]["events"]) as events:
        events.read()  # to the end of the job
    mended = live.http.get(again["links"]["self"]).json()
    assert mended["warnings"] == []
    oracle = LinearRegression().fit(features, targets).score(features, targets)
    assert mended["result"]["metrics"]["train"]["r2"] == pytest.approx(oracle, abs=0.02)


def test_diabetes_ends_at_the_least_squares_solution(live: LiveService) -> None:
    data = load_diabetes()
    features = StandardScaler().fit_transform(data.data)
    body = {
        "model": "diabetes",
        "task": "linear_regression",
        "dataset": {
            "features": features.tolist(),
            "feature_names": data.feature_names,
            "targets": data.target.tolist(),
        },
        "hyperparameters": {"epochs": 5000, "dtype": "float64"},
    }
    job = live.train(body).json()
    assert job["status"] == "succeeded"
    learned = live.http.get(job["links"]["model"] + "/parameters").json()
    oracle = LinearRegression().fit(features, data.target)
    assert learned["feature_names"] == data.feature_names
    np.testing.assert_allclose(learned["weight"], oracle.coef_, rtol=1e-3, atol=0.05)
    assert learned["bias"] == pytest.approx(oracle.intercept_, rel=1e-6)
    assert job["result"]["metrics"]["train"]["r2"] == pytest.approx(oracle.score(features, data.target), abs=1e-6)
    rows = features[:20]
    answer = live.http.post("/predict", json={"model": "diabetes", "features": rows.tolist()}).json()
    np.testing.assert_allclose(answer["predictions"], oracle.predict(rows), atol=0.1)


def test_breast_cancer_ends_at_the_logistic_loss_of_scikit_learn_at_the_same_penalty(live: LiveService) -> None:
    data = load_breast_cancer()
    features = StandardScaler().fit_transform(data.data)
    labels = [data.target_names[code] for code in data.target]
    records = [
        {**dict(zip(data.feature_names, row, strict=True)), "diagnosis": label}
        for row, label in zip(features.tolist(), labels, strict=True)
    ]
    penalty = 1 / len(features)  # C = 1
    body = {
        "model": "breast-cancer",
        "task": "logistic_regression",
        "dataset": {"records": records, "target": "diagnosis"},
        "hyperparameters": {
            "epochs": 8000,
            "learning_rate": 0.1,
            "momentum": 0.98,
            "l2": penalty,
            "dtype": "float64",
        },
    }
    job = live.train(body, wait_seconds=60).json()
    assert job["status"] == "succeeded"
    oracle = LogisticRegression(C=1, tol=1e-10, max_iter=100_000).fit(features, labels)
    loss = log_loss(labels, oracle.predict_proba(features))
    assert job["result"]["train_loss"] == pytest.approx(loss, rel=1e-4)
    objective = loss + penalty / 2 * float(np.square(oracle.coef_).sum())
    assert job["result"]["objective"] == pytest.approx(objective, rel=1e-6)
    learned = live.http.get(job["links"]["model"] + "/parameters").json()
    sign = 1 if oracle.classes_[1] == "malignant" else -1
    np.testing.assert_allclose(sign * np.array(learned["weight"]), oracle.coef_[0], atol=0.01)
    answer = live.http.post("/predict", json={"model": "breast-cancer", "features": features.tolist()}).json()
    assert answer["predictions"] == oracle.predict(features).tolist()
    probabilities = [[row[label] for label in oracle.classes_] for row in answer["probabilities"]]
    np.testing.assert_allclose(probabilities, oracle.predict_proba(features), atol=1e-3)
