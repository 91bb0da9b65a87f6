from typing import Any

import numpy as np
import pytest
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from service.dataset import Dataset
from service.tasks import Task
from service.training import moments
from service.training.fit import Training
from tests.training.problems import ended, hyperparameters, parameters_of, random_dataset, trained

LINEAR: Task = "linear_regression"


@settings(max_examples=80, deadline=None)
@draw(
    seed=st.integers(0, 10_000),
    l2=st.sampled_from([0.0, 0.3]),
    loss=st.sampled_from(["mse", "half_mse"]),
    n_targets=st.integers(1, 3),
    weighted=st.booleans(),
    intercept=st.booleans(),
    scale=st.sampled_from(["none", "standard"]),
    validation=st.sampled_from([0.0, 0.3]),
)
def test_the_optimum_is_that_of_scikit_learn_with_the_same_penalty(
    seed: int,
    l2: float,
    loss: str,
    n_targets: int,
    weighted: bool,
    intercept: bool,
    scale: str,
    validation: float,
) -> None:
    dataset = random_dataset(LINEAR, seed, 30, 4, n_targets, weighted=weighted)
    asked = {"fit_intercept": intercept, "scale": scale, "validation_fraction": validation, "start": "uniform"}
    training = Training(LINEAR, dataset, hyperparameters(l2=l2, loss=loss, seed=seed, **asked))
    train, optimum = training.examination.preparation.train, training.optimum
    assert optimum is not None
    share = (2 if loss == "mse" else 1) / n_targets  # of the squares, half of which make the objective
    oracle = Ridge(l2 / share * len(train), fit_intercept=intercept, solver="cholesky") if l2 else LinearRegression()
    oracle.set_params(fit_intercept=intercept)
    oracle.fit(train.features, train.targets, train.weights)
    coefficients = np.atleast_2d(oracle.coef_)
    bias = np.broadcast_to(oracle.intercept_, n_targets)
    np.testing.assert_allclose(optimum.parameters, np.append(coefficients.ravel(), bias), rtol=1e-9, atol=1e-10)
    squares = np.square(train.targets - train.features @ coefficients.T - bias).sum(axis=1)
    expected = share / 2 * np.average(squares, weights=train.weights)
    assert optimum.train_loss == pytest.approx(expected, rel=1e-10)
    assert optimum.objective == pytest.approx(expected + l2 / 2 * np.square(coefficients).sum(), rel=1e-10)


@pytest.mark.parametrize("engine", ["exact", "analytic", "autograd"])
@pytest.mark.parametrize("frozen", [[], ["bias"], ["weight"]])
def test_descent_ends_where_the_optimum_says(engine: str, frozen: list[str]) -> None:
    dataset = random_dataset(LINEAR, seed=5, n_samples=50, n_targets=2)
    given = hyperparameters(epochs=800, engine=engine, frozen=frozen, start="uniform", seed=2, l2=0.1)
    training = Training(LINEAR, dataset, given)
    last = list(training.blocks())[-1]
    assert last.learned is not None
    assert training.optimum is not None
    np.testing.assert_allclose(last.learned.parameters, training.optimum.parameters, atol=1e-9)
    assert last.learned.train_loss == pytest.approx(training.optimum.train_loss, rel=1e-9)
    assert last.columns.gradient_norm[-1] < 1e-8


def test_of_many_lowest_points_the_optimum_is_the_one_that_descent_ends_at() -> None:
    features = random_dataset(LINEAR, seed=3, n_samples=30).features
    dataset = Dataset(np.hstack([features, features.sum(axis=1, keepdims=True)]), features[:, 0] + 1)
    given = hyperparameters(epochs=3000, start="uniform", seed=4, engine="analytic")
    training = Training(LINEAR, dataset, given)
    assert training.optimum is not None
    learned = parameters_of(trained(LINEAR, dataset, given))[-1]
    np.testing.assert_allclose(learned, training.optimum.parameters, atol=1e-8)


@pytest.mark.parametrize("asked", [{"loss": "mae"}, {"loss": "huber"}, {"l1": 0.1}])
def test_no_optimum_is_told_where_there_is_no_closed_form(asked: dict[str, Any]) -> None:
    assert Training(LINEAR, random_dataset(LINEAR, 0), hyperparameters(**asked)).optimum is None
    labels = random_dataset("logistic_regression", 0)
    assert Training("logistic_regression", labels, hyperparameters()).optimum is None


def test_numbers_whose_squares_overflow_have_no_optimum() -> None:
    assert Training(LINEAR, Dataset([1e200, 2e200], [1.0, 2.0]), hyperparameters(learning_rate=1.0)).optimum is None


