import time

import numpy as np
import pytest
import torch
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st

from service.dataset import Dataset
from service.errors import DeviceUnavailable, InvalidDataset, InvalidHyperparameters
from service.hyperparameters import Hyperparameters, StartValues, Stop
from service.tasks import Task
from service.training import descent
from service.training.fit import fit, resolve
from tests.training.problems import random_dataset, torch_descent, trained

LINE = Dataset([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])


@settings(max_examples=60, deadline=None)
@draw(
    loss=st.sampled_from(["mse", "half_mse", "binary_cross_entropy"]),
    seed=st.integers(0, 10_000),
    n_samples=st.integers(2, 30),
    n_features=st.integers(1, 5),
    n_targets=st.integers(1, 3),
    batch_size=st.one_of(st.none(), st.integers(1, 29)),
    shuffle=st.booleans(),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    l2=st.sampled_from([0.0, 0.7]),
    start=st.sampled_from(["zeros", "torch", "uniform"]),
)
def test_every_epoch_is_that_of_autograd_and_torch_optim(
    loss: str,
    seed: int,
    n_samples: int,
    n_features: int,
    n_targets: int,
    batch_size: int | None,
    shuffle: bool,
    momentum: float,
    l2: float,
    start: str,
) -> None:
    task: Task = "logistic_regression" if loss == "binary_cross_entropy" else "linear_regression"
    dataset = random_dataset(task, seed, n_samples, n_features, n_targets if task == "linear_regression" else 1)
    hyperparameters = Hyperparameters.model_validate(
        {
            "learning_rate": 0.01,
            "epochs": 12,
            "batch_size": batch_size if batch_size is None or batch_size < n_samples else None,
            "shuffle": shuffle,
            "momentum": momentum,
            "l2": l2,
            "loss": loss,
            "start": start,
            "seed": seed,
            "dtype": "float64",
        }
    )
    ours = trained(task, dataset, hyperparameters)
    oracle = torch_descent(dataset, hyperparameters, ours.parameters[0])
    assert ours.epoch.tolist() == list(range(13))
    np.testing.assert_allclose(ours.train_loss, oracle.train_loss, rtol=1e-10)
    np.testing.assert_allclose(ours.parameters, oracle.parameters, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.gradient, oracle.gradient, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.gradient_norm, np.linalg.norm(oracle.gradient, axis=1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", ["mse", "half_mse", "binary_cross_entropy"])
def test_the_gradient_is_the_slope_of_the_loss_by_finite_differences(loss: str) -> None:
    task: Task = "logistic_regression" if loss == "binary_cross_entropy" else "linear_regression"
    dataset = random_dataset(task, seed=3)
    at = np.array([0.3, -0.2, 0.5, 0.1])

    def evaluated(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        start = StartValues(weight=parameters[:3].tolist(), bias=float(parameters[3]))
        given = Hyperparameters.model_validate({"epochs": 1, "loss": loss, "dtype": "float64", "start": start})
        columns = trained(task, dataset, given)
        return float(columns.train_loss[0]), columns.gradient[0]

    step = 1e-6
    slopes = [(evaluated(at + step * axis)[0] - evaluated(at - step * axis)[0]) / (2 * step) for axis in np.eye(4)]
    np.testing.assert_allclose(evaluated(at)[1], slopes, rtol=1e-6, atol=1e-9)


def test_descent_on_a_linear_regression_ends_at_the_least_squares_solution() -> None:
    dataset = random_dataset("linear_regression", seed=5, n_samples=50, n_targets=2)
    columns = trained("linear_regression", dataset, Hyperparameters(epochs=3000, dtype="float64"))
    inputs = np.hstack([dataset.features, np.ones((50, 1))])
    solution = np.linalg.lstsq(inputs, dataset.targets, rcond=None)[0]
    learned = np.vstack([columns.parameters[-1][:6].reshape(2, 3).T, columns.parameters[-1][6:]])
    np.testing.assert_allclose(learned, solution, atol=1e-9)
    assert columns.gradient_norm[-1] < 1e-9


def test_torchs_start_is_that_of_nn_linear_under_the_seed_whatever_the_dtype() -> None:
    torch.manual_seed(7)
    layer = torch.nn.Linear(3, 1)
    dataset = random_dataset("linear_regression", seed=0)
    for dtype in ("float32", "float64"):
        given = Hyperparameters.model_validate({"start": "torch", "seed": 7, "epochs": 1, "dtype": dtype})
        first = trained("linear_regression", dataset, given).parameters[0]
        np.testing.assert_array_equal(first[:3].astype(np.float32), layer.weight.detach().numpy()[0])
        np.testing.assert_array_equal(first[3:].astype(np.float32), layer.bias.detach().numpy())


def test_drawing_a_start_leaves_torchs_own_random_state_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    trained("linear_regression", LINE, Hyperparameters(start="torch", seed=5, epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_a_uniform_start_lies_on_its_interval_and_differs_by_seed() -> None:
    dataset = random_dataset("linear_regression", seed=0, n_features=200)
    starts = [
        trained("linear_regression", dataset, Hyperparameters(start="uniform", seed=seed, epochs=1)).parameters[0]
        for seed in (1, 2)
    ]
    assert -1 <= starts[0].min() < -0.9
    assert 0.9 < starts[0].max() < 1
    assert not np.array_equal(*starts)


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_frozen_parameter_never_moves_and_its_gradient_reads_zero(name: str) -> None:
    start = StartValues(weight=[0.5, 0.5, 0.5], bias=0.25)
    given = Hyperparameters.model_validate({"frozen": [name], "start": start, "epochs": 50, "momentum": 0.9})
    columns = trained("linear_regression", random_dataset("linear_regression", seed=1), given)
    part, other = (slice(0, 3), slice(3, 4)) if name == "weight" else (slice(3, 4), slice(0, 3))
    assert (columns.parameters[:, part] == columns.parameters[0, part]).all()
    assert (columns.gradient[:, part] == 0).all()
    assert (columns.parameters[-1, other] != columns.parameters[0, other]).all()


def test_training_stops_at_the_first_epoch_at_or_below_the_target_loss() -> None:
    for batch_size in (None, 2):
        full = trained("linear_regression", LINE, Hyperparameters(batch_size=batch_size, seed=1, epochs=500))
        target = float(full.train_loss[100])
        given = Hyperparameters(batch_size=batch_size, seed=1, epochs=500, stop=Stop(target_loss=target))
        blocks = list(fit("linear_regression", LINE, given))
        first = int(np.argmax(full.train_loss <= target))
        assert blocks[-1].stop_reason == "target_loss_reached"
        assert blocks[-1].columns.epoch[-1] == first
        assert blocks[-1].progress == first


def test_a_target_that_the_start_meets_stops_before_the_first_step() -> None:
    blocks = list(fit("linear_regression", LINE, Hyperparameters(stop=Stop(target_loss=1e9))))
    assert [block.columns.epoch.tolist() for block in blocks] == [[0]]
    assert blocks[0].stop_reason == "target_loss_reached"


@pytest.mark.parametrize("batch_size", [None, 2])
def test_recording_every_so_often_keeps_first_and_last_and_changes_nothing_else(batch_size: int | None) -> None:
    every = Hyperparameters(batch_size=batch_size, seed=4, epochs=25)
    all_epochs = trained("linear_regression", LINE, every)
    some = trained("linear_regression", LINE, every.model_copy(update={"record_every": 10}))
    assert some.epoch.tolist() == [0, 10, 20, 25]
    np.testing.assert_array_equal(some.parameters, all_epochs.parameters[some.epoch])
    np.testing.assert_array_equal(some.train_loss, all_epochs.train_loss[some.epoch])


def test_the_same_seed_gives_the_same_history_in_every_bit() -> None:
    dataset = random_dataset("logistic_regression", seed=8)
    given = Hyperparameters(batch_size=3, start="uniform", seed=12, epochs=20)
    first, second = trained("logistic_regression", dataset, given), trained("logistic_regression", dataset, given)
    np.testing.assert_array_equal(first.parameters, second.parameters)
    np.testing.assert_array_equal(first.train_loss, second.train_loss)


def test_blocks_are_consecutive_and_none_shares_memory_with_the_next() -> None:
    training = fit("linear_regression", LINE, Hyperparameters(epochs=20_000, learning_rate=0.01))
    blocks = [(block, block.columns.parameters.copy()) for block in training]
    assert len(blocks) > 2
    assert np.concatenate([block.columns.epoch for block, _ in blocks]).tolist() == list(range(20_001))
    for block, as_yielded in blocks:
        np.testing.assert_array_equal(block.columns.parameters, as_yielded)
    assert [block.stop_reason for block, _ in blocks[:-1]] == [None] * (len(blocks) - 1)
    assert blocks[-1][0].stop_reason == "epochs_completed"


def test_a_caller_gets_control_back_in_the_middle_of_a_long_epoch() -> None:
    dataset = random_dataset("linear_regression", seed=0, n_samples=200_000)
    blocks = fit("linear_regression", dataset, Hyperparameters(batch_size=1, epochs=1, learning_rate=1e-4))
    started = time.monotonic()
    first, second = next(blocks), next(blocks)
    assert time.monotonic() - started < 20 * descent.BLOCK_SECONDS
    assert first.columns.epoch.tolist() == [0]
    assert 0 <= first.progress < second.progress < 1
    assert len(second.columns) == 0


def test_arguments_are_checked_at_the_call_and_not_at_the_first_block() -> None:
    with pytest.raises(InvalidHyperparameters, match="binary_cross_entropy"):
        fit("linear_regression", LINE, Hyperparameters(loss="binary_cross_entropy"))
    with pytest.raises(InvalidDataset, match="labels"):
        fit("logistic_regression", LINE, Hyperparameters())
    with pytest.raises(DeviceUnavailable, match="cuda:99"):
        fit("linear_regression", LINE, Hyperparameters(device="cuda:99"))


def test_resolving_twice_changes_nothing() -> None:
    once = resolve("linear_regression", LINE, Hyperparameters()).hyperparameters
    assert isinstance(once.learning_rate, float)
    assert once.device in ("cpu", "cuda")
    assert resolve("linear_regression", LINE, once).hyperparameters == once
