from typing import Any

import pytest
from sqlalchemy import update

from service.store.tables import JobRow
from tests.api.conftest import EXAMS, Json, LocalService, check_fault, check_problem, line


def retry(local: LocalService, job: Json, body: Any = "") -> Json:
    """Ask for a job again; give the new one, still queued."""
    answer = local.post(f"{job['links']['self']}/retry", body)
    assert answer.status_code == 202, answer.text
    again: Json = answer.json()
    assert answer.headers["Location"] == again["links"]["self"] != job["links"]["self"]
    assert again == local.job(again["id"])
    return again


def ended(local: LocalService, job: Json) -> Json:
    local.work()
    return local.job(job["id"])


def keep(local: LocalService, *warnings: Json) -> None:
    """Let these be the warnings of every job."""
    with local.database.writing() as session:
        session.execute(update(JobRow).values(warnings=warnings))


@pytest.mark.parametrize("body", ["", {}, {"hyperparameters": {}}, {"apply": None}], ids=str)
def test_a_job_that_is_retried_as_it_was_learns_the_same_again(local: LocalService, body: Any) -> None:
    given = {"epochs": 30, "start": "uniform", "batch_size": 1, "dtype": "float64"}
    first = local.train(line(model="twice", metadata={"term": "spring"}, hyperparameters=given))
    again = retry(local, first, body)
    same = {"model": "twice", "task": "linear_regression", "metadata": {"term": "spring"}, "seed": first["seed"]}
    assert {name: again[name] for name in same} == same
    assert (again["status"], again["retry_of"], first["retry_of"]) == ("queued", first["id"], None)
    second = ended(local, again)
    assert second["version"] == 2
    assert second["hyperparameters"] == first["hyperparameters"]
    one, two = (local.http.get(f"/models/twice/versions/{number}/parameters").json() for number in (1, 2))
    assert {**one, "version": 2} == two


def test_hyperparameters_that_are_given_change_and_all_others_stay_as_they_were_asked_for(local: LocalService) -> None:
    job = local.train(line(hyperparameters={"epochs": 7, "stop": {"target_loss": 0.1}, "seed": 3}))
    assert isinstance(job["hyperparameters"]["learning_rate"], float)
    queued = retry(local, job, {"hyperparameters": {"epochs": 9, "optimizer": "adam"}})["hyperparameters"]
    assert (queued["epochs"], queued["optimizer"], queued["seed"]) == (9, "adam", 3)
    assert queued["stop"]["target_loss"] == 0.1
    assert queued["learning_rate"] == "auto"


@pytest.mark.parametrize(("seed", "stays"), [(5, False), (None, False), (3, True)])
def test_the_seed_stays_unless_another_is_given(local: LocalService, seed: int | None, stays: bool) -> None:
    job = local.train(line(hyperparameters={"seed": 3}))
    again = retry(local, job, {"hyperparameters": {"seed": seed}})
    assert (again["seed"] == 3) is stays
    assert again["seed"] == (again["seed"] if seed is None else seed)


def test_a_diverged_job_succeeds_with_what_its_diagnosis_suggests(local: LocalService) -> None:
    job = local.train(line(hyperparameters={"learning_rate": 1e3, "seed": 3}))
    assert (job["status"], job["stop_reason"]) == ("failed", "diverged")
    suggestion = job["diagnosis"]["suggestion"]
    again = ended(local, retry(local, job, {"apply": "suggestion"}))
    assert again["status"] == "succeeded"
    assert again["hyperparameters"]["learning_rate"] == suggestion["learning_rate"]
    assert again["seed"] == 3


def test_hyperparameters_that_are_given_win_over_what_is_suggested(local: LocalService) -> None:
    job = local.train(line(hyperparameters={"learning_rate": 1e3}))
    body = {"apply": "suggestion", "hyperparameters": {"learning_rate": 0.01, "epochs": 5}}
    queued = retry(local, job, body)["hyperparameters"]
    assert (queued["learning_rate"], queued["epochs"]) == (0.01, 5)


def test_without_a_diagnosis_the_warnings_suggest(local: LocalService) -> None:
    job = local.train({"task": "linear_regression", "dataset": EXAMS, "hyperparameters": {"learning_rate": 1e-5}})
    (warning,) = job["warnings"]
    assert warning["suggestion"]["scale"] == "standard"
    again = ended(local, retry(local, job, {"apply": "suggestion"}))
    assert {name: again["hyperparameters"][name] for name in warning["suggestion"]} == warning["suggestion"]
    assert again["result"]["optimum"]["gap"] < job["result"]["optimum"]["gap"]


