import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from service.dataset import Dataset, Schema
from service.parameters import flatten
from service.settings import Settings
from service.store import control, history, jobs, leases, models
from service.store.database import Database, Session
from service.store.history import History
from service.store.jobs import Job
from service.store.tables import DatasetRow
from service.worker.run import run_job
from tests.store.queueing import TWICE, claim, enqueue

pytestmark = pytest.mark.both_systems

PATIENCE_SECONDS = 30
SETTINGS = Settings(data_dir=Path("nowhere"))
LONG: dict[str, Any] = {"epochs": 10_000_000, "engine": "analytic"}
"""Takes minutes."""


def claimed(database: Database, dataset: Dataset = TWICE, **enqueued: Any) -> Job:
    with database.writing() as session:
        enqueue(session, dataset, **enqueued)
        return claim(session)


def claimed_again(database: Database) -> Job:
    with database.writing() as session:
        return claim(session, "worker_b")


def run(database: Database, job: Job) -> Job:
    """Run a claimed job to its end; give what became of it."""
    run_job(database, SETTINGS, job, threading.Event())
    return now_of(database, job)


def now_of(database: Database, job: Job) -> Job:
    with database.reading() as session:
        return jobs.get(session, job.id)


def history_of(database: Database, job: Job) -> History:
    with database.reading() as session:
        return history.read(session, job, first=0, last=None, max_points=100_000)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def running(database: Database, job: Job, stopping: threading.Event | None = None) -> Iterator[None]:
    """Run a claimed job in a thread, the block within once it has recorded; leave when the run has ended by itself."""
    thread = threading.Thread(target=run_job, args=(database, SETTINGS, job, stopping or threading.Event()))
    thread.start()
    wait_until(lambda: len(history_of(database, job).epoch) > 0)
    assert thread.is_alive()
    yield
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


@pytest.mark.parametrize("n_targets", [1, 2])
def test_a_job_that_succeeds_publishes_the_least_squares_solution(database: Database, n_targets: int) -> None:
    random = np.random.default_rng(n_targets)
    features = random.standard_normal((40, 2))
    targets = random.standard_normal((40, n_targets)) + features @ random.standard_normal((2, n_targets)) + 5
    dataset = Dataset(features, targets, Schema(("age", "height"), tuple(f"y{n}" for n in range(n_targets))))
    job = run(database, claimed(database, dataset, dtype="float64", epochs=300))
    assert (job.status, job.version, job.stop_reason, job.error) == ("succeeded", 1, "epochs_completed", None)
    solution, residuals, *_ = np.linalg.lstsq(np.column_stack([features, np.ones(40)]), targets)
    with database.reading() as session:
        model = models.load(session, job.model, 1)
        version = models.get_version(session, job.model, 1)
    (layer,) = model.parameters
    assert np.allclose(np.column_stack([layer.weight, layer.bias]), solution.T, rtol=0, atol=1e-9)
    assert (model.schema, version.job_id, version.result) == (dataset.schema, job.id, job.result)
    assert job.result is not None
    assert job.result["train_loss"] == pytest.approx(residuals.sum() / targets.size)
    assert job.result["metrics"]["train"]["mse"] == pytest.approx(residuals.sum() / targets.size)


def test_a_classifier_is_published_with_its_labels(database: Database) -> None:
    dataset = Dataset([0, 1, 2, 3], [0, 0, 1, 1], Schema(("x",), ("kind",), ("young", "old")))
    job = run(database, claimed(database, dataset, task="logistic_regression", epochs=100))
    assert job.status == "succeeded"
    assert job.result is not None
    assert job.result["metrics"]["train"]["accuracy"] == 1
    with database.reading() as session:
        model = models.load(session, job.model, 1)
    assert model.schema.classes == ("young", "old")
    assert model.parameters[0].weight.item() > 0


def test_every_epoch_is_recorded_and_the_last_one_is_what_is_published(database: Database) -> None:
    job = run(database, claimed(database, epochs=5000, dtype="float32"))  # more than one block
    found = history_of(database, job)
    assert np.array_equal(found.epoch, np.arange(5001))
    assert np.array_equal(found.learning_rate, np.full(5001, job.hyperparameters["learning_rate"]))
    with database.reading() as session:
        last = history.read_epoch(session, job, None)
        parameters = models.load(session, job.model, 1).parameters
    assert last.parameters.dtype == np.float32
    assert last.parameters.tobytes() == flatten(parameters).tobytes()
    assert job.result is not None
    assert job.result["train_loss"] == found.train_loss[-1]
    assert job.progress == 5000


