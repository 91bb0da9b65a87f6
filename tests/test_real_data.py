"""Real datasets of scikit-learn, trained over HTTP, against scikit-learn and the closed form."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from tests.conftest import LiveService


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
