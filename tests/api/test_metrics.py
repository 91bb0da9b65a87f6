import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from service.store import jobs, queue, workers
from service.store.columns import now
from service.store.jobs import Job
from service.store.tables import JobRow, WorkerRow
from tests.api.conftest import LocalService, line, local_service
from tests.store.queueing import settle

Labels = dict[str, str]


def scrape(service: LocalService) -> dict[str, list[tuple[Labels, float]]]:
    """Every sample by its name, as Prometheus reads them."""
    answer = service.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation, family.name
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(service: LocalService, name: str, **labels: str) -> float:
    """The one sample of a name and these labels."""
    (found,) = [number for given, number in scrape(service)[name] if given == labels]
    return found


def n_requests(service: LocalService, **labels: str) -> float:
    samples = scrape(service).get("descent_http_request_seconds_count", [])
    return sum(number for given, number in samples if labels.items() <= given.items())


def test_jobs_are_counted_by_status_and_so_is_what_they_left(local: LocalService) -> None:
    local.train(line(model="a"))
    local.train(line(model="a", dataset={"features": [1, 2], "targets": [1, 2]}))
    local.train(line(model="b", hyperparameters={"learning_rate": 1e9, "engine": "analytic"}))
    cancelled = local.enqueue(line())
    local.post(f"/jobs/{cancelled}/cancel", {})
    for _ in range(3):
        local.enqueue(line())
    found = scrape(local)
    by_status = {labels["status"]: number for labels, number in found["descent_jobs"]}
    assert by_status == {"queued": 3, "running": 0, "succeeded": 2, "failed": 1, "cancelled": 1}
    gauges = {name: samples[0][1] for name, samples in found.items() if len(samples) == 1}
    assert gauges["descent_database_up"] == 1
    assert gauges["descent_queue_length"] == 3
    assert gauges["descent_jobs_paused"] == 0
    assert gauges["descent_datasets"] == 2
    assert gauges["descent_datasets_bytes"] == sum(
        dataset["n_bytes"] for dataset in local.http.get("/datasets").json()["data"]
    )
    assert gauges["descent_models"] == 1
    assert gauges["descent_model_versions"] == 2
    assert gauges["process_resident_memory_bytes"] > 1e6


def test_the_age_of_the_queue_is_that_of_its_oldest_job_that_is_not_paused(local: LocalService) -> None:
    assert value(local, "descent_queue_oldest_seconds") == 0
    before = time.time()
    first = local.enqueue(line())
    queued = time.time()
    time.sleep(0.2)
    between = time.time()
    local.enqueue(line())
    asked = time.time()
    age = value(local, "descent_queue_oldest_seconds")
    assert asked - queued <= age <= time.time() - before
    with local.database.writing() as session:
        session.execute(update(JobRow).where(JobRow.id == first).values(paused=True))
    assert value(local, "descent_queue_oldest_seconds") <= time.time() - between
    assert value(local, "descent_queue_length") == 1
    assert value(local, "descent_jobs_paused") == 1


def test_the_pace_is_that_of_the_jobs_that_run(local: LocalService) -> None:
    assert value(local, "descent_epochs_per_second") == 0
    local.enqueue(line())
    before = time.time()
    with local.database.writing() as session:
        job = queue.claim(session, "worker_1", lease_seconds=60)
        assert job is not None
        settle(session, job, job.hyperparameters)
        jobs.advance(session, job, 500.0)
    started = time.time()
    time.sleep(0.2)
    asked = time.time()
    pace = value(local, "descent_epochs_per_second")
    assert 500 / (time.time() - before) <= pace <= 500 / (asked - started)


