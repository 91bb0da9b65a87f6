from collections.abc import Callable
from functools import partial
from pathlib import Path
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
from service.training import losses, threads
from service.training.batches import Batch, BatchSource
from service.training.native import hatch_build, sweep
from service.training.native.library import Library
from service.training.native.sweep import LOSSES, NativeSweep
from service.training.sweep import Sweep
from tests.compiling import compiles
from tests.training.native import guarded, instruction_sets

SHAPES = [(1, 1), (31, 7), (33, 16), (129, 17), (16, 20), (256, 9), (300, 100), (257, 113), (130, 2000), (700, 3)]
ORACLES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": partial(functional.mse_loss, reduction="none"),
    "half_mse": lambda outputs, targets: functional.mse_loss(outputs, targets, reduction="none") / 2,
    "mae": partial(functional.l1_loss, reduction="none"),
    "huber": partial(functional.huber_loss, reduction="none"),
    "binary_cross_entropy": lambda outputs, signs: functional.softplus(outputs * signs, threshold=700.0),
}


def random_batch(seed: int, n: int, n_columns: int, loss: str, dtype: torch.dtype, *, weighted: bool) -> Batch:
    draws = torch.Generator().manual_seed(seed)
    features = torch.randn(n, n_columns, generator=draws, dtype=dtype)
    targets: Tensor | None = torch.randn(n, generator=draws, dtype=dtype)
    if loss == "binary_cross_entropy":
        targets = None if seed % 2 else torch.sign(targets)  # type: ignore[arg-type]
    return Batch(features, features.T, targets, torch.rand(n, generator=draws, dtype=dtype) if weighted else None)


def evaluated(its_sweep: Any, parameters: Tensor) -> tuple[Tensor, Tensor]:
    gradient, loss, again = torch.empty_like(parameters), parameters.new_empty(()), parameters.new_empty(())
    its_sweep.loss_and_gradient(parameters, gradient, loss)
    its_sweep.loss_and_gradient(parameters, None, again)
    assert torch.equal(loss, again) or loss.isnan()
    return loss, gradient


def by_autograd(batch: Batch, loss: str, parameters: Tensor, *, has_bias: bool) -> tuple[Tensor, Tensor]:
    """In float64."""
    at = parameters.to(torch.float64, copy=True).requires_grad_()
    outputs = batch.features.double() @ at[: batch.features.shape[1]] + (at[-1] if has_bias else 0)
    targets = torch.ones(()) if batch.targets is None else batch.targets
    values = ORACLES[loss](outputs, targets.double().expand_as(outputs))
    value = (values if batch.weights is None else values * batch.weights.double()).mean()
    return value.detach(), torch.autograd.grad(value, at)[0]


