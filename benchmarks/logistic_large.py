"""Logistic regression on a large table, full batch, by the epoch."""

import numpy as np
import torch

from benchmarks import descent
from benchmarks.measuring import Goal, Subject, Values, Way
from benchmarks.tables import classification
from service.training.threads import n_threads_for

EPOCHS, SOME_EPOCHS = 20, 2
RATE = 0.1


def subject(quick: bool) -> Subject:
    """Set it up; float32."""
    n_samples = 100_000 if quick else 1_000_000
    features, codes = classification(n_samples, 100, 2)
    dataset = descent.classes(features, codes, 2)
    training = descent.prepare("logistic_regression", dataset, epochs=EPOCHS, learning_rate=RATE)
    tensor, answers = torch.from_numpy(features), torch.from_numpy(codes)
    early = descent.trajectory(training)[SOME_EPOCHS]
    for found in (with_torch(tensor, answers), with_autograd(tensor, answers)):
        np.testing.assert_allclose(found, early, rtol=0, atol=1e-4 * np.abs(early).max())

    def examine() -> None:
        descent.prepare("logistic_regression", dataset, epochs=EPOCHS, learning_rate=RATE)

    ways = [
        Way("Descent, an epoch", lambda: descent.learned(training), epochs=EPOCHS + 1),
        Way("Descent, the examination before the first epoch", examine),
        Way("reading the table once, as a sum", lambda: _read(tensor), Goal("within", 1.6)),
        Way("torch loop without autograd, an epoch", lambda: _nothing(with_torch(tensor, answers)), epochs=SOME_EPOCHS),
        Way("torch loop, autograd, an epoch", lambda: _nothing(with_autograd(tensor, answers)), epochs=SOME_EPOCHS),
    ]
    title = f"{n_samples:,} x 100 float32, full batch, by the epoch"
    return Subject(title, ways, 1e-3, 9, n_threads_for(features.size))


def _read(table: torch.Tensor) -> None:
    table.sum()


def _nothing(_: Values) -> None:
    return None


@torch.no_grad()
def with_torch(features: torch.Tensor, codes: torch.Tensor) -> Values:
    """Loop over the data, allocating nothing of its size at a step."""
    weight, bias, outputs, losses = torch.zeros(features.shape[1]), torch.zeros(()), torch.empty_like(codes), []
    for _ in range(SOME_EPOCHS):
        torch.mv(features, weight, out=outputs).add_(bias)
        losses.append(torch.nn.functional.binary_cross_entropy_with_logits(outputs, codes))
        outputs.sigmoid_().sub_(codes)
        weight -= RATE / len(codes) * torch.mv(features.T, outputs)
        bias -= RATE * outputs.mean()
    return torch.cat([weight, bias[None]]).numpy()


def with_autograd(features: torch.Tensor, codes: torch.Tensor) -> Values:
    """Loop as a careful user of torch does."""
    parameters = torch.zeros(features.shape[1] + 1, requires_grad=True)
    losses = torch.empty(SOME_EPOCHS)
    for epoch in range(SOME_EPOCHS):
        outputs = torch.addmv(parameters[-1], features, parameters[:-1])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs, codes)
        (gradient,) = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            losses[epoch] = loss
            parameters.sub_(gradient, alpha=RATE)
    return parameters.detach().numpy()
