"""What a model says of samples, asked for in requests of a bounded size and put together as arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.client.exchange import ask, get
from service.client.references import version_path
from service.client.steps import Conversation, Json, Send
from service.client.tables import as_table, columns_of, file_of, is_frame, json_values, numbers_of
from service.dataset import Label
from service.errors import ServiceRefused, UnsendableData

AT_ONCE = 500_000
"""About so many numbers of an array are sent in one request; a frame is sent as one file, which has no limit here."""
EXPLAINED_AT_ONCE = 100_000
"""So many are, of an array or a frame, where explanations are asked for: an answer has several numbers for each."""
PREDICT_SECONDS = 600.0
LESS = 4
"""Where there is too much to explain at once, it is tried with so many times less."""

Samples = Callable[[slice], Json]
"""Gives some of the samples as `POST /predict` has them."""


@dataclass(frozen=True)
class Prediction:
    """What a version of a model says of samples.

    `values` has a number or label for each, (n_samples,), or (n_samples, n_targets) for several targets. For a
    classifier `probabilities` is (n_samples, n_classes), and `classes` names its columns. `warnings` tell of features
    beyond what training saw; `explanations` has one for each sample where they were asked for.
    """

    model: str
    version: int
    values: NDArray[Any]
    probabilities: NDArray[np.float64] | None
    classes: list[Label] | None
    warnings: list[Json]
    explanations: list[Json] | None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        return len(self.values)


def predictions(model: str, samples: Any, explain: bool) -> Conversation[Prediction]:
    """Ask for the predictions of samples: a frame, or an array with the features in order.

    What takes several requests is answered by one version, also when an alias moves meanwhile.

    Raises:
        UnsendableData: when they are no table.
    """
    if is_frame(samples) and not explain:
        file = file_of(columns_of(samples))
        headers, given = {"Content-Type": file.media_type}, {"model": model}
        request = Send("POST", "/predict", given, headers, content=file.content, timeout_seconds=PREDICT_SECONDS)
        answers = [(yield from ask(request))]
    else:
        answers = yield from _answers(model, samples, explain)
    if "probabilities" not in answers[0]:
        return _together(answers, None)
    # Their keys are texts, whatever the labels are.
    version = yield from get(version_path(answers[0]["model"], answers[0]["version"]))
    return _together(answers, version["classes"])


def _answers(model: str, samples: Any, explain: bool) -> Conversation[list[Json]]:
    """Ask for so many samples at once as are sent in one request, or fewer where they cannot be explained at once."""
    n_samples, n_columns, some = _table(samples)
    size = max(1, (EXPLAINED_AT_ONCE if explain else AT_ONCE) // max(1, n_columns))
    answers, first = list[Json](), 0
    while first < n_samples or not answers:
        body = {"model": model, **some(slice(first, first + size))} | ({"explain": True} if explain else {})
        try:
            answer = yield from ask(Send("POST", "/predict", json=body))
        except ServiceRefused as refused:
            n_asked = min(size, n_samples - first)
            if n_asked < 2 or "#/explain" not in (fault["pointer"] for fault in refused.problem.get("errors") or []):
                raise
            size = max(1, n_asked // LESS)
            continue
        answer["warnings"] = [{**one, "sample": one["sample"] + first} for one in answer.get("warnings") or []]
        answers.append(answer)
        first += size
        model = f"{answer['model']}@{answer['version']}"
    return answers


def _table(samples: Any) -> tuple[int, int, Samples]:
    """Tell how many samples and columns there are, and how to get some of them."""
    if is_frame(samples):
        columns = {name: json_values(column, name) for name, column in columns_of(samples).items()}
        n_samples = len(next(iter(columns.values()), ()))
        return n_samples, len(columns), lambda some: {"columns": {name: its[some] for name, its in columns.items()}}
    table = as_table(numbers_of(samples, "samples"))
    if np.isinf(table).any():
        raise UnsendableData("a sample has an infinite value, which JSON does not know and no model was trained on")

    def rows(some: slice) -> Json:
        # JSON has no NaN; a value that is missing is null.
        return {"features": np.where(np.isnan(table[some]), np.array(None), table[some]).tolist()}

    return *table.shape, rows


def _together(answers: list[Json], classes: list[Label] | None) -> Prediction:
    def all_of(name: str) -> list[Any]:
        return [one for answer in answers for one in answer.get(name) or []]

    probabilities = [list(row.values()) for row in all_of("probabilities")]
    values = all_of("predictions")
    kinds = {type(value) for value in values}
    return Prediction(
        model=answers[0]["model"],
        version=answers[0]["version"],
        values=np.array(values, dtype=object if len(kinds) > 1 else None),
        probabilities=None if classes is None else np.array(probabilities, np.float64).reshape(-1, len(classes)),
        classes=classes,
        warnings=all_of("warnings"),
        explanations=all_of("explanations") or None,
    )
