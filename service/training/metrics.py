"""How good the outputs of a model are, in the field's usual numbers, and what the objective has beyond the loss.

Everything is in float64. torchmetrics gives the errors and the confusion matrix. The rest is done here, for with
torchmetrics 1.9 r2 cancels for targets far from 0 and takes a variance below 1e-4 as none, the ratios of
classification are float32 and count in matrices of n_classes², and the area under the ROC curve is float32 of logits
squeezed by a sigmoid, which ties the large ones.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torchmetrics.functional.classification import multiclass_confusion_matrix
from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error

from service.dataset import Label
from service.parameters import Parameters
from service.tasks import TRAITS, Task
from service.training.batches import to_tensor

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]

LARGEST_TABLE = 100
"""With more classes than these, what has a row for each class is too large to be read."""


def penalty(parameters: Parameters, l2: float, l1: float = 0.0) -> float:
    """Give what the objective has beyond the loss: l2 / 2 · Σ weight² + l1 · Σ |weight|; infinite on overflow."""
    with np.errstate(over="ignore"):
        # A factor of 0 times a sum that overflowed would be not a number.
        squares = sum(float(np.square(layer.weight, dtype=np.float64).sum()) for layer in parameters) if l2 else 0.0
        sizes = sum(float(np.abs(layer.weight).sum(dtype=np.float64)) for layer in parameters) if l1 else 0.0
    return l2 / 2 * squares + l1 * sizes


def score(task: Task, outputs: Numbers, targets: NDArray[Any], classes: Sequence[Label] | None) -> dict[str, Any]:
    """Measure the outputs of a model against targets.

    Args:
        task: of the model.
        outputs: shape (n_samples, n_outputs). Numbers in the units of the targets for regression; for classification
            one logit per class, or for logistic regression the only one, that of the second class.
        targets: shape (n_samples, n_targets); class codes, 0 … n_classes - 1 and of shape (n_samples, 1), for
            classification.
        classes: the label of each code; None for the codes themselves, and for regression.

    Returns:
        JSON values, with None for what is undefined or not finite.

        For regression `mse`, `rmse`, `mae` and `r2`, each over all targets: `rmse` is the root of `mse`, `r2` the mean
        of the targets' own, None when one of them does not vary, or for a single sample. With several targets,
        `per_target` has the same four for each.

        For classification `accuracy`, `log_loss` (in nats), `precision`, `recall`, `f1` (of the second of two
        classes, else as the next), `precision_macro`, `recall_macro`, `f1_macro` (means over the classes that occur
        among targets or predictions), `roc_auc` (of several classes the mean of each against the rest; None unless
        all of them occur among the targets), `confusion_matrix` (a row for each true class, a column for each
        predicted one) and `per_class` (`label`, `precision`, `recall`, `f1`, `support`), both None beyond 100 classes.
        A ratio of 0 to 0 is 0. The prediction is the most probable class, the first of equally probable ones.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes None
        if not TRAITS[task].classifies:
            return _regression(outputs, targets.astype(np.float64, copy=False))
        logits = np.hstack([np.zeros_like(outputs), outputs]) if task == "logistic_regression" else outputs
        labels = range(logits.shape[1]) if classes is None else classes
        return _classification(logits, targets[:, 0].astype(np.int64), labels)


def _regression(outputs: Numbers, targets: Numbers) -> dict[str, Any]:
    errors = [_errors(*columns) for columns in zip(outputs.T, targets.T, strict=True)]
    found: dict[str, Any] = _named(*map(float, np.mean(errors, axis=0)))
    if len(errors) > 1:
        found["per_target"] = [_named(*each) for each in errors]
    return found


def _errors(outputs: Numbers, targets: Numbers) -> tuple[float, float, float]:
    """Give mse, mae and r2 of one target; what is undefined is not a number."""
    pair = to_tensor(outputs), to_tensor(targets)
    return float(mean_squared_error(*pair)), float(mean_absolute_error(*pair)), _r2(outputs, targets)


def _r2(outputs: Numbers, targets: Numbers) -> float:
    if not (targets != targets[0]).any():  # asked of the targets themselves, for their mean is rounded
        return math.nan
    deviations = targets - targets.mean()
    scale = np.abs(deviations).max()  # lest squares of tiny or enormous numbers vanish or overflow
    return float(1 - np.square((targets - outputs) / scale).sum() / np.square(deviations / scale).sum())