@settings(max_examples=60, deadline=None)
@draw(
    shape=st.sampled_from(SHAPES),
    loss=st.sampled_from(LOSSES),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 10_000),
    weighted=st.booleans(),
    has_bias=st.booleans(),
    size=st.sampled_from([0.1, 1.0, 30.0]),
)
def test_every_sweep_gives_the_loss_and_the_gradient_of_autograd(
    library: Library,
    shape: tuple[int, int],
    loss: LossName,
    dtype: torch.dtype,
    seed: int,
    weighted: bool,
    has_bias: bool,
    size: float,
) -> None:
    n, n_columns = shape
    batch = random_batch(seed, n, n_columns, loss, dtype, weighted=weighted)
    draws = torch.Generator().manual_seed(seed)
    parameters = size * torch.randn(n_columns + has_bias, generator=draws, dtype=dtype) / n_columns**0.5
    value, gradient = by_autograd(batch, loss, parameters, has_bias=has_bias)
    native = partial(NativeSweep, batch, loss, has_bias=has_bias, library=library)
    sweeps = [native(packs=packs, instructions=name) for packs in (False, True) for name in instruction_sets(library)]
    blocks = BatchSource(batch.features, batch.targets, batch.weights).blocks()
    tolerance = 100 * torch.finfo(dtype).eps
    # What an output of sums that cancel has lost, every way loses.
    scale = float(1 + parameters.abs().max() * n_columns**0.5)
    for one in [*sweeps, Sweep(blocks, losses.LOSSES[loss], has_ones=not has_bias)]:
        found, its_gradient = evaluated(one, parameters.clone())
        assert float(found) == pytest.approx(float(value), rel=tolerance * scale)
        bound = tolerance * scale * max(1e-30, float(gradient.abs().max()), float(value) / 100)
        np.testing.assert_allclose(its_gradient.double(), gradient, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_loss_and_slope_of_a_probability_is_right_to_a_few_units_in_the_last_place(
    library: Library, dtype: torch.dtype
) -> None:
    lowest = -80.0 if dtype == torch.float32 else -700.0
    outputs = torch.cat([torch.linspace(lowest, -lowest, 600), torch.linspace(-2, 2, 400)]).to(dtype)
    exact = outputs.numpy().astype(np.longdouble)
    values, slopes = np.logaddexp(np.longdouble(0), exact), 1 / (1 + np.exp(-exact))
    for instructions in instruction_sets(library):
        for output, value, slope in zip(outputs, values, slopes, strict=True):
            ones = torch.ones(1, 1, dtype=dtype)
            batch = Batch(ones, ones, None, None)
            one = NativeSweep(
                batch,
                "binary_cross_entropy",
                has_bias=False,
                packs=False,
                library=library,
                instructions=instructions,
            )
            found, gradient = evaluated(one, output[None])
            units = 4 * np.longdouble(torch.finfo(dtype).eps)
            assert abs(np.longdouble(float(found)) - value) <= units * value, (instructions, output)
            assert abs(np.longdouble(float(gradient)) - slope) <= units * slope, (instructions, output)


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_comes_out_as_from_numpy(library: Library, packs: bool, loss: LossName, bad: float) -> None:
    for dtype in (torch.float32, torch.float64):
        batch = random_batch(2, 150, 20, loss, dtype, weighted=True)
        for where in ("feature", "weight", "bias"):
            parameters = torch.linspace(-1, 1, 21, dtype=dtype)
            features = batch.features.clone()
            if where == "feature":
                features[140, 18] = bad
            else:
                parameters[3 if where == "weight" else 20] = bad
            its = Batch(features, features.T, batch.targets, batch.weights)
            expected, its_gradient = evaluated(Sweep([its], losses.LOSSES[loss], has_ones=False), parameters)
            for instructions in instruction_sets(library):
                one = NativeSweep(its, loss, has_bias=True, packs=packs, library=library, instructions=instructions)
                found, gradient = evaluated(one, parameters)
                assert torch.isfinite(found) == torch.isfinite(expected)
                assert torch.isnan(found) == torch.isnan(expected)
                if torch.isfinite(expected):
                    np.testing.assert_array_equal(torch.isfinite(gradient), torch.isfinite(its_gradient))


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_is_read_beyond_the_samples_and_the_parameters(
    library: Library, packs: bool, dtype: torch.dtype
) -> None:
    for n, n_columns in SHAPES:
        batch = random_batch(4, n, n_columns, "mse", dtype, weighted=True)
        parameters = torch.linspace(-1, 1, n_columns + 1, dtype=dtype)
        given = (batch.features, batch.targets, batch.weights, parameters)
        copies = [guarded(array)[0] for array in given if array is not None]
        its = Batch(copies[0], copies[0].T, copies[1], copies[2])
        for instructions in instruction_sets(library):
            native = partial(NativeSweep, packs=packs, has_bias=True, library=library, instructions=instructions)
            for found, expected in zip(
                evaluated(native(its, "mse"), copies[3]), evaluated(native(batch, "mse"), parameters), strict=True
            ):
                assert torch.equal(found, expected)


@pytest.mark.parametrize("packs", [False, True])
def test_the_result_is_the_same_in_every_bit_however_many_threads_share_the_blocks(
    library: Library, packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = random_batch(0, 5000, 20, "binary_cross_entropy", torch.float32, weighted=True)
    parameters = torch.linspace(-1, 1, 21)
    monkeypatch.setattr(sweep, "BLOCK_BYTES", 0)
    found = []
    for n_threads in (1, 2, 7):
        monkeypatch.setattr(threads, "n_processors", lambda n=n_threads: n)
        monkeypatch.setattr(threads, "WORTH_THREADS", 0)
        one = NativeSweep(batch, "binary_cross_entropy", has_bias=True, packs=packs, library=library)
        found += [evaluated(one, parameters) for _ in range(5)]
    assert all(torch.equal(loss, found[0][0]) and torch.equal(gradient, found[0][1]) for loss, gradient in found)


def test_without_a_compiler_or_with_one_that_fails_the_reason_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(sweep.__file__).parent
    for compiler, reason in (("no-such-compiler", "there is no C compiler no-such-compiler"), ("false", "false says")):
        monkeypatch.setenv("CC", compiler)
        assert reason in (hatch_build.compile_sweep(source, tmp_path / "libsweep.so") or "")
    assert not list(tmp_path.iterdir())


def test_a_library_of_other_sources_or_none_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="libsweep"):
        Library(tmp_path / "libsweep.so")
    if not compiles():
        pytest.skip("there is no C compiler that works")
    exported = '__attribute__((visibility("default"))) const char *'
    (tmp_path / "sweep.c").write_text(
        f'{exported}compiled_from(void) {{ return SOURCES; }} {exported}best_instructions(void) {{ return "base"; }}'
    )
    assert hatch_build.compile_sweep(tmp_path, tmp_path / "libsweep.so") is None
    with pytest.raises(OSError, match="other sources"):
        Library(tmp_path / "libsweep.so")
