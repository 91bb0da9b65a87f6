"""Logistic regression, full batch: every epoch has its loss, parameters and gradient."""

import numpy as np
import torch

from benchmarks import compiled, descent
from benchmarks.measuring import Goal, Subject, Values, Way
from benchmarks.tables import classification
from service.training.threads import n_threads_for


def subject(quick: bool) -> Subject:
    """Set it up; float32."""
    n_samples, epochs = (1000, 100) if quick else (10_000, 1000)
    features, codes = classification(n_samples, 20, 2)
    dataset = descent.classes(features, codes, 2)
    training = descent.prepare("logistic_regression", dataset, epochs=epochs)
    rate = float(training.plan.hyperparameters.learning_rate)
    signs = 2 * codes - 1
    jax_way, said = compiled.scan(compiled.log_loss, features, signs, rate, epochs, Goal("at least", 1))
    tensor, answers = torch.from_numpy(features), torch.from_numpy(codes)
    ways = [
        Way(
            "Descent",
            lambda: descent.trajectory(descent.prepare("logistic_regression", dataset, epochs=epochs)),
        ),
        Way("  of which the descent", lambda: descent.trajectory(training)),
        Way("NumPy loop", lambda: with_numpy(features, codes, rate, epochs), rounds=3),
        Way("torch loop, autograd", lambda: with_autograd(tensor, answers, rate, epochs), Goal("at least", 2.5)),
        *jax_way,
    ]
    title = f"{n_samples:,} x 20 float32, full batch, {epochs:,} epochs, full history and trajectory"
    return Subject(title, ways, 1e-3, 9, n_threads_for(features.size), notes=[said])


def with_numpy(features: Values, codes: Values, rate: float, epochs: int) -> Values:
    """Loop in NumPy, keeping everything in arrays made beforehand."""
    inputs = np.column_stack([features, np.ones_like(codes)])
    parameters = np.zeros(inputs.shape[1], np.float32)
    trajectory, gradients = np.empty((2, epochs + 1, len(parameters)), np.float32)
    losses = np.empty(epochs + 1, np.float32)
    for epoch in range(epochs + 1):
        outputs = inputs @ parameters
        trajectory[epoch], losses[epoch] = parameters, np.mean(np.logaddexp(0, outputs) - codes * outputs)
        gradients[epoch] = (1 / (1 + np.exp(-outputs)) - codes) @ inputs / np.float32(len(codes))
        parameters -= np.float32(rate) * gradients[epoch]
    np.linalg.norm(gradients, axis=1)
    return trajectory


def with_autograd(features: torch.Tensor, codes: torch.Tensor, rate: float, epochs: int) -> Values:
    """Loop as a careful user of torch does, keeping everything in tensors made beforehand."""
    parameters = torch.zeros(features.shape[1] + 1, requires_grad=True)
    trajectory, gradients = torch.empty(2, epochs + 1, len(parameters))
    losses = torch.empty(epochs + 1)
    for epoch in range(epochs + 1):
        outputs = torch.addmv(parameters[-1], features, parameters[:-1])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs, codes)
        (gradient,) = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            trajectory[epoch], losses[epoch], gradients[epoch] = parameters, loss, gradient
            parameters.sub_(gradient, alpha=rate)
    torch.linalg.vector_norm(gradients, dim=1)
    found: Values = trajectory.numpy()
    return found
