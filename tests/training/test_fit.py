from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, settings
from hypothesis import given as draw
from hypothesis import strategies as st

from service.dataset import Dataset
from service.errors import DeviceUnavailable, InvalidDataset, InvalidHyperparameters
from service.hyperparameters import Hyperparameters, OptimizerName, StartModel
from service.schedules import ScheduleName
from service.tasks import TRAITS, Task
from service.training.epochs import EpochColumns
from service.training.fit import Training, fit
from tests.training.problems import (
    Oracle,
    ended,
    gradients_of,
    hyperparameters,
    parameters_of,
    random_dataset,
    torch_descent,
    trained,
)

LINE = Dataset([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
LINEAR_TASKS = ["linear_regression", "logistic_regression", "softmax_regression"]
EPOCHS = 8


@st.composite
def asked(draw: st.DrawFn, task: Task) -> dict[str, Any]:
    """Give hyperparameters of any kind that fit together and that a random start does not make ambiguous."""
    optimizer = draw(st.sampled_from([name for name in get_args(OptimizerName) if name != "lbfgs"]))
    given: dict[str, Any] = {
        "optimizer": optimizer,
        "loss": draw(st.sampled_from(TRAITS[task].losses)),
        "learning_rate": 0.01,
        "epochs": EPOCHS,
        "seed": draw(st.integers(0, 1000)),
        "start": draw(st.sampled_from(["torch", "uniform"])),
        "batch_size": draw(st.sampled_from([None, 3, 7, 25])),
        "shuffle": draw(st.booleans()),
        "l2": draw(st.sampled_from([0.0, 0.7])),
        "l1": draw(st.sampled_from([0.0, 0.3])),
        "frozen": draw(st.sampled_from([[], ["bias"], ["weight"]])),
        "clip_gradient_norm": draw(st.sampled_from([None, 0.5])),
        "scale": draw(st.sampled_from(["none", "center", "standard"])),
        "validation_fraction": draw(st.sampled_from([0.0, 0.3])),
        "test_fraction": draw(st.sampled_from([0.0, 0.2])),
        "schedule": draw(st.sampled_from([*get_args(ScheduleName), {"kind": "plateau", "patience": 0}])),
    }
    if given["frozen"] != ["weight"]:
        given["fit_intercept"] = given["scale"] == "center" or draw(st.booleans())
    if optimizer == "sgd":
        momentum = draw(st.sampled_from([0.0, 0.5, 0.9]))
        kind = draw(st.sampled_from(["nesterov", "dampening", "plain"])) if momentum else "plain"
        given |= {"momentum": momentum, "nesterov": kind == "nesterov", "dampening": 0.3 * (kind == "dampening")}
    if TRAITS[task].classifies:
        given["class_weight"] = draw(st.sampled_from([None, "balanced"]))
    else:
        given["scale_targets"] = draw(st.sampled_from(["none", "standard"]))
    return given


def compare(ours: EpochColumns, oracle: Oracle, training: Training) -> None:
    near: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}
    assert ours.epoch.tolist() == list(range(EPOCHS + 1))
    np.testing.assert_allclose(ours.train_loss, oracle.train_loss, **near)
    np.testing.assert_allclose(parameters_of(ours), oracle.parameters, **near)
    gradient = gradients_of(ours)
    learns = np.ones(gradient.shape[1], dtype=bool) if training._frozen is None else ~training._frozen
    np.testing.assert_allclose(gradient[:, learns], oracle.gradient, **near)
    assert (gradient[:, ~learns] == 0).all()
    np.testing.assert_allclose(ours.gradient_norm, np.linalg.norm(oracle.gradient, axis=1), **near)
    np.testing.assert_allclose(ours.learning_rate, oracle.learning_rate, rtol=1e-10, atol=1e-18)
    if training.plan.hyperparameters.validation_fraction:
        assert ours.validation_loss is not None
        np.testing.assert_allclose(ours.validation_loss, oracle.validation_loss, **near)
    else:
        assert ours.validation_loss is None


@settings(max_examples=60, deadline=None)
@draw(data=st.data(), task=st.sampled_from(LINEAR_TASKS), engine=st.sampled_from(["analytic", "autograd"]))
def test_every_epoch_of_a_linear_model_is_that_of_a_plain_torch_loop(
    data: st.DataObject, task: Task, engine: str
) -> None:
    given = hyperparameters(**data.draw(asked(task)), engine=engine)
    n_targets = data.draw(st.integers(1, 3)) if task == "linear_regression" else 1
    shape = (data.draw(st.integers(12, 30)), data.draw(st.integers(1, 5)), n_targets)
    dataset = random_dataset(task, given.seed or 0, *shape, weighted=data.draw(st.booleans()))
    training = Training(task, dataset, given)
    assert training.plan.engine == engine
    compare(trained(task, dataset, given), torch_descent(training), training)


@settings(max_examples=60, deadline=None)
@draw(data=st.data(), task=st.sampled_from(["mlp_regressor", "mlp_classifier"]))
def test_every_epoch_of_a_perceptron_is_that_of_a_plain_torch_loop(data: st.DataObject, task: Task) -> None:
    layers = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    activation = data.draw(st.sampled_from(["relu", "tanh", "sigmoid"]))
    asked_for = data.draw(asked(task)) | {"hidden_layers": layers, "activation": activation}
    frozen = data.draw(st.sampled_from([asked_for["frozen"], ["0.weight"], ["0.bias", "1.weight"]]))
    given = hyperparameters(**asked_for | {"frozen": frozen})
    n_targets = data.draw(st.integers(1, 3)) if task == "mlp_regressor" else 1
    dataset = random_dataset(task, given.seed or 0, 20, 3, n_targets, weighted=data.draw(st.booleans()))
    training = Training(task, dataset, given)
    compare(trained(task, dataset, given), torch_descent(training), training)


@settings(max_examples=30, deadline=None)
@draw(data=st.data(), task=st.sampled_from(LINEAR_TASKS), dtype=st.sampled_from(["float32", "float64"]))
def test_both_iterating_engines_go_the_same_way(data: st.DataObject, task: Task, dtype: str) -> None:
    asked_for = data.draw(asked(task)) | {"dtype": dtype}
    # Signs may cancel to 0 by hand and to rounding by autograd, which adaptive optimizers turn into a whole step.
    assume(asked_for["loss"] != "mae" or asked_for["optimizer"] == "sgd")
    dataset = random_dataset(task, asked_for["seed"], weighted=data.draw(st.booleans()))
    ours, oracle = (
        trained(task, dataset, hyperparameters(**asked_for, engine=engine)) for engine in ("analytic", "autograd")
    )
    # In float32 a residual or a weight may change its sign, or the loss its plateau, an epoch sooner or later.
    near: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11} if dtype == "float64" else {"rtol": 0.02, "atol": 0.02}
    np.testing.assert_allclose(parameters_of(ours), parameters_of(oracle), **near)
    np.testing.assert_allclose(ours.train_loss, oracle.train_loss, **near)
    assert parameters_of(ours).dtype == parameters_of(oracle).dtype == np.dtype(dtype)


