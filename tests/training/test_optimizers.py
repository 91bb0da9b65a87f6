import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from service.hyperparameters import Hyperparameters
from service.training.optimizers import SGD, make_optimizer
from service.training.torch_optimizers import make_torch_optimizer
from tests.training.objectives import Evaluate, logistic, quadratic

ORACLES: list[tuple[Hyperparameters, Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]]] = [
    (Hyperparameters(), lambda vector: torch.optim.SGD(vector)),
    (Hyperparameters(momentum=0.9), lambda vector: torch.optim.SGD(vector, momentum=0.9)),
    (
        Hyperparameters(momentum=0.8, dampening=0.6),
        lambda vector: torch.optim.SGD(vector, momentum=0.8, dampening=0.6),
    ),
    (
        Hyperparameters(momentum=0.7, nesterov=True),
        lambda vector: torch.optim.SGD(vector, momentum=0.7, nesterov=True),
    ),
    (Hyperparameters(optimizer="adam"), lambda vector: torch.optim.Adam(vector)),
    (Hyperparameters(optimizer="adamw"), lambda vector: torch.optim.AdamW(vector)),
    (Hyperparameters(optimizer="rmsprop"), lambda vector: torch.optim.RMSprop(vector)),
    (Hyperparameters(optimizer="adagrad"), lambda vector: torch.optim.Adagrad(vector)),
]
every_optimizer = pytest.mark.parametrize(
    ("hyperparameters", "oracle"),
    ORACLES,
    ids=["sgd", "momentum", "dampening", "nesterov", "adam", "adamw", "rmsprop", "adagrad"],
)
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])

Oracle = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]
Step = Callable[[Tensor, Tensor, float], None]

N_STEPS = 60


def own_step(hyperparameters: Hyperparameters, parameters: Tensor, frozen: Tensor | None = None) -> Step:
    del parameters
    return make_optimizer(hyperparameters, frozen).step


def wrapped_step(hyperparameters: Hyperparameters, parameters: Tensor, frozen: Tensor | None = None) -> Step:
    return make_torch_optimizer(hyperparameters, parameters, frozen).step


both_kinds = pytest.mark.parametrize("make_step", [own_step, wrapped_step], ids=["own", "torch"])
MakeStep = Callable[..., Step]


def oracle_step(oracle: Oracle, start: Tensor) -> Callable[[Tensor, float], Tensor]:
    """Give a step of torch's optimizer from a start, which gives the parameters after it."""
    vector = torch.nn.Parameter(start.clone())
    optimizer = oracle([vector])

    def step(gradient: Tensor, learning_rate: float) -> Tensor:
        vector.grad = gradient.clone()
        optimizer.param_groups[0]["lr"] = learning_rate
        optimizer.step()
        return vector.detach()

    return step


def rate(step: int) -> float:
    """Give a learning rate that changes at every step."""
    return 0.03 * (1.2 + math.cos(step))


@every_optimizer
@both_kinds
@pytest.mark.parametrize("problem", [quadratic, logistic])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_descent_is_that_of_torch(
    hyperparameters: Hyperparameters,
    oracle: Oracle,
    make_step: MakeStep,
    problem: Callable[[int], tuple[Tensor, Evaluate]],
    seed: int,
) -> None:
    start, evaluate = problem(seed)
    parameters, expected = start.clone(), start.clone()
    ours, theirs = make_step(hyperparameters, parameters), oracle_step(oracle, start)
    for step in range(N_STEPS):
        ours(parameters, evaluate(parameters)[1], rate(step))
        expected = theirs(evaluate(expected)[1], rate(step))
        torch.testing.assert_close(parameters, expected, rtol=1e-11, atol=1e-12)
    assert evaluate(parameters)[0] < evaluate(start)[0]


@every_optimizer
@both_kinds
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), log_scale=st.floats(-12, 12), learning_rate=st.floats(1e-6, 10))
def test_whatever_the_gradients_the_steps_are_those_of_torch(
    hyperparameters: Hyperparameters,
    oracle: Oracle,
    make_step: MakeStep,
    seed: int,
    log_scale: float,
    learning_rate: float,
) -> None:
    draw = np.random.default_rng(seed)
    start = torch.tensor(draw.normal(size=5))
    parameters, largest = start.clone(), start.abs()
    ours, theirs = make_step(hyperparameters, parameters), oracle_step(oracle, start)
    for _ in range(20):
        gradient = torch.tensor(draw.normal(size=5) * 10**log_scale * draw.integers(0, 2, 5))
        changing = learning_rate * draw.uniform(0.1, 1)
        ours(parameters, gradient, changing)
        expected = theirs(gradient, changing)
        largest = torch.maximum(largest, expected.abs())
        assert ((parameters - expected).abs() <= 1e-12 * largest).all()


