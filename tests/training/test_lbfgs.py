from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from service.training.torch_optimizers import LBFGS
from tests.training.objectives import Evaluate, logistic, quadratic

both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def searched(start: Tensor, evaluate: Evaluate, n_steps: int, learning_rate: float = 1.0) -> list[Tensor]:
    """Take steps of LBFGS, and give the parameters before the first and after each."""
    parameters = start.clone()
    ours, passed = LBFGS(parameters), [start]
    for _ in range(n_steps):
        ours.step(parameters, lambda: evaluate(parameters), learning_rate)
        passed.append(parameters.clone())
    return passed


@pytest.mark.parametrize("problem", [quadratic, logistic])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("learning_rate", [1.0, 0.3, 20.0])
def test_steps_of_lbfgs_add_up_to_one_call_of_torch(
    problem: Callable[[int], tuple[Tensor, Evaluate]], seed: int, learning_rate: float
) -> None:
    start, evaluate = problem(seed)
    ours = searched(start, evaluate, 12, learning_rate)
    for n_steps in (1, 2, 5, 12):
        vector = torch.nn.Parameter(start.clone())
        oracle = torch.optim.LBFGS(
            [vector],
            lr=learning_rate,
            max_iter=n_steps,
            max_eval=1000,
            tolerance_grad=0,
            tolerance_change=0,
            history_size=100,
            line_search_fn="strong_wolfe",
        )

        def closure(vector: torch.nn.Parameter = vector) -> Tensor:
            loss, vector.grad = evaluate(vector.detach())
            return loss

        oracle.step(closure)  # type: ignore[no-untyped-call]  # torch leaves it without types
        torch.testing.assert_close(ours[n_steps], vector.detach(), rtol=1e-12, atol=1e-14)


def diagonal(curvatures: list[float], optimum: float) -> Evaluate:
    def evaluate(parameters: Tensor) -> tuple[Tensor, Tensor]:
        slopes = torch.tensor(curvatures, dtype=parameters.dtype) * (parameters - optimum)
        return (slopes * (parameters - optimum)).sum() / 2, slopes

    return evaluate


@both_dtypes
@pytest.mark.parametrize("optimum", [0.0, 3.7])
def test_lbfgs_finds_a_badly_conditioned_optimum_and_stays(dtype: torch.dtype, optimum: float) -> None:
    evaluate = diagonal([1.0, 1e3, 1e6], optimum)
    passed = searched(torch.tensor([1.0, 2.0, 3.0], dtype=dtype), evaluate, 200)
    losses = [float(evaluate(parameters)[0]) for parameters in passed]
    assert np.isfinite(losses).all()
    assert (np.diff(losses) <= 0).all()
    torch.testing.assert_close(passed[30], torch.full((3,), optimum, dtype=dtype), rtol=1e-6, atol=1e-6)
    assert torch.equal(passed[-1], passed[-2])


def test_lbfgs_stands_still_where_the_gradient_is_zero() -> None:
    start = torch.tensor([2.0, 2.0])
    assert all(torch.equal(passed, start) for passed in searched(start, diagonal([1.0, 5.0], 2.0), 3))


def test_lbfgs_leaves_the_gradient_and_what_has_none() -> None:
    start, evaluate = quadratic(4)
    frozen = torch.arange(7) % 2 == 0
    given: list[tuple[Tensor, Tensor]] = []

    def recorded(parameters: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = evaluate(parameters)
        gradient = gradient.masked_fill(frozen, 0)
        given.append((gradient, gradient.clone()))
        return loss, gradient

    passed = searched(start, recorded, 20)
    assert all(torch.equal(*pair) for pair in given)
    assert all(torch.equal(parameters[frozen], start[frozen]) for parameters in passed)
    assert float(recorded(passed[-1])[1].abs().max()) < 1e-8


@both_dtypes
def test_lbfgs_comes_back_from_trials_that_are_not_finite(dtype: torch.dtype) -> None:
    def barrier(parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Not a number below 0; least at 4."""
        return (parameters.sqrt() - parameters.log()).sum(), 0.5 / parameters.sqrt() - 1 / parameters

    trials: list[float] = []

    def recorded(parameters: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = barrier(parameters)
        trials.append(float(loss))
        return loss, gradient

    passed = searched(torch.tensor([50.0, 9.0], dtype=dtype), recorded, 60, learning_rate=1e3)
    assert not np.isfinite(trials).all()
    assert all(torch.isfinite(parameters).all() for parameters in passed)
    torch.testing.assert_close(passed[-1], torch.full((2,), 4.0, dtype=dtype), rtol=1e-3, atol=0)


@both_dtypes
@pytest.mark.parametrize("learning_rate", [1e-30, 1e5, 1e20, 1e38])
def test_no_learning_rate_brings_lbfgs_up_or_out_of_the_finite(dtype: torch.dtype, learning_rate: float) -> None:
    evaluate = diagonal([1.0, 10.0], 1.0)
    passed = searched(torch.zeros(2, dtype=dtype), evaluate, 10, learning_rate)
    losses = [float(evaluate(parameters)[0]) for parameters in passed]
    assert np.isfinite(losses).all()
    assert (np.diff(losses) <= 0).all()


@both_dtypes
def test_lbfgs_goes_down_without_end_without_a_fault(dtype: torch.dtype) -> None:
    passed = searched(
        torch.zeros(2, dtype=dtype), lambda parameters: (parameters.sum(), torch.ones_like(parameters)), 5
    )
    sums = [float(parameters.sum()) for parameters in passed]
    assert sums[1] < -1e20
    assert np.isfinite(sums).all()


def test_from_a_start_that_is_not_finite_lbfgs_says_so_by_what_it_leaves() -> None:
    start = torch.tensor([1e30, 1.0])
    assert not torch.isfinite(searched(start, diagonal([1.0, 1.0], 0.0), 1)[-1]).all()


@both_dtypes
def test_a_step_that_underflows_stands_still_and_the_next_one_that_does_not_goes_on(dtype: torch.dtype) -> None:
    start, evaluate = quadratic(0)
    parameters = start.to(dtype)
    ours = LBFGS(parameters)

    def at() -> tuple[Tensor, Tensor]:
        objective, gradient = evaluate(parameters.to(start.dtype))
        return objective.to(dtype), gradient.to(dtype)

    passed = [parameters.clone()]
    for learning_rate in (0.0, 1.0, 0.0, 0.0, 1.0):
        ours.step(parameters, at, learning_rate)
        passed.append(parameters.clone())
    moved = [not torch.equal(before, after) for before, after in pairwise(passed)]
    assert moved == [False, True, False, False, True]
    for before, after in ((passed[0], passed[2]), (passed[2], passed[5])):
        assert evaluate(after.to(start.dtype))[0] < evaluate(before.to(start.dtype))[0]
