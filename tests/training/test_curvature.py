from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from service.hyperparameters import ActivationName
from service.parameters import Layout, n_parameters, slices
from service.tasks import LossName
from service.training.curvature import PerceptronHessian

ACTIVATIONS: dict[ActivationName, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


def _half_mse(outputs: Tensor, targets: Tensor, reduction: str) -> Tensor:
    return torch.nn.functional.mse_loss(outputs, targets, reduction=reduction) / 2


LOSSES: dict[LossName, Callable[..., Tensor]] = {
    "mse": torch.nn.functional.mse_loss,
    "half_mse": _half_mse,
    "mae": torch.nn.functional.l1_loss,
    "huber": torch.nn.functional.huber_loss,
    "cross_entropy": torch.nn.functional.cross_entropy,
}


def _objective(
    point: Tensor,
    layout: Layout,
    activation: ActivationName,
    loss: LossName,
    l2: float,
    features: Tensor,
    targets: Tensor,
    weights: Tensor,
) -> Tensor:
    """Give the objective by torch's own functions."""
    hidden, penalty = features, torch.zeros(())
    for number, (shape, (weight, bias)) in enumerate(zip(layout, slices(layout), strict=True)):
        if number:
            hidden = ACTIVATIONS[activation](hidden)
        hidden = hidden @ point[weight].view(shape).T + point[bias]
        penalty = penalty + l2 / 2 * point[weight].square().sum()
    answers = targets[:, 0].long() if loss == "cross_entropy" else targets
    each = LOSSES[loss](hidden, answers, reduction="none").reshape(len(features), -1).mean(dim=1)
    return (weights * each).mean() + penalty


def _problem(seed: int, loss: LossName, layout: Layout) -> tuple[NDArray[np.float64], ...]:
    draw = np.random.default_rng(seed)
    features, n_outputs = draw.normal(size=(12, layout[0][1])), layout[-1][0]
    is_codes = loss == "cross_entropy"
    targets = 2 * draw.normal(size=(12, n_outputs))
    if is_codes:
        targets = draw.integers(n_outputs, size=(12, 1)).astype(np.float64)
    weights = draw.uniform(0, 2, size=12)
    point, vector = draw.normal(size=(2, n_parameters(layout)))
    return features, targets, weights / weights.mean(), point, vector


@settings(max_examples=150, deadline=None)
@draw(
    seed=st.integers(0, 10_000),
    activation=st.sampled_from(list(ACTIVATIONS)),
    loss=st.sampled_from(list(LOSSES)),
    layout=st.sampled_from([((3, 4),), ((5, 4), (1, 5)), ((6, 3), (2, 6)), ((4, 2), (5, 4), (3, 5))]),
    l2=st.sampled_from([0.0, 0.7]),
)
def test_a_product_with_the_hessian_is_that_of_autograd(
    seed: int, activation: ActivationName, loss: LossName, layout: Layout, l2: float
) -> None:
    features, targets, weights, point, vector = _problem(seed, loss, layout)
    tensors = (torch.from_numpy(features), torch.from_numpy(targets), torch.from_numpy(weights))

    def objective(at: Tensor) -> Tensor:
        return _objective(at, layout, activation, loss, l2, *tensors)

    at = torch.from_numpy(point).requires_grad_()
    (gradient,) = torch.autograd.grad(objective(at), at, create_graph=True)
    (expected,) = torch.autograd.grad(gradient @ torch.from_numpy(vector), at)
    hessian = PerceptronHessian(features, targets, weights, point, layout, activation, loss, l2)
    np.testing.assert_allclose(hessian @ vector, expected.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_outputs_of_any_size_do_no_harm(loss: LossName) -> None:
    layout = ((4, 3), (2, 4))
    features, targets, _, point, vector = _problem(1, loss, layout)
    hessian = PerceptronHessian(1e6 * features, targets, None, point, layout, "sigmoid", loss)
    assert np.isfinite(hessian @ vector).all()
