import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.api.conftest import EXAMS, Json, LocalService, check_fault, line, switch
from tests.databases import environment_of, migrated_database, place_of

IN_A_FRESH_PROCESS = """
import sys
from pathlib import Path
from starlette.testclient import TestClient
from service.app import create_app
from service.settings import Settings
bodies = [
    {"task": "linear_regression", "dataset": {"features": [1, 2, 3], "targets": [2, 4, 6]}},
    {"task": "mlp_classifier", "dataset": {"features": [1, 2, 3], "targets": ["a", "b", "a"]}},
]
app = create_app(Settings(data_dir=Path(sys.argv[1])))
with TestClient(app, "http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
    print([client.post("/train/check", json=body).status_code for body in bodies])
print([name for name in ("torch", "torchmetrics", "ray", "alembic") if name in sys.modules])
"""


def check(local: LocalService, body: Json) -> Json:
    answer = local.post("/train/check", body)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def exams(**hyperparameters: Any) -> Json:
    return {"task": "linear_regression", "dataset": EXAMS, "hyperparameters": hyperparameters}


def hessian(body: Json, curvature: float = 2.0) -> np.ndarray[Any, Any]:
    features = np.array(body["dataset"]["features"], dtype=float).reshape(len(body["dataset"]["targets"]), -1)
    inputs = np.hstack([features, np.ones((len(features), 1))])
    return np.asarray(curvature * inputs.T @ inputs / len(inputs))


def test_a_check_tells_what_would_be_trained_and_queues_nothing(local: LocalService) -> None:
    found = check(local, exams(learning_rate=1e-5, epochs=2000, validation_fraction=0.2, test_fraction=0.4))
    expected = {"task": "linear_regression", "engine": "exact", "n_samples": 5, "n_features": 3, "n_parameters": 4}
    expected |= {"n_targets": 1, "n_train": 2, "n_validation": 1, "n_test": 2}
    assert {name: found[name] for name in expected} == expected
    assert found["memory_bytes"] > 5 * 4 * 8
    assert (found["hyperparameters"]["epochs"], found["hyperparameters"]["loss"]) == (2000, "mse")
    assert found["learning_rate"]["requested"] == found["hyperparameters"]["learning_rate"] == 1e-5
    assert local.http.get("/jobs").json()["data"] == []


def test_the_limit_is_that_of_the_largest_eigenvalue_of_the_hessian(standing: LocalService) -> None:
    found = check(standing, exams())
    eigenvalues = np.linalg.eigvalsh(hessian(exams()))
    rate = found["learning_rate"]
    assert rate["kind"] == "exact"
    assert rate["limit"] == pytest.approx(2 / eigenvalues[-1], rel=1e-6)
    assert rate["fastest"] == pytest.approx(2 / (eigenvalues[-1] + eigenvalues[0]), rel=1e-6)
    assert 0 < rate["suggested"] <= rate["limit"] < rate["scaled_limit"]
    assert found["condition_number"] == pytest.approx(eigenvalues[-1] / eigenvalues[0], rel=1e-4)


def test_a_condition_number_without_bound_is_null(standing: LocalService) -> None:
    dataset = {"features": [[1, 2], [2, 4], [3, 6]], "targets": [1, 2, 4]}
    assert check(standing, line(dataset=dataset))["condition_number"] is None


def test_the_rate_for_a_perceptron_is_that_of_a_start_drawn_alike_and_the_jobs_own_when_the_start_is_given(
    local: LocalService,
) -> None:
    body = line(task="mlp_regressor", hyperparameters={"seed": 1, "hidden_layers": [8], "epochs": 1})
    found, job = check(local, body)["learning_rate"]["suggested"], local.train(body)["hyperparameters"]["learning_rate"]
    assert found != job
    assert found == pytest.approx(job, rel=0.9)
    layers = [{"weight": [[0.5], [-0.5]], "bias": [0.1, 0.2]}, {"weight": [1.0, -1.0]}]
    body["hyperparameters"] |= {"hidden_layers": [2], "start": layers}
    given = check(local, body)["learning_rate"]["suggested"]
    assert given == local.train(body)["hyperparameters"]["learning_rate"]


