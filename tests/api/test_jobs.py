import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from sklearn.linear_model import Ridge
from sqlalchemy import update

from service.store import jobs, queue
from service.store.tables import JobRow
from tests.api.conftest import EXAMS, Json, LocalService, check_fault, check_problem, line, switch
from tests.store.queueing import settle

LONG: Json = {"epochs": 10_000_000, "learning_rate": 1e-6, "engine": "analytic"}


def test_an_ended_job_tells_all_that_the_contract_says(local: LocalService) -> None:
    request = {"model": "exams", "task": "linear_regression", "dataset": EXAMS, "metadata": {"term": "spring"}}
    job = local.train({**request, "hyperparameters": {"epochs": 200, "seed": 7, "dtype": "float64"}})
    expected = {"status": "succeeded", "terminal": True, "model": "exams", "version": 1, "task": "linear_regression"}
    expected |= {"metadata": {"term": "spring"}, "queue_position": None, "attempt": 1, "seed": 7}
    expected |= {"stop_reason": "epochs_completed", "diagnosis": None, "error": None, "retry_of": None}
    expected["progress"] = {"epoch": 200, "epochs": 200, "fraction": 1.0, "eta_seconds": 0.0}
    assert {name: job[name] for name in expected} == expected
    times = [datetime.fromisoformat(job[f"{moment}_at"]) for moment in ("created", "started", "finished")]
    assert times == sorted(times)
    assert {time.utcoffset() for time in times} == {timedelta(0)}
    assert job["engine"]
    assert job["device"] in ("cpu", "cuda")
    assert isinstance(job["hyperparameters"]["learning_rate"], float)
    assert job["hyperparameters"]["loss"] == "mse"
    assert "auto" not in job["hyperparameters"].values()
    assert (job["result"]["epoch"], job["result"]["objective"]) == (200, job["result"]["train_loss"])
    assert job["result"]["validation_loss"] is None
    metrics = job["result"]["metrics"]
    assert metrics["train"]["mse"] == pytest.approx(job["result"]["train_loss"])
    assert metrics["validation"] is metrics["test"] is None
    assert metrics["train"].keys() == {"mse", "rmse", "mae", "r2"}
    (warning,) = job["warnings"]
    assert warning.keys() == {"code", "detail", "evidence", "suggestion"}
    assert (warning["code"], warning["suggestion"]["scale"]) == ("feature_scales", "standard")
    assert job["environment"]["seed"] == 7
    assert job["environment"]["versions"].keys() >= {"descent", "torch", "numpy"}
    links = {
        "self": "",
        "history": "/history",
        "parameters": "/parameters",
        "trajectory": "/trajectory",
        "events": "/events",
    }
    for name, end in links.items():
        assert job["links"][name] == f"/jobs/{job['id']}{end}"
        assert local.http.get(job["links"][name]).status_code == 200
    assert job["links"]["model"] == "/models/exams/versions/1"
    assert local.http.get(job["links"]["model"]).json()["job"] == job["id"]


