import re
from typing import Any

import numpy as np
import pytest

from service.dataset import Dataset
from service.errors import Finding, TrainingDiverged
from service.hyperparameters import Hyperparameters
from service.tasks import Task
from service.training.epochs import EpochBlock
from service.training.examination import examine
from service.training.fit import Training, fit
from tests.training.problems import hyperparameters, random_dataset
from tests.training.real_data import BREAST_CANCER, PETALS, WINE, Problem, train_twice

LINEAR: Task = "linear_regression"


def _last_losses(dataset: Dataset, given: Hyperparameters) -> np.ndarray:
    return np.concatenate([block.columns.train_loss for block in fit(LINEAR, dataset, given)])


def test_a_divergence_is_explained_and_its_suggestion_repairs_it() -> None:
    dataset = Dataset(100 * random_dataset(LINEAR, seed=1).features, np.arange(20.0))
    given = Hyperparameters(learning_rate=1.0, epochs=1000)
    blocks: list[EpochBlock] = []
    with pytest.raises(TrainingDiverged, match=r"learning rate 1 is .* times") as caught:
        blocks.extend(fit(LINEAR, dataset, given))
    finding = caught.value.finding
    assert finding.code == "learning_rate_too_large"
    assert finding.evidence["limit"] < 1.0
    parameters = blocks[-1].columns.parameters
    assert parameters is not None
    assert np.isfinite(parameters).all()
    repaired = given.model_copy(update=finding.suggestion)
    losses = _last_losses(dataset, repaired)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("batch_size", [None, 5])
def test_the_history_before_a_divergence_is_yielded_up_to_the_last_finite_epoch(batch_size: int | None) -> None:
    dataset = random_dataset(LINEAR, seed=1)
    given = Hyperparameters(learning_rate=3.0, epochs=100_000, batch_size=batch_size, seed=0)
    epochs: list[int] = []

    def collect() -> None:
        for block in fit(LINEAR, dataset, given):
            assert np.isfinite(block.columns.train_loss).all()
            epochs.extend(block.columns.epoch.tolist())

    with pytest.raises(TrainingDiverged) as caught:
        collect()
    assert caught.value.finding.epoch is not None
    assert epochs == list(range(caught.value.finding.epoch))


def test_numbers_too_large_for_float32_are_told_from_too_large_a_rate() -> None:
    dataset = Dataset([1.0, 2.0, 3.0], [1e25, 2e25, 3e25])
    with pytest.raises(TrainingDiverged, match="too large for float32") as caught:
        list(fit(LINEAR, dataset, Hyperparameters(epochs=5)))
    finding = caught.value.finding
    assert (finding.code, finding.epoch) == ("numbers_too_large", 0)
    assert finding.evidence["largest_number"] == 3e25
    assert finding.suggestion == {"dtype": "float64"}
    assert np.isfinite(_last_losses(dataset, Hyperparameters(epochs=5, dtype="float64"))).all()


def test_a_learning_rate_above_the_exact_limit_is_warned_of() -> None:
    dataset = random_dataset(LINEAR, seed=1)
    limit = examine(LINEAR, dataset, Hyperparameters()).advice.limit
    assert limit is not None
    above = examine(LINEAR, dataset, Hyperparameters(learning_rate=1.01 * limit)).plan.warnings
    below = examine(LINEAR, dataset, Hyperparameters(learning_rate=0.99 * limit)).plan.warnings
    assert [warning.code for warning in above] == ["learning_rate_above_limit"]
    assert below == ()


def test_features_that_are_all_zero_still_give_a_rate_that_trains() -> None:
    dataset = Dataset(np.zeros((4, 2)), [1.0, 2.0, 3.0, 4.0])
    for given in (Hyperparameters(), Hyperparameters(frozen=["bias"])):
        assert np.isfinite(_last_losses(dataset, given)).all()