def test_the_next_job_is_claimed_with_the_success_of_the_one_before_and_with_nothing_else(database: Database) -> None:
    def claim_next(session: Session) -> Job:
        with database.reading() as other:
            assert jobs.get(other, job.id).status == "running"  # nobody sees one of the two without the other
        return claim(session, "worker_b")

    job = claimed(database)
    with database.writing() as session:
        second, third = enqueue(session, learning_rate=1e6), enqueue(session)
    following = run_job(database, SETTINGS, job, threading.Event(), claim_next)
    assert following is not None
    assert (following.id, following.status, following.attempt) == (second.id, "running", 1)
    assert now_of(database, job).status == "succeeded"
    assert run_job(database, SETTINGS, following, threading.Event(), claim_next) is None
    assert now_of(database, following).status == "failed"
    assert now_of(database, third).status == "queued"


def test_what_was_left_open_is_settled_when_the_job_runs(database: Database) -> None:
    queued = claimed(database)
    assert (queued.hyperparameters["learning_rate"], queued.engine) == ("auto", None)
    job = run(database, queued)
    assert isinstance(job.hyperparameters["learning_rate"], float)
    assert job.hyperparameters["device"] != "auto"
    assert job.engine is not None
    assert job.hyperparameters["seed"] == queued.hyperparameters["seed"]


def test_a_diverged_job_keeps_its_finite_history_and_names_a_learning_rate_that_works(database: Database) -> None:
    job = run(database, claimed(database, learning_rate=1.0))
    assert (job.status, job.stop_reason, job.version) == ("failed", "diverged", None)
    assert job.error is not None
    assert job.diagnosis is not None
    assert (job.error["code"], job.diagnosis["code"]) == ("diverged", "learning_rate_too_large")
    found = history_of(database, job)
    assert np.isfinite(found.train_loss).all()
    assert np.isfinite(found.gradient_norm).all()
    assert found.epoch[-1] == job.diagnosis["epoch"] - 1 > 0
    assert found.train_loss[-1] > 1e6 * found.train_loss[0]
    with database.reading() as session:
        assert models.page(session, limit=10) == ([], False)
    mended = run(database, claimed(database, learning_rate=job.diagnosis["suggestion"]["learning_rate"]))
    assert mended.status == "succeeded"
    assert mended.result is not None
    assert mended.result["train_loss"] < found.train_loss[0]


def test_a_job_that_is_at_its_end_before_its_first_epoch_fails_with_what_was_settled(database: Database) -> None:
    job = run(database, claimed(database, Dataset([1e200, 2e200, 3e200], [1.0, 2.0, 3.0])))
    assert (job.status, job.stop_reason, job.engine) == ("failed", "diverged", "exact")
    assert job.environment is not None
    assert job.diagnosis is not None
    assert not len(history_of(database, job).epoch)


def test_a_running_job_that_is_cancelled_ends_within_a_block_and_keeps_its_history(database: Database) -> None:
    job = claimed(database, **LONG)
    with running(database, job), database.writing() as session:
        control.request_cancel(session, job.id)
    ended = now_of(database, job)
    assert (ended.status, ended.stop_reason, ended.version) == ("cancelled", "cancelled", None)
    assert len(history_of(database, job).epoch) > 0
    assert 0 < ended.progress < 10_000_000


def test_a_job_that_was_to_be_cancelled_before_it_began_trains_nothing(database: Database) -> None:
    job = claimed(database)
    with database.writing() as session:
        control.request_cancel(session, job.id)
    assert run(database, job).status == "cancelled"
    assert len(history_of(database, job).epoch) == 0


def test_a_worker_that_stops_puts_its_job_back_into_the_queue(database: Database) -> None:
    job, stopping = claimed(database, **LONG), threading.Event()
    with running(database, job, stopping):
        stopping.set()
    released = now_of(database, job)
    assert (released.status, released.attempt, released.n_lost_workers) == ("queued", 1, 0)
    assert (released.started_at, released.engine) == (None, None)
    assert released.progress > 0
    assert released.requested == job.requested  # the next worker settles `auto` by its own hardware
    again = claimed_again(database)
    assert (again.attempt, again.progress) == (2, released.progress)


