"""The whole history and trajectory of a small linear regression: loss, gradient norm, parameters and gradient after
every update of the full batch. 30 points, and the diabetes data with its ten features.
"""

import numpy as np
import torch
from sklearn.datasets import load_diabetes

from benchmarks import compiled, descent
from benchmarks.measuring import Goal, Subject, Values, Way
from service.dataset import Dataset


def points(quick: bool) -> Subject:
    """Set up 30 points and a slope."""
    number = np.arange(1.0, 31.0)
    goals = Goal("at least", 50), Goal("at least", 1000)
    return _subject("30 points", number[:, None], 0.9 * number - 0.4 + np.sin(number), 0.001, quick, *goals)


def diabetes(quick: bool) -> Subject:
    """Set up 442 patients, with what was measured brought to the same scale."""
    features, targets = load_diabetes(return_X_y=True)
    return _subject("diabetes", features / features.std(axis=0), targets / targets.std(), 0.1, quick)


def _subject(
    name: str,
    features: Values,
    targets: Values,
    learning_rate: float,
    quick: bool,
    beside_numpy: Goal | None = None,
    beside_autograd: Goal | None = None,
) -> Subject:
    epochs = 1000 if quick else 10_000
    dataset = Dataset(features, targets)

    def ours(engine: str) -> Values:
        given = {"learning_rate": learning_rate, "epochs": epochs, "dtype": "float64", "engine": engine}
        return descent.trajectory(descent.prepare("linear_regression", dataset, **given))

    given = features, targets, learning_rate, epochs
    jax_way, said = compiled.scan(compiled.squared_error, *given, Goal("at least", 1))
    ways = [
        Way("Descent, exact engine", lambda: ours("auto")),
        Way("Descent, analytic engine", lambda: ours("analytic"), rounds=7),
        Way("NumPy loop", lambda: with_numpy(*given), beside_numpy, rounds=7),
        Way("torch loop, gradient by hand", lambda: with_torch(*given), rounds=5),
        Way("torch loop, autograd", lambda: with_autograd(*given), beside_autograd, rounds=5),
        *jax_way,
    ]
    return Subject(f"{name}, {epochs:,} epochs, full history and trajectory", ways, 1e-11, 15, 1, notes=[said])


def with_numpy(features: Values, targets: Values, learning_rate: float, epochs: int) -> Values:
    """Loop in NumPy, keeping everything in arrays made beforehand."""
    inputs = np.column_stack([features, np.ones(len(features))])
    parameters, trajectory = np.zeros(inputs.shape[1]), np.empty((epochs + 1, inputs.shape[1]))
    losses, gradients = np.empty(epochs + 1), np.empty_like(trajectory)
    for epoch in range(epochs + 1):
        residuals = inputs @ parameters - targets
        trajectory[epoch], losses[epoch] = parameters, residuals @ residuals / len(targets)
        gradients[epoch] = 2 / len(targets) * residuals @ inputs
        parameters -= learning_rate * gradients[epoch]
    np.linalg.norm(gradients, axis=1)
    return trajectory


@torch.no_grad()
def with_torch(features: Values, targets: Values, learning_rate: float, epochs: int) -> Values:
    """Loop in torch as in NumPy, without autograd."""
    inputs = torch.from_numpy(np.column_stack([features, np.ones(len(features))]))
    answers = torch.from_numpy(targets)
    parameters = torch.zeros(inputs.shape[1], dtype=torch.float64)
    trajectory, gradients = torch.empty(2, epochs + 1, len(parameters), dtype=torch.float64)
    losses = torch.empty(epochs + 1, dtype=torch.float64)
    for epoch in range(epochs + 1):
        residuals = torch.mv(inputs, parameters).sub_(answers)
        trajectory[epoch], losses[epoch] = parameters, torch.dot(residuals, residuals)
        torch.mv(inputs.T, residuals, out=gradients[epoch]).mul_(2 / len(answers))
        parameters.sub_(gradients[epoch], alpha=learning_rate)
    losses.div_(len(answers))
    torch.linalg.vector_norm(gradients, dim=1)
    found: Values = trajectory.numpy()
    return found


def with_autograd(features: Values, targets: Values, learning_rate: float, epochs: int) -> Values:
    """Loop as a torch tutorial does, keeping everything in tensors made beforehand."""
    inputs, answers = torch.from_numpy(features), torch.from_numpy(targets)[:, None]
    model = torch.nn.Linear(features.shape[1], 1, dtype=torch.float64)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    trajectory, gradients = torch.empty(2, epochs + 1, features.shape[1] + 1, dtype=torch.float64)
    losses = torch.empty(epochs + 1, dtype=torch.float64)
    for epoch in range(epochs + 1):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(inputs), answers)
        torch.autograd.backward(loss)
        assert model.weight.grad is not None
        assert model.bias.grad is not None
        with torch.no_grad():
            trajectory[epoch, :-1], trajectory[epoch, -1] = model.weight[0], model.bias[0]
            losses[epoch] = loss
            gradients[epoch, :-1], gradients[epoch, -1] = model.weight.grad[0], model.bias.grad[0]
        optimizer.step()
    torch.linalg.vector_norm(gradients, dim=1)
    found: Values = trajectory.numpy()
    return found