def test_auto_takes_what_is_suggested(standing: LocalService) -> None:
    found = check(standing, exams())
    assert found["learning_rate"]["requested"] == "auto"
    assert found["hyperparameters"]["learning_rate"] == found["learning_rate"]["suggested"]


def test_after_so_many_epochs_only_a_millionth_of_the_way_is_left(local: LocalService) -> None:
    body = line(hyperparameters={"dtype": "float64", "learning_rate": 0.1})
    n_epochs = check(local, body)["learning_rate"]["epochs_to_tolerance"]
    job = local.train({**body, "hyperparameters": {**body["hyperparameters"], "epochs": n_epochs}})
    history = local.http.get(job["links"]["history"]).json()["train_loss"]
    assert history[-1] <= 1e-6 * history[0]
    slower = check(local, {**body, "hyperparameters": {**body["hyperparameters"], "learning_rate": 0.05}})
    assert slower["learning_rate"]["epochs_to_tolerance"] > n_epochs
    diverging = check(local, {**body, "hyperparameters": {**body["hyperparameters"], "learning_rate": 5.0}})
    assert diverging["learning_rate"]["epochs_to_tolerance"] is None


@pytest.mark.parametrize(
    ("task", "hyperparameters", "engine", "kind", "n_parameters"),
    [
        ("logistic_regression", {}, "analytic", "guarantee", 2),
        ("softmax_regression", {}, "analytic", "guarantee", 4),
        ("mlp_classifier", {"hidden_layers": [3]}, "autograd", "estimate", 14),
        ("logistic_regression", {"batch_size": 2}, "analytic", "guidance", 2),
        ("logistic_regression", {"optimizer": "adam"}, "analytic", "guidance", 2),
    ],
)
def test_every_task_is_told_what_its_limit_is_worth(
    standing: LocalService, task: str, hyperparameters: Json, engine: str, kind: str, n_parameters: int
) -> None:
    found = check(standing, {**switch("a", "a", "b", "b"), "task": task, "hyperparameters": hyperparameters})
    assert (found["engine"], found["n_parameters"]) == (engine, n_parameters)
    assert found["learning_rate"]["kind"] == kind
    assert found["learning_rate"]["suggested"] > 0
    assert found["learning_rate"]["epochs_to_tolerance"] is None


def test_a_learning_rate_that_will_diverge_is_warned_of_with_the_evidence_and_one_that_will_not(
    local: LocalService,
) -> None:
    found = check(local, line(hyperparameters={"learning_rate": 5.0}))
    (warning,) = [warning for warning in found["warnings"] if warning["code"] == "learning_rate_above_limit"]
    assert warning["evidence"] == {"learning_rate": 5.0, "limit": found["learning_rate"]["limit"]}
    assert local.train(line(hyperparameters={"learning_rate": 5.0}))["stop_reason"] == "diverged"
    mended = line(hyperparameters=warning["suggestion"])
    assert check(local, mended)["warnings"] == []
    assert local.train(mended)["status"] == "succeeded"


def test_what_is_checked_is_what_is_trained(local: LocalService) -> None:
    body = exams(seed=3, epochs=50, scale="standard", validation_fraction=0.2)
    found, job = check(local, body), local.train(body)
    assert job["hyperparameters"] == {**found["hyperparameters"], "device": job["device"]}
    assert job["engine"] == found["engine"]
    assert all(warning in job["warnings"] for warning in found["warnings"])


def test_a_check_of_going_on_from_a_model_starts_at_its_parameters(standing: LocalService) -> None:
    found = check(standing, line(hyperparameters={"start": {"model": "line"}}))
    assert found["hyperparameters"]["start"] == {"model": "line@1"}