def test_a_classification_reports_how_good_it_is_on_every_part_of_the_samples(local: LocalService) -> None:
    dataset = {"features": [-9, -8, -7, -6, 6, 7, 8, 9], "targets": ["off"] * 4 + ["on"] * 4}
    hyperparameters = {"epochs": 2000, "validation_fraction": 0.25, "test_fraction": 0.25}
    job = local.train(switch(dataset=dataset, hyperparameters=hyperparameters))
    metrics = job["result"]["metrics"]
    for part, n_samples in (("train", 4), ("validation", 2), ("test", 2)):
        assert metrics[part].keys() >= {"precision", "recall", "f1", "f1_macro", "roc_auc"}
        assert metrics[part]["accuracy"] == 1.0
        assert 0 < metrics[part]["log_loss"] < 0.6
        assert metrics[part]["confusion_matrix"] == [[n_samples // 2, 0], [0, n_samples // 2]]
        assert [each["label"] for each in metrics[part]["per_class"]] == ["off", "on"]
    assert job["result"]["validation_loss"] == pytest.approx(metrics["validation"]["log_loss"], rel=1e-6)
    assert job["result"]["optimum"] is None


def test_the_optimum_is_scikit_learn_s_solution_and_the_gap_what_is_left_to_it(local: LocalService) -> None:
    dataset = {"features": [[0, 1], [1, 0], [1, 1], [2, 1]], "targets": [1, 3, 5, 6]}
    job = local.train(line(dataset=dataset, hyperparameters={"epochs": 50, "l2": 0.5, "dtype": "float64"}))
    result, optimum = job["result"], job["result"]["optimum"]
    solution = Ridge(alpha=0.5 * 4 / 2).fit(dataset["features"], dataset["targets"])
    assert optimum["parameters"]["weight"] == pytest.approx(solution.coef_.tolist())
    assert optimum["parameters"]["bias"] == pytest.approx(solution.intercept_)
    assert optimum["gap"] == pytest.approx(result["objective"] - optimum["objective"])
    penalty = 0.5 / 2 * sum(weight**2 for weight in optimum["parameters"]["weight"])
    assert optimum["objective"] == pytest.approx(optimum["loss"] + penalty)


def test_a_training_that_no_longer_improves_stops_and_gives_the_best_epoch(local: LocalService) -> None:
    dataset = {"features": [[1, 0], [0, 1], [1, 1], [3, 1], [2, 2], [1, 4]], "targets": [9, -3, 4, 1, 0, 5]}
    hyperparameters = {"validation_fraction": 0.5, "stop": {"patience": 5}, "epochs": 10_000, "seed": 2}
    job = local.train(line(dataset=dataset, hyperparameters=hyperparameters))
    assert job["stop_reason"] == "no_improvement"
    history = local.http.get(job["links"]["history"]).json()
    best = history["validation_loss"].index(min(history["validation_loss"]))
    assert job["result"]["epoch"] == best
    assert job["result"]["validation_loss"] == pytest.approx(history["validation_loss"][best])


def test_a_training_whose_time_is_up_gives_what_it_has_learned(local: LocalService) -> None:
    job = local.train(line(hyperparameters={**LONG, "stop": {"max_seconds": 0.2}}))
    assert (job["status"], job["stop_reason"]) == ("succeeded", "max_seconds_reached")
    assert job["result"]["epoch"] < LONG["epochs"]


def test_findings_as_they_were_once_kept_are_read_as_well(local: LocalService) -> None:
    job_id = local.train(line(hyperparameters={"learning_rate": 1e6}))["id"]
    old: dict[str, Any] = {
        "warnings": [{"code": "batch_size_exceeds_samples", "detail": "a batch is too large"}],
        "diagnosis": {"code": "learning_rate_too_large", "epoch": 7, "evidence": {"limit": 1.0}, "suggestion": {}},
    }
    with local.database.writing() as session:
        session.execute(update(JobRow).values(**old, environment=None))
    job = local.job(job_id)
    assert job["warnings"] == [{**old["warnings"][0], "evidence": {}, "suggestion": {}}]
    assert job["diagnosis"] == {**old["diagnosis"], "detail": None}
    assert job["environment"] is None


def test_a_job_that_is_back_in_the_queue_is_nowhere_and_has_no_pace(local: LocalService) -> None:
    local.enqueue(line())
    with local.database.writing() as session:
        job = queue.claim(session, "worker_1", lease_seconds=60)
        assert job is not None
        settle(session, job, job.hyperparameters)
        jobs.advance(session, job, 5.0)
    assert local.job(job.id)["environment"]["begun_in_attempt"] == 1
    with local.database.writing() as session:
        jobs.release(session, job)
    told = local.job(job.id)
    assert [told[name] for name in ("status", "engine", "device", "environment")] == ["queued", None, None, None]
    assert (told["progress"]["epoch"], told["progress"]["eta_seconds"]) == (5, None)


def test_a_training_that_reaches_its_target_loss_stops_there(local: LocalService) -> None:
    job = local.train(line(hyperparameters={"epochs": 10_000, "stop": {"target_loss": 0.01}}))
    assert (job["status"], job["stop_reason"]) == ("succeeded", "target_loss_reached")
    assert job["result"]["train_loss"] <= 0.01
    assert job["progress"]["epoch"] < 10_000
    assert job["progress"]["fraction"] == 1.0


def test_a_diverged_job_fails_with_a_diagnosis_whose_suggestion_works(local: LocalService) -> None:
    job = local.train(line(model="steep", hyperparameters={"learning_rate": 1e6}))
    assert (job["status"], job["stop_reason"], job["terminal"]) == ("failed", "diverged", True)
    assert job["result"] is job["version"] is job["links"]["model"] is None
    assert job["error"]["code"] == "diverged"
    diagnosis = job["diagnosis"]
    assert diagnosis.keys() >= {"code", "epoch", "evidence", "suggestion"}
    assert diagnosis["code"] == "learning_rate_too_large"
    assert diagnosis["detail"] == job["error"]["detail"]
    assert f"epoch {diagnosis['epoch']}" in diagnosis["detail"]
    assert diagnosis["evidence"]["learning_rate"] == 1e6 > diagnosis["evidence"]["limit"]
    assert local.http.get("/models/steep").status_code == 404
    history = local.http.get(job["links"]["history"]).json()
    assert history["epoch"] == list(range(diagnosis["epoch"]))
    mended = local.train(line(model="steep", hyperparameters=diagnosis["suggestion"]))
    assert (mended["status"], mended["version"]) == ("succeeded", 1)


def test_a_device_that_is_not_there_fails_the_job_with_its_name(local: LocalService) -> None:
    job = local.train(line(hyperparameters={"device": "cuda:99"}))
    assert (job["status"], job["stop_reason"]) == ("failed", "error")
    assert job["error"]["code"] == "device_unavailable"
    assert "cuda:99" in job["error"]["detail"]
    assert job["diagnosis"] is None


def test_jobs_are_listed_newest_first_and_page_by_page_whatever_comes_meanwhile(local: LocalService) -> None:
    ids = [local.enqueue(line()) for _ in range(5)]
    listed, pages, after = [], 0, ""
    while True:
        page = local.http.get(f"/jobs?limit=2{after}").json()
        listed += [job["id"] for job in page["data"]]
        pages += 1
        assert page["has_more"] is (pages < 3)
        if not page["has_more"]:
            break
        after = f"&after={page['next']}"
        local.enqueue(line())
    assert page["next"] is None
    assert listed == ids[::-1]
    assert pages == 3


def test_a_page_that_ends_with_the_last_job_has_no_next(local: LocalService) -> None:
    for _ in range(2):
        local.enqueue(line())
    page = local.http.get("/jobs?limit=2").json()
    assert len(page["data"]) == 2
    assert (page["has_more"], page["next"]) == (False, None)


def test_jobs_are_listed_by_status_and_by_model(local: LocalService) -> None:
    succeeded = local.train(line(model="a"))["id"]
    failed = local.train(line(model="a", hyperparameters={"learning_rate": 1e6}))["id"]
    queued = local.enqueue(line(model="b"))

    def listed(query: str) -> list[str]:
        return [job["id"] for job in local.http.get(f"/jobs?{query}").json()["data"]]

    assert listed("status=succeeded") == [succeeded]
    assert listed("status=queued") == [queued]
    assert listed("status=running") == []
    assert listed("model=a") == [failed, succeeded]
    assert listed("model=a&status=failed") == [failed]
    assert listed("model=c") == []


def test_the_queue_position_counts_the_jobs_ahead(local: LocalService) -> None:
    ids = [local.enqueue(line()) for _ in range(3)]
    assert [local.job(job_id)["queue_position"] for job_id in ids] == [1, 2, 3]
    with local.database.writing() as session:
        queue.claim(session, "worker", lease_seconds=60)
    assert [local.job(job_id)["queue_position"] for job_id in ids] == [None, 1, 2]
    listed = local.http.get("/jobs").json()["data"]
    assert [job["queue_position"] for job in listed] == [2, 1, None]


def test_a_queued_job_is_cancelled_at_once_and_asking_again_is_no_error(local: LocalService) -> None:
    job_id = local.enqueue(line())
    for _ in range(2):
        answer = local.http.post(f"/jobs/{job_id}/cancel")
        assert answer.status_code == 202
        job = answer.json()
        assert (job["status"], job["stop_reason"], job["terminal"]) == ("cancelled", "cancelled", True)
        assert job["queue_position"] is None
    assert local.work() == 0
    assert local.job(job_id) == job


def test_a_running_job_is_cancelled_within_moments_and_its_history_stays(local: LocalService) -> None:
    job_id = local.enqueue(line(hyperparameters=LONG))
    with local.working():
        running = local.wait_for(job_id, lambda job: job["progress"]["epoch"] > 0)
        assert (running["status"], running["terminal"], running["queue_position"]) == ("running", False, None)
        assert 0 < running["progress"]["fraction"] < 1
        assert running["progress"]["eta_seconds"] > 0
        assert local.http.post(f"/jobs/{job_id}/cancel").status_code == 202
        job = local.wait_for(job_id, lambda job: job["terminal"])
    assert (job["status"], job["stop_reason"], job["version"]) == ("cancelled", "cancelled", None)
    assert local.http.post(f"/jobs/{job_id}/cancel").status_code == 202
    assert local.http.get(job["links"]["history"]).json()["epoch"][0] == 0


@pytest.mark.parametrize(("learning_rate", "status"), [(0.1, "succeeded"), (1e6, "failed")])
def test_a_job_that_has_ended_otherwise_cannot_be_cancelled(
    local: LocalService, learning_rate: float, status: str
) -> None:
    job = local.train(line(hyperparameters={"learning_rate": learning_rate}))
    problem = check_problem(local.http.post(f"/jobs/{job['id']}/cancel"), 409)
    assert f"{job['id']} has {status} already" in problem["detail"]
    assert local.job(job["id"]) == job


def test_a_worker_that_has_to_stop_puts_its_job_back_into_the_queue(local: LocalService) -> None:
    job_id = local.enqueue(line(hyperparameters=LONG))
    with local.working():
        local.wait_for(job_id, lambda job: job["progress"]["epoch"] > 0)
    job = local.job(job_id)
    assert (job["status"], job["queue_position"], job["attempt"], job["started_at"]) == ("queued", 1, 1, None)
    assert job["progress"]["epoch"] > 0  # the next worker goes on from there


def test_jobs_run_in_the_order_in_which_they_came(local: LocalService) -> None:
    ids = [local.enqueue(line(hyperparameters={"epochs": 5})) for _ in range(4)]
    assert local.work(threading.Event()) == 4
    assert [job["id"] for job in local.http.get("/jobs").json()["data"]] == ids[::-1]
    started = [local.job(job_id)["started_at"] for job_id in ids]
    assert started == sorted(started)


def test_a_job_that_is_as_it_was_is_not_sent_again(local: LocalService) -> None:
    path = f"/jobs/{local.enqueue(line())}"
    tag = local.http.get(path).headers["ETag"]
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', f'"other",{tag} , W/"another"', "*"):
        unchanged = local.http.get(path, headers={"If-None-Match": known})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert unchanged.headers["ETag"] == tag
    assert local.http.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    local.work()
    changed = local.http.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["status"]) == (200, "succeeded")
    assert changed.headers["ETag"] != tag


@pytest.mark.parametrize("path", ["", "/history", "/parameters", "/trajectory", "/events", "/cancel", "/retry"])
def test_an_unknown_job_is_not_found_by_its_name(standing: LocalService, path: str) -> None:
    answer = standing.http.request("POST" if path in ("/cancel", "/retry") else "GET", f"/jobs/job_nowhere{path}")
    assert "'job_nowhere'" in check_problem(answer, 404)["detail"]


def test_a_page_after_an_unknown_job_is_not_found(standing: LocalService) -> None:
    assert "'job_nowhere'" in check_problem(standing.http.get("/jobs?after=job_nowhere"), 404)["detail"]


@pytest.mark.parametrize(
    ("query", "pointer", "words"),
    [
        ("limit=0", "#/query/limit", "greater than or equal to 1, not '0'"),
        ("limit=1001", "#/query/limit", "less than or equal to 1000, not '1001'"),
        ("limit=ten", "#/query/limit", "not 'ten'"),
        ("limit=1.5", "#/query/limit", "not '1.5'"),
        ("status=done", "#/query/status", "'cancelled', not 'done'"),
        ("model=" + "a" * 201, "#/query/model", "200 characters"),
        ("after=" + "a" * 201, "#/query/after", "200 characters"),
    ],
)
def test_a_list_that_cannot_be_is_refused(standing: LocalService, query: str, pointer: str, words: str) -> None:
    check_fault(standing.http.get(f"/jobs?{query}"), pointer, words)


def test_a_job_s_answer_has_no_field_that_is_not_in_its_schema(standing: LocalService) -> None:
    schemas: dict[str, Any] = standing.http.get("/openapi.json").json()["components"]["schemas"]
    job = standing.http.get("/jobs").json()["data"][0]
    assert job.keys() == schemas["JobResponse"]["properties"].keys()
    assert job["hyperparameters"].keys() == schemas["Hyperparameters"]["properties"].keys()
