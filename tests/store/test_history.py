import dataclasses
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sqlalchemy import event

from service.errors import NotFound
from service.store import history
from service.store.database import Database
from service.store.history import History, Trajectory
from service.store.jobs import Job
from tests.databases import migrated_database, place_of
from tests.store.queueing import claim, enqueue

Columns = dict[str, NDArray[Any]]

EVERY = 3
EPOCHS = np.append(np.arange(0, 1000, EVERY), 1000)
"""What is recorded: every third epoch, and the last."""
BLOCKS = np.split(EPOCHS, [1, 100, 104, 300])
COLUMNS = ("epoch", "train_loss", "validation_loss", "gradient_norm", "learning_rate")


def record(database: Database, job: Job, epoch: NDArray[np.int64], dtype: type = np.float64, **columns: Any) -> Columns:
    """Record a block of random numbers, or of these; give them."""
    random = np.random.default_rng(int(epoch[0]))
    numbers = {name: random.random(len(epoch)) for name in COLUMNS[1:]}
    vectors: Columns = {
        name: random.standard_normal((len(epoch), 2)).astype(dtype) for name in ("parameters", "gradient")
    }
    recorded: Columns = {**numbers, **vectors, **columns}
    with database.writing() as session:
        history.record(session, job, epoch=epoch, **recorded)
    return recorded


def joined(blocks: list[Columns], name: str) -> bytes:
    return np.concatenate([block[name] for block in blocks]).tobytes()


def read(database: Database, job: Job, first: int = 0, last: int | None = None, points: int = 100_000) -> History:
    with database.reading() as session:
        return history.read(session, job, first=first, last=last, max_points=points)


def a_job(database: Database, **hyperparameters: Any) -> Job:
    with database.writing() as session:
        enqueue(session, **hyperparameters)
        return claim(session)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Job]]:
    """A job with several blocks, which tests only read, between two other jobs with blocks of their own."""
    database = migrated_database(place_of(tmp_path_factory.mktemp("history")))
    before, job, after = (a_job(database, epochs=1000, record_every=EVERY) for _ in range(3))
    for other in (before, after):
        record(database, other, np.arange(2000))
    for epoch in BLOCKS:
        record(database, job, epoch)
    yield database, job
    database.close()


@pytest.mark.both_systems
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_was_recorded_is_read_in_every_bit_and_its_dtype(database: Database, dtype: type) -> None:
    job = a_job(database)
    written = [record(database, job, epoch, dtype=dtype) for epoch in BLOCKS]
    found = read(database, job)
    assert found.epoch.dtype == np.int64
    assert np.array_equal(found.epoch, EPOCHS)
    for name in COLUMNS[1:]:
        assert getattr(found, name).tobytes() == joined(written, name)
    parameters = np.concatenate([block["parameters"] for block in written])
    gradient = np.concatenate([block["gradient"] for block in written])
    with database.reading() as session:
        for index in (0, 1, 99, 100, 101, 103, 104, 299, len(EPOCHS) - 1):
            at = history.read_epoch(session, job, int(EPOCHS[index]))
            assert (at.epoch, at.parameters.dtype, at.gradient.dtype) == (EPOCHS[index], *2 * [np.dtype(dtype)])
            assert at.parameters.tobytes() == parameters[index].tobytes()
            assert at.gradient.tobytes() == gradient[index].tobytes()


def trajectory(database: Database, job: Job, first: int, last: int | None, points: int = 100_000) -> Trajectory:
    with database.reading() as session:
        return history.read_trajectory(session, job, first=first, last=last, max_points=points)


@given(first=st.integers(0, 1100), last=st.none() | st.integers(0, 1100))
@example(first=0, last=3)  # a block begins with 3, another ends with 297
@example(first=297, last=300)
@example(first=7, last=3)
def test_a_range_has_exactly_the_recorded_epochs_between_its_ends_both_included(
    recorded: tuple[Database, Job], first: int, last: int | None
) -> None:
    found = read(*recorded, first, last)
    end = 1100 if last is None else last
    wanted = (first <= EPOCHS) & (end >= EPOCHS)
    assert np.array_equal(found.epoch, EPOCHS[wanted])
    whole = read(*recorded)
    if not wanted.any():
        assert found.validation_loss is None
        return
    for name in COLUMNS:
        assert np.array_equal(getattr(found, name), getattr(whole, name)[wanted])