def test_next_to_no_curvature_gives_a_rate_that_a_user_might_give() -> None:
    dataset = Dataset([1e-160, 2e-160, 3e-160], [1.0, 2.0, 3.0])
    given = examine(LINEAR, dataset, Hyperparameters(frozen=["bias"], dtype="float64")).plan.hyperparameters
    assert Hyperparameters.model_validate(given.model_dump(mode="json")) == given


@pytest.mark.parametrize("times", [1, 10])
def test_a_floor_of_a_schedule_that_raises_the_rate_is_named_and_lowered(times: float) -> None:
    asked = {"epochs": 50, "schedule": {"kind": "cosine", "eta_min": 0.5 * times}}
    first, again = train_twice(PETALS, **asked)
    (finding,) = first.findings
    assert finding.evidence["learning_rate"] < 0.01 < finding.evidence["largest_learning_rate"]
    assert (
        f"the learning rate {finding.evidence['largest_learning_rate']:.3g}, to which the schedule cosine"
        in finding.detail
    )
    assert again.fit > 0.8


def test_a_floor_of_a_schedule_is_lowered_with_the_rate_that_is_too_large() -> None:
    for schedule in ({"kind": "cosine", "eta_min": 5.0}, {"kind": "plateau", "min_learning_rate": 5.0}):
        first, again = train_twice(PETALS, learning_rate=6.0, epochs=50, schedule=schedule)
        assert first.suggestion.keys() == {"learning_rate", "schedule"}
        assert again.fit > 0.8


def test_a_divergence_on_the_way_up_of_one_cycle_is_put_down_to_the_rate_that_was_reached() -> None:
    asked = {"learning_rate": 1e20, "epochs": 1000, "schedule": "one_cycle"}
    first, again = train_twice(PETALS, **asked)
    (finding,) = first.findings
    assert finding.evidence["largest_learning_rate"] < 1e20
    assert "on its way to 1e+20" in finding.detail
    assert again.fit > 0.9


@pytest.mark.parametrize("batch_size", [None, 16])
def test_a_divergence_that_scaling_helps_against_suggests_it_whatever_the_batches(batch_size: int | None) -> None:
    first, again = train_twice(WINE, learning_rate=1.0, epochs=50, batch_size=batch_size)
    assert first.suggestion["scale"] == "standard"
    assert again.fit > -0.1


@pytest.mark.parametrize("scale", ["none", "standard"])
@pytest.mark.parametrize("l1", [0.24, 2.0, 200.0])
@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_a_divergence_of_adaptive_steps_with_l1_is_mended_at_once(optimizer: str, l1: float, scale: str) -> None:
    asked = {"optimizer": optimizer, "l1": l1, "scale": scale, "learning_rate": 20.0, "epochs": 50}
    first, again = train_twice(BREAST_CANCER, **asked)
    assert first.objective == np.inf
    assert again.objective < 0.75


@pytest.mark.parametrize("schedule", ["constant", {"kind": "exponential", "gamma": 0.3}])
@pytest.mark.parametrize("problem", [WINE, BREAST_CANCER])
def test_a_divergence_of_rmsprop_on_features_as_they_are_is_mended_at_once(problem: Problem, schedule: Any) -> None:
    first, again = train_twice(problem, optimizer="rmsprop", learning_rate=0.5, epochs=20, schedule=schedule)
    assert first.objective == np.inf
    assert again.fit > -1.1


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_the_rate_that_is_said_is_the_one_that_is_suggested(optimizer: str) -> None:
    asked = {"learning_rate": 1e3, "epochs": 200, "scale": "standard", "scale_targets": "standard"}
    findings: list[Finding] = []
    for seed in range(5):
        training = Training(
            LINEAR, random_dataset(LINEAR, seed, n_samples=30), hyperparameters(**asked, optimizer=optimizer)
        )
        findings += training.plan.warnings
        try:
            findings += [finding for block in training.blocks() for finding in block.findings]
        except TrainingDiverged as diverged:
            findings.append(diverged.finding)
    said = [(found[1], its.suggestion) for its in findings if (found := re.search(r"try ([\d.e+-]+)$", its.detail))]
    assert said
    for rate, suggestion in said:
        assert float(rate) == suggestion["learning_rate"]
