"""A perceptron of 64, 32 and 10 units on scikit-learn's digits, with adam: full batch, and batches of 64.

Every epoch has its loss; the loops are as careful as one would write them oneself.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from benchmarks import descent
from benchmarks.measuring import Goal, Subject, Values, Way
from service.training.fit import Training
from service.training.threads import n_threads_for

RATE = 1e-3


def full_batch(quick: bool) -> Subject:
    """Set up one step an epoch."""
    return _subject(None, 20 if quick else 300)


def mini_batches(quick: bool) -> Subject:
    """Set up 29 steps an epoch."""
    return _subject(64, 2 if quick else 10)


def _subject(batch_size: int | None, epochs: int) -> Subject:
    digits = load_digits()
    features, codes = (digits.data / 16).astype(np.float32), digits.target.astype(np.float32)
    dataset = descent.classes(features, codes, 10)

    def prepare() -> Training:
        given = {"hidden_layers": [32], "optimizer": "adam", "learning_rate": RATE, "batch_size": batch_size}
        return descent.prepare("mlp_classifier", dataset, epochs=epochs, **given)

    training = prepare()
    start = training.examination.start.astype(np.float32)
    tensor, answers = torch.from_numpy(features), torch.from_numpy(codes).long()

    def loop(fused: bool) -> Values:
        return with_torch(tensor, answers, start, batch_size or len(codes), epochs, fused)

    ways = [
        Way("Descent", lambda: descent.learned(prepare())),
        Way("  of which the descent", lambda: descent.learned(training)),
        Way("torch loop, Adam", lambda: loop(False), Goal("at least", 1)),
        Way("torch loop, Adam(fused=True)", lambda: loop(True), Goal("at least", 1)),
    ]
    size = f"batches of {batch_size}" if batch_size else "full batch"
    title = f"digits, 1,797 x 64 float32, 64-32-10, adam, {size}, {epochs} epochs"
    return Subject(title, ways, 1e-2, 11, n_threads_for(features.size))


def with_torch(
    features: torch.Tensor, codes: torch.Tensor, start: Values, batch_size: int, epochs: int, fused: bool
) -> Values:
    """Loop as a careful user of torch does, in the order in which Descent goes through the samples."""
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    nn.utils.vector_to_parameters(torch.tensor(start), model.parameters())  # which become views of it
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=fused)
    losses = torch.empty(epochs + 1)
    draws = torch.Generator().manual_seed(0)

    def step(features: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(features), codes)
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.detach()

    for epoch in range(epochs):
        if batch_size == len(codes):
            losses[epoch] = step(features, codes)
            continue
        with torch.no_grad():
            losses[epoch] = nn.functional.cross_entropy(model(features), codes)
        for rows in torch.split(torch.randperm(len(codes), generator=draws), batch_size):
            step(features[rows], codes[rows])
    with torch.no_grad():
        losses[epochs] = nn.functional.cross_entropy(model(features), codes)
        return nn.utils.parameters_to_vector(model.parameters()).numpy()
