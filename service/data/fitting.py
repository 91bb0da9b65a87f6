"""A selection of a table into a dataset: statistics fitted on the training samples, then all columns encoded."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import DTypeLike, NDArray

from service.data.arrays import Answers, read_arrays, write_arrays
from service.data.choice import Choice, choose
from service.data.features import features_of
from service.data.fills import takes_statistics, with_fills
from service.data.outlines import PARTS, classes_of, encoding_without_fills, labels_of, schema_of
from service.data.tables import Table
from service.dataset import TEST, TRAIN, VALIDATION, Dataset, Label, Outline, Schema
from service.dataset import Table as Numbers
from service.encoding import ColumnEncoding, Encoding, feature_names
from service.errors import Fault, InvalidDataset
from service.hyperparameters import Hyperparameters
from service.room import room_for
from service.rules import part_sizes
from service.selection import Selection
from service.split import Rows, split_samples
from service.tasks import TRAITS, Task

SMALL = 2**22
"""Up to so many numbers are encoded in memory, in float64, as those of a request are."""
FOLDER = "encoded"
LAYOUT = 1
"""Counts the changes of what an encoded dataset in files looks like: older ones are then encoded anew."""


def dataset_of(table: Table, selection: Selection, task: Task, given: Hyperparameters, folder: Path | None) -> Dataset:
    """Encode a selection of a table that `outline_of` has found no fault in.

    Fills are those of the training samples alone. A table of numbers gives, bit for bit, what the same values inside
    a request give. More than `SMALL` numbers become files of the training's dtype in the folder, once for all trainings
    that take the same from them, and are mapped into memory.

    Args:
        table: typed columns, of any length; it is gone through in parts.
        selection: which of them, and how.
        task: says whether the targets are labels.
        given: the split and the dtype; the seed is settled.
        folder: where the encoded dataset is kept; in memory and temporary files when None.

    Raises:
        InvalidDataset: for what `outline_of` would have refused, and where no training sample has a value to fill with.
        StorageFull: when the disk has no space for the encoded dataset.
    """
    place = None if folder is None else folder / FOLDER / _key(selection, task, given)
    if place is not None and place.is_dir():
        return read_arrays(place)
    choice = choose(table, selection, task)
    faults = list(choice.faults)
    encoding = encoding_without_fills(choice, selection, faults)
    classes = classes_of(choice, faults) if TRAITS[task].classifies and choice.targets else None
    if faults:
        raise InvalidDataset(faults)
    shape = (table.n_samples, len(feature_names(encoding)))
    in_files = place is not None and math.prod(shape) > SMALL
    dtype = np.dtype(given.dtype if in_files else np.float64)
    answers = _answers(choice, classes, dtype)
    if takes_statistics(selection):
        schema = schema_of(choice, encoding, classes)
        encoding = with_fills(encoding, choice, selection, _training_rows(task, schema, answers, given))
    schema = schema_of(choice, encoding, classes)
    parts = _encoded(choice.table, encoding, dtype)
    if place is not None and in_files:
        write_arrays(place, schema, answers, parts)
        return read_arrays(place)
    features, first = room_for(shape, dtype), 0
    for part in parts:
        features[first : first + len(part)] = part
        first += len(part)
    return Dataset(features, answers.targets, schema, answers.sample_weight, answers.parts)


def _key(selection: Selection, task: Task, given: Hyperparameters) -> str:
    """Name what the encoded numbers depend on, beside the table."""
    classifies = TRAITS[task].classifies
    content = [LAYOUT, selection.model_dump(mode="json"), classifies, given.dtype]
    is_drawn = selection.split is None and (given.validation_fraction or given.test_fraction)
    if is_drawn and takes_statistics(selection):
        stratify = classifies and given.stratify
        content += [given.seed, given.validation_fraction, given.test_fraction, stratify]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _encoded(table: Table, encoding: Encoding, dtype: DTypeLike) -> Iterator[Numbers]:
    """Encode the rows in parts, in order."""
    refusing = [column.column for column in encoding if not column.takes_missing]
    for frame in table.frames([column.column for column in encoding]):
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
    plain = tuple(ColumnEncoding(target.name, "number") for target in choice.targets)
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
