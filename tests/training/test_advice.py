import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes

from service.dataset import Table
from service.hyperparameters import Hyperparameters
from service.tasks import Task
from service.training.advice import LearningRateAdvice, advise_learning_rate, rule_of
from service.training.moments import moments
from service.training.quadratic import loss_curvature, quadratic_of
from service.training.rates import DEFAULT_LEARNING_RATES
from service.training.samples import Samples
from tests.training.descents import LOSS_OF_TASK, Array, draw_samples, draw_start, losses_by_torch, settled


def _inputs(samples: Samples) -> Array:
    """Give the features and a column of ones."""
    return np.hstack([samples.features, np.ones((len(samples), 1))])


def _limit(advice: LearningRateAdvice) -> float:
    assert advice.limit is not None
    return advice.limit


RULES = [
    {},
    {"momentum": 0.3},
    {"momentum": 0.9},
    {"momentum": 0.8, "dampening": 0.6},
    {"momentum": 0.7, "nesterov": True},
]


@settings(max_examples=100, deadline=None)
@draw(
    seed=st.integers(0, 10_000),
    rule=st.sampled_from(RULES),
    loss=st.sampled_from(["mse", "half_mse"]),
    l2=st.sampled_from([0.0, 2.0]),
    n_targets=st.integers(1, 3),
    frozen=st.sampled_from([[], ["bias"], ["weight"]]),
    weighted=st.booleans(),
)
def test_the_limit_is_sharp_for_a_quadratic_objective(
    seed: int, rule: dict[str, Any], loss: str, l2: float, n_targets: int, frozen: list[str], weighted: bool
) -> None:
    samples = draw_samples("linear_regression", seed, 15, n_targets=n_targets, weighted=weighted)
    given = settled("linear_regression", loss=loss, l2=l2, frozen=frozen, **rule)
    advice = advise_learning_rate("linear_regression", samples, given)
    assert advice.kind == "exact"
    factors = np.ones(15) if samples.weights is None else samples.weights
    inputs = _inputs(samples)
    learns = np.array(["weight" not in frozen] * 3 + ["bias" not in frozen])

    def gradient(parameters: Array) -> Array:
        residuals = inputs @ parameters - samples.targets
        found = (2 if loss == "mse" else 1) / n_targets * inputs.T @ (factors[:, None] * residuals) / 15
        found[:3] += l2 * parameters[:3]
        return np.asarray(found * learns[:, None])

    def norms(rate: float) -> list[float]:
        parameters, velocity = np.random.default_rng(seed).uniform(-1, 1, size=(4, n_targets)), np.zeros((4, n_targets))
        found = []
        for step in range(1001):
            slope = gradient(parameters)
            found.append(float(np.linalg.norm(slope)))
            velocity = given.momentum * velocity + (slope if step == 0 else (1 - given.dampening) * slope)
            parameters -= rate * (slope + given.momentum * velocity if given.nesterov else velocity)
        return found

    below, above = norms(0.99 * _limit(advice)), norms(1.01 * _limit(advice))
    assert max(below[-2:]) < 1e-2 * below[0]
    assert max(above[-2:]) > 30 * max(above[500:502]) > 0


@settings(max_examples=25, deadline=None)
@draw(
    seed=st.integers(0, 10_000),
    task=st.sampled_from(["logistic_regression", "softmax_regression", "linear_regression"]),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
    l2=st.sampled_from([0.0, 0.5]),
    weighted=st.booleans(),
)
def test_at_a_guaranteed_rate_the_objective_never_rises(
    seed: int, task: Task, scale: float, l2: float, weighted: bool
) -> None:
    drawn = draw_samples(task, seed, weighted=weighted)
    samples = Samples(drawn.features * scale, drawn.targets, drawn.weights)
    given = settled(task, l2=l2, seed=seed, **({"loss": "huber"} if task == "linear_regression" else {}))
    advice = advise_learning_rate(task, samples, given)
    assert advice.kind == "guarantee"
    assert advice.suggested == advice.limit
    assert advice.fastest is None
    assert advice.epochs_to_tolerance(advice.suggested, rule_of(given)) is None
    assert (np.diff(losses_by_torch(samples, given, _limit(advice), epochs=100)) <= 1e-12).all()