def test_a_suggested_learning_rate_of_auto_is_found_anew(local: LocalService) -> None:
    job = local.train(line(hyperparameters={"learning_rate": 0.001}))
    suggesting = {"code": "a", "detail": "a", "evidence": {}, "suggestion": {"learning_rate": "auto", "l2": 1.0}}
    keep(local, suggesting)
    again = ended(local, retry(local, job, {"apply": "suggestion"}))
    advised = local.post("/train/check", line(hyperparameters={"l2": 1.0})).json()["learning_rate"]["suggested"]
    assert again["hyperparameters"]["learning_rate"] == advised


def test_of_several_warnings_the_first_has_the_last_word_on_a_hyperparameter(local: LocalService) -> None:
    first = {"code": "a", "detail": "a", "evidence": {}, "suggestion": {"l2": 0.1}, "epoch": None}
    second = {"code": "b", "detail": "b", "evidence": {}, "suggestion": {"l2": 0.2, "epochs": 7}, "epoch": None}
    job = local.train(line())
    keep(local, first, second)
    queued = retry(local, job, {"apply": "suggestion"})["hyperparameters"]
    assert (queued["l2"], queued["epochs"]) == (0.1, 7)


@pytest.mark.parametrize("warnings", [[], [{"code": "batch_size_exceeds_samples", "detail": "as it was once kept"}]])
def test_a_job_that_suggests_nothing_cannot_be_retried_by_its_suggestion(
    local: LocalService, warnings: list[Json]
) -> None:
    job = local.train(line())
    keep(local, *warnings)
    answer = local.post(f"{job['links']['self']}/retry", {"apply": "suggestion"})
    check_fault(answer, "#/apply", f"job {job['id']} suggests nothing: give the hyperparameters to change")


def test_a_job_that_has_not_ended_cannot_be_retried_and_a_cancelled_one_can(local: LocalService) -> None:
    job = local.job(local.enqueue(line()))
    path = f"{job['links']['self']}/retry"
    problem = check_problem(local.post(path, {}), 409)
    assert problem["detail"] == f"job {job['id']} is queued: wait for its end, or cancel it first"
    local.http.post(f"{job['links']['self']}/cancel")
    assert ended(local, retry(local, job))["status"] == "succeeded"
    assert len(local.http.get("/jobs").json()["data"]) == 2


def test_going_on_from_a_model_is_retried_from_the_same_version(local: LocalService) -> None:
    local.train(line(model="line", hyperparameters={"epochs": 5}))
    job = local.train(line(model="line", hyperparameters={"epochs": 5, "start": {"model": "line@latest"}}))
    assert job["version"] == 2
    again = ended(local, retry(local, job))
    assert again["hyperparameters"]["start"] == {"model": "line@1"}
    assert again["result"]["train_loss"] == job["result"]["train_loss"]


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({"hyperparameters": {"epochs": 0}}, "#/hyperparameters/epochs", "greater than or equal to 1, not 0"),
        ({"hyperparameters": {"learnin_rate": 1}}, "#/hyperparameters/learnin_rate", "did you mean learning_rate?"),
        ({"hyperparameters": {"loss": "cross_entropy"}}, "#/hyperparameters/loss", "it has mse, half_mse, mae, huber"),
        ({"hyperparameters": {"start": {"weight": [1, 2]}}}, "#/hyperparameters/start/weight", "must have 1 number"),
        ({"hyperparameters": {"schedule": {"kind": "step", "gama": 1}}}, "#/hyperparameters/schedule/gama", "gamma?"),
        ({"hyperparameters": []}, "#/hyperparameters", "must be an object"),
        ({"learning_rate": 1}, "#/learning_rate", "it belongs inside hyperparameters"),
        ({"aply": "suggestion"}, "#/aply", "did you mean apply?"),
        ({"apply": "diagnosis"}, "#/apply", "should be 'suggestion', not 'diagnosis'"),
        ([], "#", "the body"),
        ("{", "#", "not JSON"),
    ],
    ids=str,
)
def test_a_retry_that_cannot_be_is_refused_with_the_place_and_the_reason(
    standing: LocalService, body: Any, pointer: str, words: str
) -> None:
    (job,) = standing.http.get("/jobs?model=line").json()["data"]
    check_fault(standing.post(f"/jobs/{job['id']}/retry", body), pointer, words)


def test_a_body_of_another_media_type_is_refused(standing: LocalService) -> None:
    (job,) = standing.http.get("/jobs?model=line").json()["data"]
    answer = standing.http.post(f"/jobs/{job['id']}/retry", content="{}", headers={"Content-Type": "text/plain"})
    check_problem(answer, 415)
