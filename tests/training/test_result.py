import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, r2_score

from service.dataset import Dataset
from service.outputs import outputs_of
from service.parameters import flatten
from service.tasks import TRAITS, Task
from service.training.fit import Training
from service.training.result import Outcome, outcome_of, trained_vector
from tests.training.problems import hyperparameters, random_dataset

TASKS = ["linear_regression", "logistic_regression", "softmax_regression", "mlp_regressor", "mlp_classifier"]


def outcome(task: Task, dataset: Dataset, **asked: Any) -> tuple[Training, Outcome]:
    training = Training(task, dataset, hyperparameters(seed=1, **asked))
    learned = list(training.blocks())[-1].learned
    assert learned is not None
    return training, outcome_of(training, learned)


@pytest.mark.parametrize("scale", ["none", "standard"])
@pytest.mark.parametrize("task", TASKS)
def test_metrics_of_each_part_are_those_of_the_model_in_original_units(task: Task, scale: str) -> None:
    dataset = random_dataset(task, seed=2, n_samples=90)
    dataset = Dataset(dataset.features * [1, 10, 100] + 7, dataset.targets, dataset.schema)
    asked = {"scale_targets": scale} if not TRAITS[task].classifies else {}
    training, found = outcome(
        task, dataset, scale=scale, validation_fraction=0.2, test_fraction=0.3, epochs=50, **asked
    )
    assert (found.scaled is None) == (scale == "none")
    split = training.examination.preparation.split
    for part in ("train", "validation", "test"):
        rows = getattr(split, part)
        outputs = outputs_of(found.parameters, dataset.features[rows], "relu")
        metrics, answers = found.result["metrics"][part], dataset.targets[rows][:, 0]
        if not TRAITS[task].classifies:
            assert metrics["r2"] == pytest.approx(r2_score(answers, outputs), rel=1e-9)
            continue
        predicted = outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(axis=1)
        assert metrics["accuracy"] == accuracy_score(answers, predicted)
        assert metrics["f1_macro"] == pytest.approx(f1_score(answers, predicted, average="macro", zero_division=0))


@pytest.mark.parametrize("task", TASKS)
def test_the_objective_is_the_loss_and_the_penalties_on_the_scaled_weights(task: Task) -> None:
    dataset = random_dataset(task, seed=2, n_samples=40)
    _, found = outcome(task, dataset, scale="standard", l2=0.3, l1=0.1, epochs=10)
    assert found.scaled is not None
    weights = np.concatenate([layer.weight.ravel() for layer in found.scaled])
    expected = found.result["train_loss"] + 0.15 * np.square(weights).sum() + 0.1 * np.abs(weights).sum()
    assert found.result["objective"] == pytest.approx(expected, rel=1e-12)
    json.dumps(found.result, allow_nan=False)


def test_losses_without_scaling_and_weights_are_the_mean_squared_errors_of_the_metrics() -> None:
    _, found = outcome("linear_regression", random_dataset("linear_regression", 3), validation_fraction=0.3)
    result = found.result
    assert result["train_loss"] == pytest.approx(result["metrics"]["train"]["mse"], rel=1e-10)
    assert result["validation_loss"] == pytest.approx(result["metrics"]["validation"]["mse"], rel=1e-10)
    assert result["metrics"]["test"] is None


@pytest.mark.parametrize("engine", ["exact", "analytic"])
@pytest.mark.parametrize("scale", ["none", "standard"])
def test_the_way_to_the_optimum_gets_shorter_and_the_optimum_is_in_original_units(engine: str, scale: str) -> None:
    dataset = random_dataset("linear_regression", seed=4, n_samples=30)
    gaps = []
    for epochs in (1, 10, 2000):
        asked = {"scale": scale, "scale_targets": scale, "engine": engine}
        _, found = outcome("linear_regression", dataset, epochs=epochs, **asked)
        gaps.append(found.result["optimum"]["gap"])
    inputs = np.hstack([dataset.features, np.ones((30, 1))])
    solution = np.linalg.lstsq(inputs, dataset.targets[:, 0], rcond=None)[0]
    told = found.result["optimum"]["parameters"]
    np.testing.assert_allclose([*told["weight"], told["bias"]], solution, rtol=1e-9)
    np.testing.assert_allclose(flatten(found.parameters), solution, rtol=1e-7)
    assert gaps[0] > gaps[1] > gaps[2] >= 0
    assert gaps[2] < 1e-12


@pytest.mark.parametrize("task", TASKS[1:])
def test_there_is_no_optimum_to_tell_of_a_loss_that_is_not_quadratic(task: Task) -> None:
    assert outcome(task, random_dataset(task, 1), epochs=2)[1].result["optimum"] is None


def test_the_vector_of_a_trained_model_starts_the_next_one_where_it_ended() -> None:
    task: Task = "mlp_regressor"
    dataset = random_dataset(task, 5)
    _, found = outcome(task, dataset, hidden_layers=[4], scale="standard", epochs=30)
    given = hyperparameters(hidden_layers=[4], scale="standard", epochs=1, start={"model": "first"})
    training = Training(task, dataset, given, trained_vector(found.parameters))
    first = next(iter(training.blocks())).columns
    assert first.train_loss[0] == pytest.approx(found.result["train_loss"], rel=1e-10)


@pytest.mark.parametrize(
    "asked", [{}, {"scale": "standard"}, {"validation_fraction": 0.1}, {"engine": "analytic"}], ids=str
)
def test_a_training_on_memory_maps_takes_little_memory_but_for_copies_that_go_to_files_when_they_are_large(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    n_samples, n_features = 400_000, 20
    features = np.random.default_rng(0).standard_normal((n_samples, n_features), dtype=np.float32)
    np.save(tmp_path / "features.npy", features)
    np.save(tmp_path / "targets.npy", features.sum(axis=1, keepdims=True))
    del features
    dataset = Dataset(*(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("features", "targets")))
    outcome("linear_regression", random_dataset("linear_regression", 1), dtype="float32")  # what is made only once
    tracemalloc.start()
    _, found = outcome("linear_regression", dataset, epochs=20, dtype="float32", **asked)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.result["metrics"]["train"]["r2"] > 0.5
    copied = dataset.features.nbytes + dataset.targets.nbytes + 17 * n_samples  # and the rows of each part
    assert peak < (0 if not asked or "engine" in asked else copied) + 24 * 2**20


def test_mini_batches_of_memory_maps_take_a_few_bytes_of_memory_a_sample(tmp_path: Path) -> None:
    n_samples = 2_000_000
    np.save(tmp_path / "table.npy", np.random.default_rng(0).standard_normal((n_samples, 1), dtype=np.float32))
    table = np.load(tmp_path / "table.npy", mmap_mode="r")
    asked = {"epochs": 1, "dtype": "float32", "batch_size": 2**14, "learning_rate": 0.1}
    outcome("linear_regression", random_dataset("linear_regression", 1), dtype="float32")  # what is made only once
    tracemalloc.start()
    outcome("linear_regression", Dataset(table, table), **asked)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * n_samples + 16 * 2**20  # the order of the samples
