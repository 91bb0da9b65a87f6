from typing import Any

import numpy as np
import pytest
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st

from service.dataset import Dataset
from service.errors import InvalidHyperparameters, TrainingDiverged
from service.hyperparameters import Hyperparameters
from service.plan import make_plan
from service.training.epochs import EpochBlock, EpochColumns, join
from service.training.fit import Training, fit
from service.training.moments import SMALL_TABLE
from tests.training.problems import ended, gradients_of, hyperparameters, parameters_of, random_dataset, trained


def both(dataset: Dataset, given: Hyperparameters) -> list[EpochColumns]:
    """Train with the exact engine and with the iterating one."""
    return [
        trained("linear_regression", dataset, given.model_copy(update={"engine": engine}))
        for engine in ("exact", "analytic")
    ]


def limit_of(dataset: Dataset, given: Hyperparameters) -> float:
    limit = Training("linear_regression", dataset, given).examination.advice.limit
    assert limit is not None
    return limit


def rotated(seed: int, condition: float, n_samples: int = 40, n_features: int = 4) -> Dataset:
    """Draw features whose second moment has a condition number, its directions being none of the axes."""
    draw = np.random.default_rng(seed)
    inputs, _ = np.linalg.qr(draw.normal(size=(n_samples, n_features)))
    directions, _ = np.linalg.qr(draw.normal(size=(n_features, n_features)))
    features = inputs * np.geomspace(1, condition**-0.5, n_features) * n_samples**0.5 @ directions
    return Dataset(features, draw.normal(size=n_samples) + 1)


def test_whatever_the_exact_engine_can_train_it_trains() -> None:
    line, labels = random_dataset("linear_regression", 0), random_dataset("logistic_regression", 0)
    for able in ({}, {"batch_size": 20}, {"momentum": 0.9, "nesterov": True}, {"validation_fraction": 0.2}):
        assert make_plan("linear_regression", line, hyperparameters(**able)).engine == "exact"
    unable: list[dict[str, Any]] = [{"batch_size": 19}, {"l1": 0.1}, {"optimizer": "adam"}, {"schedule": "cosine"}]
    for given in (*unable, {"loss": "huber"}, {"clip_gradient_norm": 1.0}):
        assert make_plan("linear_regression", line, hyperparameters(**given)).engine == "analytic"
        with pytest.raises(InvalidHyperparameters, match="exact needs mse or half_mse"):
            fit("linear_regression", line, hyperparameters(**given, engine="exact"))
    with pytest.raises(InvalidHyperparameters, match="exact cannot train"):
        fit("logistic_regression", labels, hyperparameters(engine="exact"))
    wide = random_dataset("linear_regression", 0, n_features=1001)
    with pytest.raises(InvalidHyperparameters, match="at most 1000 features"):
        fit("linear_regression", wide, hyperparameters(engine="exact"))


