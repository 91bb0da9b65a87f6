"""Any order of what users do to jobs, and of deaths of the worker, against a service as users run it.

What a job has come to by the time that something is done to it is a matter of time: so what is checked holds whatever
that is.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from httpx import Response
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from service.store.database import Database
from tests.conftest import LiveService, serving
from tests.outcomes import differences, outcome_of
from tests.processes import PROC, children_of, is_alive, wait_until

Json = dict[str, Any]

pytestmark = pytest.mark.both_systems

DATASET: Json = {"synthetic": {"kind": "linear", "weights": [0.3, -1], "n_samples": 40, "noise": 0.1, "seed": 0}}
SHORT: Json = {"epochs": 200, "hidden_layers": [8], "optimizer": "adam", "dropout": 0.2, "batch_size": 8}
"""Draws at random in each step, so that it would not be the same when anything was done twice or left out."""
ENDLESS: Json = SHORT | {"epochs": 10_000_000, "record_every": 1000, "record_parameters": False}
ACTIONS = ("let one get on", "submit", "submit endless", "cancel", "pause", "resume", "retry", "delete", "kill")
"""Drawn by one rule: of several, hypothesis leaves out most in each of the first orders that it draws."""
N_ORDERS = 2
"""So many orders of actions are tried on either database."""
N_KILLS = 1
"""So often is the worker killed in each order of actions: to start one takes seconds."""


def body(given: Json, priority: int = 0) -> Json:
    hyperparameters = {"learning_rate": 0.001, "seed": 5, "device": "cpu", **given}
    return {"task": "mlp_regressor", "dataset": DATASET, "hyperparameters": hyperparameters, "priority": priority}


@dataclass
class Known:
    """What is known of a job, whatever time it takes."""

    path: str
    is_endless: bool
    is_cancelled: bool = False
    is_paused: bool = False
    is_deleted: bool = False
    seen: Json = field(default_factory=dict)
    """As it was when it was looked at last."""


class JobActions(RuleBasedStateMachine):
    def __init__(self, live: LiveService, database: Database, undisturbed: Json) -> None:
        super().__init__()
        self.live = live
        self.database = database
        self.undisturbed = undisturbed
        self.made: list[Known] = []
        self.n_kills = 0

    @property
    def there(self) -> list[Known]:
        return [known for known in self.made if not known.is_deleted]

    def jobs(self) -> list[Json]:
        """Give all jobs, the first made first."""
        found: list[Json] = self.live.http.get("/jobs", params={"limit": 1000}).json()["data"]
        return found[::-1]

    def do(self, known: Known, action: str) -> Response | None:
        """Do something to a job, and give the answer; None where there is no such job any more, and it says so."""
        path = known.path if action == "delete" else f"{known.path}/{action}"
        answer = self.live.http.request("DELETE" if action == "delete" else "POST", path)
        if known.is_deleted:
            assert answer.status_code == 404
            return None
        assert answer.status_code in (202, 204, 409), answer.text
        return answer

    def has_ended(self, known: Known) -> bool:
        """Look at a job, and tell whether it has ended."""
        self.check(known, self.live.http.get(known.path).json())
        return bool(known.seen["terminal"])

    @initialize()
    def begin_with_a_job(self) -> None:
        self.submit(is_endless=False, priority=0)

    @rule(action=st.sampled_from(ACTIONS), number=st.integers(0, 2**16))
    def act(self, action: str, number: int) -> None:
        """Do something, to the job of this number or another such; what is drawn must not depend on what there is."""
        known = self.made[number % len(self.made)]
        if action.startswith("submit"):
            self.submit(is_endless=action == "submit endless", priority=number % 2)
        elif action == "let one get on":
            self.let_one_get_on()
        elif action == "kill":
            self.kill_the_worker()
        elif action == "cancel":
            self.cancel(known)
        elif action in ("pause", "resume"):
            self.pause_or_resume(known, action)
        elif action == "retry":
            self.retry(known)
        else:
            self.delete(known)

    def submit(self, is_endless: bool, priority: int) -> None:
        answer = self.live.http.post("/train", json=body(ENDLESS if is_endless else SHORT, priority))
        assert answer.status_code == 202, answer.text
        self.made.append(Known(answer.headers["Location"], is_endless))

    def cancel(self, known: Known) -> None:
        answer = self.do(known, "cancel")
        if answer is None:
            return
        if answer.status_code == 202:
            assert known.seen.get("status") != "succeeded"
            known.is_cancelled = True
        else:
            assert self.has_ended(known)
            assert known.seen["status"] == "succeeded"

    def pause_or_resume(self, known: Known, action: str) -> None:
        answer = self.do(known, action)
        if answer is None:
            return
        if answer.status_code == 202:
            assert not known.seen.get("terminal")
            known.is_paused = action == "pause"
            known.seen = answer.json()
        else:
            assert self.has_ended(known)

    def retry(self, known: Known) -> None:
        answer = self.do(known, "retry")
        if answer is None:
            return
        if answer.status_code == 202:
            assert self.has_ended(known)
            self.made.append(Known(answer.headers["Location"], known.is_endless))
        else:
            assert not known.seen.get("terminal")

    def delete(self, known: Known) -> None:
        answer = self.do(known, "delete")
        if answer is None:
            return
        if answer.status_code == 204:
            known.is_deleted = True
            assert self.live.http.get(known.path).status_code == 404
        else:
            assert not known.seen.get("terminal")

    def let_one_get_on(self) -> None:
        """Wait until a job trains that has got somewhere, if any is to be trained."""

        def gets_on() -> bool:
            found = self.jobs()
            if any(job["status"] == "running" and job["progress"]["epoch"] > 0 for job in found):
                return True
            return not any(job["status"] == "running" or job["queue_position"] for job in found)

        wait_until(gets_on)

    def kill_the_worker(self) -> None:
        """Kill the worker, in the midst of a job unless that is over by then, if it was not done too often."""
        if self.n_kills == N_KILLS:
            return
        self.submit(is_endless=False, priority=2)
        self.let_one_get_on()

        def workers() -> list[int]:
            children = children_of(self.live.process.pid)
            return [pid for pid, command in children.items() if "service.worker" in command]

        wait_until(workers)
        (worker,) = workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not is_alive(worker))
        self.n_kills += 1

    @invariant()
    def jobs_are_what_they_may_be(self) -> None:
        found = self.jobs()
        assert [job["links"]["self"] for job in found] == [known.path for known in self.there]
        waiting = [job for job in found if job["status"] == "queued" and not job["paused"]]
        in_order = sorted(waiting, key=lambda job: -job["priority"])
        assert [job["queue_position"] for job in in_order] == list(range(1, len(waiting) + 1))
        assert len([job for job in found if job["queue_position"] is not None]) == len(waiting)
        for known, job in zip(self.there, found, strict=True):
            self.check(known, job)

    def check(self, known: Known, job: Json) -> None:
        """See that a job is what it may be, after what it was and what was done to it."""
        before, known.seen = known.seen or job, job
        if before["terminal"]:
            assert job == before
        elif before["paused"] and before["status"] == "queued" and not known.is_cancelled:
            assert (job["status"], job["attempt"]) == ("queued", before["attempt"])
        assert job["attempt"] >= before["attempt"]
        assert job["paused"] == (known.is_paused and not job["terminal"])
        assert job["status"] in ("queued", "running", "cancelled" if known.is_cancelled else "succeeded")
        assert not (known.is_endless and job["status"] == "succeeded")

    def teardown(self) -> None:
        """Let what was begun come to its end, cancel the rest, and see what came of it."""
        for known in self.there:
            if known.is_endless or not known.seen.get("attempt"):
                self.cancel(known)
            else:
                self.pause_or_resume(known, "resume")
        for known in self.there:
            wait_until(partial(self.has_ended, known))
        found = [known.seen["id"] for known in self.there if known.seen["status"] == "succeeded"]
        differing = [differences(outcome_of(self.database, job_id), self.undisturbed) for job_id in found]
        for known in self.there:  # before it fails, for the next order of actions shall find nothing
            self.delete(known)
        assert not any(differing), differing
        assert self.jobs() == []


@pytest.fixture
def live(tmp_path: Path, database: Database) -> Iterator[LiveService]:  # noqa: ARG001  it is made before
    """A service on the test's own database whose jobs may lose any number of workers."""
    with serving(tmp_path, DESCENT_MAX_LOST_WORKERS="100") as live:
        yield live


@pytest.mark.skipif(not (PROC / "self").exists(), reason="children are found in /proc")
def test_jobs_come_out_as_they_should_whatever_is_done_to_them_and_to_their_worker(
    database: Database, live: LiveService
) -> None:
    job = live.train(body(SHORT)).json()
    undisturbed = outcome_of(database, job["id"])
    assert live.http.delete(job["links"]["self"]).status_code == 204
    run_state_machine_as_test(
        lambda: JobActions(live, database, undisturbed),  # type: ignore[arg-type]  # anything that gives a machine will do
        settings=settings(
            max_examples=N_ORDERS,
            stateful_step_count=15,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],  # to shrink what failed takes minutes
            suppress_health_check=[HealthCheck.too_slow],
            database=None,
        ),
    )