@pytest.mark.parametrize(("task", "n_classes"), [("logistic_regression", 2), ("softmax_regression", 3)])
def test_the_hessian_of_a_classifier_is_nowhere_above_its_bound(task: Task, n_classes: int) -> None:
    draw = np.random.default_rng(0)
    samples = draw_samples(task, 0, weighted=True)
    inputs, weights = _inputs(samples), samples.weights
    assert weights is not None
    bound = 1 / _limit(advise_learning_rate(task, samples, settled(task)))
    for size in (0.0, 0.1, 1.0, 10.0):
        outputs = inputs @ (size * draw.normal(size=(4, n_classes)))
        likely = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        blocks = np.array([np.diag(p) - np.outer(p, p) for p in likely]) * weights[:, None, None]
        if task == "logistic_regression":
            blocks = blocks[:, :1, :1]
        hessian = np.einsum("nab,ni,nj->aibj", blocks, inputs, inputs) / len(samples)
        assert np.linalg.eigvalsh(hessian.reshape(4 * blocks.shape[1], -1))[-1] <= bound * (1 + 1e-12)


@pytest.mark.parametrize("task", ["linear_regression", "logistic_regression", "softmax_regression"])
@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("rule", [RULES[0], RULES[2]])
def test_the_suggested_rate_trains_mini_batches_and_is_called_guidance(
    task: Task, batch_size: int, rule: dict[str, Any]
) -> None:
    samples = draw_samples(task, 2, 100, weighted=True)
    given = settled(task, batch_size=batch_size, seed=3, **rule)
    advice = advise_learning_rate(task, samples, given)
    assert advice.kind == "guidance"
    losses = losses_by_torch(samples, given, advice.suggested, epochs=20)
    assert losses[-1] < 0.9 * losses[0]


def test_a_batch_of_all_samples_is_the_full_batch() -> None:
    samples = draw_samples("linear_regression", 0)
    full = advise_learning_rate("linear_regression", samples, settled("linear_regression"))
    assert advise_learning_rate("linear_regression", samples, settled("linear_regression", batch_size=50)) == full


@pytest.mark.parametrize("task", ["linear_regression", "mlp_regressor"])
def test_the_suggested_rate_trains_on_absolute_errors_in_steps_of_a_percent(task: Task) -> None:
    features, targets = load_diabetes(return_X_y=True)
    samples = Samples(features / features.std(axis=0), targets[:, None])
    given = settled(task, loss="mae", seed=0)
    start = draw_start(given, 10, 1)
    advice = advise_learning_rate(task, samples, given, None, start)
    assert (advice.kind, advice.limit) == ("guidance", None)
    losses = losses_by_torch(samples, given, advice.suggested, epochs=1000)
    assert losses[-1] < 50 < losses[0]
    assert losses[-1] < 1.1 * losses.min()


