from typing import Any

import pytest

from tests.conftest import Command, LiveService

LONG = {"epochs": 10_000_000, "engine": "analytic", "learning_rate": 1e-6, "seed": 1}


def start(live: LiveService, model: str, **fields: Any) -> str:
    body = {"task": "linear_regression", "model": model, "dataset": {"features": [1, 2, 3], "targets": [2, 4, 6]}}
    job: dict[str, Any] = live.http.post("/train", json={**body, **fields}).json()
    return str(job["id"])


def test_a_job_is_paused_shown_resumed_cancelled_and_deleted(live: LiveService, descent: Command) -> None:
    job = start(live, "cli-acted-on", hyperparameters=LONG, priority=7)
    paused = descent("pause", job, "--url", live.url)
    assert paused.code == 0
    assert paused.out in (f"{job} queued, paused\n", f"{job} running, about to be paused\n")
    while live.http.get(f"/jobs/{job}").json()["status"] != "queued":
        pass
    shown = descent("show", job, "--url", live.url).out.splitlines()
    assert shown[0] == f"{job} queued, paused"
    facts = dict(line.split(maxsplit=1) for line in shown[1:])
    assert facts["epochs"].endswith(" of 10000000")
    assert facts.items() >= {"priority": "7", "model": "cli-acted-on", "task": "linear_regression", "seed": "1"}.items()
    resumed = descent("resume", job, "--url", live.url)
    assert resumed.code == 0
    assert resumed.out.startswith(f"{job} queued, place 1") or resumed.out == f"{job} running\n"
    assert descent("cancel", job, "--url", live.url).out in (f"{job} cancelled\n", f"{job} running\n")
    while not live.http.get(f"/jobs/{job}").json()["terminal"]:
        pass
    assert f"{job} cancelled: cancelled" in descent("show", job, "--url", live.url).out
    assert descent("delete", job, "--url", live.url).out == f"{job} is deleted\n"
    gone = descent("show", job, "--url", live.url)
    assert (gone.code, "it may have been deleted" in gone.err) == (1, True)


def test_an_ended_job_is_shown_with_what_it_came_to_and_cannot_be_stopped(live: LiveService, descent: Command) -> None:
    body = {"task": "linear_regression", "model": "cli-shown", "dataset": {"features": [1, 2], "targets": [2, 4]}}
    job = live.train({**body, "hyperparameters": {"epochs": 3}}).json()
    shown = descent("show", job["id"], "--url", live.url)
    assert shown.code == 0
    assert f"{job['id']} succeeded\n" in shown.out
    assert f"cli-shown@{job['version']}: train_loss" in shown.out
    assert "3 of 3" in shown.out
    for action in ("cancel", "pause", "resume"):
        refused = descent(action, job["id"], "--url", live.url)
        assert (refused.code, "has succeeded already" in refused.err) == (1, True)


def test_a_training_is_given_its_priority_and_one_out_of_bounds_is_refused(live: LiveService, descent: Command) -> None:
    command = ["train", "iris-petals", "--epochs", "1", "--model", "cli-first", "--url", live.url]
    assert descent(*command, "--priority", "-3").code == 0
    (job,) = live.http.get("/jobs?model=cli-first").json()["data"]
    assert job["priority"] == -3
    assert descent(*command, "--priority", "101").code == 2


@pytest.mark.parametrize("action", ["show", "cancel", "pause", "resume", "delete"])
def test_an_unknown_job_is_told_of_by_its_name(live: LiveService, descent: Command, action: str) -> None:
    outcome = descent(action, "job_nowhere", "--url", live.url)
    assert (outcome.code, "'job_nowhere'" in outcome.err) == (1, True)
