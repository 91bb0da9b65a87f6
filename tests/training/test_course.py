"""What is said of trainings that ended well, on real data, and what becomes of them when it is followed."""

from typing import Any

import pytest

from service.dataset import Dataset
from tests.training.real_data import BREAST_CANCER, DIABETES, IRIS, PETALS, WINE, Problem, train, train_twice


@pytest.mark.parametrize(
    ("problem", "schedule", "asked"),
    [
        (PETALS, {"kind": "exponential", "gamma": 0.05}, {}),
        (PETALS, {"kind": "exponential", "gamma": 0.05}, {"scale": "standard"}),
        (PETALS, {"kind": "exponential", "gamma": 0.05}, {"batch_size": 75}),
        (PETALS, {"kind": "exponential", "gamma": 0.05}, {"optimizer": "adam", "learning_rate": 0.01}),
        (PETALS, {"kind": "exponential", "gamma": 0.05}, {"loss": "mae"}),
        (PETALS, {"kind": "exponential", "gamma": 0.05}, {"scale": "standard", "learning_rate": 0.6}),
        (IRIS, {"kind": "exponential", "gamma": 0.01}, {}),
        (IRIS, {"kind": "exponential", "gamma": 0.01}, {"l1": 1e-3}),
        (IRIS, {"kind": "step", "step_size": 2, "gamma": 0.01}, {}),
        (IRIS, {"kind": "plateau", "patience": 0, "threshold": 0.5, "factor": 0.01}, {}),
        (IRIS, {"kind": "inverse_scaling", "power_t": 5.0}, {}),
        (
            IRIS,
            {"kind": "exponential", "gamma": 0.3},
            {"learning_rate": 30.0, "batch_size": 8, "clip_gradient_norm": 0.05},
        ),
    ],
)
def test_a_schedule_that_left_next_to_nothing_of_the_rate_is_named_and_a_slower_one_gets_further(
    problem: Problem, schedule: dict[str, Any], asked: dict[str, Any]
) -> None:
    first, again = train_twice(problem, epochs=200, schedule=schedule, **asked)
    assert schedule["kind"] in first["schedule_too_fast"].detail
    assert "plateau" not in first.codes
    assert again.fit > first.fit
    assert "schedule_too_fast" not in again.codes


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle", {"kind": "exponential", "gamma": 0.99}])
def test_a_schedule_that_left_enough_of_the_rate_is_not_named(schedule: Any) -> None:
    for problem in (IRIS, PETALS):
        assert "schedule_too_fast" not in train(problem, epochs=200, schedule=schedule).codes


@pytest.mark.parametrize(("learning_rate", "epochs"), [(0.18, 1000), (0.13, 200), (0.96, 200)])
def test_a_loss_that_oscillated_and_ended_at_its_lowest_is_left_as_it_is(learning_rate: float, epochs: int) -> None:
    asked = {"epochs": epochs, "learning_rate": learning_rate}
    assert "oscillation" not in train(IRIS, **asked).codes
    assert train(IRIS, **asked).fit > train(IRIS, epochs=epochs).fit


@pytest.mark.parametrize(
    ("problem", "learning_rate", "epochs"),
    [(IRIS, 0.32, 30), (IRIS, 0.32, 200), (IRIS, 3.2, 1000), (BREAST_CANCER, 9.6e-6, 30)],
)
def test_a_loss_that_oscillates_above_its_lowest_gets_further_as_suggested(
    problem: Problem, learning_rate: float, epochs: int
) -> None:
    for schedule in ("constant", {"kind": "inverse_scaling", "power_t": 0.01}):
        first, again = train_twice(problem, learning_rate=learning_rate, epochs=epochs, schedule=schedule)
        assert first["oscillation"].suggestion == {"schedule": "cosine"}
        assert again.fit > first.fit


@pytest.mark.parametrize(
    ("problem", "asked"),
    [
        (IRIS, {"learning_rate": 1e-8, "l1": 1e-4, "epochs": 200}),
        (IRIS, {"learning_rate": 1e-8, "l1": 1e-4, "epochs": 200, "optimizer": "adam"}),
        (IRIS, {"learning_rate": 1e-30, "epochs": 200, "optimizer": "adam"}),
        (DIABETES, {"learning_rate": 1e-8, "l1": 0.1, "scale": "standard"}),
        (WINE, {"learning_rate": 1e-7, "optimizer": "rmsprop", "epochs": 50, "schedule": "step"}),
        (BREAST_CANCER, {"learning_rate": 1e-8, "optimizer": "adagrad", "epochs": 20}),
        (BREAST_CANCER, {"learning_rate": 1e-9, "optimizer": "lbfgs", "epochs": 50}),
        (BREAST_CANCER, {"learning_rate": 1e-9, "optimizer": "lbfgs", "l1": 1e-3, "epochs": 50}),
    ],
)
def test_a_rate_that_is_far_too_small_is_told_whatever_the_optimizer_and_the_penalty(
    problem: Problem, asked: dict[str, Any]
) -> None:
    first, again = train_twice(problem, **asked)
    assert "learning_rate_too_small" in first.codes
    assert again.objective < 0.95 * first.objective


@pytest.mark.parametrize("l1", [0.01, 0.1, 10.0])
def test_a_training_that_has_come_to_the_bends_of_l1_is_not_told_to_go_faster(l1: float) -> None:
    asked = {"l1": l1, "scale": "standard", "epochs": 5000}
    suggested = train(DIABETES, **asked)
    assert "learning_rate_too_small" not in suggested.codes
    assert "schedule_too_fast" not in train(DIABETES, **asked, schedule={"kind": "exponential", "gamma": 0.998}).codes


def test_off_a_plateau_steps_of_bounded_length_are_helped_by_scaling_features_and_targets() -> None:
    """The petals' lengths in tens of metres, and their widths in millimetres."""
    features, widths = PETALS[1].features - PETALS[1].features.mean(axis=0), 10 * PETALS[1].targets
    mixed: Problem = ("linear_regression", Dataset(features[:, [0, 2]] * [1.0, 1e-4], widths))
    asked = {"clip_gradient_norm": 50.0, "epochs": 2000}
    first = train(mixed, **asked)
    suggestion = first["plateau"].suggestion
    assert suggestion == {"scale": "standard", "scale_targets": "standard", "learning_rate": "auto"}
    assert train(mixed, **asked | suggestion).fit > first.fit