def test_what_train_refuses_is_refused_here_by_the_same_words(standing: LocalService) -> None:
    for body, pointer, words in (
        (line(hyperparameters={"loss": "cross_entropy"}), "#/hyperparameters/loss", "cannot minimise cross_entropy"),
        (line(dataset={"features": [1], "targets": ["a"]}), "#/dataset/targets/0", 'not "a"'),
        (line(model="?"), "#/model", "not '?'"),
        (
            line(
                dataset={"features": [1, 2, 3, 4], "targets": [1, 2, 3, 4], "sample_weight": [0, 0, 1, 0]},
                hyperparameters={"validation_fraction": 0.5, "seed": 1},
            ),
            "#/dataset/sample_weight",
            "under seed 1 the samples drawn for",
        ),
        (line(hyperparameters={"start": {"model": "gone"}}), "#/hyperparameters/start/model", "no model 'gone'"),
    ):
        check_fault(standing.post("/train/check", body), pointer, words)
        check_fault(standing.post("/train", body), pointer, words)


def test_checking_needs_no_torch(tmp_path: Path) -> None:
    migrated_database(place_of(tmp_path)).close()
    command = [sys.executable, "-c", IN_A_FRESH_PROCESS, str(tmp_path)]
    found = subprocess.run(command, env=environment_of(tmp_path), capture_output=True, text=True, check=True)
    assert found.stdout == "[200, 200]\n[]\n"


@pytest.mark.parametrize(
    "asked", [{}, {"learning_rate": 1e-5}, {"optimizer": "adam"}, {"scale": "standard", "l2": 0.1}]
)
def test_a_job_says_of_the_learning_rate_what_the_check_says(local: LocalService, asked: Json) -> None:
    body = exams(epochs=3, **asked)
    expected, job = check(local, body), local.train(body)
    assert (job["learning_rate"], job["condition_number"]) == (expected["learning_rate"], expected["condition_number"])
    (listed,) = local.http.get("/jobs").json()["data"]
    assert listed["learning_rate"] == job["learning_rate"]


def test_a_job_that_diverged_says_what_the_learning_rate_might_have_been(local: LocalService) -> None:
    job = local.train(exams(learning_rate=1.0))
    assert job["stop_reason"] == "diverged"
    assert job["learning_rate"]["limit"] == job["diagnosis"]["evidence"]["limit"]
    assert job["condition_number"] > 1e6


def test_a_job_that_waits_does_not_know_the_learning_rate_yet(standing: LocalService) -> None:
    job = standing.post("/train", exams()).json()
    assert (job["status"], job["learning_rate"], job["condition_number"]) == ("queued", None, None)


def test_how_many_epochs_it_takes_depends_on_the_tolerance(standing: LocalService) -> None:
    body = line(hyperparameters={"learning_rate": 0.01})
    at = {
        tolerance: standing.post(f"/train/check?tolerance={tolerance}", body).json()["learning_rate"]
        for tolerance in (1e-2, 1e-6, 1e-12)
    }
    assert at[1e-6] == check(standing, body)["learning_rate"]
    few, usual, many = (at[tolerance]["epochs_to_tolerance"] for tolerance in (1e-2, 1e-6, 1e-12))
    smallest = np.linalg.eigvalsh(hessian(body))[0]
    for tolerance, epochs in ((1e-2, few), (1e-6, usual), (1e-12, many)):
        assert epochs == pytest.approx(np.log(tolerance) / (2 * np.log1p(-0.01 * smallest)), abs=1)
    for refused, said in (("0", "greater than 0"), ("1", "less than 1"), ("some", "number")):
        check_fault(standing.post(f"/train/check?tolerance={refused}", body), "#/query/tolerance", said)


@pytest.mark.parametrize("task", ["linear_regression", "logistic_regression"])
def test_where_nothing_that_learns_matters_no_rate_is_the_limit(standing: LocalService, task: str) -> None:
    dataset = {"features": [3.0, 3.0, 3.0], "targets": [0, 1, 1]}
    asked = {"scale": "standard", "frozen": ["bias"], "learning_rate": 5.0}
    found = check(standing, {"task": task, "dataset": dataset, "hyperparameters": asked})
    assert found["learning_rate"]["limit"] is None
    assert "any learning rate will do" in found["learning_rate"]["detail"]
    assert "learning_rate_above_limit" not in {warning["code"] for warning in found["warnings"]}
