"""How good the outputs of a model are, in the field's usual numbers, and what the objective has beyond the loss.

Samples are gone through in parts. A regression keeps sums of them only; a classification keeps, for the area under the
ROC curve, a number a sample and, of more than two classes, each class; twice for a while.

Everything is in float64 and NumPy, for trainings and for the evaluations of the API, which knows no torch. torchmetrics
1.9 is what tests compare with where it is as exact: its r2 cancels for targets far from 0 and takes a variance below
1e-4 as none, its ratios of classification are float32 and count in matrices of n_classes², and its area under the ROC
curve is float32 of logits squeezed by a sigmoid, which ties the large ones.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.dataset import Label
from service.parameters import Parameters
from service.room import room_for, slices_of
from service.tasks import TRAITS, Task

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]


class Outputs(Protocol):
    """Outputs of shape (n_samples, n_outputs): an array, or what computes some rows of it when it is asked for them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_samples, n_outputs)."""
        ...

    def __getitem__(self, part: slice, /) -> Numbers:
        """Give some rows."""
        ...


LARGEST_TABLE = 100
"""With more classes than these, what has a row for each class is too large to be read."""


def penalty(parameters: Parameters, l2: float, l1: float = 0.0) -> float:
    """Give what the objective has beyond the loss: l2 / 2 · Σ weight² + l1 · Σ |weight|; infinite on overflow."""
    with np.errstate(over="ignore"):
        # A factor of 0 times a sum that overflowed would be not a number.
        squares = sum(float(np.square(layer.weight, dtype=np.float64).sum()) for layer in parameters) if l2 else 0.0
        sizes = sum(float(np.abs(layer.weight).sum(dtype=np.float64)) for layer in parameters) if l1 else 0.0
    return l2 / 2 * squares + l1 * sizes


def score(task: Task, outputs: Outputs, targets: NDArray[Any], classes: Sequence[Label] | None) -> dict[str, Any]:
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
            return _regression(outputs, targets)
        return _classification(task, outputs, targets[:, 0], classes)


def losses(task: Task, outputs: Numbers, targets: NDArray[Any]) -> Numbers:
    """Give the loss of each sample, (n,): its squared error, the mean of all targets', or minus its log probability.

    Their means are the `mse` and the `log_loss` of `score`, which takes the same.
    """
    with np.errstate(over="ignore"):
        if not TRAITS[task].classifies:
            found: Numbers = np.square(outputs - targets).mean(axis=1)
            return found
        logits = _logits(task, outputs)
        winners, codes = _Winners(logits), targets[:, 0].astype(np.int64)
        missed: Numbers = winners.logits - logits[np.arange(len(codes)), codes] + winners.rests
        return missed


def _logits(task: Task, outputs: Numbers) -> Numbers:
    return np.hstack([np.zeros_like(outputs), outputs]) if task == "logistic_regression" else outputs


def _regression(outputs: Outputs, targets: NDArray[Any]) -> dict[str, Any]:
    n_samples, n_targets = targets.shape
    centres = [_centre(targets[:, number]) for number in range(n_targets)]
    sums = np.zeros((n_targets, 4))
    for part in slices_of(n_samples):
        its, answers = outputs[part], targets[part].astype(np.float64, copy=False)
        for number, (mean, scale) in enumerate(centres):
            sums[number] += _sums(its[:, number], answers[:, number], mean, scale, n_samples)
    errors = [(mse, mae, float(1 - residual / total)) for mse, mae, residual, total in sums]
    found: dict[str, Any] = _named(*map(float, np.mean(errors, axis=0)))
    if n_targets > 1:
        found["per_target"] = [_named(*each) for each in errors]
    return found


def _centre(targets: NDArray[Any]) -> tuple[float, float]:
    """Give the mean of a target, and how far from it a sample is at most; not a number where it does not vary."""
    parts = list(slices_of(len(targets)))
    # Asked of the targets themselves, for their mean is rounded.
    if not any((targets[part] != targets[0]).any() for part in parts):
        return math.nan, math.nan
    total = sum(targets[part].astype(np.float64, copy=False).sum() for part in parts)
    mean = total / len(targets)
    return mean, max(np.abs(targets[part].astype(np.float64, copy=False) - mean).max() for part in parts)


def _sums(
    outputs: Numbers, targets: Numbers, mean: float, scale: float, n_samples: int
) -> tuple[float, float, float, float]:
    """Give what a part adds to mse and mae, and its squared residuals and deviations from the mean.

    The latter two are in units of `scale`, lest squares of tiny or enormous numbers vanish or overflow.
    """
    errors, share = outputs - targets, len(targets) / n_samples
    return (
        float(np.square(errors).mean()) * share,
        float(np.abs(errors).mean()) * share,
        float(np.square((targets - outputs) / scale).sum()),
        float(np.square((targets - mean) / scale).sum()),
    )


def _named(mse: float, mae: float, r2: float) -> dict[str, float | None]:
    return {"mse": finite(mse), "rmse": finite(math.sqrt(mse)), "mae": finite(mae), "r2": finite(r2)}


def finite(value: float) -> float | None:
    """Give a number, or None for what JSON has no word for."""
    return value if math.isfinite(value) else None


def _classification(
    task: Task, outputs: Outputs, codes: NDArray[Any], classes: Sequence[Label] | None
) -> dict[str, Any]:
    n_samples, n_outputs = outputs.shape
    n_classes = 2 if task == "logistic_regression" else n_outputs
    outcomes = _Outcomes(n_samples, n_classes)
    for part in slices_of(n_samples):
        outcomes.add(part, _logits(task, outputs[part]), codes[part].astype(np.int64))
    hits, support, n_predicted = outcomes.hits, outcomes.support, outcomes.n_predicted
    ratios = {
        "precision": _ratio(hits, n_predicted),
        "recall": _ratio(hits, support),
        "f1": _ratio(2 * hits, n_predicted + support),
    }
    occurs = n_predicted + support > 0
    macro = {name: float(ratio[occurs].mean()) for name, ratio in ratios.items()}
    return {
        "accuracy": int(hits.sum()) / n_samples,
        "log_loss": finite(outcomes.log_loss),
        **({name: float(ratio[1]) for name, ratio in ratios.items()} if n_classes == 2 else macro),
        **{f"{name}_macro": value for name, value in macro.items()},
        "roc_auc": outcomes.roc_auc(codes),
        **_tables(outcomes.confusion, classes or range(n_classes), {**ratios, "support": support}),
    }


class _Outcomes:
    """What classifying has come to: how many samples are of each class, were taken for it, and both; the log loss.

    `confusion`, of shape (n_classes, n_classes), is None with too many classes.
    """

    def __init__(self, n_samples: int, n_classes: int) -> None:
        self.support, self.n_predicted, self.hits = np.zeros((3, n_classes), dtype=np.int64)
        self.confusion: Counts | None = None
        if n_classes <= LARGEST_TABLE:
            self.confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
        self.log_loss = 0.0
        self._is_finite = True
        self._scores = room_for((n_classes if n_classes > 2 else 1, n_samples), np.float64)

    def add(self, part: slice, logits: Numbers, codes: Counts) -> None:
        """Take in some samples: their logits, (n, n_classes), and their classes, (n,)."""
        winners, n_classes = _Winners(logits), logits.shape[1]
        self.support += np.bincount(codes, minlength=n_classes)
        self.n_predicted += np.bincount(winners.codes, minlength=n_classes)
        self.hits += np.bincount(codes[codes == winners.codes], minlength=n_classes)
        if self.confusion is not None:
            pairs = np.bincount(codes * n_classes + winners.codes, minlength=n_classes**2)
            self.confusion += pairs.reshape(n_classes, n_classes)
        losses = winners.logits - logits[np.arange(len(codes)), codes] + winners.rests
        self.log_loss += float((losses / self._scores.shape[1]).sum())  # the sum of the largest ones would overflow
        self._is_finite = self._is_finite and bool(np.isfinite(winners.logits).all())
        if n_classes == 2:
            self._scores[0, part] = logits[:, 1] - logits[:, 0]
            return
        for scores, column in zip(self._scores, logits.T, strict=True):
            # Logs of probabilities, for probabilities themselves are all 1 from 37 nats on.
            scores[part] = column - winners.logits - winners.rests

    def roc_auc(self, codes: NDArray[Any]) -> float | None:
        """Give the area under the ROC curve, of several classes the mean of each against the rest."""
        if not (self.support.all() and self._is_finite):
            return None
        if len(self.support) == 2:
            return _area(self._scores[0], codes, 1, int(self.support[1]))
        every = enumerate(zip(self._scores, self.support.tolist(), strict=True))
        return float(np.mean([_area(scores, codes, code, n_of_it) for code, (scores, n_of_it) in every]))


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


def _area(scores: Numbers, codes: NDArray[Any], code: int, n_of_it: int) -> float:
    """Give the area under the ROC curve: how often a sample of a class is above another one, ties counting half.

    Mann and Whitney (1947), On a test of whether one of two random variables is stochastically larger than the other.
    """
    own, others = room_for((n_of_it,), np.float64), room_for((len(scores) - n_of_it,), np.float64)
    n_own = n_others = 0
    for part in slices_of(len(scores)):
        is_own, its = codes[part] == code, scores[part]
        mine, theirs = its[is_own], its[~is_own]
        own[n_own : n_own + len(mine)], others[n_others : n_others + len(theirs)] = mine, theirs
        n_own, n_others = n_own + len(mine), n_others + len(theirs)
    own.sort()
    others.sort()
    n_above = 0
    for part in slices_of(len(own)):
        above = np.searchsorted(others, own[part], side="left").sum()
        not_below = np.searchsorted(others, own[part], side="right").sum()
        n_above += int(above + not_below)
    return n_above / (2 * len(own) * len(others))


def _tables(confusion: Counts | None, labels: Sequence[Label], columns: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Give what has a row for each class."""
    if confusion is None:
        return {"confusion_matrix": None, "per_class": None}
    rows = zip(labels, *(column.tolist() for column in columns.values()), strict=True)
    return {
        "confusion_matrix": confusion.tolist(),
        "per_class": [dict(zip(("label", *columns), row, strict=True)) for row in rows],
    }
