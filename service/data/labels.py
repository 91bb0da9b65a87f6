"""Labels: any JSON scalar but null, as class codes and back. `1`, `"1"` and `true` are three different labels."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dataset import Label, is_unicode
from service.errors import Fault, InvalidDataset

MAX_CLASSES = 10_000
_INT64 = np.iinfo(np.int64)


def encode_labels(labels: Sequence[Any]) -> tuple[tuple[Label, ...], NDArray[np.float64]]:
    """Give each label a code, its place in the sorted classes: booleans first, then numbers, then text.

    Returns:
        The classes, and the codes of shape (n_samples, 1).

    Raises:
        InvalidDataset: for a label that is no scalar, or null, or not finite.
    """
    faults = [
        Fault(f"/targets/{row}", f"a label must be text, a number or a boolean, not {_shown(label)}")
        for row, label in enumerate(labels)
        if not _is_label(label)
    ]
    if faults:
        raise InvalidDataset(faults)
    keys = [_sort_key(label) for label in labels]
    classes = dict(sorted(zip(keys, labels, strict=True), key=lambda pair: pair[0]))
    if len(classes) > MAX_CLASSES:
        detail = f"{len(classes)} different labels: {MAX_CLASSES} is the most; is this a regression?"
        raise InvalidDataset([Fault("/targets", detail)])
    codes = {key: code for code, key in enumerate(classes)}
    return tuple(classes.values()), np.array([[codes[key]] for key in keys], dtype=np.float64).reshape(-1, 1)


def codes_of(labels: Sequence[Any], classes: Sequence[Label]) -> list[int | None]:
    """Give each label its place in the classes, None where it is none of them."""
    codes = {_sort_key(label): code for code, label in enumerate(classes)}
    return [codes.get(_sort_key(label)) if _is_label(label) else None for label in labels]


def label_keys(classes: Sequence[Label]) -> list[str]:
    """Name the labels as keys of a JSON object: text as it is, `1` and `true` as JSON writes them.

    Text that reads like another label, such as "1" beside 1, keeps its quotes.
    """
    written = [json.dumps(label) for label in classes]
    return [
        label if isinstance(label, str) and label not in written else text
        for label, text in zip(classes, written, strict=True)
    ]


def label_array(classes: Sequence[Label]) -> NDArray[Any]:
    """Give the labels as an array of the one dtype that has them all: bool, int64 or float64.

    Where there is none it is an array of texts, of dtype object: their keys (see `label_keys`).
    """
    kinds = set(map(type, classes))
    if kinds == {bool}:
        return np.array(classes, dtype=np.bool_)
    if kinds == {int} and all(_INT64.min <= label <= _INT64.max for label in classes if isinstance(label, int)):
        return np.array(classes, dtype=np.int64)
    if kinds == {float}:
        return np.array(classes, dtype=np.float64)
    return np.array(label_keys(classes), dtype=object)


def _sort_key(label: Label) -> tuple[int, Label]:
    if isinstance(label, bool):
        return 0, label
    return (2, label) if isinstance(label, str) else (1, label)


def _is_label(value: Any) -> bool:
    if isinstance(value, str):
        return is_unicode(value)
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:80]
