import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.dataset import Dataset
from service.errors import TrainingDiverged
from service.training import recording
from service.training.epochs import EpochBlock, EpochColumns, NotFinite, join
from service.training.fit import fit
from service.training.recording import Recording
from service.training.trend import Trend
from tests.training.problems import ended, hyperparameters, parameters_of, random_dataset, trained

LINE = Dataset([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
ENGINES = ["exact", "analytic", "autograd"]


def evaluated(losses: NDArray[np.float64], validation: NDArray[np.float64] | None, first: int = 0) -> EpochColumns:
    """Make up the columns of epochs, with parameters that are their numbers."""
    n = len(losses)
    epoch = np.arange(first, first + n)
    return EpochColumns(
        epoch, losses, np.ones(n), np.full(n, 0.1), validation, epoch[:, None].astype(float), np.ones((n, 1))
    )


def replay(
    losses: NDArray[np.float64], validation: NDArray[np.float64] | None, cuts: list[int], **asked: Any
) -> tuple[list[EpochBlock], int | None]:
    """Hand over losses in pieces, as an engine would; tell where it was not finite, if it was not."""
    asked = {"record_every": 1, "record_parameters": True, "epochs": len(losses) - 1} | asked
    taking = Recording(hyperparameters(**asked))
    blocks: list[EpochBlock] = []
    for first, end in zip([0, *cuts], [*cuts, len(losses)], strict=True):
        part = evaluated(losses[first:end], None if validation is None else validation[first:end], first)
        try:
            for block in taking.take(part, float(end - 1)):
                blocks.append(block)
                if block.stop_reason:
                    return blocks, None
        except NotFinite as end_of_all:
            return blocks, end_of_all.epoch
    return blocks, None


@st.composite
def courses(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.integers(2, 40))
    seed = draw(st.integers(0, 1000))
    random = np.random.default_rng(seed)
    losses = np.abs(random.normal(size=n).cumsum() / 5 + 2)
    validation = np.abs(random.normal(size=n).cumsum() / 5 + 2) if draw(st.booleans()) else None
    broken = draw(st.none() | st.integers(0, n - 1))
    if broken is not None:
        losses[broken:] = np.nan
    cuts = sorted(set(draw(st.lists(st.integers(1, n - 1), max_size=4))))
    patience = draw(st.none() | st.integers(1, 8))
    stop = {
        "target_loss": draw(st.none() | st.floats(0.5, 2.5)),
        "patience": patience,
        "min_delta": draw(st.sampled_from([0.0, 0.1])) if patience else 0.0,
        "restore_best": draw(st.booleans()),
    }
    return {
        "losses": losses,
        "validation": validation,
        "cuts": cuts,
        "stop": stop,
        "record_every": draw(st.integers(1, 7)),
    }


def expected_end(course: dict[str, Any]) -> tuple[int, str | None, int]:
    """Say in the plainest way at which epoch a course ends, why, and which epoch is the best by then."""
    losses, stop = course["losses"], course["stop"]
    monitored = losses if course["validation"] is None else course["validation"]
    better, better_loss = 0, np.inf
    for epoch, loss in enumerate(losses):
        best = int(np.argmin(monitored[: epoch + 1]))
        if not np.isfinite(loss):
            return epoch - 1, None, 0
        if epoch == 0 or monitored[epoch] < better_loss - stop["min_delta"]:
            better, better_loss = epoch, monitored[epoch]
        if stop["patience"] and epoch - better >= stop["patience"]:
            reached = stop["target_loss"] is not None and loss <= stop["target_loss"]
            return epoch, "target_loss_reached" if reached else "no_improvement", best
        if stop["target_loss"] is not None and loss <= stop["target_loss"]:
            return epoch, "target_loss_reached", best
    return len(losses) - 1, "epochs_completed", int(np.argmin(monitored))


@settings(max_examples=300, deadline=None)
@draw(course=courses())
def test_a_training_ends_where_a_plain_loop_would_and_records_what_was_asked_for(course: dict[str, Any]) -> None:
    blocks, broken_at = replay(**course)
    end, reason, best = expected_end(course)
    columns = join([block.columns for block in blocks]) if blocks else None
    every, restores = course["record_every"], course["stop"]["patience"] and course["stop"]["restore_best"]
    grid = [epoch for epoch in range(end + 1) if epoch % every == 0 or epoch == end]
    recorded = [] if columns is None else columns.epoch.tolist()
    assert recorded == sorted(set(recorded))
    assert set(grid) <= set(recorded)
    beside = set(recorded) - set(grid)
    assert not beside or restores
    assert len({epoch // every for epoch in beside}) == len(beside)
    if columns is not None:
        np.testing.assert_array_equal(columns.train_loss, course["losses"][recorded])
        np.testing.assert_array_equal(parameters_of(columns)[:, 0], recorded)
    if reason is None:
        assert broken_at == end + 1
        assert all(block.stop_reason is None for block in blocks)
        assert blocks[-1].progress == max(end, 0)
        return
    last = blocks[-1]
    assert (last.stop_reason, last.progress) == (reason, end)
    assert last.learned is not None
    restored = best if restores else end
    assert restored in recorded
    assert last.learned.epoch == restored == last.learned.parameters[0]
    assert last.learned.train_loss == course["losses"][restored]


@pytest.mark.parametrize("cuts", [[], [3], [5], [3, 5, 8, 11]])
def test_the_best_epoch_between_two_recorded_ones_is_recorded_and_restored_however_little_better(
    cuts: list[int],
) -> None:
    losses = np.array([9.0, 5.0, 4.0, 3.9, 3.8, 4.1, 4.2, 4.3, 4.4, 4.5, 4.6, 4.7])
    blocks, _ = replay(losses, None, cuts, stop={"patience": 8, "min_delta": 0.5}, record_every=5)
    assert blocks[-1].stop_reason == "no_improvement"
    assert join([block.columns for block in blocks]).epoch.tolist() == [0, 4, 5, 10]
    learned = blocks[-1].learned
    assert learned is not None
    assert (learned.epoch, learned.train_loss, learned.parameters[0]) == (4, 3.8, 4)


@settings(max_examples=200, deadline=None)
@draw(course=courses())
def test_what_is_recorded_does_not_depend_on_how_many_epochs_come_at_once(course: dict[str, Any]) -> None:
    found = []
    for cuts in ([], course["cuts"], list(range(1, len(course["losses"])))):
        blocks, broken_at = replay(**course | {"cuts": cuts})
        epochs = [epoch for block in blocks for epoch in block.columns.epoch.tolist()]
        learned = blocks[-1].learned if blocks else None
        found.append((epochs, broken_at, blocks[-1].stop_reason if blocks else None, learned and learned.epoch))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("n", [1, 127, 128, 129, 1000])
def test_the_curve_of_a_trend_is_the_same_however_many_epochs_are_added_at_once(n: int) -> None:
    columns = evaluated(np.random.default_rng(n).random(n), None)
    whole, single = Trend(), Trend()
    whole.add(columns)
    for index in range(n):
        single.add(columns[index : index + 1])
    np.testing.assert_array_equal(whole.curve, single.curve)
    assert 64 <= len(whole.curve[0]) <= 129 or n < 64
    assert whole.curve[0][-1] == n - 1


@settings(max_examples=60, deadline=None)
@draw(course=courses())
def test_the_trend_knows_first_last_and_every_rise_however_the_epochs_came(course: dict[str, Any]) -> None:
    losses = np.nan_to_num(course["losses"], nan=3.0)
    trend = Trend()
    for first, end in zip([0, *course["cuts"]], [*course["cuts"], len(losses)], strict=True):
        trend.add(evaluated(losses[first:end], None, first))
    assert trend.first is not None
    assert trend.last is not None
    assert (trend.first.train_loss[0], trend.last.train_loss[0]) == (losses[0], losses[-1])
    assert (trend.n_rises, trend.n_steps) == (int((np.diff(losses) > 0).sum()), len(losses) - 1)
    epochs, curve = trend.curve
    np.testing.assert_array_equal(curve, losses[epochs])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_recording_every_so_often_keeps_first_and_last_and_changes_nothing_else(
    engine: str, batch_size: int | None
) -> None:
    if engine == "exact" and batch_size:
        return
    asked = {"batch_size": batch_size, "seed": 4, "epochs": 25, "engine": engine}
    whole = trained("linear_regression", LINE, hyperparameters(**asked))
    some = trained("linear_regression", LINE, hyperparameters(record_every=10, **asked))
    assert some.epoch.tolist() == [0, 10, 20, 25]
    np.testing.assert_allclose(parameters_of(some), parameters_of(whole)[some.epoch], rtol=1e-14)
    np.testing.assert_allclose(some.train_loss, whole.train_loss[some.epoch], rtol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_without_recorded_parameters_the_losses_and_what_was_learned_are_the_same(engine: str) -> None:
    asked = {"engine": engine, "epochs": 50, "learning_rate": 0.05}
    block, bare = (
        ended("linear_regression", LINE, hyperparameters(record_parameters=recorded, **asked))
        for recorded in (True, False)
    )
    assert bare.columns.parameters is None
    assert bare.columns.gradient is None
    np.testing.assert_array_equal(bare.columns.train_loss, block.columns.train_loss)
    assert block.learned is not None
    assert bare.learned is not None
    np.testing.assert_array_equal(bare.learned.parameters, block.learned.parameters)


def test_parameters_of_a_large_model_are_left_out_unless_asked_for() -> None:
    dataset = random_dataset("mlp_regressor", seed=0, n_features=200)
    asked = {"hidden_layers": [400], "epochs": 2000, "stop": {"target_loss": 1e9}}
    assert ended("mlp_regressor", dataset, hyperparameters(**asked)).columns.parameters is None
    assert ended("mlp_regressor", dataset, hyperparameters(**asked | {"epochs": 50})).columns.parameters is not None


@pytest.mark.parametrize("engine", ENGINES)
def test_a_target_that_the_start_meets_stops_before_the_first_step(engine: str) -> None:
    given = hyperparameters(stop={"target_loss": 1e9}, engine=engine)
    blocks = list(fit("linear_regression", LINE, given))
    assert [block.columns.epoch.tolist() for block in blocks] == [[0]]
    assert (blocks[0].stop_reason, blocks[0].progress) == ("target_loss_reached", 0)


def test_held_out_samples_say_when_to_stop_and_which_epoch_was_the_best() -> None:
    dataset = random_dataset("linear_regression", seed=1, n_samples=14, n_features=6)
    asked: dict[str, Any] = {"validation_fraction": 0.4, "seed": 1, "momentum": 0.8}
    whole = trained("linear_regression", dataset, hyperparameters(epochs=200, **asked))
    assert whole.validation_loss is not None
    best = int(np.argmin(whole.validation_loss[:100]))
    for restore in (True, False):
        stop = {"patience": 30, "restore_best": restore}
        last = ended("linear_regression", dataset, hyperparameters(stop=stop, **asked))
        assert (last.stop_reason, last.columns.epoch[-1]) == ("no_improvement", best + 30)
        assert last.learned is not None
        assert last.learned.epoch == (best if restore else best + 30)
        np.testing.assert_allclose(last.learned.parameters, parameters_of(whole)[last.learned.epoch], rtol=1e-12)
        assert last.learned.validation_loss == whole.validation_loss[last.learned.epoch]


@pytest.mark.parametrize(
    "asked", [{"engine": "exact"}, {"engine": "analytic"}, {"engine": "autograd"}, {"batch_size": 1, "seed": 1}]
)
def test_a_training_ends_soon_after_its_seconds_are_over(asked: dict[str, Any]) -> None:
    started = time.process_time()  # of this process alone, whatever else the machine does
    dataset = random_dataset("linear_regression", seed=0, n_samples=1000, n_features=30)
    given = hyperparameters(epochs=10_000_000, stop={"max_seconds": 0.3}, learning_rate=1e-4, **asked)
    last = ended("linear_regression", dataset, given)
    assert time.process_time() - started < 0.3 + 10 * recording.BLOCK_SECONDS
    assert last.stop_reason == "max_seconds_reached"
    assert last.learned is not None
    assert last.learned.epoch == last.columns.epoch[-1] <= last.progress < last.learned.epoch + 1


@pytest.mark.parametrize("engine", ENGINES)
def test_blocks_are_consecutive_and_only_the_last_one_says_why_it_ends(engine: str) -> None:
    epochs = 100_000 if engine == "exact" else 500
    given = hyperparameters(epochs=epochs, learning_rate=0.01, engine=engine, record_every=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "BLOCK_SECONDS", 0.0)
        blocks = list(fit("linear_regression", LINE, given))
    assert len(blocks) > 1
    columns = join([block.columns for block in blocks])
    assert columns.epoch.tolist() == list(range(given.epochs + 1))
    assert [block.stop_reason for block in blocks[:-1]] == [None] * (len(blocks) - 1)
    assert [block.learned for block in blocks[:-1]] == [None] * (len(blocks) - 1)
    assert blocks[-1].stop_reason == "epochs_completed"
    assert [block.progress for block in blocks] == [block.columns.epoch[-1] for block in blocks]


@pytest.mark.parametrize("asked", [{}, {"batch_size": 5}, {"engine": "analytic"}, {"engine": "autograd"}])
@pytest.mark.parametrize("every", [1, 100])
def test_the_history_before_a_divergence_is_yielded_up_to_the_last_finite_epoch(
    asked: dict[str, Any], every: int
) -> None:
    dataset = random_dataset("linear_regression", seed=1)
    given = hyperparameters(learning_rate=3.0, epochs=100_000, seed=0, dtype="float32", record_every=every, **asked)
    blocks: list[EpochBlock] = []
    with pytest.raises(TrainingDiverged) as caught:
        blocks.extend(fit("linear_regression", dataset, given))
    columns, end = join([block.columns for block in blocks]), caught.value.finding.epoch
    assert end is not None
    assert np.isfinite(columns.train_loss).all()
    assert np.isfinite(parameters_of(columns)).all()
    if every == 1:
        assert columns.epoch.tolist() == list(range(end))
    assert all(block.stop_reason is None and block.learned is None for block in blocks)
