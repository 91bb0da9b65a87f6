import numpy as np
import pytest
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st

from service.dataset import Dataset
from service.errors import InvalidHyperparameters, TrainingDiverged
from service.hyperparameters import Hyperparameters, Stop
from service.training.advice import advise_learning_rate
from service.training.epochs import EpochBlock, EpochColumns
from service.training.fit import fit, resolve
from tests.training.problems import random_dataset, trained


def both(dataset: Dataset, hyperparameters: Hyperparameters) -> list[EpochColumns]:
    """Train with the exact engine and with the iterating one."""
    return [
        trained("linear_regression", dataset, hyperparameters.model_copy(update={"engine": engine}))
        for engine in ("exact", "analytic")
    ]


def test_the_engine_that_was_taken_is_told() -> None:
    line, labels = random_dataset("linear_regression", 0), random_dataset("logistic_regression", 0)
    assert resolve("linear_regression", line, Hyperparameters()).hyperparameters.engine == "analytic"
    exact = Hyperparameters(engine="exact", batch_size=20)  # the full batch by another name
    assert resolve("linear_regression", line, exact).hyperparameters.engine == "exact"
    for given in (Hyperparameters(engine="exact", batch_size=19), Hyperparameters(engine="exact", device="cuda")):
        with pytest.raises(InvalidHyperparameters, match="exact needs a quadratic loss, the full batch, the CPU"):
            fit("linear_regression", line, given)
    with pytest.raises(InvalidHyperparameters, match="exact needs"):
        fit("logistic_regression", labels, Hyperparameters(engine="exact"))
    wide = random_dataset("linear_regression", 0, n_features=1001)
    with pytest.raises(InvalidHyperparameters, match="at most 1000 features"):
        fit("linear_regression", wide, Hyperparameters(engine="exact"))


@settings(max_examples=60, deadline=None)
@draw(
    seed=st.integers(0, 10_000),
    loss=st.sampled_from(["mse", "half_mse"]),
    momentum=st.sampled_from([0.0, 0.3, 0.9, 0.99]),
    l2=st.sampled_from([0.0, 0.5]),
    n_targets=st.integers(1, 3),
    n_samples=st.integers(1, 12),
    frozen=st.sampled_from([[], ["bias"], ["weight"]]),
    share=st.sampled_from([0.01, 0.5, 0.95]),
)
def test_a_thousand_epochs_are_those_of_the_iteration(
    seed: int,
    loss: str,
    momentum: float,
    l2: float,
    n_targets: int,
    n_samples: int,
    frozen: list[str],
    share: float,
) -> None:
    dataset = random_dataset("linear_regression", seed, n_samples=n_samples, n_features=4, n_targets=n_targets)
    given = Hyperparameters.model_validate(
        {
            "loss": loss,
            "momentum": momentum,
            "l2": l2,
            "frozen": frozen,
            "dtype": "float64",
            "start": "uniform",
            "seed": seed,
        }
    )
    rate = share * advise_learning_rate("linear_regression", dataset, given).limit
    exact, iterated = both(dataset, given.model_copy(update={"learning_rate": rate}))
    scale = np.abs(iterated.parameters).max()
    np.testing.assert_allclose(exact.parameters, iterated.parameters, rtol=1e-8, atol=1e-10 * scale)
    np.testing.assert_allclose(exact.train_loss, iterated.train_loss, rtol=1e-8, atol=1e-12 * iterated.train_loss[0])
    steep = iterated.gradient_norm.max()
    np.testing.assert_allclose(exact.gradient, iterated.gradient, rtol=1e-7, atol=1e-11 * steep)
    np.testing.assert_allclose(exact.gradient_norm, iterated.gradient_norm, rtol=1e-7, atol=1e-11 * steep)