@settings(max_examples=80, deadline=None)
@draw(
    seed=st.integers(0, 10_000),
    loss=st.sampled_from(["mse", "half_mse"]),
    momentum=st.sampled_from([0.0, 0.3, 0.9, 0.99]),
    kind=st.sampled_from(["plain", "nesterov", "dampening"]),
    l2=st.sampled_from([0.0, 0.5]),
    n_targets=st.integers(1, 3),
    n_samples=st.integers(3, 12),
    frozen=st.sampled_from([[], ["bias"], ["weight"]]),
    weighted=st.booleans(),
    validation=st.sampled_from([0.0, 0.4]),
    scale=st.sampled_from(["none", "standard"]),
    share=st.sampled_from([0.01, 0.5, 0.95]),
)
def test_three_hundred_epochs_are_those_of_the_iteration(
    seed: int,
    loss: str,
    momentum: float,
    kind: str,
    l2: float,
    n_targets: int,
    n_samples: int,
    frozen: list[str],
    weighted: bool,
    validation: float,
    scale: str,
    share: float,
) -> None:
    dataset = random_dataset("linear_regression", seed, n_samples, 4, n_targets, weighted=weighted)
    rule = {"nesterov": kind == "nesterov", "dampening": 0.4 * (kind == "dampening")} if momentum else {}
    given = hyperparameters(
        loss=loss,
        momentum=momentum,
        **rule,
        l2=l2,
        frozen=frozen,
        scale=scale,
        scale_targets=scale,
        validation_fraction=validation,
        start="uniform",
        seed=seed,
        epochs=300,
    )
    given = given.model_copy(update={"learning_rate": share * limit_of(dataset, given)})
    exact, iterated = both(dataset, given)
    size = np.abs(parameters_of(iterated)).max()
    np.testing.assert_allclose(parameters_of(exact), parameters_of(iterated), rtol=1e-8, atol=1e-10 * size)
    first = max(iterated.train_loss[0], 1e-3)
    np.testing.assert_allclose(exact.train_loss, iterated.train_loss, rtol=1e-8, atol=1e-11 * first)
    steep = iterated.gradient_norm.max()
    np.testing.assert_allclose(gradients_of(exact), gradients_of(iterated), rtol=1e-7, atol=1e-10 * steep)
    np.testing.assert_allclose(exact.gradient_norm, iterated.gradient_norm, rtol=1e-7, atol=1e-10 * steep)
    np.testing.assert_array_equal(exact.learning_rate, iterated.learning_rate)
    if validation:
        assert exact.validation_loss is not None
        assert iterated.validation_loss is not None
        first = max(iterated.validation_loss.max(), 1e-3)
        np.testing.assert_allclose(exact.validation_loss, iterated.validation_loss, rtol=1e-8, atol=1e-10 * first)


@settings(max_examples=20, deadline=None)
@draw(
    seed=st.integers(0, 10_000),
    exponent=st.sampled_from([0, 2, 4, 8, 12]),
    momentum=st.sampled_from([0.0, 0.9]),
)
def test_features_of_any_condition_number_are_no_trouble(seed: int, exponent: int, momentum: float) -> None:
    dataset = rotated(seed, 10.0**exponent)
    exact, iterated = both(dataset, hyperparameters(momentum=momentum, epochs=3000, record_every=100))
    steep, size = iterated.gradient_norm[0], np.abs(parameters_of(iterated)).max()
    np.testing.assert_allclose(parameters_of(exact), parameters_of(iterated), rtol=1e-10, atol=1e-10 * size)
    np.testing.assert_allclose(exact.train_loss, iterated.train_loss, rtol=1e-10)
    np.testing.assert_allclose(gradients_of(exact), gradients_of(iterated), rtol=1e-9, atol=1e-11 * steep)