@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("task", "n_classes"), [("logistic_regression", 2), ("softmax_regression", 3)])
def test_classifiers_end_where_scikit_learn_ends_with_the_same_penalty(
    task: Task, n_classes: int, weighted: bool, optimizer: str
) -> None:
    dataset = random_dataset(task, seed=7, n_samples=80, n_classes=n_classes, weighted=weighted)
    l2, codes = 0.05, dataset.targets[:, 0]
    asked = {"momentum": 0.9, "learning_rate": 0.3} if optimizer == "sgd" else {"optimizer": "lbfgs"}
    learned = ended(task, dataset, hyperparameters(l2=l2, epochs=600, **asked)).learned
    assert learned is not None
    weights = dataset.sample_weight if dataset.sample_weight is not None else np.ones(80)
    oracle = LogisticRegression(C=1 / (l2 * weights.sum()), tol=1e-12, max_iter=10_000)
    oracle.fit(dataset.features, codes, weights)
    probabilities = oracle.predict_proba(dataset.features)[np.arange(80), codes.astype(int)]
    assert learned.train_loss == pytest.approx(-np.average(np.log(probabilities), weights=weights), rel=1e-8)
    np.testing.assert_allclose(learned.parameters[: oracle.coef_.size], oracle.coef_.ravel(), atol=1e-6)
    biases = learned.parameters[oracle.coef_.size :]
    # Biases of a softmax are known but for a number that all of them share.
    shift = biases.mean() - oracle.intercept_.mean() if n_classes > 2 else 0.0
    np.testing.assert_allclose(biases - shift, oracle.intercept_, atol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e4, 3e4, 1e6, 1e8])
def test_an_offset_of_the_features_does_not_move_the_optimum(offset: float) -> None:
    number = np.arange(100.0)
    targets = 0.5 * number + 3 + 0.1 * (number % 7)
    inputs = np.column_stack([number, np.ones(100)])
    (squares,) = np.linalg.lstsq(inputs, targets, rcond=None)[1]
    training = Training(LINEAR, Dataset(offset + number, targets), hyperparameters(epochs=100))
    assert training.optimum is not None
    assert training.optimum.train_loss == pytest.approx(squares / 100, rel=1e-6)
    assert training.optimum.parameters[0] == pytest.approx(0.500177018, rel=1e-7)


def test_on_a_large_table_with_collinear_features_losses_are_those_of_the_parameters() -> None:
    draws = np.random.default_rng(0)
    pair = draws.normal(size=(1_500_000, 2)).astype(np.float32)
    features = np.column_stack([pair, pair.sum(axis=1)])
    targets = (features.sum(axis=1) + 0.1 * draws.normal(size=len(pair))).astype(np.float32)
    asked = hyperparameters(epochs=200_000, record_every=100_000, scale="standard", dtype="float32")
    training = Training(LINEAR, Dataset(features, targets), asked)
    learned = list(training.blocks())[-1].learned
    assert learned is not None
    scaled, answers = training.examination.preparation.train.features, targets.astype(np.float64)
    residuals = scaled.astype(np.float64) @ learned.parameters[:-1] + learned.parameters[-1] - answers
    assert learned.train_loss == pytest.approx(np.square(residuals).mean(), rel=1e-6)
    assert training.optimum is not None
    assert training.optimum.train_loss == pytest.approx(learned.train_loss, rel=1e-6)
    assert np.abs(training.optimum.parameters).max() < 10


@pytest.mark.parametrize("frozen", [[], ["bias"], ["weight"]])
@pytest.mark.parametrize("asked", [{"l2": 0.3}, {"validation_fraction": 0.3}, {"scale": "standard", "momentum": 0.9}])
def test_residuals_from_a_plane_give_the_training_that_targets_give(
    asked: dict[str, Any], frozen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = random_dataset(LINEAR, seed=2, n_samples=80, n_targets=2, weighted=True)
    given = hyperparameters(epochs=50, start="uniform", seed=1, frozen=frozen, **asked)
    optima, columns = [], []
    for small_table in (moments.SMALL_TABLE, 0):
        monkeypatch.setattr(moments, "SMALL_TABLE", small_table)
        training = Training(LINEAR, dataset, given)
        found, optimum = training.examination.quadratic, training.optimum
        assert found is not None
        assert optimum is not None
        assert found.found.plane[:-1].any() == (small_table == 0)
        optima.append(np.append(optimum.parameters, [optimum.train_loss, optimum.objective]))
        columns.append(trained(LINEAR, dataset, given))
    np.testing.assert_allclose(optima[1], optima[0], rtol=1e-10)
    plain, from_plane = columns
    np.testing.assert_allclose(parameters_of(from_plane), parameters_of(plain), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(from_plane.train_loss, plain.train_loss, rtol=1e-10)
    if plain.validation_loss is not None:
        assert from_plane.validation_loss is not None
        np.testing.assert_allclose(from_plane.validation_loss, plain.validation_loss, rtol=1e-10)


def test_validation_losses_of_the_exact_engine_are_never_negative() -> None:
    for seed in range(12):
        draws = np.random.default_rng(seed)
        features = draws.normal(size=(30, 8))
        dataset = Dataset(features, features @ draws.normal(size=8))
        columns = trained(LINEAR, dataset, hyperparameters(epochs=3000, validation_fraction=0.05, scale="standard"))
        assert columns.validation_loss is not None
        assert (columns.validation_loss >= 0).all()
