"""Real datasets, and trainings on them that are done again as their findings suggest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from service.dataset import Dataset, Schema, default_names
from service.errors import Finding, TrainingDiverged
from service.tasks import Task
from service.training.fit import Training
from service.training.result import outcome_of
from tests.training.problems import hyperparameters

Problem = tuple[Task, Dataset]


def _labelled(load: Callable[[], Any]) -> Dataset:
    data = load()
    classes = tuple(str(name) for name in data.target_names)
    names = default_names("x", data.data.shape[1])
    return Dataset(data.data, data.target.astype(float), Schema(names, ("y",), classes))


_MEASURES = load_iris().data
IRIS: Problem = ("softmax_regression", _labelled(load_iris))
WINE: Problem = ("softmax_regression", _labelled(load_wine))
BREAST_CANCER: Problem = ("logistic_regression", _labelled(load_breast_cancer))
DIABETES: Problem = ("linear_regression", Dataset(*load_diabetes(return_X_y=True)))
PETALS: Problem = ("linear_regression", Dataset(_MEASURES[:, :3], _MEASURES[:, 3]))


@dataclass(frozen=True)
class Trained:
    """What is said of a training, in order, and what it came to; numbers are infinite when it diverged.

    `fit` is the coefficient of determination, or minus the log loss, on the training samples; more is better.
    """

    findings: tuple[Finding, ...]
    objective: float
    fit: float
    suggestion: dict[str, Any]

    @property
    def codes(self) -> list[str]:
        return [finding.code for finding in self.findings]

    def __getitem__(self, code: str) -> Finding:
        return next(finding for finding in self.findings if finding.code == code)


def train(problem: Problem, **asked: Any) -> Trained:
    """Train, with the suggestions of all findings put together as a retry of the job does."""
    task, dataset = problem
    training = Training(task, dataset, hyperparameters(**{"seed": 0, "dtype": "float32"} | asked))
    try:
        last = list(training.blocks())[-1]
    except TrainingDiverged as diverged:
        return Trained((diverged.finding,), np.inf, -np.inf, diverged.finding.suggestion)
    assert last.learned is not None
    result = outcome_of(training, last.learned).result
    findings = (*training.plan.warnings, *last.findings)
    suggestion: dict[str, Any] = {}
    for finding in reversed(findings):
        suggestion |= finding.suggestion
    metrics = result["metrics"]["train"]
    fit = metrics["r2"] if dataset.schema.classes is None else -metrics["log_loss"]
    return Trained(findings, result["objective"], fit, suggestion)


def train_twice(problem: Problem, **asked: Any) -> tuple[Trained, Trained]:
    """Train, and again as is suggested."""
    first = train(problem, **asked)
    return first, train(problem, **asked | first.suggestion)
