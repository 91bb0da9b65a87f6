"""Linear regression on a large table, full batch, 10,000 epochs by the exact engine.

The yardsticks are a single pass over the data: reading it, and multiplying it with itself once.
"""

from collections.abc import Callable

import numpy as np
import torch

from benchmarks import descent, memory
from benchmarks.measuring import Goal, Subject, Times, Values, Way, Yardstick
from benchmarks.tables import Table, regression
from service.dataset import Dataset
from service.training.fit import Training
from service.training.threads import n_threads_for

EPOCHS = 10_000
SOME_EPOCHS = 3
WHOLE, EXAMINATION = "Descent, all of it", "  of which the examination, before the first epoch"
NUMPY, TORCH, READ = "NumPy: one float32 XᵀX", "torch: one float32 XᵀX", "reading the table once, as a sum"


def wide(quick: bool) -> Subject:
    """Set up many features, for which the product takes longer than reading."""
    goal = Goal("within", 1.3)
    stick = Yardstick("one XᵀX, the faster of the two", _product, goal)
    return _subject(100_000 if quick else 1_000_000, 100, stick)


def long(quick: bool) -> Subject:
    """Set up many samples of few features."""

    def longer(times: Times) -> float:
        return max(times[READ], _product(times))

    stick = Yardstick("reading or one XᵀX, whichever takes longer", longer, Goal("within", 1.5))
    return _subject(500_000 if quick else 5_000_000, 20, stick)


def _product(times: Times) -> float:
    return min(times[NUMPY], times[TORCH])


def _subject(n_samples: int, n_features: int, stick: Yardstick) -> Subject:
    said = memory.measure(n_samples, n_features, EPOCHS)
    features, targets = regression(n_samples, n_features)
    dataset = Dataset(features, targets)
    tensor, answers = torch.from_numpy(features), torch.from_numpy(targets)
    training = _prepare(dataset)
    rate = float(training.plan.hyperparameters.learning_rate)
    early = descent.trajectory(training)[SOME_EPOCHS]
    np.testing.assert_allclose(with_torch(tensor, answers, rate), early, rtol=0, atol=1e-4 * np.abs(early).max())
    ways = [
        Way(WHOLE, lambda: descent.learned(_prepare(dataset))),
        Way(EXAMINATION, _nothing(lambda: _prepare(dataset))),
        Way("the Dataset's own checks, not counted above", _nothing(lambda: Dataset(features, targets))),
        Way(READ, _nothing(tensor.sum)),
        Way(NUMPY, _nothing(lambda: features.T @ features)),
        Way(TORCH, _nothing(lambda: tensor.T @ tensor)),
        Way("NumPy: XᵀX and Xᵀy, iterated", lambda: with_numpy(features, targets, rate)),
        Way(
            f"torch loop without autograd, scaled up from {SOME_EPOCHS} epochs",
            _nothing(lambda: with_torch(tensor, answers, rate)),
            epochs=SOME_EPOCHS / EPOCHS,
        ),
    ]
    rest = Yardstick("  of which the descent", lambda times: times[WHOLE] - times[EXAMINATION])
    title = f"{n_samples:,} x {n_features} float32, full batch, {EPOCHS:,} epochs"
    return Subject(title, ways, 1e-3, 7, n_threads_for(features.size), [rest, stick], [said])


def _prepare(dataset: Dataset) -> Training:
    return descent.prepare("linear_regression", dataset, epochs=EPOCHS)


def _nothing(work: Callable[[], object]) -> Callable[[], None]:
    """Leave out the result."""

    def run() -> None:
        work()

    return run


def with_numpy(features: Table, targets: Table, rate: float) -> Values:
    """Do what one who knows the trick would: iterate in the space of the parameters."""
    n = len(features)
    sums = features.sum(axis=0, dtype=np.float64)
    hessian = np.empty((features.shape[1] + 1,) * 2)
    hessian[:-1, :-1], hessian[-1, :-1], hessian[:-1, -1], hessian[-1, -1] = features.T @ features, sums, sums, n
    linear = np.append(features.T @ targets, targets.sum(dtype=np.float64))
    step, constant = 2 * rate / n * hessian, 2 * rate / n * linear
    trajectory = np.zeros((EPOCHS + 1, len(linear)))
    for epoch in range(EPOCHS):
        trajectory[epoch + 1] = trajectory[epoch] - (step @ trajectory[epoch] - constant)
    last: Values = trajectory[-1]
    return last


@torch.no_grad()
def with_torch(features: torch.Tensor, targets: torch.Tensor, rate: float) -> Values:
    """Loop over the data, allocating nothing of its size at a step."""
    weight, bias, residuals = torch.zeros(features.shape[1]), torch.zeros(()), torch.empty_like(targets)
    losses = torch.empty(SOME_EPOCHS)
    for epoch in range(SOME_EPOCHS):
        torch.mv(features, weight, out=residuals).add_(bias).sub_(targets)
        losses[epoch] = torch.dot(residuals, residuals)
        weight -= 2 * rate / len(targets) * torch.mv(features.T, residuals)
        bias -= 2 * rate / len(targets) * residuals.sum()
    return torch.cat([weight, bias[None]]).numpy()