def test_the_pace_of_a_job_that_goes_on_is_that_of_its_present_attempt(local: LocalService) -> None:
    local.enqueue(line(hyperparameters={"epochs": 1000}))

    def attempt_of(ago: timedelta) -> Job:
        job = queue.claim(session, "worker_1", lease_seconds=60)
        assert job is not None
        session.execute(update(JobRow).values(started_at=now() - ago))
        return job

    def paces() -> tuple[float, float | None]:
        (job,) = local.http.get("/jobs").json()["data"]
        return value(local, "descent_epochs_per_second"), job["progress"]["eta_seconds"]

    with local.database.writing() as session:
        job = attempt_of(timedelta(seconds=10))
        settle(session, job, job.hyperparameters)
        jobs.advance(session, job, 500.0)
        jobs.release(session, job)
    assert paces() == (0, None)
    with local.database.writing() as session:
        job = attempt_of(timedelta(days=1))
    assert paces() == (0, None)  # it is not known yet where it goes on
    with local.database.writing() as session:
        settle(session, job, job.hyperparameters, resumed_at=400.0)
    assert paces() == (0, None)
    with local.database.writing() as session:
        jobs.advance(session, job, 600.0)
    assert paces() == pytest.approx((200 / 86_400, 400 * 86_400 / 200), rel=0.01)


def test_workers_are_counted_while_they_are_heard_of(tmp_path: Path) -> None:
    with local_service(tmp_path, lease_seconds=60) as service:
        for number in range(3):
            with service.database.writing() as session:
                workers.register(session, f"worker_{number}", "cpu")
        assert value(service, "descent_workers_alive") == 3
        with service.database.writing() as session:
            session.execute(update(WorkerRow).values(seen_at=now() - timedelta(seconds=61)))
        assert value(service, "descent_workers_alive") == 0


def test_requests_are_timed_by_the_template_of_their_path(local: LocalService) -> None:
    for number in range(5):
        local.http.get(f"/jobs/job_{number}")
    local.http.get("/jobs")
    assert n_requests(local, method="GET", route="/jobs/{job_id}", status="4xx") == 5
    assert n_requests(local, method="GET", route="/jobs", status="2xx") == 1
    assert n_requests(local, route="/metrics") == 2  # those before this one
    assert value(local, "descent_http_requests_in_flight") == 1


@pytest.mark.parametrize("paths", [["/a", "/b/c", "/jobs/x/y/z"], ["/static-offline-docs/a", "/static-offline-docs/b"]])
def test_what_users_make_up_makes_no_series_of_its_own(local: LocalService, paths: list[str]) -> None:
    local.http.get(paths[0])
    before = len(scrape(local)["descent_http_request_seconds_count"])
    for path in paths:
        local.http.get(path)
    names: list[Any] = [labels for labels, _ in scrape(local)["descent_http_request_seconds_count"]]
    assert len(names) == before + 1  # that of /metrics itself, the second time
    local.http.request("BREW", "/healthz")
    local.http.request("PROPFIND", "/healthz")
    assert n_requests(local, method="other", route="/healthz", status="4xx") == 2


def test_the_seconds_of_a_request_are_about_right(local: LocalService) -> None:
    local.post("/train", line(), {"Prefer": "wait=1"})
    found = scrape(local)
    ((_, total),) = [sample for sample in found["descent_http_request_seconds_sum"] if sample[0]["route"] == "/train"]
    assert 1 <= total < 3
    buckets = {
        labels["le"]: number
        for labels, number in found["descent_http_request_seconds_bucket"]
        if labels["route"] == "/train"
    }
    assert (buckets["0.5"], buckets["5.0"]) == (0, 1)


@pytest.mark.sqlite("overwrites the file")
def test_without_its_database_the_service_still_tells_of_its_requests_and_that_it_has_none(local: LocalService) -> None:
    assert scrape(local)["descent_database_up"] == [({}, 1)]
    local.database.close()
    for path in local.settings.database_path.parent.glob("descent.sqlite3*"):
        path.unlink()
    local.settings.database_path.write_bytes(b"this is no database at all" * 100)
    found = scrape(local)
    assert found["descent_database_up"] == [({}, 0)]
    assert "descent_jobs" not in found
    assert "descent_http_requests_in_flight" in found