@pytest.mark.parametrize("engine", ["analytic", "autograd"])
@pytest.mark.parametrize("task", LINEAR_TASKS)
def test_lbfgs_comes_to_rest_in_some_tens_of_epochs(task: Task, engine: str) -> None:
    given = hyperparameters(optimizer="lbfgs", engine=engine, l2=0.01, epochs=30)
    columns = trained(task, random_dataset(task, 3, n_samples=40), given)
    assert columns.gradient_norm[-1] < 1e-7 * columns.gradient_norm[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torchs_start_is_that_of_nn_linear_under_the_seed_whatever_the_dtype(dtype: str) -> None:
    torch.manual_seed(7)
    first, second = torch.nn.Linear(3, 5), torch.nn.Linear(5, 2)
    dataset = random_dataset("mlp_regressor", seed=0, n_targets=2)
    given = hyperparameters(start="torch", seed=7, epochs=1, dtype=dtype, hidden_layers=[5])
    found = parameters_of(trained("mlp_regressor", dataset, given))[0].astype(np.float32)
    parts = [part.detach().numpy().ravel() for part in (first.weight, first.bias, second.weight, second.bias)]
    np.testing.assert_array_equal(found, np.concatenate(parts))


def test_a_uniform_start_lies_on_its_interval_and_differs_by_seed() -> None:
    dataset = random_dataset("linear_regression", seed=0, n_features=200)
    starts = [
        parameters_of(trained("linear_regression", dataset, hyperparameters(start="uniform", seed=seed, epochs=1)))[0]
        for seed in (1, 2)
    ]
    assert -1 <= starts[0].min() < -0.9
    assert 0.9 < starts[0].max() < 1
    assert not np.array_equal(*starts)


@pytest.mark.parametrize("engine", ["exact", "analytic", "autograd"])
@pytest.mark.parametrize("scale", ["none", "standard"])
def test_an_explicit_start_is_in_original_units_and_no_step_moves_a_trained_model_off_it(
    engine: str, scale: str
) -> None:
    dataset = random_dataset("linear_regression", seed=2, n_targets=2)
    start = {"weight": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "bias": [7.0, 8.0]}
    given = hyperparameters(start=start, engine=engine, scale=scale, scale_targets=scale, epochs=1)
    training = Training("linear_regression", dataset, given)
    first = next(iter(training.blocks())).columns
    scaling = training.examination.preparation.scaling
    found = parameters_of(first)[0]
    found = found if scaling is None else scaling.to_original(found, training.plan.layout)
    np.testing.assert_allclose(found, [1, 2, 3, 4, 5, 6, 7, 8], rtol=1e-12)


def test_a_start_from_a_trained_model_goes_on_where_it_ended() -> None:
    task: Task = "mlp_classifier"
    dataset = random_dataset(task, seed=4)
    given = hyperparameters(hidden_layers=[4], epochs=10, seed=1, learning_rate=0.1, scale="standard")
    whole = parameters_of(trained(task, dataset, given.model_copy(update={"epochs": 20})))
    first = Training(task, dataset, given)
    block = list(first.blocks())[-1]
    assert block.learned is not None
    scaling = first.examination.preparation.scaling
    assert scaling is not None
    vector = scaling.to_original(block.learned.parameters, first.plan.layout)
    going_on = given.model_copy(update={"start": StartModel(model="first@1")})
    second = [block.columns for block in fit(task, dataset, going_on, vector)]
    np.testing.assert_allclose(parameters_of(second[-1])[-1], whole[-1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", ["exact", "analytic", "autograd"])
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_frozen_parameter_never_moves_and_its_gradient_reads_zero(name: str, engine: str) -> None:
    start = {"weight": [0.5, 0.5, 0.5], "bias": 0.25}
    given = hyperparameters(frozen=[name], start=start, epochs=50, momentum=0.9, engine=engine)
    columns = trained("linear_regression", random_dataset("linear_regression", seed=1), given)
    parameters, gradient = parameters_of(columns), gradients_of(columns)
    part, other = (slice(0, 3), slice(3, 4)) if name == "weight" else (slice(3, 4), slice(0, 3))
    assert (parameters[:, part] == parameters[0, part]).all()
    assert (gradient[:, part] == 0).all()
    assert (parameters[-1, other] != parameters[0, other]).all()


@pytest.mark.parametrize("engine", ["exact", "analytic", "autograd"])
def test_without_an_intercept_the_bias_is_nought_whatever_the_start(engine: str) -> None:
    given = hyperparameters(fit_intercept=False, start="uniform", seed=3, engine=engine, scale="standard", epochs=20)
    columns = trained("linear_regression", random_dataset("linear_regression", seed=1), given)
    assert (parameters_of(columns)[:, -1] == 0).all()
    assert (gradients_of(columns)[:, -1] == 0).all()


def test_arguments_are_checked_at_the_call_and_not_at_the_first_block() -> None:
    with pytest.raises(InvalidHyperparameters, match="binary_cross_entropy"):
        fit("linear_regression", LINE, Hyperparameters(loss="binary_cross_entropy"))
    with pytest.raises(InvalidDataset, match="labels"):
        fit("logistic_regression", LINE, Hyperparameters())
    with pytest.raises(DeviceUnavailable, match="cuda:99"):
        fit("linear_regression", LINE, Hyperparameters(device="cuda:99"))


@pytest.mark.parametrize("task", [*LINEAR_TASKS, "mlp_regressor", "mlp_classifier"])
def test_what_was_settled_is_trained_in_the_same_way_when_asked_for_again(task: Task) -> None:
    dataset = random_dataset(task, seed=6)
    training = Training(task, dataset, Hyperparameters(epochs=5, batch_size=4))
    settled = training.plan.hyperparameters
    assert isinstance(settled.learning_rate, float)
    assert settled.device in ("cpu", "cuda")
    again = Hyperparameters.model_validate_json(settled.model_dump_json())
    assert Training(task, dataset, again).plan.hyperparameters == settled
    learned = [ended(task, dataset, asked_for).learned for asked_for in (settled, again)]
    assert learned[0] is not None
    assert learned[1] is not None
    np.testing.assert_array_equal(learned[0].parameters, learned[1].parameters)
