"""A selection of a table into a dataset: statistics fitted on the training samples, then all columns encoded."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import DTypeLike, NDArray

from service.copies import Copies
from service.data.arrays import Answers, read_arrays, write_arrays
from service.data.choice import Choice, choose
from service.data.features import features_of
from service.data.fills import takes_statistics, with_fills
from service.data.outlines import PARTS, classes_of, encoding_without_fills, labels_of, schema_of
from service.data.precision import is_blurred
from service.data.tables import Table
from service.dataset import TEST, TRAIN, VALIDATION, Dataset, Label, Outline, Schema
from service.dataset import Table as Numbers
from service.encoding import ColumnEncoding, Encoding, encoding_as_json, feature_names
from service.errors import Fault, InvalidDataset
from service.hyperparameters import Hyperparameters
from service.room import room_for, rows_at_once
from service.rules import part_sizes
from service.selection import Selection
from service.split import Rows, split_samples
from service.tasks import TRAITS, Task

SMALL = 2**22
"""Up to so many numbers are encoded in memory, in float64, as those of a request are."""
ENCODED_AT_ONCE = 2**15
"""So many rows at the most: with larger parts polars reads further ahead, and takes more memory for it."""
LAYOUT = 2
"""Counts the changes of what an encoded dataset in files looks like: older ones are then encoded anew."""


def dataset_of(
    table: Table,
    selection: Selection,
    task: Task,
    given: Hyperparameters,
    copies: Copies | None,
    look_up: Callable[[], None] = lambda: None,
) -> Dataset:
    """Encode a selection of a table that `outline_of` has found no fault in.

    Fills are those of the training samples alone. A table of numbers gives, bit for bit, what the same values inside
    a request give. More than `SMALL` numbers become files, once for all trainings that take the same from them, and
    are mapped into memory. They are of the training's dtype, or float64 where they are to be scaled and would lose
    digits that matter before they are (see `is_blurred`).

    Args:
        table: typed columns, of any length; it is gone through in parts.
        selection: which of them, and how.
        task: says whether the targets are labels.
        given: the split, the scaling and the dtype; the seed is settled.
        copies: where the encoded dataset is kept; in memory and temporary files when None.
        look_up: is called before each part is encoded into files; what it raises ends the encoding.

    Raises:
        InvalidDataset: for what `outline_of` would have refused, and where no training sample has a value to fill with.
        StorageFull: when there is no space for the encoded dataset.
        FileNotFoundError: when the dataset has been deleted meanwhile.
    """
    choice = choose(table, selection, task)
    faults = list(choice.faults)
    encoding = encoding_without_fills(choice, selection, faults)
    classes = classes_of(choice, faults) if TRAITS[task].classifies and choice.targets else None
    if faults:
        raise InvalidDataset(faults)
    in_files = copies is not None and is_large(table.n_samples, len(feature_names(encoding)))
    dtype = _dtype_in_files(choice, encoding, classes, given) if in_files else np.dtype(np.float64)
    answers = None
    if takes_statistics(selection):
        answers = _answers(choice, classes, dtype)
        schema = schema_of(choice, encoding, classes)
        encoding = with_fills(encoding, choice, selection, _training_rows(task, schema, answers, given))
    schema = schema_of(choice, encoding, classes)
    if copies is None or not in_files:
        return _in_memory(choice, encoding, schema, answers or _answers(choice, classes, dtype))
    with copies.held(_key(choice, encoding, task, dtype)) as place:
        if not place.is_dir():
            answers = answers or _answers(choice, classes, dtype)
            parts = _encoded(choice.table, encoding, dtype, look_up)
            write_arrays(copies, place, len(schema.feature_names), answers, parts)
        return read_arrays(place, schema)


def is_large(n_samples: int, n_features: int) -> bool:
    """Tell whether an encoded dataset of so many numbers lies in files, where there is a place for them."""
    return n_samples * n_features > SMALL


def _in_memory(choice: Choice, encoding: Encoding, schema: Schema, answers: Answers) -> Dataset:
    features, first = room_for((choice.table.n_samples, len(schema.feature_names)), np.float64), 0
    for part in _encoded(choice.table, encoding, np.float64):
        features[first : first + len(part)] = part
        first += len(part)
    return Dataset(features, answers.targets, schema, answers.sample_weight, answers.parts)


def _dtype_in_files(
    choice: Choice, encoding: Encoding, classes: tuple[Label, ...] | None, given: Hyperparameters
) -> np.dtype[np.floating]:
    scaled: Encoding = () if given.scale == "none" else encoding
    if classes is None and given.scale_targets != "none":
        scaled += _plain(choice)
    is_wide = given.dtype == "float32" and is_blurred(choice.table, scaled)
    return np.dtype(np.float64 if is_wide else given.dtype)


def _plain(choice: Choice) -> Encoding:
    return tuple(ColumnEncoding(target.name, "number") for target in choice.targets)


def _key(choice: Choice, encoding: Encoding, task: Task, dtype: np.dtype[np.floating]) -> str:
    """Name what the encoded numbers depend on, beside the table: of the fills those that stand for a value."""
    missing = choice.table.missing([column.column for column in encoding])
    columns = (
        dataclasses.replace(column, fill=column.fill if missing[column.column] else None, unseen="refuse")
        for column in encoding
    )
    targets = [[target.name, target.kind] for target in choice.targets]
    others = [targets, TRAITS[task].classifies, choice.sample_weight, choice.split, dtype.name]
    content = [LAYOUT, encoding_as_json(tuple(columns)), *others]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _encoded(
    table: Table, encoding: Encoding, dtype: DTypeLike, look_up: Callable[[], None] = lambda: None
) -> Iterator[Numbers]:
    """Encode the rows in parts, in order."""
    refusing = [column.column for column in encoding if not column.takes_missing]
    rows = min(ENCODED_AT_ONCE, rows_at_once(len(feature_names(encoding))))
    for frame in table.frames([column.column for column in encoding], rows):
        look_up()
        _refuse_missing(frame, refusing)
        yield features_of(encoding, frame, dtype)


def _refuse_missing(frame: pl.DataFrame, names: list[str]) -> None:
    for name in names:
        if frame[name].null_count():
            raise InvalidDataset([Fault("/missing", f"column {name!r} has missing values: say what becomes of them")])


def _answers(choice: Choice, classes: tuple[Label, ...] | None, dtype: np.dtype[np.floating]) -> Answers:
    """Read targets, weights and parts."""
    n_samples, first = choice.table.n_samples, 0
    targets = room_for((n_samples, len(choice.targets)), dtype)
    weights = None if choice.sample_weight is None else room_for((n_samples,), dtype)
    parts = None if choice.split is None else room_for((n_samples,), np.int8)
    names = [*(target.name for target in choice.targets), *filter(None, (choice.sample_weight, choice.split))]
    plain = _plain(choice)
    for frame in choice.table.frames(names):
        _refuse_missing(frame, names)
        rows = slice(first, first + len(frame))
        first += len(frame)
        if classes is None:
            targets[rows] = features_of(plain, frame, dtype)
        else:
            labels = labels_of(frame[choice.targets[0].name])
            targets[rows, 0] = _codes(labels, list(classes), range(len(classes)))
        if weights is not None and choice.sample_weight is not None:
            weights[rows] = features_of((ColumnEncoding(choice.sample_weight, "number"),), frame, dtype)[:, 0]
        if parts is not None and choice.split is not None:
            parts[rows] = _codes(frame[choice.split], list(PARTS), PARTS.values())
    return Answers(targets, weights, parts)


def _codes(values: pl.Series, known: Sequence[Any], codes: Iterable[int]) -> NDArray[Any]:
    """Put a number in the place of each value."""
    return values.replace_strict(pl.Series(known, dtype=values.dtype), pl.Series(codes)).to_numpy()


def _training_rows(task: Task, schema: Schema, answers: Answers, given: Hyperparameters) -> Rows | None:
    """Draw the split as the training will, and give the rows to train on; None stands for all."""
    parts = answers.parts
    if parts is None:
        sizes = part_sizes(Outline(len(answers.targets), schema), given)
    else:
        n_train, n_validation, n_test = (int(np.count_nonzero(parts == part)) for part in (TRAIN, VALIDATION, TEST))
        sizes = n_train, n_validation, n_test
    return split_samples(task, answers.targets, parts, sizes, given).train