def test_a_job_that_is_done_when_the_worker_stops_is_published_all_the_same(database: Database) -> None:
    job, stopping = claimed(database, epochs=3), threading.Event()
    stopping.set()
    run_job(database, SETTINGS, job, stopping)
    assert now_of(database, job).status == "succeeded"


def test_a_worker_that_lost_its_lease_writes_nothing_more(database: Database) -> None:
    job = claimed(database, **LONG)
    with running(database, job), database.writing() as session:
        leases.release_lost(session, "worker_a", 3, "by SIGKILL")
        taken_over = claim(session, "worker_b")
        history.clear(session, taken_over)
    assert now_of(database, job) == taken_over
    assert len(history_of(database, job).epoch) == 0


def test_a_worker_that_lost_its_lease_before_the_end_publishes_no_version(database: Database) -> None:
    job = claimed(database, epochs=10)
    with database.writing() as session:
        leases.release_lost(session, "worker_a", 3, "by SIGKILL")
    assert run(database, job).status == "queued"
    with database.reading() as session:
        assert models.page(session, limit=10) == ([], False)


def test_another_attempt_clears_what_the_first_one_recorded(database: Database) -> None:
    first = claimed(database, epochs=20)
    for epoch in (0, 100):
        with database.writing() as session:
            one = np.ones(1)
            losses = {"train_loss": one, "gradient_norm": one, "learning_rate": one}
            vectors = {"parameters": one[None], "gradient": one[None]}
            history.record(session, first, epoch=np.array([epoch]), validation_loss=None, **losses, **vectors)
    with database.writing() as session:
        leases.release_lost(session, "worker_a", 3, "by SIGKILL")
    job = run(database, claimed_again(database))
    assert (job.status, job.attempt, job.version) == ("succeeded", 2, 1)
    assert np.array_equal(history_of(database, job).epoch, np.arange(21))


def test_two_attempts_of_a_seeded_job_record_the_same(database: Database) -> None:
    histories = []
    for _ in range(2):
        job = run(database, claimed(database, epochs=50, batch_size=1, start="uniform", seed=3, device="cpu"))
        histories.append(history_of(database, job).train_loss)
    assert np.array_equal(histories[0], histories[1])


def test_a_device_that_is_not_there_fails_the_job(database: Database) -> None:
    job = run(database, claimed(database, device="cuda:99"))
    assert (job.status, job.stop_reason, job.diagnosis) == ("failed", "error", None)
    assert job.error is not None
    assert job.error["code"] == "device_unavailable"
    assert "cuda:99" in job.error["detail"]


def test_a_training_that_cannot_be_any_more_fails_the_job_with_the_reason(database: Database) -> None:
    dataset = Dataset([1, 2, 3, 4], [1, 2, 3, 4], sample_weight=[0, 0, 1, 0])
    job = run(database, claimed(database, dataset, validation_fraction=0.5, seed=1))
    assert (job.status, job.stop_reason, job.diagnosis) == ("failed", "error", None)
    assert job.error is not None
    assert job.error["code"] == "invalid_request"
    assert "all have the weight 0" in job.error["detail"]


def test_a_dataset_that_is_damaged_in_the_database_fails_the_job_with_a_sentence(database: Database) -> None:
    job = claimed(database)
    with database.writing() as session:
        session.execute(update(DatasetRow).values(content=b"not a dataset"))
    ended = run(database, job)
    assert (ended.status, ended.error) == (
        "failed",
        {"code": "invalid_request", "detail": "the dataset that is kept is damaged: send it again"},
    )


def test_a_fault_of_the_service_fails_the_job_without_showing_internals(database: Database) -> None:
    job = dataclasses.replace(claimed(database), requested={"epochs": "what no request can have"})
    ended = run(database, job)
    assert (ended.status, ended.stop_reason) == ("failed", "error")
    assert ended.error == {
        "code": "internal_error",
        "detail": f"the service is at fault; its log tells more under {job.id}",
    }
