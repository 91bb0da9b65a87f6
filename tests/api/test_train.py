import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from service.store import control
from tests.api.conftest import EXAMS, Json, LocalService, line
from tests.processes import wait_until


def test_a_training_is_queued_with_its_place(local: LocalService) -> None:
    before = datetime.now(UTC)
    metadata = {"course": "algebra"}
    answer = local.post("/train", line(model="twice", metadata=metadata, hyperparameters={"epochs": 7, "seed": 3}))
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    assert "Preference-Applied" not in answer.headers
    assert job == local.http.get(answer.headers["Location"]).json()
    assert job["id"].startswith("job_")
    expected = {"model": "twice", "task": "linear_regression", "metadata": metadata, "seed": 3}
    expected |= {"status": "queued", "terminal": False, "queue_position": 1, "attempt": 0, "warnings": []}
    expected["progress"] = {"epoch": 0, "epochs": 7, "fraction": 0.0, "eta_seconds": None}
    expected |= dict.fromkeys(["version", "started_at", "finished_at", "engine", "device", "stop_reason"])
    expected |= dict.fromkeys(["result", "diagnosis", "error"])
    assert {name: job[name] for name in expected} == expected
    created_at = datetime.fromisoformat(job["created_at"])
    assert created_at.utcoffset() == timedelta(0)
    assert before <= created_at <= datetime.now(UTC)
    assert (job["hyperparameters"]["epochs"], job["hyperparameters"]["seed"]) == (7, 3)
    assert job["links"]["self"] == f"/jobs/{job['id']}"


