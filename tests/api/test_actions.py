import threading

import pytest

from service.store import jobs, queue
from service.worker.run import run_job
from tests.api.conftest import Json, LocalService, check_fault, check_problem, line
from tests.store.queueing import settle

pytestmark = pytest.mark.both_systems

LONG: Json = {"epochs": 10_000_000, "learning_rate": 1e-6, "engine": "analytic"}


def act(local: LocalService, job_id: str, action: str) -> Json:
    """Do something to a job that allows it; give the job as answered."""
    answer = local.http.post(f"/jobs/{job_id}/{action}")
    assert answer.status_code == 202, answer.text
    job: Json = answer.json()
    return job


def claimed(local: LocalService) -> str:
    """Claim the next job, and never work on it; give its id."""
    with local.database.writing() as session:
        job = queue.claim(session, "worker", lease_seconds=60)
    assert job is not None
    return job.id


def test_a_paused_job_has_no_place_in_the_queue_and_gets_its_old_one_back(local: LocalService) -> None:
    ids = [local.enqueue(line()) for _ in range(3)]
    for _ in range(2):
        paused = act(local, ids[0], "pause")
        assert (paused["status"], paused["paused"], paused["queue_position"]) == ("queued", True, None)
    assert [local.job(job_id)["queue_position"] for job_id in ids] == [None, 1, 2]
    listed = local.http.get("/jobs?status=queued").json()["data"]
    assert [job["queue_position"] for job in listed] == [2, 1, None]
    for _ in range(2):
        resumed = act(local, ids[0], "resume")
        assert (resumed["status"], resumed["paused"], resumed["queue_position"]) == ("queued", False, 1)
    assert resumed == local.job(ids[0])


def test_a_paused_job_is_not_taken_up_and_can_be_cancelled(local: LocalService) -> None:
    paused, other = local.enqueue(line()), local.enqueue(line())
    act(local, paused, "pause")
    assert local.work() == 1
    assert (local.job(paused)["status"], local.job(other)["status"]) == ("queued", "succeeded")
    cancelled = act(local, paused, "cancel")
    assert (cancelled["status"], cancelled["paused"], cancelled["stop_reason"]) == ("cancelled", False, "cancelled")
    assert act(local, paused, "cancel") == cancelled


def test_a_running_job_that_is_paused_goes_back_to_the_queue_and_on_when_it_is_resumed(local: LocalService) -> None:
    job_id = local.enqueue(line(hyperparameters={**LONG, "stop": {"max_seconds": 600}}))
    with local.working():
        local.wait_for(job_id, lambda job: job["progress"]["epoch"] > 0)
        asked = act(local, job_id, "pause")
        assert asked["paused"] is True
        job = local.wait_for(job_id, lambda job: job["status"] == "queued")
        assert (job["paused"], job["queue_position"], job["attempt"], job["terminal"]) == (True, None, 1, False)
        assert local.http.get(job["links"]["history"]).json()["epoch"][0] == 0
        act(local, job_id, "resume")
        running = local.wait_for(job_id, lambda job: job["status"] == "running" and job["progress"]["epoch"] > 0)
        assert (running["attempt"], running["paused"]) == (2, False)
        act(local, job_id, "cancel")
        assert local.wait_for(job_id, lambda job: job["terminal"])["status"] == "cancelled"


def test_a_job_whose_dataset_is_still_being_prepared_is_paused_and_cancelled_at_once(local: LocalService) -> None:
    """Its worker may not look up for long; what it writes then is refused."""
    for action, status in (("pause", "queued"), ("cancel", "cancelled")):
        job_id = local.enqueue(line())
        assert claimed(local) == job_id
        assert act(local, job_id, action)["status"] == status
    assert local.job(job_id)["terminal"] is True


def test_an_ended_job_can_be_neither_paused_nor_resumed(local: LocalService) -> None:
    succeeded, cancelled = local.train(line())["id"], local.enqueue(line())
    act(local, cancelled, "cancel")
    for job_id, how in ((succeeded, "succeeded"), (cancelled, "been cancelled")):
        for action, verb in (("pause", "paused"), ("resume", "resumed")):
            problem = check_problem(local.http.post(f"/jobs/{job_id}/{action}"), 409)
            assert problem["detail"] == f"job {job_id} has {how} already, so it cannot be {verb}"


def test_a_pause_that_comes_too_late_is_forgotten(local: LocalService) -> None:
    job_id = local.enqueue(line())
    with local.database.writing() as session:
        job = queue.claim(session, "worker", lease_seconds=60)
        assert job is not None
        settle(session, job)
    assert act(local, job_id, "pause")["status"] == "running"
    with local.database.writing() as session:
        jobs.succeed(session, job, version=1, result={}, stop_reason="epochs_completed", warnings=[])
        assert jobs.get(session, job_id).paused is False