def _named(mse: float, mae: float, r2: float) -> dict[str, float | None]:
    return {"mse": finite(mse), "rmse": finite(math.sqrt(mse)), "mae": finite(mae), "r2": finite(r2)}


def finite(value: float) -> float | None:
    """Give a number, or None for what JSON has no word for."""
    return value if math.isfinite(value) else None


def _classification(logits: Numbers, codes: Counts, labels: Sequence[Label]) -> dict[str, Any]:
    winners = _Winners(logits)
    predicted, n_classes = winners.codes, logits.shape[1]
    support = np.bincount(codes, minlength=n_classes)
    n_predicted = np.bincount(predicted, minlength=n_classes)
    hits = np.bincount(codes[codes == predicted], minlength=n_classes)
    ratios = {
        "precision": _ratio(hits, n_predicted),
        "recall": _ratio(hits, support),
        "f1": _ratio(2 * hits, n_predicted + support),
    }
    occurs = n_predicted + support > 0
    macro = {name: float(ratio[occurs].mean()) for name, ratio in ratios.items()}
    return {
        "accuracy": int(hits.sum()) / len(codes),
        "log_loss": _log_loss(logits, winners, codes),
        **({name: float(ratio[1]) for name, ratio in ratios.items()} if n_classes == 2 else macro),
        **{f"{name}_macro": value for name, value in macro.items()},
        "roc_auc": _roc_auc(logits, winners, codes) if support.all() else None,
        **_tables(predicted, codes, labels, {**ratios, "support": support}),
    }


class _Winners:
    """The most probable class of each sample.

    `codes`, `logits` and `rests` have shape (n_samples,): which class, its logit, and log Σ exp(logit - its logit), by
    which the log of its probability falls short of 0.
    """

    def __init__(self, logits: Numbers) -> None:
        self.codes = logits.argmax(axis=1)
        self.logits = logits[np.arange(len(logits)), self.codes]
        others = np.zeros(len(logits))
        # Class by class, for memory; without the winner's own 1, for log1p to keep the digits of confident ones.
        for code, column in enumerate(logits.T):
            others += np.where(self.codes == code, 0.0, np.exp(column - self.logits))
        self.rests = np.log1p(others)


def _ratio(part: Counts, whole: Counts) -> Numbers:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def _log_loss(logits: Numbers, winners: _Winners, codes: Counts) -> float | None:
    losses = winners.logits - logits[np.arange(len(codes)), codes] + winners.rests
    return finite(float((losses / len(losses)).sum()))  # the sum of the largest ones would overflow


def _roc_auc(logits: Numbers, winners: _Winners, codes: Counts) -> float | None:
    if not np.isfinite(winners.logits).all():
        return None
    if logits.shape[1] == 2:
        return _area(logits[:, 1] - logits[:, 0], codes == 1)
    # Logs of probabilities, for probabilities themselves are all 1 from 37 nats on.
    log_probabilities = (column - winners.logits - winners.rests for column in logits.T)
    return float(np.mean([_area(scores, codes == code) for code, scores in enumerate(log_probabilities)]))


def _area(scores: Numbers, is_positive: NDArray[np.bool_]) -> float:
    """Give the area under the ROC curve: how often a positive sample is above a negative one, ties counting half.

    Mann and Whitney (1947), On a test of whether one of two random variables is stochastically larger than the other.
    """
    positives, negatives = np.sort(scores[is_positive]), np.sort(scores[~is_positive])
    above = np.searchsorted(negatives, positives, side="left").sum()
    not_below = np.searchsorted(negatives, positives, side="right").sum()
    return int(above + not_below) / (2 * len(positives) * len(negatives))


def _tables(
    predicted: Counts, codes: Counts, labels: Sequence[Label], columns: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    """Give what has a row for each class."""
    if len(labels) > LARGEST_TABLE:
        return {"confusion_matrix": None, "per_class": None}
    matrix = multiclass_confusion_matrix(to_tensor(predicted), to_tensor(codes), len(labels), validate_args=False)
    rows = zip(labels, *(column.tolist() for column in columns.values()), strict=True)
    return {
        "confusion_matrix": matrix.tolist(),
        "per_class": [dict(zip(("label", *columns), row, strict=True)) for row in rows],
    }