@given(first=st.integers(0, 1100), last=st.none() | st.integers(0, 1100), points=st.integers(2, 400))
@example(first=297, last=300, points=2)
@example(first=7, last=3, points=2)
def test_a_trajectory_has_the_parameters_of_the_epochs_that_the_history_has(
    recorded: tuple[Database, Job], first: int, last: int | None, points: int
) -> None:
    found, losses = trajectory(*recorded, first, last, points), read(*recorded, first, last, points)
    assert np.array_equal(found.epoch, losses.epoch)
    database, job = recorded
    assert found.parameters.shape == (len(found.epoch), 2)
    with database.reading() as session:
        for epoch, parameters in list(zip(found.epoch, found.parameters, strict=True))[:: max(1, points // 10)]:
            assert np.array_equal(parameters, history.read_epoch(session, job, int(epoch)).parameters)


def test_of_a_trajectory_one_block_is_in_memory_at_a_time_and_none_of_which_nothing_is_wanted(
    database: Database,
) -> None:
    job = a_job(database)
    n_epochs, n_blocks = 50_000, 12
    for number in range(n_blocks):
        epoch = np.arange(number * n_epochs, (number + 1) * n_epochs)
        record(database, job, epoch, gradient=np.zeros((n_epochs, 2)))
    block_bytes = n_epochs * 2 * 8

    def peak(points: int) -> int:
        tracemalloc.start()
        trajectory(database, job, 0, None, points)
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    assert peak(1000) < 6 * block_bytes  # the bytes, the array of them, and the epochs
    given: list[Any] = []
    event.listen(database.engine, "before_cursor_execute", lambda *said: given.append(said[3]))
    trajectory(database, job, 0, None, 2)
    last = given[-1].values() if isinstance(given[-1], dict) else given[-1]
    assert tuple(last) == (job.sequence, 0, (n_blocks - 1) * n_epochs)


@given(first=st.integers(0, 498), last=st.integers(498, 1100), points=st.integers(2, 400))
def test_thinning_keeps_the_first_and_the_last_and_spreads_the_others_evenly(
    recorded: tuple[Database, Job], first: int, last: int, points: int
) -> None:
    whole, thin = read(*recorded, first, last), read(*recorded, first, last, points)
    assert len(thin.epoch) == min(points, len(whole.epoch))
    assert (thin.epoch[0], thin.epoch[-1]) == (whole.epoch[0], whole.epoch[-1])
    kept = np.searchsorted(whole.epoch, thin.epoch)
    steps = np.diff(kept)
    assert not len(steps) or (steps.min() >= 1 and np.ptp(steps) <= 1)
    for name in COLUMNS:
        assert np.array_equal(getattr(thin, name), getattr(whole, name)[kept])


def test_a_range_without_recorded_epochs_and_a_job_without_history_are_empty(database: Database) -> None:
    job = a_job(database)
    found = [(read(database, job), trajectory(database, job, 0, None))]
    record(database, job, np.array([0, 3, 6]))
    for first, last in ((4, 5), (7, None), (6, 3)):
        found.append((read(database, job, first, last, 10), trajectory(database, job, first, last, 10)))
    for empty, of_none in found:
        assert [len(empty.epoch), len(empty.train_loss), len(empty.gradient_norm), len(empty.learning_rate)] == [0] * 4
        assert empty.validation_loss is None
        assert (len(of_none.epoch), of_none.parameters.shape) == (0, (0, 2))
        assert empty.epoch.dtype == of_none.epoch.dtype == np.int64


def test_without_held_out_samples_there_is_no_validation_loss(database: Database) -> None:
    job = a_job(database)
    for epoch in BLOCKS:
        record(database, job, epoch, validation_loss=None)
    assert read(database, job).validation_loss is None
    assert len(read(database, job).train_loss) == len(EPOCHS)


def test_a_job_that_records_no_parameters_says_so_and_where_those_it_came_to_are(database: Database) -> None:
    job = a_job(database, record_parameters=False)
    for epoch in BLOCKS:
        record(database, job, epoch, parameters=None, gradient=None)
    assert len(read(database, job).train_loss) == len(EPOCHS)
    ended = dataclasses.replace(job, version=3)
    for this, words in ((job, "the model that it publishes"), (ended, "/models/twice/versions/3/parameters")):
        with database.reading() as session:
            for ask in (
                lambda session, job: history.read_epoch(session, job, None),
                lambda session, job: history.read_trajectory(session, job, first=0, last=None, max_points=2),
            ):
                with pytest.raises(NotFound, match=rf"record_parameters is false\): .*{words}"):
                    ask(session, this)


def test_no_epoch_named_means_the_last_one_recorded(recorded: tuple[Database, Job]) -> None:
    database, job = recorded
    with database.reading() as session:
        last, named = history.read_epoch(session, job, None), history.read_epoch(session, job, 1000)
    assert last.epoch == named.epoch == 1000
    assert np.array_equal(last.parameters, named.parameters)


@pytest.mark.parametrize(("epoch", "before"), [(1, 0), (301, 300), (998, 996), (1001, 1000)])
def test_an_epoch_that_was_not_recorded_is_told_with_the_one_before_it(
    recorded: tuple[Database, Job], epoch: int, before: int
) -> None:
    database, job = recorded
    sentence = rf"epoch {epoch} was not recorded; .* before it is {before} \(record_every is {EVERY}\)"
    with database.reading() as session, pytest.raises(NotFound, match=sentence):
        history.read_epoch(session, job, epoch)


@pytest.mark.parametrize("epoch", [0, 7, None])
def test_a_job_that_has_not_started_has_no_epoch_to_read(database: Database, epoch: int | None) -> None:
    job = a_job(database)
    with database.reading() as session, pytest.raises(NotFound, match=f"{job.id} has recorded no epoch yet"):
        history.read_epoch(session, job, epoch)


def test_clearing_forgets_one_job_and_no_other(database: Database) -> None:
    job, other = a_job(database), a_job(database)
    for one in (job, other):
        for epoch in BLOCKS:
            record(database, one, epoch)
    with database.writing() as session:
        history.clear(session, job)
    assert len(read(database, job).epoch) == 0
    assert len(read(database, other).epoch) == len(EPOCHS)
    record(database, job, BLOCKS[0])  # the same first epoch again
    assert np.array_equal(read(database, job).epoch, BLOCKS[0])