@pytest.mark.parametrize("exponent", [4, 8, 12])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_features_of_wildly_different_scale_are_no_trouble(exponent: int, momentum: float) -> None:
    features = random_dataset("linear_regression", 3, n_samples=40, n_features=4).features
    dataset = Dataset(features * np.logspace(0, -exponent / 2, 4) + [5.0, 0.0, 0.0, 0.0], features.sum(axis=1))
    exact, iterated = both(dataset, hyperparameters(momentum=momentum, epochs=10_000, record_every=100))
    np.testing.assert_allclose(parameters_of(exact), parameters_of(iterated), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(exact.train_loss, iterated.train_loss, rtol=1e-9)


@pytest.mark.parametrize("condition", [1.0, 1e4, 1e8, 1e12])
@pytest.mark.parametrize("asked", [{}, {"momentum": 0.9, "l2": 0.01}, {"validation_fraction": 0.3}])
def test_in_float32_the_exact_engine_is_no_further_from_the_truth_than_the_iteration(
    condition: float, asked: dict[str, Any]
) -> None:
    for seed in range(3):
        dataset = rotated(seed, condition)
        dataset = Dataset(dataset.features + 3, dataset.targets)
        given = hyperparameters(**asked, epochs=300, start="uniform", seed=seed, dtype="float32")
        exact, iterated = both(dataset, given)
        truth = trained(
            "linear_regression", dataset, given.model_copy(update={"dtype": "float64", "engine": "analytic"})
        )
        assert parameters_of(exact).dtype == np.float32
        assert exact.epoch.tolist() == iterated.epoch.tolist() == truth.epoch.tolist()
        for column in ("parameters", "train_loss", "validation_loss"):
            if getattr(truth, column) is None:
                continue
            mine, theirs = (
                np.abs(getattr(found, column) - getattr(truth, column)).max() for found in (exact, iterated)
            )
            assert mine <= theirs * 1.01 + 1e-9


def test_on_a_large_table_of_float32_it_is_no_further_from_the_truth_either() -> None:
    drawn = rotated(0, 1e6, n_samples=SMALL_TABLE // 20 + 1000, n_features=20)
    features = drawn.features.astype(np.float32)
    targets = (features.sum(axis=1, keepdims=True) + drawn.targets).astype(np.float32)
    given = hyperparameters(epochs=30, momentum=0.9, record_every=10, dtype="float32")
    exact, iterated = both(Dataset(features, targets), given)
    wide = Dataset(features.astype(np.float64), targets.astype(np.float64))
    truth = trained("linear_regression", wide, given.model_copy(update={"dtype": "float64"}))
    for column in ("parameters", "train_loss"):
        true = getattr(truth, column)
        mine, theirs = (np.abs(getattr(found, column) - true).max() for found in (exact, iterated))
        assert mine <= max(theirs, np.abs(true).max() * np.finfo(np.float32).eps)


def test_a_target_loss_is_reached_at_the_same_epoch_whatever_is_recorded() -> None:
    dataset = random_dataset("linear_regression", 4)
    for momentum in (0.0, 0.9):
        given = hyperparameters(momentum=momentum, engine="exact")
        full = trained("linear_regression", dataset, given)
        for epoch in (1, 37, 400):
            target = float(full.train_loss[epoch]) * (1 + 1e-9)
            first = int(np.argmax(full.train_loss <= target))
            for every in (1, 10):
                asked = {"stop": {"target_loss": target}, "record_every": every, "momentum": momentum}
                for engine in ("exact", "analytic"):
                    last = ended("linear_regression", dataset, hyperparameters(**asked, engine=engine))
                    assert (last.columns.epoch[-1], last.stop_reason) == (first, "target_loss_reached")


@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.parametrize("validation", [0.0, 0.4])
def test_patience_ends_at_the_same_epoch_as_in_the_iteration_and_with_the_same_parameters(
    validation: float, every: int
) -> None:
    for seed in range(6):
        dataset = random_dataset("linear_regression", seed, n_samples=14, n_features=6)
        stop = {"patience": 15, "min_delta": 0.0 if validation else 1e-4}
        asked = {"validation_fraction": validation, "stop": stop, "momentum": 0.8, "record_every": every, "seed": seed}
        exact, iterated = (
            ended("linear_regression", dataset, hyperparameters(**asked, engine=engine))
            for engine in ("exact", "analytic")
        )
        assert exact.stop_reason == iterated.stop_reason == "no_improvement"
        assert exact.columns.epoch[-1] == iterated.columns.epoch[-1]
        assert exact.learned is not None
        assert iterated.learned is not None
        assert exact.learned.epoch == iterated.learned.epoch <= exact.columns.epoch[-1]
        np.testing.assert_allclose(exact.learned.parameters, iterated.learned.parameters, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("factor", [1.05, 3.0, 1000.0])
@pytest.mark.parametrize("every", [1, 7])
def test_overflow_is_divergence_at_about_the_epoch_at_which_the_iteration_overflows(
    dtype: str, factor: float, every: int
) -> None:
    dataset = random_dataset("linear_regression", 5)
    limit = limit_of(dataset, hyperparameters())
    ends = []
    for engine in ("exact", "analytic"):
        asked = {"epochs": 100_000, "dtype": dtype, "engine": engine, "record_every": every}
        given = hyperparameters(learning_rate=factor * limit, **asked)
        blocks: list[EpochBlock] = []
        with pytest.raises(TrainingDiverged) as caught:
            blocks.extend(fit("linear_regression", dataset, given))
        epoch = caught.value.finding.epoch
        assert epoch is not None
        ends.append(epoch)
        columns = join([block.columns for block in blocks])
        assert columns.epoch[-1] == epoch - 1
        assert np.isfinite(parameters_of(columns)).all()
    # The iteration overflows in the sum of twenty squares, a little before their mean does.
    assert 0 <= ends[0] - ends[1] <= np.ceil(np.log(20) / (2 * np.log(2 * factor - 1)))


def test_ten_million_epochs_are_evaluated_and_not_iterated() -> None:
    columns = trained("linear_regression", random_dataset("linear_regression", 6), hyperparameters(epochs=10_000_000))
    assert len(columns) <= 100_001
    assert (columns.epoch[0], columns.epoch[-1]) == (0, 10_000_000)
    assert columns.gradient_norm[-1] < 1e-12


@pytest.mark.parametrize("asked", [{"frozen": ["bias"]}, {"fit_intercept": False}, {}])
def test_features_that_tell_nothing_leave_their_weights_where_they_start(asked: dict[str, Any]) -> None:
    start = {"weight": [1.0, -2.0], "bias": 0.0}
    dataset = Dataset(np.zeros((4, 2)), [1.0, 2.0, 3.0, 4.0])
    exact, iterated = both(dataset, hyperparameters(**asked, start=start, epochs=50))
    np.testing.assert_allclose(parameters_of(exact), parameters_of(iterated), atol=1e-12)
    np.testing.assert_allclose(exact.train_loss, iterated.train_loss, rtol=1e-12)


@pytest.mark.parametrize("engine", ["exact", "analytic", "autograd"])
@pytest.mark.parametrize(("features", "targets"), [([1e200, 2e200], [1.0, 2.0]), ([1.0, 2.0], [1e200, 2e200])])
def test_numbers_whose_squares_overflow_are_a_divergence_at_the_start_and_no_fault_of_ours(
    engine: str, features: list[float], targets: list[float]
) -> None:
    with pytest.raises(TrainingDiverged) as caught:
        list(fit("linear_regression", Dataset(features, targets), hyperparameters(engine=engine, epochs=5)))
    assert caught.value.finding.code == "numbers_too_large"
    assert caught.value.finding.epoch in (0, 1)


def test_in_float32_the_validation_loss_is_that_of_parameters_that_are_not_rounded() -> None:
    dataset = random_dataset("linear_regression", 6, n_samples=60, n_features=4)
    dataset = Dataset(dataset.features + 100, dataset.targets)
    asked = {"validation_fraction": 0.4, "scale": "none", "epochs": 400, "learning_rate": "auto", "seed": 1}
    single, double = (
        trained("linear_regression", dataset, hyperparameters(**asked, dtype=dtype)) for dtype in ("float32", "float64")
    )
    assert single.validation_loss is not None
    assert double.validation_loss is not None
    np.testing.assert_allclose(single.validation_loss, double.validation_loss, rtol=1e-9)


def test_a_mode_along_which_nothing_moves_does_not_end_the_training() -> None:
    features = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * [1.0, 1000.0]
    given = hyperparameters(learning_rate=0.1, epochs=3000, frozen=["bias"], engine="exact")
    columns = trained("linear_regression", Dataset(features, features[:, 0]), given)
    assert columns.epoch[-1] == 3000
    np.testing.assert_allclose(parameters_of(columns)[-1], [1.0, 0.0, 0.0], atol=1e-12)
