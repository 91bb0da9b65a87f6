import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from service.schedules import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    InverseScalingSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    StepSchedule,
)
from service.training.rates import DEFAULT_LEARNING_RATES, ForeseeableSchedule, Plateau, Rates

patient = settings(deadline=None)  # torch's first scheduler takes most of a second to make

shares = st.floats(0.01, 1.0)
rates = st.floats(1e-6, 1e3)
n_epochs = st.integers(1, 60)


def all_of(schedule: ForeseeableSchedule, learning_rate: float, epochs: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return Rates(schedule, learning_rate, epochs).over(np.arange(epochs + 1))


def torch_sgd(learning_rate: float) -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=learning_rate)


def stepped(scheduler: lr_scheduler.LRScheduler, n_steps: int) -> list[float]:
    """Give the rate of the first step and after each of so many calls of the scheduler's step."""
    found = [scheduler.get_last_lr()[0]]
    for _ in range(n_steps):
        scheduler.optimizer.step()
        scheduler.step()
        found.append(scheduler.get_last_lr()[0])
    return [float(rate) for rate in found]


@given(rates, n_epochs)
def test_a_constant_rate_stays(learning_rate: float, epochs: int) -> None:
    assert all_of(ConstantSchedule(), learning_rate, epochs).tolist() == [learning_rate] * (epochs + 1)


@patient
@given(rates, n_epochs, st.integers(1, 70), shares)
def test_steps_are_those_of_torch(learning_rate: float, epochs: int, step_size: int, gamma: float) -> None:
    ours = all_of(StepSchedule(step_size=step_size, gamma=gamma), learning_rate, epochs)
    oracle = lr_scheduler.StepLR(torch_sgd(learning_rate), step_size, gamma)
    np.testing.assert_allclose(ours, stepped(oracle, epochs), rtol=1e-12)


@patient
@given(rates, n_epochs, shares)
def test_exponential_decay_is_that_of_torch(learning_rate: float, epochs: int, gamma: float) -> None:
    ours = all_of(ExponentialSchedule(gamma=gamma), learning_rate, epochs)
    np.testing.assert_allclose(
        ours, stepped(lr_scheduler.ExponentialLR(torch_sgd(learning_rate), gamma), epochs), rtol=1e-12
    )


@patient
@given(rates, n_epochs, st.floats(0, 10))
def test_the_cosine_is_that_of_torch(learning_rate: float, epochs: int, eta_min: float) -> None:
    ours = all_of(CosineSchedule(eta_min=eta_min), learning_rate, epochs)
    oracle = lr_scheduler.CosineAnnealingLR(torch_sgd(learning_rate), T_max=epochs, eta_min=eta_min)
    np.testing.assert_allclose(ours, stepped(oracle, epochs), rtol=1e-10, atol=1e-12 * (learning_rate + eta_min))
    assert ours[0] == pytest.approx(learning_rate)
    assert ours[-1] == eta_min


@patient
@given(rates, st.integers(2, 60), st.floats(0.01, 0.99), st.floats(1, 1e3), st.floats(1, 1e6))
def test_one_cycle_is_that_of_torch(
    learning_rate: float, epochs: int, pct_start: float, div_factor: float, final_div_factor: float
) -> None:
    if pct_start * epochs == 1:  # torch divides by zero
        return
    schedule = OneCycleSchedule(pct_start=pct_start, div_factor=div_factor, final_div_factor=final_div_factor)
    ours = all_of(schedule, learning_rate, epochs)
    oracle = lr_scheduler.OneCycleLR(
        torch_sgd(0.1),
        max_lr=learning_rate,
        total_steps=epochs,
        pct_start=pct_start,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        cycle_momentum=False,
    )
    np.testing.assert_allclose(ours[:-1], stepped(oracle, epochs - 1), rtol=1e-10, atol=1e-12 * learning_rate)
    assert ours[-1] == ours[-2]


