from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from service.hyperparameters import ActivationName
from service.tasks import Task
from service.training.fit import Training
from service.training.modules import Dropout, ModuleModel
from tests.training.problems import ended, gradients_of, hyperparameters, parameters_of, random_dataset, trained

HIDDEN = [5, 3]


def make_model(task: Task, seed: int = 0, **given: Any) -> tuple[Training, ModuleModel]:
    dataset = random_dataset(task, seed, 30, 3, 2 if task == "mlp_regressor" else 1, weighted=True)
    training = Training(task, dataset, hyperparameters(hidden_layers=HIDDEN, seed=seed, start="uniform", **given))
    plan, preparation = training.plan, training.examination.preparation
    model = ModuleModel(plan.layout, preparation.train, preparation.validation, plan.hyperparameters, training._frozen)
    return training, model


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize(
    ("task", "loss"),
    [
        ("mlp_regressor", "mse"),
        ("mlp_regressor", "half_mse"),
        ("mlp_regressor", "mae"),
        ("mlp_regressor", "huber"),
        ("mlp_classifier", "cross_entropy"),
    ],
)
def test_the_gradient_is_the_slope_of_the_objective_by_finite_differences(
    task: Task, loss: str, activation: ActivationName
) -> None:
    training, model = make_model(task, loss=loss, activation=activation, l2=0.2, l1=0.1)

    def objective(vector: NDArray[np.float64]) -> float:
        parameters, loss = torch.tensor(vector), torch.tensor(0.0).double()
        model.evaluate(parameters, torch.empty_like(parameters), loss)
        return float(loss + model.penalty(parameters))

    at = training.examination.start
    gradient = torch.empty(len(at)).double()
    model.evaluate(torch.tensor(at), gradient, torch.tensor(0.0).double())
    step = 1e-6
    slopes = [(objective(at + axis) - objective(at - axis)) / (2 * step) for axis in step * np.eye(len(at))]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-8)


def test_dropout_keeps_its_share_and_the_expected_value_and_is_off_when_evaluating() -> None:
    dropout, ones = Dropout(0.3, torch.Generator().manual_seed(1)), torch.ones(200, 500)
    kept = dropout(ones)
    assert set(kept.unique().tolist()) == {0.0, torch.tensor(1 / 0.7).item()}
    assert (kept > 0).float().mean().item() == pytest.approx(0.7, abs=0.01)
    assert kept.mean().item() == pytest.approx(1, abs=0.01)
    assert not torch.equal(dropout(ones), kept)
    dropout.eval()
    assert torch.equal(dropout(ones), ones)


def test_with_dropout_losses_are_those_of_the_whole_model_and_steps_those_of_a_part() -> None:
    task: Task = "mlp_regressor"
    dataset = random_dataset(task, seed=1, n_samples=50)
    given = hyperparameters(hidden_layers=[40], dropout=0.5, seed=1, epochs=1, learning_rate=0.01)
    dropped, whole = (trained(task, dataset, given.model_copy(update={"dropout": share})) for share in (0.5, 0.0))
    assert dropped.train_loss[0] == whole.train_loss[0]
    np.testing.assert_array_equal(gradients_of(dropped)[0], gradients_of(whole)[0])
    assert not np.array_equal(parameters_of(dropped)[1], parameters_of(whole)[1])


def test_dropout_holds_a_perceptron_back_from_learning_by_heart() -> None:
    task: Task = "mlp_classifier"
    dataset = random_dataset(task, seed=5, n_samples=60, n_features=10)
    given = hyperparameters(hidden_layers=[50], optimizer="adam", seed=1, epochs=150, learning_rate=0.01)
    losses = []
    for share in (0.0, 0.8):
        learned = ended(task, dataset, given.model_copy(update={"dropout": share})).learned
        assert learned is not None
        losses.append(learned.train_loss)
    assert losses[0] < 0.5 * losses[1]


def test_a_layer_that_is_frozen_has_no_gradient_and_the_others_have_the_one_they_had() -> None:
    _, whole = make_model("mlp_classifier", l2=0.1)
    training, part = make_model("mlp_classifier", l2=0.1, frozen=["1.weight", "0.bias"])
    at = torch.tensor(training.examination.start)
    gradients = torch.empty(2, len(at)).double()
    for model, gradient in zip((whole, part), gradients, strict=True):
        model.evaluate(at, gradient, torch.tensor(0.0).double())
    assert training._frozen is not None
    frozen = torch.from_numpy(training._frozen)
    assert int(frozen.sum()) == 5 * 3 + 5
    assert (gradients[1][frozen] == 0).all()
    assert torch.equal(gradients[1][~frozen], gradients[0][~frozen])


@pytest.mark.parametrize("penalty", [{"l2": 0.5}, {"l1": 0.5}])
def test_a_penalty_on_weights_that_are_all_frozen_is_counted_and_changes_nothing(penalty: dict[str, float]) -> None:
    dataset = random_dataset("linear_regression", seed=1)
    asked = {"frozen": ["weight"], "start": {"weight": [1.0, 2.0, 3.0]}, "engine": "autograd", "epochs": 5}
    plain, penalised = (
        trained("linear_regression", dataset, hyperparameters(**asked, **extra)) for extra in ({}, penalty)
    )
    np.testing.assert_array_equal(parameters_of(plain), parameters_of(penalised))