@every_optimizer
@both_kinds
def test_float32_steps_are_those_of_torch_within_its_precision(
    hyperparameters: Hyperparameters, oracle: Oracle, make_step: MakeStep
) -> None:
    draw = torch.Generator().manual_seed(3)
    start = torch.randn(6, generator=draw)
    parameters = start.clone()
    ours, theirs = make_step(hyperparameters, parameters), oracle_step(oracle, start)
    for step in range(N_STEPS):
        gradient = torch.randn(6, generator=draw)
        ours(parameters, gradient, rate(step))
        torch.testing.assert_close(parameters, theirs(gradient, rate(step)), rtol=1e-5, atol=1e-5)


@every_optimizer
@both_kinds
@both_dtypes
def test_a_gradient_is_left_as_it_is(
    hyperparameters: Hyperparameters, oracle: Oracle, make_step: MakeStep, dtype: torch.dtype
) -> None:
    del oracle
    parameters, gradient = torch.tensor([1.0, -2.0, 0.5], dtype=dtype), torch.tensor([0.3, 0.0, -7.0], dtype=dtype)
    before, ours = gradient.clone(), make_step(hyperparameters, parameters)
    for step in range(5):
        ours(parameters, gradient, rate(step))
    assert torch.equal(gradient, before)


@every_optimizer
@both_kinds
@both_dtypes
def test_frozen_entries_never_move(
    hyperparameters: Hyperparameters, oracle: Oracle, make_step: MakeStep, dtype: torch.dtype
) -> None:
    start = torch.tensor([3.0, -2.0, 1e-3, 7e6, 0.5], dtype=dtype)
    frozen = torch.tensor([True, False, True, True, False])
    parameters = start.clone()
    ours, theirs = make_step(hyperparameters, parameters, frozen), oracle_step(oracle, start)
    for step in range(N_STEPS):
        gradient = torch.randn(5, generator=torch.Generator().manual_seed(step), dtype=dtype).masked_fill(frozen, 0)
        ours(parameters, gradient, rate(step))
        expected = theirs(gradient, rate(step))
    assert torch.equal(parameters[frozen], start[frozen])
    torch.testing.assert_close(parameters[~frozen], expected[~frozen], rtol=1e-5, atol=1e-5)


@every_optimizer
def test_no_step_after_the_first_takes_memory(hyperparameters: Hyperparameters, oracle: Oracle) -> None:
    del oracle
    parameters, gradient = torch.ones(1000), torch.ones(1000)
    step = make_optimizer(hyperparameters, torch.zeros(1000, dtype=torch.bool)).step
    step(parameters, gradient, 0.1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        for _ in range(3):
            step(parameters, gradient, 0.1)
    operations = [event for event in profile.events() if event.name.startswith("aten::")]
    assert len(operations) >= 3
    # A number that multiplies may become a tensor of eight bytes on the way; a vector would be four thousand.
    assert max(event.cpu_memory_usage for event in operations) <= 8


def test_a_step_of_plain_sgd_is_one_operation() -> None:
    parameters, gradient = torch.ones(3), torch.ones(3)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        SGD().step(parameters, gradient, 0.1)
    assert [event.name for event in profile.events() if event.name.startswith("aten::")] == ["aten::add_"]


@both_dtypes
def test_an_adaptive_step_along_a_gradient_of_zero_is_none(dtype: torch.dtype) -> None:
    for name in ("adam", "rmsprop", "adagrad"):
        parameters = torch.tensor([1.0, 2.0], dtype=dtype)
        ours = make_optimizer(Hyperparameters.model_validate({"optimizer": name}), None)
        for _ in range(3):
            ours.step(parameters, torch.zeros(2, dtype=dtype), 0.1)
        assert parameters.tolist() == [1.0, 2.0]


def test_lbfgs_is_not_made_where_a_gradient_is_given() -> None:
    lbfgs = Hyperparameters(optimizer="lbfgs")
    with pytest.raises(ValueError, match="lbfgs"):
        make_optimizer(lbfgs, None)
    with pytest.raises(ValueError, match="lbfgs"):
        make_torch_optimizer(lbfgs, torch.ones(2), None)