@pytest.mark.parametrize("epochs", [2, 4, 5, 10])
def test_one_cycle_falls_from_its_peak_where_torch_divides_by_zero(epochs: int) -> None:
    schedule = OneCycleSchedule(pct_start=1 / epochs)
    with pytest.raises(ZeroDivisionError):
        lr_scheduler.OneCycleLR(
            torch_sgd(0.1), max_lr=3.0, total_steps=epochs, pct_start=1 / epochs, cycle_momentum=False
        )
    ours = all_of(schedule, 3.0, epochs)
    assert ours[0] == 3.0
    assert ours[epochs - 1] == pytest.approx(3.0 / 25 / 1e4)
    assert (np.diff(ours[:-1]) < 0).all()


def test_a_single_epoch_of_one_cycle_goes_at_the_peak() -> None:
    assert all_of(OneCycleSchedule(), 3.0, 1).tolist() == [3.0, 3.0]


@given(rates, n_epochs, st.floats(0.01, 10))
def test_inverse_scaling_is_that_of_scikit_learn(learning_rate: float, epochs: int, power_t: float) -> None:
    ours = all_of(InverseScalingSchedule(power_t=power_t), learning_rate, epochs)
    oracle = [learning_rate / pow(passed, power_t) for passed in range(1, epochs + 2)]
    np.testing.assert_allclose(ours, oracle, rtol=1e-12)


@pytest.mark.parametrize(
    "schedule",
    [
        ConstantSchedule(),
        StepSchedule(step_size=1000, gamma=0.99),
        ExponentialSchedule(gamma=0.999999),
        CosineSchedule(),
        OneCycleSchedule(),
        InverseScalingSchedule(),
    ],
)
def test_any_slice_of_ten_million_epochs_has_the_rates_of_its_epochs(schedule: ForeseeableSchedule) -> None:
    ours = Rates(schedule, 0.1, 10_000_000)
    epochs = np.array([0, 1, 999, 1000, 2_999_999, 5_000_000, 9_999_999, 10_000_000])
    found = ours.over(epochs)
    assert found.dtype == np.float64
    assert found.tolist() == [ours.at(int(epoch)) for epoch in epochs]
    assert np.isfinite(found).all()
    assert (found >= 0).all()


def test_a_rate_that_decays_away_is_zero_without_a_warning() -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert all_of(ExponentialSchedule(gamma=0.1), 1.0, 1000)[-1] == 0.0


losses = st.lists(
    st.one_of(st.sampled_from([1.0, 0.99995, 0.5, 0.0, float("inf"), float("nan")]), st.floats(0, 2)), max_size=60
)


@patient
@given(
    losses,
    st.floats(1e-9, 10),
    st.floats(0.01, 0.99),
    st.integers(0, 5),
    st.sampled_from([0.0, 1e-4, 0.1]),
    st.integers(0, 4),
    st.sampled_from([0.0, 1e-3, 1.0]),
)
def test_a_plateau_is_that_of_torch(
    observed: list[float],
    learning_rate: float,
    factor: float,
    patience: int,
    threshold: float,
    cooldown: int,
    min_learning_rate: float,
) -> None:
    schedule = PlateauSchedule(
        factor=factor,
        patience=patience,
        threshold=threshold,
        cooldown=cooldown,
        min_learning_rate=min_learning_rate,
    )
    ours, optimizer = Plateau(schedule, learning_rate), torch_sgd(learning_rate)
    oracle = lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=factor, patience=patience, threshold=threshold, cooldown=cooldown, min_lr=min_learning_rate
    )
    for loss in observed:
        ours.observe(loss)
        oracle.step(loss)
        assert ours.rate == optimizer.param_groups[0]["lr"]


def test_the_defaults_are_those_of_torch() -> None:
    vector = [torch.nn.Parameter(torch.zeros(1))]
    oracles = {
        "adam": torch.optim.Adam(vector),
        "adamw": torch.optim.AdamW(vector),
        "rmsprop": torch.optim.RMSprop(vector),
        "adagrad": torch.optim.Adagrad(vector),
        "lbfgs": torch.optim.LBFGS(vector),
    }
    assert {name: oracle.defaults["lr"] for name, oracle in oracles.items()} == DEFAULT_LEARNING_RATES


def test_rates_are_known_without_torch() -> None:
    code = "import sys, service.training.rates; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
