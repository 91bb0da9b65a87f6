from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st

from service.training.moments import moments
from service.training.native.library import Library
from service.training.native.trajectory import MOST_MODES, evaluate, is_for
from service.training.path import Path
from service.training.quadratic import quadratic_of
from service.training.recurrence import Steps, Tables
from service.training.trajectory import Objective, Trajectory, penalty, trajectory
from tests.training.descents import settled
from tests.training.native import guarded, instruction_sets

RULES: list[dict[str, Any]] = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.6, "dampening": 0.5},
    {"momentum": 0.9, "nesterov": True},
]


def descent(
    seed: int,
    n_features: int,
    n_outputs: int = 1,
    frozen: str | None = None,
    *,
    learning_rate: float = 0.1,
    collinear: bool = False,
    scale: float = 1.0,
    **asked: Any,
) -> tuple[Path, Objective]:
    """Give a descent on random data, and an objective that has every kind of factor."""
    draws = np.random.default_rng(seed)
    features, targets = (
        draws.normal(size=(3 * n_features + 5, n_features)),
        draws.normal(size=(3 * n_features + 5, n_outputs)),
    )
    features *= scale
    if collinear:
        features[:, -1] = features[:, 0]
    given = settled("linear_regression", learning_rate=learning_rate, **asked)
    start, layout = draws.normal(size=n_outputs * (n_features + 1)), ((n_outputs, n_features),)
    fixed = np.zeros(len(start), dtype=bool)
    fixed[-n_outputs:], fixed[:-n_outputs] = frozen == "bias", frozen == "weight"
    path = Path(quadratic_of(moments(features, targets), given, n_outputs), start, fixed, layout, given)
    factors = draws.normal(size=(3, n_outputs, len(path.curvatures))) * draws.integers(0, 2, size=(3, 1, 1))
    return path, Objective(draws.uniform(0, 3), factors, given.l2)


def assert_alike(found: Trajectory, expected: Trajectory, tolerance: float = 1e-12) -> None:
    for name in ("train_loss", "gradient_norm", "gradient", "parameters"):
        its, wanted = getattr(found, name), getattr(expected, name)
        assert its.dtype == wanted.dtype
        size = np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-3)
        precision = max(tolerance, float(np.finfo(wanted.dtype).eps))
        np.testing.assert_allclose(its, wanted, rtol=precision, atol=precision * size, err_msg=name)


