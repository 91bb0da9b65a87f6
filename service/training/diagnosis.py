"""Why a training failed, with the evidence and what to change."""

import math

from service.dataset import Dataset
from service.errors import Diagnosis, TrainingDiverged
from service.hyperparameters import Hyperparameters
from service.plan import layout_of
from service.tasks import Task
from service.training.advice import advise_learning_rate
from service.training.start import start_vector


def explain_divergence(task: Task, dataset: Dataset, hyperparameters: Hyperparameters, epoch: int) -> TrainingDiverged:
    """Give the error for a descent whose loss or gradient was not finite at an epoch.

    The usual culprit is a learning rate above what the data allows; otherwise the numbers themselves are too large
    for the dtype.
    """
    advice = advise_learning_rate(task, dataset, hyperparameters)
    rate = float(hyperparameters.learning_rate)
    evidence: dict[str, float | str] = {"learning_rate": rate, "limit": advice.limit, "kind": advice.kind}
    if rate > advice.limit and advice.suggested > 0:
        detail = (
            f"the loss was no longer finite at epoch {epoch}: the learning rate {rate:.3g} is "
            f"{_times(rate / advice.limit)} the {advice.limit:.3g} up to which this data is known to converge; "
            f"try {advice.suggested:.3g}"
        )
        return TrainingDiverged(
            detail,
            Diagnosis("learning_rate_too_large", epoch, evidence, {"learning_rate": advice.suggested}),
        )
    start = start_vector(hyperparameters, layout_of(task, dataset)).numpy()
    largest = max(float(abs(numbers).max()) for numbers in (dataset.features, dataset.targets, start))
    evidence |= {"largest_number": largest, "dtype": hyperparameters.dtype}
    detail = (
        f"the loss was not finite at epoch {epoch}, though the learning rate {rate:.3g} is within the limit: the "
        f"numbers (up to {largest:.3g}, start included) are too large for {hyperparameters.dtype}; use smaller units"
    )
    suggestion = {"dtype": "float64"} if hyperparameters.dtype == "float32" else {}
    return TrainingDiverged(detail, Diagnosis("numbers_too_large", epoch, evidence, suggestion))


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times" if math.isfinite(ratio) else "far beyond"
