from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.dataset import Dataset
from service.hyperparameters import Hyperparameters
from service.tasks import TRAITS, Task
from service.training import batches, linear, products, threads
from service.training.fit import Training
from service.training.linear import LinearModel
from service.training.modules import ModuleModel
from service.training.native import sweep
from tests.training.problems import hyperparameters, random_dataset

CASES = [
    (task, loss)
    for task in ("linear_regression", "logistic_regression", "softmax_regression")
    for loss in TRAITS[task].losses
]


class Evaluated:
    """A model's loss, validation loss and gradient at a flat vector in the order of the layout."""

    def __init__(self, make: Callable[..., Any], training: Training) -> None:
        plan, preparation = training.plan, training.examination.preparation
        self._model = make(
            plan.layout, preparation.train, preparation.validation, plan.hyperparameters, training._frozen
        )

    def _ordered(self, vector: NDArray[np.float64]) -> torch.Tensor:
        order = self._model.order
        return torch.tensor(vector if order is None else vector[order])

    def _restored(self, tensor: torch.Tensor) -> NDArray[np.float64]:
        found = tensor.numpy().copy()
        if self._model.order is not None:
            found[self._model.order] = tensor.numpy()
        return found

    def at(self, vector: NDArray[np.float64]) -> tuple[float, float, NDArray[np.float64]]:
        parameters = self._ordered(vector)
        gradient = torch.empty_like(parameters)
        loss, validation = torch.zeros(2).double()
        self._model.evaluate(parameters, gradient, loss)
        self._model.validation_loss(parameters, validation)
        return float(loss), float(validation), self._restored(gradient)

    def objective(self, vector: NDArray[np.float64]) -> float:
        return self.at(vector)[0] + float(self._model.penalty(self._ordered(vector)))

    def batch_gradients(self, vector: NDArray[np.float64], order: torch.Tensor | None) -> list[tuple[int, Any]]:
        parameters = self._ordered(vector)
        gradient = torch.empty_like(parameters)
        return [(n, self._restored(gradient)) for n in self._model.gradients(parameters, gradient, order)]


def make_training(task: Task, seed: int, n_samples: int = 40, n_targets: int = 1, **given: Any) -> Training:
    dataset = random_dataset(task, seed, n_samples, 4, n_targets, weighted=bool(given.pop("weighted", False)))
    return Training(task, dataset, hyperparameters(validation_fraction=0.3, seed=seed, **given))


def settings_of(training: Training) -> Hyperparameters:
    return training.plan.hyperparameters


@settings(max_examples=40, deadline=None)
@draw(
    case=st.sampled_from(CASES),
    seed=st.integers(0, 10_000),
    n_targets=st.integers(1, 3),
    weighted=st.booleans(),
    l2=st.sampled_from([0.0, 0.5]),
    l1=st.sampled_from([0.0, 0.5]),
    frozen=st.sampled_from([[], ["bias"], ["weight"]]),
    copied=st.booleans(),
    is_threaded=st.booleans(),
    is_full=st.booleans(),
    is_compiled=st.booleans(),
    block=st.sampled_from([None, 65]),
)
def test_losses_and_gradients_by_hand_are_those_of_autograd_at_any_point(
    case: tuple[Task, str],
    seed: int,
    n_targets: int,
    weighted: bool,
    l2: float,
    l1: float,
    frozen: list[str],
    copied: bool,
    is_threaded: bool,
    is_full: bool,
    is_compiled: bool,
    block: int | None,
) -> None:
    task, loss = case
    n_targets = n_targets if task == "linear_regression" else 1
    given = {"l2": l2, "l1": l1, "frozen": frozen, "batch_size": None if is_full else 9, "weighted": weighted}
    training = make_training(task, seed, 300, n_targets, loss=loss, **given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "PACKED_BYTES", 2**28 if copied else 0)
        patch.setattr(products, "COPIED_BYTES", 2**28 if copied else 0)
        patch.setattr(threads, "WORTH_THREADS", 0 if is_threaded else 2**62)
        if not is_compiled:
            patch.setattr(linear, "LIBRARY", None)
        if block is not None:
            for module in (batches, sweep):
                patch.setattr(module, "BLOCK_BYTES", block * 8)
            for module in (batches, products):
                patch.setattr(module, "WHOLE_BYTES", 0)
            patch.setattr(batches, "GATHERED_BYTES", block * 8)
        compare(Evaluated(LinearModel, training), Evaluated(ModuleModel, training), training, seed)


def compare(ours: Evaluated, oracle: Evaluated, training: Training, seed: int) -> None:
    at = 2 * np.random.default_rng(seed).normal(size=training.examination.start.size)
    for mine, its in zip(ours.at(at), oracle.at(at), strict=True):
        np.testing.assert_allclose(np.asarray(mine), np.asarray(its), rtol=1e-11, atol=1e-13)
    assert ours.objective(at) == pytest.approx(oracle.objective(at), rel=1e-12)
    if settings_of(training).batch_size is None:
        return
    order = torch.randperm(210, generator=torch.Generator().manual_seed(seed)) if seed % 2 else None
    for (n, found), (m, expected) in zip(
        ours.batch_gradients(at, order), oracle.batch_gradients(at, order), strict=True
    ):
        assert n == m
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("task", "loss"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_is_the_slope_of_the_objective_by_finite_differences(
    task: Task, loss: str, weighted: bool
) -> None:
    n_targets = 2 if task == "linear_regression" else 1
    training = make_training(task, 3, 40, n_targets, loss=loss, l2=0.3, l1=0.2, weighted=weighted)
    for make in (LinearModel, ModuleModel):
        model = Evaluated(make, training)
        at = np.random.default_rng(1).normal(size=training.examination.start.size)
        step = 1e-6
        axes = step * np.eye(len(at))
        slopes = [(model.objective(at + axis) - model.objective(at - axis)) / (2 * step) for axis in axes]
        np.testing.assert_allclose(model.at(at)[2], slopes, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("make", [LinearModel, ModuleModel])
def test_confident_probabilities_keep_their_digits(make: Callable[..., Any]) -> None:
    dataset = random_dataset("logistic_regression", 0, n_samples=6, n_features=1)
    training = Training("logistic_regression", dataset, hyperparameters(validation_fraction=0.2))
    parameters, gradient = torch.tensor([0.0, -600.0]).double(), torch.empty(2).double()
    loss = torch.tensor(0.0).double()
    train = training.examination.preparation.train
    share = train.targets.mean()
    model = make(training.plan.layout, train, None, settings_of(training), None)
    model.evaluate(parameters, gradient, loss)
    assert float(loss) == pytest.approx(600 * share, rel=1e-14)
    parameters[1] = -40.0
    model.evaluate(parameters, gradient, loss)
    assert float(loss) == pytest.approx(40 * share + np.exp(-40.0), rel=1e-14)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_a_loss_at_which_everything_fits_is_nought_with_a_gradient_of_nought(loss: str) -> None:
    features = random_dataset("linear_regression", 1).features
    training = Training("linear_regression", Dataset(features, np.zeros(20)), hyperparameters(loss=loss))
    model = LinearModel(training.plan.layout, training.examination.preparation.train, None, settings_of(training), None)
    value, gradient = torch.tensor(1.0).double(), torch.ones(4).double()
    model.evaluate(torch.zeros(4).double(), gradient, value)
    assert value == 0
    assert (gradient == 0).all()
