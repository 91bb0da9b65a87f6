"""The whole history and trajectory of a small linear regression.

30 points, the full batch: loss, gradient norm, parameters and gradient after every update.
"""

import numpy as np
import torch

from benchmarks import compiled, descent
from benchmarks.measuring import Goal, Subject, Values, Way
from service.dataset import Dataset

LEARNING_RATE = 0.001
FEATURES = np.arange(1.0, 31.0)
TARGETS = 0.9 * FEATURES - 0.4 + np.sin(FEATURES)


def subject(quick: bool) -> Subject:
    """Set it up; float64."""
    epochs = 1000 if quick else 10_000
    dataset = Dataset(FEATURES, TARGETS)

    def ours(engine: str) -> Values:
        given = {"learning_rate": LEARNING_RATE, "epochs": epochs, "dtype": "float64", "engine": engine}
        return descent.trajectory(descent.prepare("linear_regression", dataset, **given))

    jax_way, said = compiled.scan(
        compiled.squared_error, FEATURES[:, None], TARGETS, LEARNING_RATE, epochs, Goal("at least", 1)
    )
    ways = [
        Way("Descent, exact engine", lambda: ours("auto")),
        Way("Descent, analytic engine", lambda: ours("analytic"), rounds=7),
        Way("NumPy loop", lambda: with_numpy(epochs), Goal("at least", 50), rounds=7),
        Way("torch loop, gradient by hand", lambda: with_torch(epochs), rounds=5),
        Way("torch loop, autograd", lambda: with_autograd(epochs), Goal("at least", 1000), rounds=5),
        *jax_way,
    ]
    return Subject(f"30 points, {epochs:,} epochs, full history and trajectory", ways, 1e-11, 15, 1, notes=[said])


def with_numpy(epochs: int) -> Values:
    """Loop in NumPy, keeping everything in arrays made beforehand."""
    inputs = np.column_stack([FEATURES, np.ones_like(FEATURES)])
    parameters, trajectory = np.zeros(2), np.empty((epochs + 1, 2))
    losses, gradients = np.empty(epochs + 1), np.empty((epochs + 1, 2))
    for epoch in range(epochs + 1):
        residuals = inputs @ parameters - TARGETS
        trajectory[epoch], losses[epoch] = parameters, residuals @ residuals / len(TARGETS)
        gradients[epoch] = 2 / len(TARGETS) * residuals @ inputs
        parameters -= LEARNING_RATE * gradients[epoch]
    np.linalg.norm(gradients, axis=1)
    return trajectory


@torch.no_grad()
def with_torch(epochs: int) -> Values:
    """Loop in torch as in NumPy, without autograd."""
    inputs = torch.from_numpy(np.column_stack([FEATURES, np.ones_like(FEATURES)]))
    targets = torch.from_numpy(TARGETS)
    parameters = torch.zeros(2, dtype=torch.float64)
    trajectory, gradients = torch.empty(2, epochs + 1, 2, dtype=torch.float64)
    losses = torch.empty(epochs + 1, dtype=torch.float64)
    for epoch in range(epochs + 1):
        residuals = torch.mv(inputs, parameters).sub_(targets)
        trajectory[epoch], losses[epoch] = parameters, torch.dot(residuals, residuals)
        torch.mv(inputs.T, residuals, out=gradients[epoch]).mul_(2 / len(targets))
        parameters.sub_(gradients[epoch], alpha=LEARNING_RATE)
    losses.div_(len(targets))
    torch.linalg.vector_norm(gradients, dim=1)
    found: Values = trajectory.numpy()
    return found


def with_autograd(epochs: int) -> Values:
    """Loop as a torch tutorial does, keeping everything in tensors made beforehand."""
    features, targets = torch.from_numpy(FEATURES)[:, None], torch.from_numpy(TARGETS)[:, None]
    model = torch.nn.Linear(1, 1, dtype=torch.float64)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    trajectory, gradients = torch.empty(2, epochs + 1, 2, dtype=torch.float64)
    losses = torch.empty(epochs + 1, dtype=torch.float64)
    for epoch in range(epochs + 1):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(features), targets)
        torch.autograd.backward(loss)
        assert model.weight.grad is not None
        assert model.bias.grad is not None
        with torch.no_grad():
            trajectory[epoch, 0], trajectory[epoch, 1] = model.weight[0, 0], model.bias[0]
            losses[epoch] = loss
            gradients[epoch, 0], gradients[epoch, 1] = model.weight.grad[0, 0], model.bias.grad[0]
        optimizer.step()
    torch.linalg.vector_norm(gradients, dim=1)
    found: Values = trajectory.numpy()
    return found
