"""Logistic and softmax regression in mini-batches of 256, by the epoch, with the loss after each."""

import functools
from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import SGDClassifier
from torch.nn import functional
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from benchmarks import descent
from benchmarks.measuring import Goal, Subject, Values, Way
from benchmarks.tables import classification
from service.tasks import Task
from service.training.threads import n_threads_for

EPOCHS, BATCH_SIZE, RATE = 10, 256, 0.1
Step = Callable[[torch.Tensor, torch.Tensor], None]
Loop = Callable[[torch.Tensor, torch.Tensor, int], Values]


def logistic(quick: bool) -> Subject:
    """Set up two classes."""
    return _subject("logistic_regression", 2, quick)


def softmax(quick: bool) -> Subject:
    """Set up five classes."""
    return _subject("softmax_regression", 5, quick)


def _subject(task: Task, n_classes: int, quick: bool) -> Subject:
    n_samples = 10_000 if quick else 100_000
    features, codes = classification(n_samples, 20, n_classes)
    dataset = descent.classes(features, codes, n_classes)
    given = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "learning_rate": RATE}
    training, single = (descent.prepare(task, dataset, **given | {"epochs": epochs}) for epochs in (EPOCHS, 1))
    n_outputs = 1 if n_classes == 2 else n_classes
    tensor = torch.from_numpy(features)
    answers = torch.from_numpy(codes) if n_outputs == 1 else torch.from_numpy(codes).long()
    first = descent.learned(single)
    loops = {name: functools.partial(loop, tensor, answers, n_outputs) for name, loop in LOOPS.items()}
    for name, once in loops.items():
        np.testing.assert_allclose(once(), first, rtol=0, atol=1e-3 * np.abs(first).max(), err_msg=name)
    classifier = SGDClassifier(
        "log_loss", alpha=1e-12, max_iter=EPOCHS, tol=None, learning_rate="constant", eta0=1e-3, random_state=0
    )
    _check_classes(descent.learned(training), classifier.fit(features, codes).predict(features), features, n_outputs)

    def with_sklearn() -> None:
        classifier.fit(features, codes)

    ways = [
        Way("Descent, an epoch", lambda: descent.learned(training), epochs=EPOCHS),
        Way(
            "Descent, the examination before the first epoch", lambda: _nothing(descent.prepare(task, dataset, **given))
        ),
        Way("scikit-learn SGDClassifier, an epoch", with_sklearn, Goal("at least", 1), EPOCHS, rounds=5),
        Way(LOADED, lambda: _nothing(loops[LOADED]()), Goal("at least", 30), rounds=3),
        Way(INDEXED, lambda: _nothing(loops[INDEXED]()), rounds=9),
    ]
    title = f"{n_samples:,} x 20 float32, {n_classes} classes, batches of {BATCH_SIZE}, by the epoch"
    return Subject(title, ways, 1e-3, 15, n_threads_for(features.size))


def _nothing(_: object) -> None:
    return None


def _check_classes(parameters: Values, predicted: Values, features: Values, n_outputs: int) -> None:
    """Hold the classes that parameters predict to others: they descend otherwise, but to the same place."""
    weight, bias = parameters[:-n_outputs].reshape(n_outputs, -1), parameters[-n_outputs:]
    outputs = features @ weight.T + bias
    classes = outputs[:, 0] > 0 if n_outputs == 1 else outputs.argmax(axis=1)
    assert (classes == predicted).mean() > 0.93, f"only {(classes == predicted).mean():.1%} are alike"


def with_loader(features: torch.Tensor, codes: torch.Tensor, n_outputs: int) -> Values:
    """Go through one epoch as a torch tutorial does, in the order in which Descent does."""
    data = TensorDataset(features, codes)
    sampler = RandomSampler(data, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(data, BATCH_SIZE, sampler=sampler)

    def go(step: Step) -> None:
        for batch in loader:
            step(*batch)

    return _one_epoch(features, codes, n_outputs, go)


def with_indices(features: torch.Tensor, codes: torch.Tensor, n_outputs: int) -> Values:
    """Go through one epoch without a loader, indexing tensors."""

    def go(step: Step) -> None:
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
        for rows in torch.split(order, BATCH_SIZE):
            step(features[rows], codes[rows])

    return _one_epoch(features, codes, n_outputs, go)


LOADED, INDEXED = "torch loop with a DataLoader, an epoch", "torch loop that indexes tensors, an epoch"
LOOPS: dict[str, Loop] = {LOADED: with_loader, INDEXED: with_indices}


def _one_epoch(features: torch.Tensor, codes: torch.Tensor, n_outputs: int, go: Callable[[Step], None]) -> Values:
    """Train a torch module from zero for one epoch, and take the loss after it."""
    model = torch.nn.Linear(features.shape[1], n_outputs)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)

    def loss_of(features: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        outputs = model(features)
        if n_outputs == 1:
            return functional.binary_cross_entropy_with_logits(outputs[:, 0], codes)
        return functional.cross_entropy(outputs, codes)

    def step(features: torch.Tensor, codes: torch.Tensor) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(loss_of(features, codes))
        optimizer.step()

    go(step)
    with torch.no_grad():
        loss_of(features, codes)
        return torch.cat([parameter.ravel() for parameter in model.parameters()]).numpy()
