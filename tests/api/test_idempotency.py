import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from httpx2 import Response
from sqlalchemy import update

from service.store import queue
from service.store.columns import now
from service.store.tables import IdempotencyRow
from tests.api.conftest import Json, LocalService, check_fault, check_problem, line, local_service

pytestmark = pytest.mark.both_systems

POINTER = "#/header/Idempotency-Key"


def train(service: LocalService, key: str, body: object, **headers: str) -> Response:
    return service.post("/train", body, {"Idempotency-Key": key, **headers})


def n_jobs(service: LocalService) -> int:
    return len(service.http.get("/jobs?limit=1000").json()["data"])


def age(service: LocalService, hours: float) -> None:
    """Let all keys be older than they are."""
    with service.database.writing() as session:
        session.execute(update(IdempotencyRow).values(created_at=now() - timedelta(hours=hours)))


def test_the_same_request_under_the_same_key_gives_the_same_job(local: LocalService) -> None:
    first = train(local, "a key", line(model="twice"))
    assert first.status_code == 202
    assert "Idempotency-Replayed" not in first.headers
    again = train(local, "a key", line(model="twice"))
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    local.work()
    later = train(local, "a key", line(model="twice"))
    assert (later.status_code, later.json()) == (202, local.job(first.json()["id"]))
    assert later.json()["status"] == "succeeded"
    assert train(local, "another key", line(model="twice")).json()["id"] != first.json()["id"]
    assert local.post("/train", line(model="twice")).json()["id"] != first.json()["id"]
    assert n_jobs(local) == 3


def test_how_a_request_is_written_makes_no_other_of_it(local: LocalService) -> None:
    body = line(hyperparameters={"epochs": 5, "seed": 1})
    first = train(local, "key", json.dumps(body, indent=4)).json()
    assert train(local, "key", json.dumps(dict(reversed(body.items())))).json() == first


@pytest.mark.parametrize(
    "dataset",
    [
        {"records": [{"x": 1, "y": 2}, {"x": 2, "y": 4}], "target": "y"},
        {"id": "ds_", "target": "y", "features": ["x"], "missing": {"x": "mean"}, "types": {"x": "number"}},
        {"id": "ds_", "target": ["y"], "missing": "mean"},
        {"synthetic": {"kind": "linear", "weights": [1.0], "n_samples": 9}},
        {"features": [[1], [2]], "targets": [2, 4], "sample_weight": [1, 2]},
    ],
    ids=str,
)
def test_a_request_with_a_dataset_of_any_form_gives_one_job_under_a_key(local: LocalService, dataset: Json) -> None:
    kept = local.http.post("/datasets", content=b"x,y\n1,2\n2,4\n", headers={"Content-Type": "text/csv"}).json()["id"]
    body = line(dataset={**dataset, **({"id": kept} if "id" in dataset else {})}, hyperparameters={"epochs": 5})
    first = train(local, "key", body)
    assert first.status_code == 202, first.text
    assert train(local, "key", body).json() == first.json()
    check_fault(train(local, "key", {**body, "model": "other"}), POINTER, "use another key")


@pytest.mark.parametrize(
    "changes",
    [
        {"hyperparameters": {"epochs": 6}},
        {"model": "other"},
        {"priority": 1},
        {"dataset": {"features": [1, 2, 3], "targets": [2, 4, 7]}},
        {"metadata": {"a": "b"}},
    ],
    ids=str,
)
def test_another_request_under_the_same_key_is_refused(service: LocalService, changes: Json) -> None:
    key = f"key for {changes}"
    body = line(hyperparameters={"epochs": 5})
    job = train(service, key, body).json()
    check_fault(train(service, key, {**body, **changes}), POINTER, f"which made job {job['id']}: use another key")


def test_a_request_that_was_refused_leaves_its_key_free(service: LocalService) -> None:
    check_problem(train(service, "free", line(hyperparameters={"epochs": 0})), 422)
    check_problem(train(service, "free", line(task="logistic_regression")), 422)
    assert train(service, "free", line()).status_code == 202


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_is_empty_or_too_long_is_refused(service: LocalService, key: str) -> None:
    for path in ("/train", "/jobs/job_nowhere/retry"):
        answer = service.post(path, line() if path == "/train" else {}, {"Idempotency-Key": key})
        check_fault(answer, "#/header/Idempotency-Key", "255" if key else "at least 1")
    assert train(service, "k" * 255, line()).status_code == 202


def test_it_works_with_waiting(local: LocalService) -> None:
    with local.working():
        first = train(local, "key", line(), Prefer="wait=30")
        assert (first.status_code, first.json()["status"]) == (201, "succeeded")
        again = train(local, "key", line(), Prefer="wait=30")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Preference-Applied"] == "wait=30"


def test_a_retry_has_keys_as_well(local: LocalService) -> None:
    job, other = local.train(line()), local.train(line())
    path = f"{job['links']['self']}/retry"
    body, headers = {"hyperparameters": {"epochs": 7}}, {"Idempotency-Key": "again"}
    first = local.post(path, body, headers)
    again = local.post(path, body, headers)
    assert (again.status_code, again.json()) == (first.status_code, first.json()) == (202, again.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert n_jobs(local) == 3
    for place, changed in ((path, {"hyperparameters": {"epochs": 8}}), (f"{other['links']['self']}/retry", body)):
        check_fault(local.post(place, changed, headers), POINTER, first.json()["id"])
    check_fault(train(local, "again", line()), POINTER, first.json()["id"])


def test_a_key_whose_job_was_deleted_makes_no_second_one(local: LocalService) -> None:
    job_id = train(local, "key", line()).json()["id"]
    local.work()
    assert local.http.delete(f"/jobs/{job_id}").status_code == 204
    check_fault(train(local, "key", line()), POINTER, f"job {job_id}, which was made under the key 'key', has been del")
    assert n_jobs(local) == 0


def test_a_key_counts_for_24_hours(local: LocalService) -> None:
    first = train(local, "key", line()).json()["id"]
    age(local, 23.9)
    assert train(local, "key", line()).json()["id"] == first
    age(local, 24.1)
    second = train(local, "key", line(model="other")).json()["id"]
    assert second != first
    assert train(local, "key", line(model="other")).json()["id"] == second


def test_requests_at_once_under_one_key_make_one_job(local: LocalService) -> None:
    n_at_once = 8
    barrier = threading.Barrier(n_at_once)

    def send(_: int) -> Response:
        barrier.wait(30)
        return train(local, "at once", line())

    with ThreadPoolExecutor(n_at_once) as threads:
        for n_rounds in range(1, 4):
            with local.database.connection(writes=True) as connection:
                connection.exec_driver_sql("DELETE FROM idempotency_keys")
            answers = list(threads.map(send, range(n_at_once)))
            assert {answer.status_code for answer in answers} == {202}
            assert len({answer.json()["id"] for answer in answers}) == 1
            assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
            assert n_jobs(local) == n_rounds


def test_a_request_that_comes_again_is_answered_also_when_the_queue_is_full(tmp_path: Path) -> None:
    with local_service(tmp_path, max_queued_jobs=1) as service:
        first = train(service, "key", line()).json()
        check_problem(train(service, "other", line()), 429)
        assert train(service, "key", line()).json() == first
        with service.database.writing() as session:
            assert queue.claim(session, "worker", 60) is not None
        assert train(service, "other", line()).status_code == 202
