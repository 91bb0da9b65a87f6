"""The whole history and trajectory of a small linear regression, against what one would write oneself.

30 points, 10,000 epochs of the full batch: loss, gradient norm, parameters and gradient after every update, by the
exact engine, by the iterating one, by a NumPy loop, and by a torch loop with autograd and torch.optim.SGD. Prints
medians, and how many times longer than the exact engine each takes. Run it with `make bench`.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from service.dataset import Dataset
from service.hyperparameters import Hyperparameters
from service.training.fit import fit

EPOCHS, LEARNING_RATE = 10_000, 0.001
FEATURES = np.arange(1.0, 31.0)
TARGETS = 0.9 * FEATURES - 0.4 + np.sin(FEATURES)

Array = NDArray[np.float64]


def with_engine(engine: str) -> Array:
    """Train with `fit`, as the worker does."""
    given = Hyperparameters.model_validate(
        {"learning_rate": LEARNING_RATE, "epochs": EPOCHS, "dtype": "float64", "seed": 0, "engine": engine}
    )
    blocks = list(fit("linear_regression", Dataset(FEATURES, TARGETS), given))
    return np.concatenate([block.columns.parameters for block in blocks])


def with_numpy() -> Array:
    """Loop in NumPy, keeping everything in arrays made beforehand."""
    inputs = np.column_stack([FEATURES, np.ones_like(FEATURES)])
    parameters, trajectory = np.zeros(2), np.empty((EPOCHS + 1, 2))
    losses, gradients = np.empty(EPOCHS + 1), np.empty((EPOCHS + 1, 2))
    for epoch in range(EPOCHS + 1):
        residuals = inputs @ parameters - TARGETS
        trajectory[epoch], losses[epoch] = parameters, residuals @ residuals / len(TARGETS)
        gradients[epoch] = 2 / len(TARGETS) * residuals @ inputs
        parameters -= LEARNING_RATE * gradients[epoch]
    np.linalg.norm(gradients, axis=1)
    return trajectory


def with_autograd() -> Array:
    """Loop as a torch tutorial does, keeping everything in tensors made beforehand."""
    features, targets = torch.from_numpy(FEATURES)[:, None], torch.from_numpy(TARGETS)[:, None]
    model = torch.nn.Linear(1, 1, dtype=torch.float64)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    trajectory = torch.empty(EPOCHS + 1, 2, dtype=torch.float64)
    losses, norms = torch.empty(EPOCHS + 1), torch.empty(EPOCHS + 1)
    for epoch in range(EPOCHS + 1):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(features), targets)
        torch.autograd.backward(loss)
        with torch.no_grad():
            trajectory[epoch, 0], trajectory[epoch, 1] = model.weight[0, 0], model.bias[0]
            losses[epoch] = loss
            norms[epoch] = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        optimizer.step()
    return trajectory.numpy()


def seconds(work: Callable[[], Array], repeats: int) -> float:
    """Give the median of several runs."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    """Check that all give the same trajectory, then time them."""
    torch.set_num_threads(1)
    ways: dict[str, tuple[Callable[[], Array], int]] = {
        "exact engine": (lambda: with_engine("exact"), 30),
        "analytic engine": (lambda: with_engine("analytic"), 5),
        "NumPy loop": (with_numpy, 5),
        "torch autograd loop": (with_autograd, 3),
    }
    oracle = with_numpy()
    for name, (work, _) in ways.items():
        np.testing.assert_allclose(work(), oracle, atol=1e-11, err_msg=name)
    times = {name: seconds(work, repeats) for name, (work, repeats) in ways.items()}
    sys.stdout.write(f"{len(FEATURES)} points, {EPOCHS} epochs, full history and trajectory\n")
    for name, taken in times.items():
        sys.stdout.write(f"  {name:<20} {1e3 * taken:9.2f} ms {taken / times['exact engine']:8.1f} x\n")


if __name__ == "__main__":
    main()