@settings(max_examples=80, deadline=None)
@draw(
    seed=st.integers(0, 10_000),
    n_features=st.one_of(st.integers(1, 12), st.sampled_from([31, 63])),
    n_outputs=st.integers(1, 3),
    frozen=st.sampled_from([None, "bias", "weight"]),
    rule=st.sampled_from(RULES),
    l2=st.sampled_from([0.0, 0.3]),
    steps=st.builds(Steps, st.integers(0, 50), st.integers(1, 7), st.integers(230, 9000)),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_compiled_code_is_used_and_gives_what_numpy_gives(
    library: Library,
    seed: int,
    n_features: int,
    n_outputs: int,
    frozen: str | None,
    rule: dict[str, Any],
    l2: float,
    steps: Steps,
    dtype: str,
) -> None:
    path, objective = descent(seed, n_features, n_outputs, frozen, l2=l2, **rule)
    expected = trajectory(path, objective, steps, np.dtype(dtype), None)
    found = trajectory(path, objective, steps, np.dtype(dtype), library)
    assert_alike(found, expected)
    tables = path.tables(steps)
    assert is_for(tables)
    largest = float(np.finfo(path.dtype).max)
    (loss, _), (_, parameters) = evaluate(
        *(tables, path.modes, path.start, objective.factors, objective.lowest, l2, largest, np.dtype(dtype), library)
    )
    np.testing.assert_array_equal(found.train_loss, loss)
    np.testing.assert_array_equal(found.parameters, parameters)
    assert expected.train_loss.shape == (steps.count,)
    assert expected.parameters.shape == (n_outputs, n_features + 1, steps.count)


def test_the_objective_and_the_norm_are_those_of_the_parameters(library: Library) -> None:
    path, objective = descent(3, 4, 2, collinear=True)
    flat = path.curvatures == 0
    assert flat.sum() == 1
    objective = Objective(objective.lowest, np.zeros((3, 2, 5)), 0.2)
    objective.factors[0][:, ~flat] = 1 / (2 * path.curvatures[~flat])
    for its in (library, None):
        found = trajectory(path, objective, Steps(0, 1, 200), np.dtype(np.float64), its)
        np.testing.assert_allclose(found.gradient_norm, np.linalg.norm(found.gradient, axis=(0, 1)), rtol=1e-12)
        np.testing.assert_allclose(found.parameters[:, :, 0], path.start.T, rtol=1e-12)
        weights = found.parameters[:, :-1]
        np.testing.assert_allclose(
            penalty(found.parameters, 0.2), 0.1 * np.square(weights).sum(axis=(0, 1)), rtol=1e-12
        )
        slopes = np.einsum("rm,ork->omk", path.modes, found.gradient)
        objectives = objective.lowest + np.einsum("om,omk->k", objective.factors[0], np.square(slopes))
        np.testing.assert_allclose(found.train_loss + penalty(found.parameters, 0.2), objectives, rtol=1e-10)


@pytest.mark.parametrize(("of_slope", "ends"), [(0.0, "norm"), (1e30, "loss")])
def test_the_loss_is_infinite_where_either_it_or_the_norm_is_too_large_and_the_other_is_not(
    library: Library, of_slope: float, ends: str
) -> None:
    largest_rate = 2.8 / descent(5, 3)[0].curvatures[-1]  # at which squares do not overflow in float64
    path, objective = descent(5, 3, learning_rate=largest_rate, dtype="float32")
    objective.factors[:] = 0
    objective.factors[0] = of_slope
    steps, largest = Steps(0, 1, 300), np.finfo(np.float32).max
    with np.errstate(over="ignore", invalid="ignore"):
        for its in (library, None):
            found = trajectory(path, objective, steps, path.dtype, its)
            n_finite = int(np.argmax(np.isinf(found.train_loss)))
            assert 0 < n_finite < 300
            assert (found.gradient_norm[n_finite] > largest) == (ends == "norm")


def test_a_penalty_that_overflows_before_the_objective_leaves_no_loss_of_nought(library: Library) -> None:
    path, _ = descent(5, 2, learning_rate=30.0)
    objective = Objective(1.0, np.zeros((3, 1, 3)), 1e200)
    with np.errstate(over="ignore", invalid="ignore"):
        for its in (library, None):
            found = trajectory(path, objective, Steps(0, 1, 300), path.dtype, its)
            weights = np.abs(found.parameters[0, :-1]).max(axis=0)
            assert np.isinf(found.train_loss[weights > 1e60]).all()


def test_a_change_that_overflows_along_a_mode_that_is_not_flat_is_no_matter(library: Library) -> None:
    path, objective = descent(5, 3, frozen="bias", learning_rate=3e36, scale=1e-18, dtype="float64")
    objective.factors[:] = 0
    objective.factors[2, 0, 0] = 1e-300  # of the mode that changes least
    with np.errstate(over="ignore", invalid="ignore"):
        compiled, plain = (trajectory(path, objective, Steps(0, 1, 600), path.dtype, its) for its in (library, None))
    ends = np.isinf(compiled.train_loss)
    np.testing.assert_array_equal(np.isinf(plain.train_loss), ends)
    assert ends.any()
    assert np.abs(plain.parameters[..., ~ends]).max() > 1e155  # the squares of which overflow


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_where_a_number_is_too_large_for_the_dtype_the_loss_is_infinite(
    library: Library, dtype: str, rule: dict[str, Any]
) -> None:
    path, objective = descent(5, 3, learning_rate=30.0, dtype=dtype, **rule)
    steps = Steps(0, 1, 400)
    with np.errstate(over="ignore", invalid="ignore"):
        found, expected = (trajectory(path, objective, steps, path.dtype, its) for its in (library, None))
    ends = np.isinf(expected.train_loss)
    np.testing.assert_array_equal(np.isinf(found.train_loss), ends)
    n_finite = int(np.argmax(ends))
    assert 0 < n_finite < 400
    assert ends[n_finite:].all()
    for each in (found, expected):
        assert np.isfinite(each.parameters[..., :n_finite]).all()
        assert each.gradient_norm[:n_finite].max() <= np.finfo(dtype).max


def test_a_loss_that_rounding_takes_below_nought_is_nought(library: Library) -> None:
    path, objective = descent(6, 2)
    objective.factors[:] = 0
    below = Objective(-1e-18, objective.factors, 0.0)
    for its in (library, None):
        found = trajectory(path, below, Steps(0, 1, 20), np.dtype(np.float64), its)
        np.testing.assert_array_equal(found.train_loss, 0.0)


def test_what_is_small_beside_the_lowest_objective_is_summed_before_it_is_added(library: Library) -> None:
    path, objective = descent(9, 63, 3)
    objective.factors[:] = 0
    objective.factors[0] = 1e-17
    high = Objective(1.0, objective.factors, 0.0)
    for its in (library, None):
        found = trajectory(path, high, Steps(0, 1, 300), np.dtype(np.float64), its)
        exact = 1.0 + 1e-17 * np.square(found.gradient_norm.astype(np.longdouble))
        assert float(np.abs(found.train_loss - exact).max()) <= np.finfo(np.float64).eps


@pytest.mark.parametrize("n_modes", [MOST_MODES, MOST_MODES + 1])
def test_however_many_modes_there_are_the_gradient_is_that_of_the_quadratic(library: Library, n_modes: int) -> None:
    path, objective = descent(7, n_modes - 1, learning_rate=0.01)
    assert len(path.curvatures) == n_modes
    found = trajectory(path, objective, Steps(0, 1, 300), np.dtype(np.float64), library)
    moved = np.diff(found.parameters[0], axis=1)
    np.testing.assert_allclose(moved, -0.01 * found.gradient[0, :, :-1], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("n_features", [1, 2, 6, 63])
@pytest.mark.parametrize("count", [230, 256, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_is_read_behind_what_is_given_and_every_set_of_instructions_gives_nearly_the_same(
    library: Library, n_features: int, count: int, dtype: type
) -> None:
    path, objective = descent(8, n_features, 2, l2=0.1)
    tables = path.tables(Steps(0, 1, count))
    given = [
        np.ascontiguousarray(each) for each in (tables.coarse, tables.fine, path.modes, path.start.T, objective.factors)
    ]
    copies = [guarded(torch.from_numpy(each)) for each in given]
    coarse, fine, modes, start, factors = (copy.numpy() for copy, _ in copies)
    first = None
    for instructions in instruction_sets(library):
        found = evaluate(
            *(Tables(coarse, fine, count), modes, start.T, factors, objective.lowest, 0.1, 1e300),
            *(np.dtype(dtype), library, instructions),
        )
        first = first or found
        precision = float(np.finfo(dtype).eps) * 8
        for its, expected in zip(found, first, strict=True):
            size = np.abs(expected).max()
            np.testing.assert_allclose(its, expected, rtol=precision, atol=1e-14 * size)
        # Only base has no products and sums in one operation.
        is_other = (found[0] != first[0]).any()
        assert is_other == (instructions != "base") or n_features == 1