def test_a_model_without_a_name_gets_one_of_its_own(local: LocalService) -> None:
    names = {local.job(local.enqueue(line()))["model"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("linear-regression-") for name in names)


def test_what_is_worth_knowing_comes_as_a_warning(local: LocalService) -> None:
    (warning,) = local.post("/train", line(hyperparameters={"batch_size": 4})).json()["warnings"]
    assert warning["code"] == "batch_size_exceeds_samples"
    assert "batch_size 4 is more than the 3 samples" in warning["detail"]


def test_records_train_the_same_model_as_rows(local: LocalService) -> None:
    values = [dict(zip(EXAMS["feature_names"], row, strict=True)) for row in EXAMS["features"]]
    of_records = [{"final": target, **value} for value, target in zip(values, EXAMS["targets"], strict=True)]
    hyperparameters = {"epochs": 100, "dtype": "float64"}
    for name, given in (("rows", EXAMS), ("records", {"records": of_records, "target": "final"})):
        local.train(line(model=name, dataset=given, hyperparameters=hyperparameters))
    first, second = (local.http.get(f"/models/{name}/versions/1/parameters").json() for name in ("rows", "records"))
    assert {**first, "model": None} == {**second, "model": None}
    assert local.http.get("/models/records").json()["versions"][0]["target_names"] == ["final"]


def test_several_targets_are_trained_to_the_least_squares_solution(local: LocalService) -> None:
    features, targets = [[0, 1], [1, 0], [1, 1], [2, 1]], [[1, 2], [3, 4], [5, 7], [6, 8]]
    body = line(dataset={"features": features, "targets": targets})
    body |= {"model": "two", "hyperparameters": {"dtype": "float64", "epochs": 5000}}
    assert local.train(body)["status"] == "succeeded"
    solution = np.linalg.lstsq(np.hstack([features, np.ones((4, 1))]), np.array(targets), rcond=None)[0]
    learned = local.http.get("/models/two/versions/1/parameters").json()
    np.testing.assert_allclose(learned["weight"], solution[:2].T, rtol=1e-6)
    np.testing.assert_allclose(learned["bias"], solution[2], rtol=1e-6)


@pytest.mark.parametrize("preference", ["wait=30", "respond-async, wait=30", 'Wait="30"', "handling=lenient; wait=30"])
def test_a_request_that_waits_is_answered_with_the_ended_job(local: LocalService, preference: str) -> None:
    with local.working():
        answer = local.post("/train", line(), {"Prefer": preference})
    assert answer.status_code == 201
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert answer.headers["Location"] == f"/jobs/{answer.json()['id']}"
    assert answer.json()["status"] == "succeeded"
    assert answer.json() == local.job(answer.json()["id"])


def test_a_request_that_waits_for_a_failure_is_answered_with_it(local: LocalService) -> None:
    with local.working():
        answer = local.post("/train", line(hyperparameters={"learning_rate": 1e9}), {"Prefer": "wait=30"})
    assert (answer.status_code, answer.json()["status"]) == (201, "failed")


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_request_whose_wait_runs_out_is_answered_with_the_job_so_far(local: LocalService, seconds: int) -> None:
    start = time.perf_counter()
    answer = local.post("/train", line(), {"Prefer": f"wait={seconds}"})
    assert seconds <= time.perf_counter() - start
    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == f"wait={seconds}"
    assert answer.json()["status"] == "queued"


def test_a_request_that_waits_for_a_job_that_is_deleted_is_answered_with_what_was_known_of_it(
    local: LocalService,
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(local.post, "/train", line(), {"Prefer": "wait=60"})
        wait_until(lambda: local.http.get("/jobs").json()["data"])
        (job,) = local.http.get("/jobs").json()["data"]
        with local.database.writing() as session:
            control.request_cancel(session, job["id"])
            control.remove(session, job["id"])
        answer = waiting.result()
    assert (answer.status_code, answer.json()) == (202, job)
    assert answer.headers["Preference-Applied"] == "wait=60"
    assert local.http.get(answer.headers["Location"]).status_code == 404


@pytest.mark.parametrize("preference", ["respond-async", "wait", "wait=soon", "awaiting=5", ""])
def test_another_preference_is_not_applied(local: LocalService, preference: str) -> None:
    answer = local.post("/train", line(), {"Prefer": preference})
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers


def test_many_requests_wait_at_once_and_each_is_answered_with_its_own_job(local: LocalService) -> None:
    with local.working(), ThreadPoolExecutor(8) as pool:
        bodies = [line(model=f"m{number}", hyperparameters={"epochs": 50}) for number in range(8)]
        answers = list(pool.map(lambda body: local.post("/train", body, {"Prefer": "wait=30"}), bodies))
    assert [(answer.status_code, answer.json()["model"]) for answer in answers] == [(201, f"m{n}") for n in range(8)]
    assert all(first.json()["id"] != second.json()["id"] for first, second in itertools.pairwise(answers))


LABELS: Json = {"targets": ["a", "a", "b", "b", "c", "c"], "features": [-5, -4, 0, 1, 8, 9]}


@pytest.mark.parametrize(
    ("task", "targets", "hyperparameters", "engine"),
    [
        ("linear_regression", [-10, -8, 0, 2, 16, 18], {}, "exact"),
        ("logistic_regression", [0, 0, 0, 0, 1, 1], {"epochs": 3000}, "analytic"),
        ("softmax_regression", LABELS["targets"], {"epochs": 3000}, "analytic"),
        ("mlp_regressor", [-10, -8, 0, 2, 16, 18], {"optimizer": "lbfgs", "epochs": 50}, "autograd"),
        ("mlp_classifier", LABELS["targets"], {"optimizer": "adam", "learning_rate": 0.03, "epochs": 300}, "autograd"),
    ],
)
def test_every_task_learns_what_its_samples_show(
    local: LocalService, task: str, targets: list[Any], hyperparameters: Json, engine: str
) -> None:
    body = {"task": task, "model": "learner", "dataset": {**LABELS, "targets": targets}}
    job = local.train({**body, "hyperparameters": {**hyperparameters, "scale": "standard", "seed": 0}})
    assert (job["status"], job["engine"]) == ("succeeded", engine), job["error"]
    answer = local.post("/predict", {"model": "learner", "features": [[x] for x in LABELS["features"]]}).json()
    if "regressor" in task or task == "linear_regression":
        assert answer["predictions"] == pytest.approx(targets, abs=0.5)
    else:
        assert answer["predictions"] == targets


@pytest.mark.parametrize("form", ["rows", "records"])
@pytest.mark.parametrize(("weights", "kept"), [([1, 2, 1], [0, 1, 1, 2]), ([0, 1, 3], [1, 2, 2, 2])])
def test_a_sample_of_weight_two_counts_as_two_samples(
    local: LocalService, form: str, weights: list[float], kept: list[int]
) -> None:
    features, targets = [1, 2, 4], [3, 1, 7]
    records = [{"x": x, "y": y} for x, y in zip(features, targets, strict=True)]
    weighted: Json = (
        {"features": features, "targets": targets} if form == "rows" else {"records": records, "target": "y"}
    )
    repeated = {"features": [features[row] for row in kept], "targets": [targets[row] for row in kept]}
    hyperparameters = {"epochs": 50, "learning_rate": 0.05, "dtype": "float64"}
    for name, dataset in (("weighted", {**weighted, "sample_weight": weights}), ("repeated", repeated)):
        local.train(line(model=name, dataset=dataset, hyperparameters=hyperparameters))
    found, expected = (local.http.get(f"/models/{n}/versions/1/parameters").json() for n in ("weighted", "repeated"))
    assert found["weight"] == pytest.approx(expected["weight"], rel=1e-9)
    assert found["bias"] == pytest.approx(expected["bias"], rel=1e-9)
