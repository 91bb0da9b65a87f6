import threading
from typing import Any

import pytest

from tests.api.conftest import LocalService, check_fault, line
from tests.api.event_stream import Reader, events_in

pytestmark = pytest.mark.both_systems


def read(service: LocalService, path: str, last_id: str | None = None) -> Reader:
    """Read the stream of a job to its end."""
    reader = Reader(last_id or "")
    answer = service.http.get(path, headers={} if last_id is None else {"Last-Event-ID": last_id})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.text.startswith("retry: 1000\n\n")
    for event in events_in(answer.text.split("\n")):
        reader.take(event)
    return reader


def test_the_stream_of_an_ended_job_tells_all_of_it_and_closes(local: LocalService) -> None:
    job = local.train(line(hyperparameters={"epochs": 1200, "batch_size": 4, "learning_rate": 0.01}))
    reader = read(local, job["links"]["events"])
    assert reader.statuses == [("succeeded", 1)]
    assert reader.end == job
    assert reader.warnings == job["warnings"] != []
    history = local.http.get(job["links"]["history"]).json()
    assert history.pop("validation_loss") is None
    assert reader.columns == history


def test_the_stream_of_a_job_that_waits_goes_on_until_it_has_ended(local: LocalService) -> None:
    job_id = local.enqueue(line(hyperparameters={"epochs": 50}))
    working = threading.Timer(0.3, local.work)
    working.start()
    reader = read(local, f"/jobs/{job_id}/events")
    working.join()
    assert reader.statuses == [("queued", 0), ("running", 1), ("succeeded", 1)]
    assert reader.columns["epoch"] == list(range(51))
    assert reader.end == local.job(job_id)


def test_a_job_that_was_cancelled_in_the_queue_has_a_stream_as_well(local: LocalService) -> None:
    job_id = local.enqueue(line())
    local.http.post(f"/jobs/{job_id}/cancel")
    reader = read(local, f"/jobs/{job_id}/events", "0-queued-0-")
    assert (reader.statuses, reader.columns) == ([("cancelled", 0)], {})
    assert reader.end == local.job(job_id)


def test_a_diverged_job_s_stream_has_its_epochs_and_its_diagnosis(local: LocalService) -> None:
    job = local.train(line(hyperparameters={"learning_rate": 1e6}))
    reader = read(local, job["links"]["events"])
    assert reader.end is not None
    assert reader.end["diagnosis"] == job["diagnosis"]
    assert reader.columns["epoch"] == local.http.get(job["links"]["history"]).json()["epoch"]


@pytest.mark.parametrize("last_id", ["1-succeeded-51--end", "1-running-10-", ""])
def test_one_who_comes_back_to_an_ended_job_gets_what_was_missed(local: LocalService, last_id: str) -> None:
    job = local.train(line(hyperparameters={"epochs": 50}))
    path = job["links"]["events"]
    if last_id.endswith("end"):
        answer = local.http.get(path, headers={"Last-Event-ID": last_id})
        assert (answer.status_code, answer.content) == (204, b"")
        return
    reader = read(local, path, last_id)
    assert reader.columns["epoch"] == list(range(10 if last_id else 0, 51))
    assert reader.end == job
    assert local.http.get(path, headers={"Last-Event-ID": reader.last_id}).status_code == 204


@pytest.mark.parametrize("last_id", ["7", "1-done-0-", "1-running-0", "1-running-0-xyz", "-1-running-0-", "1" * 5000])
def test_an_id_that_no_event_has_is_refused(standing: LocalService, last_id: str) -> None:
    job: Any = standing.http.get("/jobs").json()["data"][0]
    for path in (job["links"]["events"], "/events"):
        answer = standing.http.get(path, headers={"Last-Event-ID": last_id})
        words = "at most 4000 characters" if len(last_id) > 4000 else "must be the id of an event of this stream"
        check_fault(answer, "#/header/last-event-id", words)
        assert "pattern" not in answer.text
