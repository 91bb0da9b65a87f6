from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from service.hyperparameters import MOST_EPOCHS
from service.plan import MAX_PARAMETERS
from service.settings import Settings
from service.store import jobs, queue
from service.store.columns import now
from service.store.tables import JobRow
from tests.api.conftest import Json, LocalService, check_fault, check_problem, line, local_service, switch
from tests.store.queueing import settle


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service that takes little."""
    limits: dict[str, Any] = {"max_samples": 5, "max_features": 2, "max_epochs": 100, "max_parameters": 20}
    limits |= {"max_memory_bytes": 5000, "max_job_seconds": 0.2}
    with local_service(tmp_path_factory.mktemp("bounded"), **limits) as service:
        yield service


WIDE: Json = {"features": [[1, 2, 3], [4, 5, 6]], "targets": [1, 2]}
BEYOND: dict[str, tuple[Json, str, int, int]] = {
    "MAX_SAMPLES": (line(dataset={"features": [1] * 6, "targets": [1] * 6}), "#/dataset", 6, 5),
    "MAX_FEATURES": (line(dataset=WIDE), "#/dataset/features", 3, 2),
    "MAX_EPOCHS": (line(hyperparameters={"epochs": 101}), "#/hyperparameters/epochs", 101, 100),
    "MAX_PARAMETERS": (
        switch("a", "b", task="mlp_classifier", hyperparameters={"hidden_layers": [5], "epochs": 9}),
        "#/hyperparameters/hidden_layers",
        22,
        20,
    ),
}


@pytest.mark.parametrize("setting", BEYOND)
@pytest.mark.parametrize("path", ["/train", "/train/check"])
def test_what_is_beyond_a_limit_is_refused_with_value_limit_and_setting(
    bounded: LocalService, path: str, setting: str
) -> None:
    body, pointer, value, limit = BEYOND[setting]
    body = {"hyperparameters": {"epochs": 100}, **body}
    answer = bounded.post(path, body)
    check_fault(answer, pointer, f"would take {value} ")
    check_fault(answer, pointer, f"{limit} is the limit here (setting DESCENT_{setting}): ")


def test_what_is_just_within_the_limits_is_taken(bounded: LocalService) -> None:
    dataset = {"features": [[1, 2], [2, 1], [3, 3], [4, 5], [5, 4]], "targets": [1, 2, 3, 4, 5]}
    job = bounded.train(line(dataset=dataset, hyperparameters={"epochs": 100}))
    assert job["status"] == "succeeded"
    assert bounded.post(f"{job['links']['self']}/retry", {"hyperparameters": {"epochs": 101}}).status_code == 422


def test_the_memory_that_is_estimated_is_refused_beyond_its_limit(tmp_path: Path, standing: LocalService) -> None:
    estimated = standing.post("/train/check", line()).json()["memory_bytes"]
    with local_service(tmp_path, max_memory_bytes=estimated) as service:
        assert service.post("/train", line()).status_code == 202
    with local_service(tmp_path, max_memory_bytes=estimated - 1) as service:
        for path in ("/train", "/train/check"):
            answer = service.post(path, line())
            check_fault(answer, "#/dataset", f"would take {estimated} bytes of memory, estimated, and {estimated - 1} ")
            check_fault(answer, "#/dataset", "DESCENT_MAX_MEMORY_BYTES")


def test_an_uploaded_dataset_is_bounded_before_it_is_encoded(bounded: LocalService) -> None:
    content = "a,b,y\n" + "1,2,3\n" * 6
    stored = bounded.http.post("/datasets", content=content, headers={"Content-Type": "text/csv"}).json()
    body = {"task": "linear_regression", "dataset": {"id": stored["id"], "target": "y"}}
    answer = bounded.post("/train", {**body, "hyperparameters": {"epochs": 5}})
    check_fault(answer, "#/dataset", "would take 6 samples")


@pytest.mark.parametrize(("asked", "limit"), [(None, 0.2), (0.1, 0.1), (60, 0.2)])
def test_a_job_is_given_no_more_seconds_than_one_may_last(
    bounded: LocalService, asked: float | None, limit: float
) -> None:
    stop: Json = {} if asked is None else {"stop": {"max_seconds": asked, "patience": 90}}
    answer = bounded.post("/train", line(hyperparameters={"epochs": 100, **stop}))
    given = answer.json()["hyperparameters"]["stop"]
    assert (given["max_seconds"], given["patience"]) == (limit, None if asked is None else 90)


def test_a_job_that_lasts_longer_than_one_may_ends_with_what_it_has(tmp_path: Path) -> None:
    with local_service(tmp_path, max_job_seconds=1) as service:
        long = {"epochs": 10_000_000, "learning_rate": 1e-6, "engine": "analytic"}
        job = service.train(line(hyperparameters=long))
    assert (job["status"], job["stop_reason"]) == ("succeeded", "max_seconds_reached")
    assert job["result"]["epoch"] < 10_000_000


@pytest.mark.parametrize(("asked", "expected"), [({}, None), ({"stop": {"max_seconds": 5}}, 5)])
def test_a_retry_is_bound_by_the_limit_of_today_not_by_that_of_its_job(
    tmp_path: Path, asked: Json, expected: float | None
) -> None:
    with local_service(tmp_path, max_job_seconds=1) as service:
        path = service.train(line(hyperparameters={"epochs": 5, **asked}))["links"]["self"]
    for limit in (2, 60):
        with local_service(tmp_path, max_job_seconds=limit) as service:
            again = service.post(f"{path}/retry", {}).json()
            assert again["hyperparameters"]["stop"]["max_seconds"] == min(limit, expected or limit)
    with local_service(tmp_path) as service:
        assert service.post(f"{path}/retry", {}).json()["hyperparameters"]["stop"]["max_seconds"] == expected


def test_a_full_queue_answers_429_and_says_when_to_ask_again(tmp_path: Path) -> None:
    with local_service(tmp_path, max_queued_jobs=2) as service:
        ended = service.train(line())["id"]
        first, second = service.enqueue(line()), service.enqueue(line())
        service.http.post(f"/jobs/{second}/pause")
        for path, body in (("/train", line()), (f"/jobs/{ended}/retry", {})):
            answer = service.post(path, body)
            problem = check_problem(answer, 429)
            assert "2 jobs are queued and 2 is the limit (setting DESCENT_MAX_QUEUED_JOBS)" in problem["detail"]
            assert answer.headers["Retry-After"] == "60"  # no job runs, so nobody knows
        assert len(service.http.get("/jobs").json()["data"]) == 3
        service.http.post(f"/jobs/{first}/cancel")
        assert service.post("/train", line()).status_code == 202


@pytest.mark.parametrize(
    ("seconds", "progress", "most_seconds", "told"),
    [
        (30, 500, 0, (28, 32)),
        (10, 999, 0, (1, 1)),
        (1e6, 1, 0, (3600, 3600)),
        (7, 0, 0, (6, 9)),
        (10_000, 1, 12_000, (1900, 2000)),
        (10_000, 0, 12_000, (1900, 2000)),
        (10_000, 1, 4, (1, 1)),
    ],
)
def test_retry_after_is_when_the_first_running_job_will_end_at_its_pace_or_has_to(
    tmp_path: Path, seconds: float, progress: float, most_seconds: float, told: tuple[int, int]
) -> None:
    with local_service(tmp_path, max_queued_jobs=1, max_job_seconds=most_seconds) as service:
        for _ in range(2):
            service.enqueue(line(hyperparameters={"epochs": 1000}))
            with service.database.writing() as session:
                job = queue.claim(session, "worker", 60)
                assert job is not None
                settle(session, job, job.hyperparameters)
                jobs.advance(session, job, progress)
        with service.database.writing() as session:
            session.execute(update(JobRow).values(started_at=now() - timedelta(seconds=seconds)))
        service.enqueue(line())
        least, most = told
        assert least <= int(service.post("/train", line()).headers["Retry-After"]) <= most


def test_the_limits_that_are_built_in_are_the_highest_that_can_be_set() -> None:
    settings = Settings()
    assert (settings.max_epochs, settings.max_parameters) == (MOST_EPOCHS, MAX_PARAMETERS)
