"""What a model says of samples, asked for in requests of a bounded size and put together as arrays."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.client.exchange import ask
from service.client.steps import Conversation, Json, Send
from service.client.tables import columns_of, file_of, is_frame, numbers_of
from service.errors import UnsendableData

AT_ONCE = 500_000
"""About so many numbers of an array are sent in one request; a frame is sent as one file, which has no limit here."""
PREDICT_SECONDS = 600.0


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
    classes: list[str] | None
    warnings: list[Json]
    explanations: list[Json] | None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        return len(self.values)


def predictions(model: str, samples: Any, explain: bool) -> Conversation[Prediction]:
    """Ask for the predictions of samples: a frame, or an array with the features in order.

    An array that takes several requests is answered by one version, also when an alias moves meanwhile.

    Raises:
        UnsendableData: when they are no table.
    """
    answers, first = list[Json](), 0
    for request in _requests(model, samples, explain):
        if answers:
            request.json["model"] = f"{answers[0]['model']}@{answers[0]['version']}"
        answer = yield from ask(request)
        answer["warnings"] = [{**one, "sample": one["sample"] + first} for one in answer.get("warnings") or []]
        answers.append(answer)
        first += len(answer["predictions"])
    return _together(answers)


def _requests(model: str, samples: Any, explain: bool) -> Iterator[Send]:
    asked = {"explain": True} if explain else {}
    if is_frame(samples) and not explain:
        file = file_of(columns_of(samples))
        headers = {"Content-Type": file.media_type}
        content, seconds = file.content, PREDICT_SECONDS
        yield Send("POST", "/predict", {"model": model}, headers, content=content, timeout_seconds=seconds)
        return
    if is_frame(samples):
        columns = {
            name: numbers_of(column, f"values of {name}").tolist() for name, column in columns_of(samples).items()
        }
        yield Send("POST", "/predict", json={"model": model, "columns": columns, **asked})
        return
    table = numbers_of(samples, "samples")
    if np.isinf(table).any():
        raise UnsendableData("a sample has an infinite value, which JSON does not know and no model was trained on")
    table = table.reshape(len(table), -1)
    size = max(1, AT_ONCE // max(1, table.shape[1]))
    for first in range(0, max(1, len(table)), size):
        part = table[first : first + size]
        # JSON has no NaN; a value that is missing is null.
        rows: Any = np.where(np.isnan(part), np.array(None), part).tolist()
        yield Send("POST", "/predict", json={"model": model, "features": rows, **asked})


def _together(answers: list[Json]) -> Prediction:
    def all_of(name: str) -> list[Any]:
        return [one for answer in answers for one in answer.get(name) or []]

    probabilities = all_of("probabilities")
    classes = list(probabilities[0]) if probabilities else None
    values = all_of("predictions")
    kinds = {type(value) for value in values}
    return Prediction(
        model=answers[0]["model"],
        version=answers[0]["version"],
        values=np.array(values, dtype=object if len(kinds) > 1 else None),
        probabilities=np.array([list(row.values()) for row in probabilities]) if probabilities else None,
        classes=classes,
        warnings=all_of("warnings"),
        explanations=all_of("explanations") or None,
    )