@pytest.mark.parametrize("exponent", [4, 8, 12])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_features_of_wildly_different_scale_are_no_trouble(exponent: int, momentum: float) -> None:
    features = random_dataset("linear_regression", 3, n_samples=40, n_features=4).features
    dataset = Dataset(features * np.logspace(0, -exponent / 2, 4) + [5.0, 0.0, 0.0, 0.0], features.sum(axis=1))
    given = Hyperparameters(dtype="float64", momentum=momentum, epochs=20_000, record_every=100)
    exact, iterated = both(dataset, given)
    np.testing.assert_allclose(exact.parameters, iterated.parameters, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(exact.train_loss, iterated.train_loss, rtol=1e-9)


def test_in_float32_the_exact_engine_is_no_further_from_the_truth_than_the_iteration() -> None:
    for seed in range(20):
        dataset = random_dataset("linear_regression", seed, n_samples=50, n_features=5)
        given = Hyperparameters(epochs=500, start="uniform", seed=seed)
        exact, iterated = both(dataset, given)
        _, truth = both(dataset, given.model_copy(update={"dtype": "float64"}))
        assert exact.parameters.dtype == np.float32
        for found, name in ((exact, "exact"), (iterated, "iterated")):
            assert found.epoch.tolist() == truth.epoch.tolist(), name
        for column in ("parameters", "train_loss"):
            errors = [np.abs(getattr(found, column) - getattr(truth, column)).max() for found in (exact, iterated)]
            assert errors[0] <= errors[1] * 1.01 + 1e-9


def test_a_target_loss_is_reached_at_the_same_epoch_whatever_is_recorded() -> None:
    dataset = random_dataset("linear_regression", 4)
    for momentum in (0.0, 0.9):
        every_epoch = Hyperparameters(momentum=momentum, dtype="float64", engine="exact")
        full = trained("linear_regression", dataset, every_epoch)
        for epoch in (1, 37, 400):
            target = float(full.train_loss[epoch]) * (1 + 1e-9)
            stop = Stop(target_loss=target)
            first = int(np.argmax(full.train_loss <= target))
            for every in (1, 10):
                given = Hyperparameters(
                    momentum=momentum, dtype="float64", stop=stop, record_every=every, engine="exact"
                )
                last = list(fit("linear_regression", dataset, given))[-1]
                assert (last.columns.epoch[-1], last.stop_reason) == (first, "target_loss_reached")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("factor", [1.05, 3.0, 1000.0])
@pytest.mark.parametrize("every", [1, 7])
def test_overflow_is_divergence_at_about_the_epoch_at_which_the_iteration_overflows(
    dtype: str, factor: float, every: int
) -> None:
    dataset = random_dataset("linear_regression", 5)
    limit = advise_learning_rate("linear_regression", dataset, Hyperparameters()).limit
    ends = []
    for engine in ("exact", "analytic"):
        given = Hyperparameters.model_validate(
            {
                "learning_rate": factor * limit,
                "epochs": 100_000,
                "dtype": dtype,
                "engine": engine,
                "record_every": every,
            }
        )
        blocks: list[EpochBlock] = []
        with pytest.raises(TrainingDiverged) as caught:
            blocks.extend(fit("linear_regression", dataset, given))
        ends.append(caught.value.diagnosis.epoch)
        recorded = np.concatenate([block.columns.epoch for block in blocks])
        assert recorded[-1] == caught.value.diagnosis.epoch - 1
        assert np.isfinite(np.concatenate([block.columns.parameters for block in blocks])).all()
    # The iteration overflows in the sum of twenty squares, a little before their mean does.
    assert 0 <= ends[0] - ends[1] <= np.ceil(np.log(20) / (2 * np.log(2 * factor - 1)))


def test_ten_million_epochs_are_evaluated_and_not_iterated() -> None:
    given = Hyperparameters(epochs=10_000_000, dtype="float64", engine="exact")
    columns = trained("linear_regression", random_dataset("linear_regression", 6), given)
    assert len(columns) <= 100_001
    assert (columns.epoch[0], columns.epoch[-1]) == (0, 10_000_000)
    assert columns.gradient_norm[-1] < 1e-12


@pytest.mark.parametrize("engine", ["exact", "analytic"])
@pytest.mark.parametrize(("features", "targets"), [([1e200, 2e200], [1.0, 2.0]), ([1.0, 2.0], [1e200, 2e200])])
def test_numbers_whose_squares_overflow_are_a_divergence_at_the_start_and_no_fault_of_ours(
    engine: str, features: list[float], targets: list[float]
) -> None:
    given = Hyperparameters.model_validate({"engine": engine, "dtype": "float64", "epochs": 5})
    with pytest.raises(TrainingDiverged) as caught:
        list(fit("linear_regression", Dataset(features, targets), given))
    assert caught.value.diagnosis.code == "numbers_too_large"