@pytest.mark.parametrize("optimizer", list(DEFAULT_LEARNING_RATES))
@pytest.mark.parametrize("task", list(LOSS_OF_TASK))
def test_optimizers_that_adapt_get_the_default_of_torch(optimizer: str, task: Task) -> None:
    samples = draw_samples(task, 0)
    advice = advise_learning_rate(task, samples, settled(task, optimizer=optimizer))
    assert (advice.kind, advice.limit, advice.fastest) == ("guidance", None, None)
    named = {"adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "adagrad": "Adagrad", "lbfgs": "LBFGS"}[optimizer]
    assert getattr(torch.optim, named)([torch.zeros(1)]).defaults["lr"] == advice.suggested
    assert (advice.condition_number is None) == task.startswith("mlp")


def test_scaling_is_foreseen_without_being_done() -> None:
    drawn = draw_samples("linear_regression", 5, 40, weighted=True)
    samples = Samples(drawn.features * [1, 100, 1e4] + [5, 50, 0], drawn.targets, drawn.weights)
    given = settled("linear_regression", l2=0.1)
    scaled = (samples.features - samples.features.mean(axis=0)) / samples.features.std(axis=0)
    before = advise_learning_rate("linear_regression", samples, given)
    done = Samples(scaled, samples.targets, samples.weights)
    after = advise_learning_rate("linear_regression", done, given.model_copy(update={"scale": "standard"}))
    assert before.scaled_limit == pytest.approx(after.limit)
    assert before.scaled_condition_number == pytest.approx(after.condition_number)
    assert f"rises from {before.limit:.3g} to {after.limit:.3g} with scale: standard" in before.detail
    assert after.scaled_limit is None
    assert after.scaled_condition_number is None
    by_chance = advise_learning_rate("linear_regression", done, given)
    assert by_chance.scaled_limit is None


def test_moments_that_are_given_are_not_taken_again() -> None:
    samples = draw_samples("linear_regression", 6)
    found = moments(samples.features * 2, samples.targets)
    given = settled("linear_regression", frozen=["bias"])
    doubled = advise_learning_rate("linear_regression", samples, given, quadratic_of(found, given, 1))
    assert _limit(doubled) * 4 == pytest.approx(_limit(advise_learning_rate("linear_regression", samples, given)))


@settings(max_examples=30, deadline=None)
@draw(seed=st.integers(0, 10_000), rule=st.sampled_from(RULES))
def test_at_the_fastest_rate_the_slowest_mode_needs_the_fewest_epochs(seed: int, rule: dict[str, Any]) -> None:
    given = settled("linear_regression", **rule)
    advice = advise_learning_rate("linear_regression", draw_samples("linear_regression", seed), given)
    assert advice.fastest is not None
    fewest = advice.epochs_to_tolerance(advice.fastest, rule_of(given), 1e-60)
    assert fewest is not None
    for share in (0.3, 0.7, 0.95, 1.05, 1.5):
        epochs = advice.epochs_to_tolerance(share * advice.fastest, rule_of(given), 1e-60)
        # Roots that are almost one take some epochs more than their modulus tells.
        assert epochs is None or fewest <= 1.1 * epochs + 5


def test_collinear_features_have_no_condition_number_and_a_fastest_rate_over_the_modes_that_curve() -> None:
    drawn = draw_samples("linear_regression", 7, 50)
    for dtype in ("float32", "float64"):
        features: Table = np.hstack([drawn.features, drawn.features[:, :1] * 1.8 + 32]).astype(dtype)
        samples = Samples(features, drawn.targets.astype(dtype))
        advice = advise_learning_rate("linear_regression", samples, settled("linear_regression"))
        values = np.linalg.eigvalsh(2 * _inputs(samples).astype(float).T @ _inputs(samples).astype(float) / 50)
        assert advice.condition_number is None
        assert advice.fastest == pytest.approx(2 / (values[-1] + values[1]), rel=1e-4)
        assert advice.fastest is not None
        assert advice.epochs_to_tolerance(advice.fastest, rule_of(settled("linear_regression"))) is not None
        penalised = advise_learning_rate("linear_regression", samples, settled("linear_regression", l2=0.1))
        assert penalised.condition_number is not None


@pytest.mark.parametrize("n_samples", [10, 1200])
@pytest.mark.parametrize("frozen", [[], ["bias"]])
def test_more_features_than_an_eigenbasis_is_made_for_give_the_limit_alone(n_samples: int, frozen: list[str]) -> None:
    samples = draw_samples("linear_regression", 0, n_samples, n_features=1100, weighted=True)
    given = settled("linear_regression", frozen=frozen, l2=0.3)
    advice = advise_learning_rate("linear_regression", samples, given)
    assert samples.weights is not None
    inputs = _inputs(samples)[:, : 1100 if frozen else 1101] * np.sqrt(samples.weights)[:, None]
    hessian = 2 * inputs.T @ inputs / n_samples
    hessian[np.diag_indices(1100)] += 0.3
    assert advice.limit == pytest.approx(2 / np.linalg.eigvalsh(hessian)[-1], rel=1e-7)
    assert (advice.kind, advice.fastest, advice.condition_number) == ("exact", None, None)


def test_fewer_samples_than_features_are_no_obstacle() -> None:
    wide = draw_samples("linear_regression", 0, n=10, n_features=40)
    largest = np.linalg.norm(_inputs(wide), 2) ** 2 * 2 / 10
    assert advise_learning_rate("linear_regression", wide, settled("linear_regression")).limit == pytest.approx(
        2 / largest
    )


@pytest.mark.parametrize("size", [0.0, 1e-160, 1e20, 1e160, 1e200, 1e300])
@pytest.mark.parametrize("task", list(LOSS_OF_TASK))
@pytest.mark.parametrize("batch_size", [None, 2])
def test_numbers_of_any_size_give_a_rate_that_a_user_might_give(
    size: float, task: Task, batch_size: int | None
) -> None:
    drawn = draw_samples(task, 1)
    targets = drawn.targets * size if task.endswith(("linear_regression", "regressor")) else drawn.targets
    samples = Samples(drawn.features * size, targets)
    given = settled(task, batch_size=batch_size, frozen=[] if task.startswith("mlp") else ["bias"])
    n_outputs = 3 if task == "mlp_classifier" else 1
    start = draw_start(given, 3, n_outputs) if task.startswith("mlp") else None
    advice = advise_learning_rate(task, samples, given, None, start)
    for rate in (advice.suggested, advice.limit, advice.fastest, advice.scaled_limit):
        assert rate is None or 0 < rate <= 1e38
    for number in (advice.condition_number, advice.scaled_condition_number):
        assert number is None or math.isfinite(number)


def test_the_curvature_bound_of_a_loss_is_its_largest_second_derivative() -> None:
    bounds = {name: loss_curvature(Hyperparameters.model_validate({"loss": name}), 2) for name in ("mse", "half_mse")}
    assert bounds == {"mse": 1.0, "half_mse": 0.5}


def test_advice_is_had_without_torch() -> None:
    code = "import sys, service.training.advice; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_feature_in_tiny_units_is_foreseen_to_be_scaled_though_its_square_vanishes() -> None:
    drawn = draw_samples("linear_regression", 5, 40)
    given = settled("linear_regression")
    tiny = Samples(drawn.features * [1, 1e-200, 1e-150], drawn.targets)
    expected = advise_learning_rate("linear_regression", Samples(drawn.features * [1, 2, 3], drawn.targets), given)
    found = advise_learning_rate("linear_regression", tiny, given)
    assert found.scaled_limit == pytest.approx(expected.scaled_limit)
    assert found.scaled_condition_number == pytest.approx(expected.scaled_condition_number)


def test_without_an_intercept_scaling_is_foreseen_to_divide_alone() -> None:
    drawn = draw_samples("linear_regression", 5, 40, weighted=True)
    samples = Samples(drawn.features * [1, 100, 1e4] + [5, 50, 0], drawn.targets, drawn.weights)
    given = settled("linear_regression", fit_intercept=False)
    divided = Samples(samples.features / samples.features.std(axis=0), samples.targets, samples.weights)
    before, after = (advise_learning_rate("linear_regression", each, given) for each in (samples, divided))
    assert before.scaled_limit == pytest.approx(after.limit)
    assert before.scaled_condition_number == pytest.approx(after.condition_number)
    assert after.scaled_limit is None


def test_of_a_large_table_of_float32_the_condition_number_knows_features_of_small_scale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features = np.random.default_rng(0).normal(size=(4000, 10)) * np.append(np.ones(9), 0.002)
    samples = Samples(features.astype(np.float32), features[:, :1].astype(np.float32))
    monkeypatch.setattr("service.training.moments.SMALL_TABLE", 0)
    advice = advise_learning_rate("linear_regression", samples, settled("linear_regression"))
    eigenvalues = np.linalg.eigvalsh(
        _inputs(Samples(features, samples.targets)).T @ _inputs(Samples(features, samples.targets))
    )
    assert advice.condition_number == pytest.approx(eigenvalues[-1] / eigenvalues[0], rel=0.05)
