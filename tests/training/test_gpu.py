from typing import Any

import numpy as np
import pytest
import torch

from service.dataset import Dataset
from service.tasks import Task
from service.training import fit as fit_module
from service.training import gpu
from service.training.gpu import mean_squares_on, moments_on
from service.training.moments import moments
from service.training.quadratic import Quadratic, mean_squares
from service.training.samples import Samples
from tests.training.problems import ended, hyperparameters, parameters_of, random_dataset, trained

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
CASES: list[tuple[Task, dict[str, Any]]] = [
    ("linear_regression", {"engine": "exact", "momentum": 0.9, "validation_fraction": 0.2}),
    ("linear_regression", {"engine": "analytic", "loss": "huber", "scale": "standard"}),
    ("linear_regression", {"engine": "analytic", "loss": "mae", "l1": 0.1, "optimizer": "adam"}),
    ("linear_regression", {"engine": "analytic", "batch_size": 7, "momentum": 0.9, "nesterov": True}),
    ("linear_regression", {"engine": "autograd", "batch_size": 7, "optimizer": "rmsprop"}),
    ("linear_regression", {"engine": "analytic", "optimizer": "lbfgs", "validation_fraction": 0.2}),
    ("logistic_regression", {"engine": "analytic", "class_weight": "balanced", "clip_gradient_norm": 0.1}),
    ("logistic_regression", {"engine": "autograd", "optimizer": "adamw", "schedule": "cosine"}),
    ("softmax_regression", {"engine": "analytic", "l2": 0.1, "frozen": ["bias"]}),
    ("softmax_regression", {"engine": "autograd", "batch_size": 7, "schedule": "plateau"}),
    ("mlp_regressor", {"hidden_layers": [8, 4], "optimizer": "adagrad", "batch_size": 7}),
    ("mlp_classifier", {"hidden_layers": [8], "activation": "tanh", "momentum": 0.9}),
]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("task", "asked"), CASES)
def test_a_training_on_the_gpu_is_that_on_the_cpu_in_float64(task: Task, asked: dict[str, Any], dtype: str) -> None:
    dataset = random_dataset(task, seed=3, n_samples=50, weighted=True)
    asked = {"seed": 1, "epochs": 20} | asked
    truth = trained(task, dataset, hyperparameters(**asked))
    found = trained(task, dataset, hyperparameters(**asked | {"device": "cuda", "dtype": dtype}))
    near: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-9} if dtype == "float64" else {"rtol": 2e-3, "atol": 2e-3}
    assert parameters_of(found).dtype == np.dtype(dtype)
    np.testing.assert_allclose(parameters_of(found), parameters_of(truth), **near)
    np.testing.assert_allclose(found.train_loss, truth.train_loss, **near)
    np.testing.assert_allclose(found.gradient_norm, truth.gradient_norm, **near)
    if truth.validation_loss is not None:
        assert found.validation_loss is not None
        np.testing.assert_allclose(found.validation_loss, truth.validation_loss, **near)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    ("task", "asked"), [*CASES, ("mlp_classifier", {"dropout": 0.3, "batch_size": 7, "optimizer": "adam"})]
)
def test_the_same_request_twice_on_the_gpu_is_the_same_history_in_every_bit(task: Task, asked: dict[str, Any]) -> None:
    dataset = random_dataset(task, seed=3, n_samples=50, weighted=True)
    given = hyperparameters(**{"seed": 1, "epochs": 20, "device": "cuda", "dtype": "float32"} | asked)
    torch.cuda.manual_seed_all(1)
    expected = torch.rand(3, device="cuda")
    torch.cuda.manual_seed_all(1)
    first, second = trained(task, dataset, given), trained(task, dataset, given)
    np.testing.assert_array_equal(parameters_of(first), parameters_of(second))
    np.testing.assert_array_equal(first.train_loss, second.train_loss)
    assert torch.equal(torch.rand(3, device="cuda"), expected)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_exact_engine_goes_through_a_large_table_on_the_gpu(
    dtype: type[np.floating], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = random_dataset("linear_regression", 4, n_samples=5000, n_features=6, n_targets=2, weighted=True)
    dataset = Dataset(small.features.astype(dtype), small.targets.astype(dtype), small.schema, small.sample_weight)
    truth = ended("linear_regression", small, hyperparameters(epochs=50)).learned
    monkeypatch.setattr(fit_module, "SMALL_TABLE", 0)
    monkeypatch.setattr(gpu, "CHUNK_NUMBERS", 4000)
    found = ended("linear_regression", dataset, hyperparameters(epochs=50, device="cuda")).learned
    assert found is not None
    assert truth is not None
    tolerance = 1e-4 if dtype is np.float32 else 1e-10
    np.testing.assert_allclose(found.parameters, truth.parameters, rtol=tolerance, atol=tolerance)
    assert found.train_loss == pytest.approx(truth.train_loss, rel=tolerance)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torchs_sums_over_many_chunks_are_those_of_numpy(
    dtype: type[np.floating], weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "CHUNK_NUMBERS", 1000)
    draw = np.random.default_rng(1)
    features, targets = draw.normal(size=(3001, 4)) + 50, draw.normal(size=(3001, 2)) - 7
    weights = draw.uniform(0, 2, 3001) if weighted else None
    if weights is not None:
        weights /= weights.mean()
    truth = Samples(features.astype(dtype).astype(float), targets.astype(dtype).astype(float), weights)
    tables = features.astype(dtype), targets.astype(dtype)
    for table in tables:
        table.flags.writeable = False  # as those of a dataset are
    samples, device = Samples(*tables, weights), torch.device("cpu")
    found, expected = moments_on(device, samples), moments(truth.features, truth.targets, weights)
    tolerance = 1e-5 if dtype is np.float32 else 1e-11
    for name in ("feature_mean", "feature_covariance"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=tolerance, atol=10 * tolerance)
    of_found, of_expected = Quadratic(found, 2.0, 0.1), Quadratic(expected, 2.0, 0.1)
    parameters = draw.normal(size=(5, 2))
    gradient = of_expected.gradient(parameters)
    near = 10 * tolerance * np.abs(gradient).max()
    np.testing.assert_allclose(of_found.gradient(parameters), gradient, rtol=0, atol=near)
    known = found.mean_squares(found.plane)
    assert known == pytest.approx(mean_squares(truth, found.plane), rel=10 * tolerance)
    assert mean_squares_on(device, samples, parameters) == pytest.approx(mean_squares(truth, parameters), rel=tolerance)
