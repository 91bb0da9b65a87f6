from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from service.tasks import LossName
from service.training import threads
from service.training.native import sweep
from service.training.native.library import Library
from service.training.native.sweep import LOSSES, NativeSweep
from tests.training.native import guarded, instruction_sets

SHAPES = [(1, 1), (31, 7), (33, 16), (129, 17), (16, 20), (256, 9), (300, 100), (257, 113), (130, 2000), (700, 3)]
ORACLES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": partial(functional.mse_loss, reduction="none"),
    "half_mse": lambda outputs, targets: functional.mse_loss(outputs, targets, reduction="none") / 2,
    "mae": partial(functional.l1_loss, reduction="none"),
    "huber": partial(functional.huber_loss, reduction="none"),
    "binary_cross_entropy": lambda outputs, codes: functional.softplus(outputs * (1 - 2 * codes), threshold=700.0),
    "cross_entropy": lambda outputs, codes: functional.cross_entropy(outputs, codes[:, 0].long(), reduction="none"),
}


@dataclass(frozen=True)
class Table:
    """Samples, as the compiled code takes them."""

    features: Tensor
    targets: Tensor
    weights: Tensor | None
    loss: LossName
    n_outputs: int

    def swept(self, library: Library, instructions: str | None = None, *, packs: bool = False) -> NativeSweep:
        given = self.features, self.targets, self.weights, self.loss, self.n_outputs
        return NativeSweep(*given, packs=packs, library=library, instructions=instructions)

    def at(self, rows: Tensor) -> "Table":
        weights = None if self.weights is None else self.weights[rows]
        return Table(self.features[rows], self.targets[rows], weights, self.loss, self.n_outputs)

    def by_autograd(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """In float64."""
        at = parameters.to(torch.float64, copy=True).requires_grad_()
        matrix = at.view(self.n_outputs, -1)
        values = ORACLES[self.loss](self.features.double() @ matrix[:, :-1].T + matrix[:, -1], self.targets.double())
        if self.weights is not None:
            values = values * self.weights.double().view(-1, *[1] * (values.dim() - 1))
        value = values.sum() / len(values) if self.loss == "binary_cross_entropy" else values.mean()
        return value.detach(), torch.autograd.grad(value, at)[0]


def random_table(
    seed: int, shape: tuple[int, int], loss: LossName, n_outputs: int, dtype: torch.dtype, *, weighted: bool
) -> Table:
    draws, n = torch.Generator().manual_seed(seed), shape[0]
    targets = torch.randn(n, n_outputs, generator=draws, dtype=dtype)
    if loss == "binary_cross_entropy":
        targets = (targets > 0).to(dtype)
    if loss == "cross_entropy":
        targets = torch.randint(n_outputs, (n, 1), generator=draws).to(dtype)
    weights = torch.rand(n, generator=draws, dtype=dtype) if weighted else None
    return Table(torch.randn(shape, generator=draws, dtype=dtype), targets, weights, loss, n_outputs)


def random_parameters(seed: int, table: Table, size: float) -> Tensor:
    n_columns, draws = table.features.shape[1], torch.Generator().manual_seed(seed)
    its = torch.randn(table.n_outputs * (n_columns + 1), generator=draws, dtype=table.features.dtype)
    found: Tensor = its * (size / n_columns**0.5)
    return found


def evaluated(its_sweep: Any, parameters: Tensor) -> tuple[Tensor, Tensor]:
    gradient, loss, again = torch.empty_like(parameters), parameters.new_empty(()), parameters.new_empty(())
    its_sweep.loss_and_gradient(parameters, gradient, loss)
    its_sweep.loss_and_gradient(parameters, None, again)
    assert torch.equal(loss, again) or loss.isnan()
    return loss, gradient


def in_batches(
    its_sweep: NativeSweep, parameters: Tensor, size: int, order: Tensor | None, n_done: int = 0
) -> list[tuple[int, Tensor]]:
    gradient = torch.full_like(parameters, torch.nan)
    return [(n, gradient.clone()) for n in its_sweep.gradients(parameters, gradient, size, order, n_done)]


def assert_near(found: Tensor, expected: Tensor, parameters: Tensor) -> None:
    """Hold a gradient to the precision that its dtype allows: what sums that cancel have lost, every way loses."""
    scale = float(1 + parameters.abs().max() * len(parameters) ** 0.5)
    bound = 100 * torch.finfo(found.dtype).eps * scale * max(1.0, float(expected.abs().max()))
    np.testing.assert_allclose(found.double(), expected, rtol=0, atol=bound)


CASES = {
    "shape": st.sampled_from(SHAPES),
    "loss": st.sampled_from(LOSSES),
    "n_outputs": st.integers(1, 11),
    "dtype": st.sampled_from([torch.float32, torch.float64]),
    "seed": st.integers(0, 10_000),
    "weighted": st.booleans(),
    "size": st.sampled_from([0.1, 1.0, 30.0]),
}


@settings(max_examples=60, deadline=None)
@draw(**CASES)
def test_every_sweep_gives_the_loss_and_the_gradient_of_autograd(
    library: Library,
    shape: tuple[int, int],
    loss: LossName,
    n_outputs: int,
    dtype: torch.dtype,
    seed: int,
    weighted: bool,
    size: float,
) -> None:
    if loss == "mae":
        dtype = torch.float64  # whose rounding hardly ever turns the sign of a residual
    table = random_table(seed, shape, loss, n_outputs, dtype, weighted=weighted)
    parameters = random_parameters(seed, table, size)
    value, gradient = table.by_autograd(parameters)
    for instructions in instruction_sets(library):
        for packs in (False, True)[: 2 if n_outputs == 1 and loss != "cross_entropy" else 1]:
            found, its_gradient = evaluated(table.swept(library, instructions, packs=packs), parameters)
            bound = 100 * torch.finfo(dtype).eps * float(1 + parameters.abs().max() * len(parameters) ** 0.5)
            assert float(found) == pytest.approx(float(value), rel=bound, abs=bound)
            assert_near(its_gradient, gradient, parameters)


@settings(max_examples=60, deadline=None)
@draw(**CASES, batch=st.integers(1, 300), order=st.sampled_from([None, torch.int32, torch.int64]))
def test_the_gradient_of_each_mini_batch_is_that_of_its_rows_alone(
    library: Library,
    shape: tuple[int, int],
    loss: LossName,
    n_outputs: int,
    dtype: torch.dtype,
    seed: int,
    weighted: bool,
    size: float,
    batch: int,
    order: torch.dtype | None,
) -> None:
    if loss == "mae":
        dtype = torch.float64  # whose rounding hardly ever turns the sign of a residual
    table = random_table(seed, shape, loss, n_outputs, dtype, weighted=weighted)
    parameters = random_parameters(seed, table, size)
    rows = torch.arange(len(table.features))
    if order is not None:
        rows = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    parts = torch.split(rows, batch)[:6]
    its_order = None if order is None else rows.to(order)
    expected = [table.at(its_rows).by_autograd(parameters) for its_rows in parts]
    for instructions in instruction_sets(library):
        one = table.swept(library, instructions)
        found = in_batches(one, parameters, batch, its_order)
        assert [n for n, _ in found] == [len(part) for part in torch.split(rows, batch)]
        for (_, its_gradient), (_, gradient) in zip(found[:6], expected, strict=True):
            assert_near(its_gradient, gradient, parameters)
        later = in_batches(one, parameters, batch, its_order, n_done=2 * batch)
        assert all(torch.equal(mine, its) for (_, mine), (_, its) in zip(later, found[2:], strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_loss_and_slope_of_a_probability_is_right_to_a_few_units_in_the_last_place(
    library: Library, dtype: torch.dtype
) -> None:
    lowest = -80.0 if dtype == torch.float32 else -700.0
    outputs = torch.cat([torch.linspace(lowest, -lowest, 600), torch.linspace(-2, 2, 400)]).to(dtype)
    exact = outputs.numpy().astype(np.longdouble)
    values, slopes = np.logaddexp(np.longdouble(0), exact), 1 / (1 + np.exp(-exact))
    nought, ones = torch.zeros(1, 1, dtype=dtype), torch.ones(1, 1, dtype=dtype)
    for instructions in instruction_sets(library):
        one = Table(ones, nought, None, "binary_cross_entropy", 1).swept(library, instructions)
        for output, value, slope in zip(outputs, values, slopes, strict=True):
            found, gradient = evaluated(one, torch.stack([nought[0, 0], output]))
            units = 4 * np.longdouble(torch.finfo(dtype).eps)
            assert abs(np.longdouble(float(found)) - value) <= units * value, (instructions, output)
            assert abs(np.longdouble(float(gradient[1])) - slope) <= units * slope, (instructions, output)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_comes_out_as_from_torch(library: Library, loss: LossName, bad: float) -> None:
    for dtype in (torch.float32, torch.float64):
        n_outputs = 3 if loss == "cross_entropy" else 1
        table = random_table(2, (150, 20), loss, n_outputs, dtype, weighted=True)
        for where in ("feature", "weight", "bias"):
            parameters = torch.linspace(-1, 1, n_outputs * 21, dtype=dtype)
            its = table.at(torch.arange(150))
            if where == "feature":
                its.features[140, 18] = bad
            else:
                parameters[3 if where == "weight" else 20] = bad
            expected, its_gradient = its.by_autograd(parameters)
            for instructions in instruction_sets(library):
                for packs in (False, True)[: 2 if n_outputs == 1 else 1]:
                    one = its.swept(library, instructions, packs=packs)
                    found, gradient = evaluated(one, parameters)
                    assert torch.isfinite(found) == torch.isfinite(expected)
                    if torch.isfinite(expected):
                        np.testing.assert_array_equal(torch.isfinite(gradient), torch.isfinite(its_gradient))
                    else:
                        assert torch.isnan(found) == torch.isnan(expected)


@pytest.mark.parametrize(("loss", "n_outputs"), [("mse", 1), ("mae", 3), ("cross_entropy", 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_is_read_beyond_the_samples_and_the_parameters(
    library: Library, loss: LossName, n_outputs: int, dtype: torch.dtype
) -> None:
    for shape in SHAPES:
        table = random_table(4, shape, loss, n_outputs, dtype, weighted=True)
        order = torch.arange(shape[0] - 1, -1, -1, dtype=torch.int32)
        given = table.features, table.targets, table.weights, random_parameters(4, table, 1.0), order
        kept = [guarded(array) for array in given if array is not None]
        copies = [copy for copy, _ in kept]
        its, parameters = Table(copies[0], copies[1], copies[2], loss, n_outputs), copies[3]
        for instructions in instruction_sets(library):
            for packs in (False, True)[: 2 if n_outputs == 1 else 1]:
                one, other = (each.swept(library, instructions, packs=packs) for each in (its, table))
                for found, expected in zip(evaluated(one, parameters), evaluated(other, given[3]), strict=True):
                    assert torch.equal(found, expected)
            one, other = (each.swept(library, instructions) for each in (its, table))
            for (_, found), (_, expected) in zip(
                in_batches(one, parameters, 100, copies[4]), in_batches(other, given[3], 100, order), strict=True
            ):
                assert torch.equal(found, expected)


@pytest.mark.parametrize(("packs", "n_outputs"), [(False, 1), (True, 1), (False, 3)])
def test_the_result_is_the_same_in_every_bit_however_many_threads_share_the_blocks(
    library: Library, packs: bool, n_outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = random_table(0, (5000, 20), "huber", n_outputs, torch.float32, weighted=True)
    parameters = random_parameters(0, table, 1.0)
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(sweep, "BLOCK_BYTES", 0)
    found, of_batches = [], []
    for n_threads in (1, 2, 7):
        monkeypatch.setattr(threads, "n_processors", lambda n=n_threads: n)
        monkeypatch.setattr(threads, "WORTH_THREADS", 0)
        one = table.swept(library, packs=packs)
        found += [evaluated(one, parameters) for _ in range(5)]
        if not packs:
            of_batches += [torch.stack([its for _, its in in_batches(one, parameters, 2200, order)])]
    assert all(torch.equal(loss, found[0][0]) and torch.equal(gradient, found[0][1]) for loss, gradient in found)
    assert all(torch.equal(its, of_batches[0]) for its in of_batches)
