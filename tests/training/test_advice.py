import numpy as np
import pytest
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st

from service.dataset import Dataset
from service.errors import TrainingDiverged
from service.hyperparameters import Hyperparameters
from service.tasks import Task
from service.training.advice import _lanczos, advise_learning_rate
from service.training.epochs import EpochBlock
from service.training.fit import fit, resolve
from tests.training.problems import random_dataset, trained


@settings(max_examples=100, deadline=None)
@draw(
    seed=st.integers(0, 10_000),
    momentum=st.sampled_from([0.0, 0.3, 0.9]),
    loss=st.sampled_from(["mse", "half_mse"]),
    l2=st.sampled_from([0.0, 2.0]),
    n_targets=st.integers(1, 3),
    frozen=st.sampled_from([[], ["bias"], ["weight"]]),
)
def test_the_limit_is_sharp_for_a_quadratic_loss(
    seed: int, momentum: float, loss: str, l2: float, n_targets: int, frozen: list[str]
) -> None:
    dataset = random_dataset("linear_regression", seed, n_samples=15, n_targets=n_targets)
    settled = Hyperparameters.model_validate(
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
    advice = advise_learning_rate("linear_regression", dataset, settled)
    assert advice.kind == "exact"

    def gradient_norms(rate: float) -> np.ndarray:
        given = settled.model_copy(update={"learning_rate": rate, "epochs": 1000})
        return trained("linear_regression", dataset, given).gradient_norm

    below, above = gradient_norms(0.99 * advice.limit), gradient_norms(1.01 * advice.limit)
    assert below[-1] < 1e-2 * below[0]
    assert above[-1] > 1e2 * above[500] > 0


@settings(max_examples=30, deadline=None)
@draw(seed=st.integers(0, 10_000), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_the_rate_guaranteed_for_logistic_regression_never_lets_the_loss_rise(seed: int, scale: float) -> None:
    dataset = random_dataset("logistic_regression", seed)
    dataset = Dataset(dataset.features * scale, dataset.targets, dataset.schema)
    given = Hyperparameters(epochs=300, dtype="float64", start="uniform", seed=seed)
    advice = advise_learning_rate("logistic_regression", dataset, given)
    assert advice.kind == "guarantee"
    assert advice.suggested == advice.limit
    losses = trained("logistic_regression", dataset, given).train_loss
    assert (np.diff(losses) <= 1e-12).all()


@pytest.mark.parametrize("task", ["linear_regression", "logistic_regression"])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_automatic_rate_trains_mini_batches_and_is_called_guidance(
    task: Task, batch_size: int, momentum: float
) -> None:
    dataset = random_dataset(task, seed=2, n_samples=200)
    given = Hyperparameters(epochs=30, batch_size=batch_size, momentum=momentum, seed=3)
    assert advise_learning_rate(task, dataset, given).kind == "guidance"
    losses = trained(task, dataset, given).train_loss
    assert losses[-1] < 0.9 * losses[0]


def test_the_curvature_is_the_same_from_either_gram_matrix() -> None:
    wide = random_dataset("linear_regression", seed=0, n_samples=10, n_features=40)
    inputs = np.hstack([wide.features, np.ones((10, 1))])
    largest = np.linalg.eigvalsh(2 * inputs.T @ inputs / 10)[-1]
    assert advise_learning_rate("linear_regression", wide, Hyperparameters()).limit == pytest.approx(2 / largest)


def test_features_that_are_all_zero_still_give_a_rate_that_trains() -> None:
    dataset = Dataset(np.zeros((4, 2)), [1.0, 2.0, 3.0, 4.0])
    for given in (Hyperparameters(), Hyperparameters(frozen=["bias"])):
        assert np.isfinite(trained("linear_regression", dataset, given).train_loss).all()


def test_a_divergence_is_explained_and_its_suggestion_repairs_it() -> None:
    dataset = Dataset(100 * random_dataset("linear_regression", seed=1).features, np.arange(20.0))
    given = Hyperparameters(learning_rate=1.0, epochs=1000)
    blocks: list[EpochBlock] = []
    with pytest.raises(TrainingDiverged, match=r"learning rate 1 is .* times") as caught:
        blocks.extend(fit("linear_regression", dataset, given))
    diagnosis = caught.value.diagnosis
    assert diagnosis.code == "learning_rate_too_large"
    assert diagnosis.evidence["limit"] < 1.0
    assert np.isfinite(blocks[-1].columns.parameters).all()
    repaired = given.model_copy(update=diagnosis.suggestion)
    losses = trained("linear_regression", dataset, repaired).train_loss
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("batch_size", [None, 5])
def test_the_history_before_a_divergence_is_yielded_up_to_the_last_finite_epoch(batch_size: int | None) -> None:
    dataset = random_dataset("linear_regression", seed=1)
    given = Hyperparameters(learning_rate=3.0, epochs=100_000, batch_size=batch_size, seed=0)
    epochs: list[int] = []

    def collect() -> None:
        for block in fit("linear_regression", dataset, given):
            assert np.isfinite(block.columns.train_loss).all()
            epochs.extend(block.columns.epoch.tolist())

    with pytest.raises(TrainingDiverged) as caught:
        collect()
    assert epochs == list(range(caught.value.diagnosis.epoch))


def test_numbers_too_large_for_float32_are_told_from_too_large_a_rate() -> None:
    dataset = Dataset([1.0, 2.0, 3.0], [1e25, 2e25, 3e25])
    with pytest.raises(TrainingDiverged, match="too large for float32") as caught:
        list(fit("linear_regression", dataset, Hyperparameters(epochs=5)))
    assert caught.value.diagnosis.code == "numbers_too_large"
    assert caught.value.diagnosis.epoch == 0
    assert caught.value.diagnosis.evidence["largest_number"] == 3e25
    assert caught.value.diagnosis.suggestion == {"dtype": "float64"}
    repaired = Hyperparameters(epochs=5, dtype="float64")
    assert np.isfinite(trained("linear_regression", dataset, repaired).train_loss).all()


def test_lanczos_finds_the_largest_eigenvalue_of_a_large_hessian() -> None:
    draw = np.random.default_rng(0)
    half = draw.normal(size=(1300, 1300)) * np.logspace(0, -3, 1300)
    hessian = half.T @ half
    assert _lanczos(hessian) == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-9)
    assert _lanczos(np.diag([2.0] * 1200)) == pytest.approx(2.0)
    dataset = random_dataset("linear_regression", seed=0, n_samples=1200, n_features=1100)
    inputs = np.hstack([dataset.features, np.ones((1200, 1))])
    largest = np.linalg.norm(inputs, 2) ** 2 * 2 / 1200
    assert advise_learning_rate("linear_regression", dataset, Hyperparameters()).limit == pytest.approx(2 / largest)


def test_a_learning_rate_above_the_exact_limit_is_warned_of() -> None:
    dataset = random_dataset("linear_regression", seed=1)
    limit = advise_learning_rate("linear_regression", dataset, Hyperparameters()).limit
    above = resolve("linear_regression", dataset, Hyperparameters(learning_rate=1.01 * limit)).warnings
    below = resolve("linear_regression", dataset, Hyperparameters(learning_rate=0.99 * limit)).warnings
    assert [warning.code for warning in above] == ["learning_rate_above_limit"]
    assert below == ()


def test_next_to_no_curvature_gives_a_rate_that_a_user_might_give() -> None:
    dataset = Dataset([1e-160, 2e-160, 3e-160], [1.0, 2.0, 3.0])
    given = resolve("linear_regression", dataset, Hyperparameters(frozen=["bias"], dtype="float64")).hyperparameters
    assert Hyperparameters.model_validate(given.model_dump(mode="json")) == given