def test_an_ended_job_is_deleted_with_its_history_and_its_version_stays(local: LocalService) -> None:
    job = local.train(line(model="kept"))
    links = job["links"]
    answer = local.http.delete(links["self"])
    assert (answer.status_code, answer.content) == (204, b"")
    for path in (links["self"], links["history"], links["parameters"], links["trajectory"]):
        assert "it may have been deleted" in check_problem(local.http.get(path), 404)["detail"]
    check_problem(local.http.delete(links["self"]), 404)
    assert local.http.get("/jobs").json()["data"] == []
    with local.database.connection(writes=False) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM history_blocks").scalar() == 0
    assert local.http.get(links["model"]).json()["job"] == job["id"]
    assert local.http.get("/predict?model=kept&x=2").status_code == 200
    assert local.train(line(model="kept"))["version"] == 2


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_job_that_has_not_ended_cannot_be_deleted(local: LocalService, status: str) -> None:
    job_id = local.enqueue(line())
    if status == "running":
        claimed(local)
    problem = check_problem(local.http.delete(f"/jobs/{job_id}"), 409)
    assert problem["detail"] == f"job {job_id} is {status}: wait for its end, or cancel it first"
    assert local.job(job_id)["status"] == status


def test_pages_go_on_after_a_job_that_has_been_deleted(local: LocalService) -> None:
    ids = [local.enqueue(line()) for _ in range(5)]
    for job_id in ids:
        act(local, job_id, "cancel")
    page = local.http.get("/jobs?limit=2").json()
    assert [job["id"] for job in page["data"]] == [ids[4], ids[3]]
    for job_id in (ids[3], ids[2]):
        assert local.http.delete(f"/jobs/{job_id}").status_code == 204
    new = local.enqueue(line())
    page = local.http.get(f"/jobs?limit=2&after={page['next']}").json()
    assert [job["id"] for job in page["data"]] == [ids[1], ids[0]]
    assert page["has_more"] is False
    assert local.http.get("/jobs?limit=1").json()["data"][0]["id"] == new


def test_jobs_of_a_higher_priority_go_first_and_then_those_who_came_first(local: LocalService) -> None:
    given = [0, -100, 5, 0, 100, 5]
    ids = [local.enqueue(line(priority=priority)) for priority in given]
    order = sorted(range(6), key=lambda n: -given[n])
    assert [local.job(job_id)["queue_position"] for job_id in ids] == [order.index(n) + 1 for n in range(6)]
    listed = {job["id"]: job["queue_position"] for job in local.http.get("/jobs").json()["data"]}
    assert [listed[job_id] for job_id in ids] == [order.index(n) + 1 for n in range(6)]
    assert [claimed(local) for _ in given] == [ids[n] for n in order]


def test_a_retry_keeps_the_priority(local: LocalService) -> None:
    job = local.train(line(priority=-7))
    assert job["priority"] == -7
    again = local.post(f"{job['links']['self']}/retry", {})
    assert (again.status_code, again.json()["priority"]) == (202, -7)


@pytest.mark.parametrize("priority", [101, -101, 0.5, "high", None, True])
def test_a_priority_that_is_none_is_refused(standing: LocalService, priority: object) -> None:
    check_fault(standing.post("/train", line(priority=priority)), "#/priority", "priority: ")


def test_the_tag_of_a_job_changes_when_it_is_paused(local: LocalService) -> None:
    path = f"/jobs/{local.enqueue(line())}"
    claimed(local)
    with local.database.writing() as session:
        found, _ = jobs.page(session, limit=1)
        jobs.advance(session, found[0], 5.0)
    tag = local.http.get(path).headers["ETag"]
    local.http.post(f"{path}/pause")
    assert local.http.get(path, headers={"If-None-Match": tag}).status_code == 200


def test_a_worker_stops_preparing_a_dataset_when_its_job_is_taken_away(
    local: LocalService,
) -> None:
    rows = "".join(f"{n},{n % 7}\n" for n in range(1000))
    answer = local.http.post("/datasets", content=f"x,y\n{rows}", headers={"Content-Type": "text/csv"})
    dataset = {"id": answer.json()["id"], "target": "y"}
    for action in ("cancel", "pause"):
        local.enqueue(line(dataset=dataset))
        with local.database.writing() as session:
            job = queue.claim(session, "worker", lease_seconds=60)
        assert job is not None
        taken = act(local, job.id, action)
        run_job(local.database, local.settings, job, threading.Event())
        assert local.job(job.id) == taken
