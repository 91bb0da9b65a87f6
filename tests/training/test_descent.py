from typing import Any, get_args

import numpy as np
import pytest
import torch

from service.dataset import Dataset
from service.schedules import PlateauSchedule, ScheduleName, schedule_of
from service.tasks import Task
from service.training.fit import fit
from service.training.rates import Plateau, Rates
from tests.training.problems import gradients_of, hyperparameters, parameters_of, random_dataset, trained

LINE = Dataset([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
FORESEEN = [name for name in get_args(ScheduleName) if name != "plateau"]


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.parametrize("schedule", FORESEEN)
def test_the_learning_rate_of_each_epoch_is_that_of_its_schedule(
    schedule: ScheduleName, every: int, batch_size: int | None
) -> None:
    asked = {"schedule": schedule, "record_every": every, "batch_size": batch_size}
    columns = trained("linear_regression", LINE, hyperparameters(learning_rate=0.02, epochs=30, **asked))
    kind = schedule_of(schedule)
    assert not isinstance(kind, PlateauSchedule)
    np.testing.assert_array_equal(columns.learning_rate, Rates(kind, 0.02, 30).over(columns.epoch))


@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.parametrize("validation", [0.0, 0.4])
def test_a_plateau_lowers_the_rate_by_the_losses_of_all_epochs_whatever_is_recorded(
    validation: float, every: int
) -> None:
    schedule = PlateauSchedule(patience=2, threshold=0.05, factor=0.5, cooldown=1)
    asked = {"schedule": schedule.model_dump(), "validation_fraction": validation, "seed": 2, "epochs": 60}
    dataset = random_dataset("linear_regression", seed=1)
    whole = trained("linear_regression", dataset, hyperparameters(learning_rate=0.1, **asked))
    plateau, expected = Plateau(schedule, 0.1), []
    for epoch, loss in enumerate(whole.monitored):
        if epoch:
            plateau.observe(float(loss))
        expected.append(plateau.rate)
    assert len(set(expected)) > 3
    some = trained("linear_regression", dataset, hyperparameters(learning_rate=0.1, record_every=every, **asked))
    np.testing.assert_array_equal(some.learning_rate, np.array(expected)[some.epoch])


@pytest.mark.parametrize("engine", ["analytic", "autograd"])
def test_a_step_is_no_longer_than_the_clipped_gradient_and_the_recorded_gradient_is_whole(engine: str) -> None:
    dataset = random_dataset("linear_regression", seed=3)
    asked = {"learning_rate": 0.1, "epochs": 40, "engine": engine}
    columns = trained("linear_regression", dataset, hyperparameters(clip_gradient_norm=0.5, **asked))
    steps = np.linalg.norm(np.diff(parameters_of(columns), axis=0), axis=1)
    np.testing.assert_allclose(steps, 0.1 * np.minimum(columns.gradient_norm[:-1], 0.5), rtol=1e-5)
    np.testing.assert_allclose(columns.gradient_norm, np.linalg.norm(gradients_of(columns), axis=1), rtol=1e-12)
    assert columns.gradient_norm[0] > 0.5 > columns.gradient_norm[-1]


def test_mini_batches_cover_every_sample_once_an_epoch_in_an_order_of_the_seed() -> None:
    seen: dict[int, list[list[float]]] = {}
    for seed in (1, 2):
        # A gradient of mae says which samples a step has had: each adds its own power of two.
        dataset = Dataset(np.zeros((8, 1)), np.full(8, 1e6), sample_weight=2.0 ** np.arange(8))
        asked = {"loss": "mae", "batch_size": 1, "epochs": 3, "learning_rate": 1.0, "seed": seed}
        columns = trained("linear_regression", dataset, hyperparameters(**asked))
        per_epoch = np.diff(parameters_of(columns)[:, 1])
        np.testing.assert_allclose(per_epoch, 8.0)  # weights of mean 1, and each of the eight exactly once
        asked |= {"clip_gradient_norm": None, "momentum": 0.5}
        seen[seed] = parameters_of(trained("linear_regression", dataset, hyperparameters(**asked)))[:, 1].tolist()
    assert seen[1] != seen[2]


def test_without_shuffling_every_epoch_takes_the_samples_as_they_come() -> None:
    dataset = random_dataset("linear_regression", seed=3, n_samples=10)
    asked = {"batch_size": 4, "shuffle": False, "epochs": 1, "learning_rate": 0.05}
    found = parameters_of(trained("linear_regression", dataset, hyperparameters(**asked)))[-1]
    inputs, parameters = np.hstack([dataset.features, np.ones((10, 1))]), np.zeros(4)
    for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
        residuals = inputs[rows] @ parameters - dataset.targets[rows, 0]
        parameters -= 0.05 * 2 * inputs[rows].T @ residuals / len(residuals)
    np.testing.assert_allclose(found, parameters, rtol=1e-12)


CASES: list[tuple[Task, dict[str, Any]]] = [
    ("linear_regression", {"engine": "exact", "validation_fraction": 0.2, "momentum": 0.9}),
    ("linear_regression", {"engine": "analytic", "optimizer": "lbfgs"}),
    ("linear_regression", {"engine": "analytic", "batch_size": 7, "start": "uniform", "loss": "huber"}),
    ("logistic_regression", {"engine": "autograd", "batch_size": 7, "optimizer": "adam", "test_fraction": 0.2}),
    ("softmax_regression", {"engine": "analytic", "batch_size": 7, "class_weight": "balanced", "scale": "standard"}),
    ("mlp_regressor", {"hidden_layers": [8], "dropout": 0.3, "batch_size": 7, "validation_fraction": 0.2}),
    ("mlp_classifier", {"hidden_layers": [8, 4], "dropout": 0.3, "optimizer": "adamw", "schedule": "one_cycle"}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("task", "asked"), CASES)
def test_the_same_request_twice_is_the_same_history_in_every_bit_and_leaves_torchs_random_state_alone(
    task: Task, asked: dict[str, Any], dtype: str
) -> None:
    dataset = random_dataset(task, seed=8, n_samples=40, weighted=True)
    given = hyperparameters(seed=12, epochs=15, dtype=dtype, **asked)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, second = trained(task, dataset, given), trained(task, dataset, given)
    assert torch.equal(torch.rand(3), expected)
    for column in ("epoch", "train_loss", "validation_loss", "gradient_norm", "learning_rate", "parameters"):
        np.testing.assert_array_equal(getattr(first, column), getattr(second, column))
    if asked.get("engine") != "exact" and asked.get("optimizer") != "lbfgs":
        other = trained(task, dataset, given.model_copy(update={"seed": 13}))
        assert not np.array_equal(parameters_of(other)[-1], parameters_of(first)[-1])


@pytest.mark.parametrize("engine", ["analytic", "autograd"])
def test_what_the_caller_does_with_the_arrays_it_was_given_does_not_change_the_training(engine: str) -> None:
    given = hyperparameters(engine=engine, epochs=3000, learning_rate=0.01, stop={"patience": 3000, "min_delta": 0.01})
    left_alone = trained("linear_regression", LINE, given)
    spoilt = []
    for block in fit("linear_regression", LINE, given):
        spoilt.append(parameters_of(block.columns).copy())
        parameters_of(block.columns)[:] = np.nan
        gradients_of(block.columns)[:] = np.nan
        last = block
    np.testing.assert_array_equal(np.concatenate(spoilt), parameters_of(left_alone))
    assert last.learned is not None
    assert np.isfinite(last.learned.parameters).all()


@pytest.mark.parametrize("engine", ["analytic", "autograd"])
def test_a_caller_gets_control_back_in_the_middle_of_a_long_epoch(engine: str) -> None:
    dataset = random_dataset("linear_regression", seed=0, n_samples=100_000)
    blocks = fit("linear_regression", dataset, hyperparameters(batch_size=1, epochs=1, engine=engine))
    first, second = next(blocks), next(blocks)
    assert first.columns.epoch.tolist() == [0]
    assert 0 <= first.progress < second.progress < 1
    assert len(second.columns) == 0
    assert second.learned is None
