"""The learning rate that the data allows, computed before the first step. NumPy only.

For a quadratic loss, gradient descent converges if and only if learning_rate < 2(1 + momentum) / λmax, λmax being the
largest eigenvalue of the Hessian (Polyak 1964, Some methods of speeding up the convergence of iteration methods).
The Hessian of the logistic loss is nowhere above the XᵀX / 4n of the bound σ'(z) ≤ 1/4 (Böhning 1992, Multinomial
logistic regression algorithm), so that 1 / λmax of that one is a guarantee.
"""

import math
import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset
from service.hyperparameters import Hyperparameters
from service.tasks import Task

DENSE = 1000
"""Up to this size a Hessian's eigenvalues take a fraction of a second."""
LANCZOS_STEPS = 80
LARGEST_INVERSE = 1e37
"""So that every rate that follows from it is one that a user might give."""


@dataclass(frozen=True)
class LearningRateAdvice:
    """Up to which learning rate the descent is known to converge, and the one to take.

    `kind` says what the limit is worth: `exact` for a quadratic loss (beyond it the descent diverges), `guarantee`
    for a logistic one, and for a penalised quadratic one with fewer samples than features (beyond it the descent may
    still converge), `guidance` for mini-batches, and for a logistic one with momentum.
    """

    kind: Literal["exact", "guarantee", "guidance"]
    limit: float
    suggested: float


def advise_learning_rate(task: Task, dataset: Dataset, hyperparameters: Hyperparameters) -> LearningRateAdvice:
    """Compute the learning-rate limit and a suggestion from the curvature of the loss on the data.

    Costs one product of the features with themselves, n_samples · n_features · min of both, and its eigenvalues.
    """
    # Overflow in the curvature of enormous features is met below, as a limit of next to nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        curvature = loss_curvature(task, dataset, hyperparameters)
        inputs = _learning_inputs(dataset, hyperparameters)
        largest, is_exact = _largest_eigenvalue(inputs, curvature, _penalties(dataset, hyperparameters))
        momentum = hyperparameters.momentum
        batch_size = min(hyperparameters.batch_size or dataset.n_samples, dataset.n_samples)
        if batch_size < dataset.n_samples:
            largest_sample = float(np.square(inputs).sum(axis=1).max()) * curvature + hyperparameters.l2
            smoothness = _expected_smoothness(largest, largest_sample, batch_size, dataset.n_samples)
            # Momentum lengthens a noisy step by 1 / (1 - momentum) in the long run.
            limit = _inverse(smoothness) * (1 - momentum)
            return LearningRateAdvice("guidance", limit, limit / 2)
    if task == "logistic_regression":
        limit = _inverse(largest) * (1 - momentum)
        return LearningRateAdvice("guidance" if momentum else "guarantee", limit, limit)
    limit = 2 * (1 + momentum) * _inverse(largest)
    return LearningRateAdvice("exact" if is_exact else "guarantee", limit, limit / 2)


def loss_curvature(task: Task, dataset: Dataset, hyperparameters: Hyperparameters) -> float:
    """Give the (largest) second derivative of a sample's loss by one of its outputs."""
    if task == "logistic_regression":
        return 0.25
    second_derivative = 1.0 if hyperparameters.loss == "half_mse" else 2.0
    return second_derivative / dataset.n_targets


def _learning_inputs(dataset: Dataset, hyperparameters: Hyperparameters) -> NDArray[np.float64]:
    """Give what the parameters that learn are multiplied with: the features, and a one for the bias."""
    columns = [] if "weight" in hyperparameters.frozen else [dataset.features]
    if "bias" not in hyperparameters.frozen:
        columns.append(np.ones((dataset.n_samples, 1)))
    return np.hstack(columns)


def _penalties(dataset: Dataset, hyperparameters: Hyperparameters) -> NDArray[np.float64]:
    """Give the penalty on each column of `_learning_inputs`: l2 for a feature's weight, 0 for the bias."""
    weights = [] if "weight" in hyperparameters.frozen else [hyperparameters.l2] * dataset.n_features
    return np.array(weights if "bias" in hyperparameters.frozen else [*weights, 0.0])


def _largest_eigenvalue(
    inputs: NDArray[np.float64], curvature: float, penalties: NDArray[np.float64]
) -> tuple[float, bool]:
    """Give λmax of the Hessian, curvature · inputsᵀ·inputs / n_samples + diag(penalties); tell whether it is exact.

    With fewer samples than columns it comes from the smaller Gram matrix, inputs·inputsᵀ, which has the same λmax; that
    of the sum with the penalties is then only known to be at most the sum of both.
    """
    n_samples, n_columns = inputs.shape
    is_tall = n_columns <= n_samples
    hessian = (inputs.T @ inputs if is_tall else inputs @ inputs.T) * (curvature / n_samples)
    if is_tall:
        hessian += np.diag(penalties)
    if not np.isfinite(hessian).all():
        return math.inf, False
    largest = float(np.linalg.eigvalsh(hessian)[-1]) if len(hessian) <= DENSE else _lanczos(hessian)
    return (largest, True) if is_tall else (largest + float(penalties.max()), not penalties.any())


def _lanczos(hessian: NDArray[np.float64]) -> float:
    """Give λmax of a large symmetric matrix without its other eigenvalues, whose price is cubic.

    Lanczos (1950) with full reorthogonalisation; what it gives is never above λmax, and after so many steps below it by
    less than the rounding of float32 on any but contrived matrices.
    """
    basis = np.random.default_rng(0).normal(size=(1, len(hessian)))
    diagonal, beside = [], []
    for _ in range(LANCZOS_STEPS):
        basis[-1] /= np.linalg.norm(basis[-1])
        image = hessian @ basis[-1]
        diagonal.append(float(image @ basis[-1]))
        image -= basis.T @ (basis @ image)
        image -= basis.T @ (basis @ image)
        beside.append(float(np.linalg.norm(image)))
        if beside[-1] <= 1e-12 * max(map(abs, diagonal)):
            break
        basis = np.vstack([basis, image])
    small = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    return float(np.linalg.eigvalsh(small)[-1])


def _expected_smoothness(full: float, largest_sample: float, batch_size: int, n_samples: int) -> float:
    """Give the smoothness that batches drawn without replacement see on average.

    Gower et al. (2019), SGD: General Analysis and Improved Rates, proposition 3.8.
    """
    share = n_samples * (batch_size - 1) / (batch_size * (n_samples - 1))
    return share * full + (n_samples - batch_size) / (batch_size * (n_samples - 1)) * largest_sample


def _inverse(curvature: float) -> float:
    """Give 1 / curvature; a flat loss, whose gradient is 0 everywhere, takes any rate, so 1 will do."""
    if curvature <= 0:
        return 1.0
    return float(np.clip(1 / max(curvature, sys.float_info.min), sys.float_info.min, LARGEST_INVERSE))
