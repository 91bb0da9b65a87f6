"""Labels: any JSON scalar but null, as class codes and back. `1`, `"1"` and `true` are three different labels."""

import json
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.data.json_numbers import Flat
from service.data.long_lists import LongList, as_shown
from service.dataset import Label, is_unicode
from service.errors import Fault, InvalidDataset, first_of

MAX_CLASSES = 10_000
LOOKED_AT_ONCE = 2**14
_INT64 = np.iinfo(np.int64)


def encode_labels(labels: Sequence[Any]) -> tuple[tuple[Label, ...], NDArray[np.float64]]:
    """Give each label a code, its place in the sorted classes: booleans first, then numbers, then text.

    Returns:
        The classes, and the codes of shape (n_samples, 1).

    Raises:
        InvalidDataset: for a label that is no scalar, or null, or not finite.
    """
    compact = labels.compact if isinstance(labels, LongList) else None
    numbers = compact.exact() if isinstance(compact, Flat) else None
    if numbers is not None and isinstance(compact, Flat):
        _check_count(len(numbers))
        return tuple(numbers), np.searchsorted(numbers, compact.values).astype(np.float64)[:, None]
    plain = _plain(labels)
    classes = _by_key(labels) if plain is None else {_sort_key(label): label for _, label in plain}
    keys = sorted(classes)
    if plain is None:
        codes: dict[Any, int] = {key: code for code, key in enumerate(keys)}
        given: Iterator[Any] = map(_sort_key, labels)
    else:
        codes = {(type(classes[key]), classes[key]): code for code, key in enumerate(keys)}
        given = _with_types(labels)
    found = np.fromiter(map(codes.__getitem__, given), np.float64, len(labels))
    return tuple(classes[key] for key in keys), found[:, None]


def _with_types(labels: Sequence[Any]) -> Iterator[tuple[type, Any]]:
    return zip(map(type, labels), labels, strict=True)


def _plain(labels: Sequence[Any]) -> set[tuple[type, Any]] | None:
    """Give the different labels, with their types, where that tells them apart: where all are labels, and none a float.

    That takes a tenth of the time of a look at each of them. None, too, where there are too many.
    """
    found = set[tuple[type, Any]]()
    given = _with_types(labels)
    try:
        while some := set(islice(given, LOOKED_AT_ONCE)):
            found |= some
            if len(found) > MAX_CLASSES:
                return None
    except TypeError:  # a list or an object
        return None
    return found if all(kind is not float and _is_label(label) for kind, label in found) else None


def _by_key(labels: Sequence[Any]) -> dict[tuple[int, Label], Label]:
    """Give the different labels by what they are sorted by; of those that are equal, as 1 and 1.0 are, the last."""
    said = "a label must be text, a number or a boolean, not"
    told, n_faults = first_of(
        ((row, label) for row, label in enumerate(labels) if not _is_label(label)),
        lambda one: Fault(f"/targets/{one[0]}", f"{said} {_shown(one[1])}"),
    )
    if told:
        raise InvalidDataset(told, n_faults)
    found = dict[tuple[int, Label], Label]()
    for label in labels:
        found[_sort_key(label)] = label
        if len(found) > MAX_CLASSES:
            # To count them takes little memory by their hashes; that of -1 is also that of -2.
            hashes = (hash((_sort_key(one), one == -1)) for one in labels)
            _check_count(len(np.unique(np.fromiter(hashes, np.int64, len(labels)))))
    return found


def _check_count(n_different: int) -> None:
    if n_different > MAX_CLASSES:
        detail = f"{n_different} different labels: {MAX_CLASSES} is the most; is this a regression?"
        raise InvalidDataset([Fault("/targets", detail)])


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
    return json.dumps(value, default=as_shown)[:80]
