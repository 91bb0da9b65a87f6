"""Samples for a model, in parts: encoded as those of its training, to predict for, or with targets to evaluate on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.data.choice import choose
from service.data.encoder import encode_records, encode_rows
from service.data.features import features_of
from service.data.inline import is_number, not_a_number
from service.data.intake import source_of
from service.data.json_numbers import Records, Rows
from service.data.labels import codes_of
from service.data.long_lists import LongList, column_of_records, each, finite_values, is_list
from service.data.outlines import labels_of
from service.data.raw_values import refusal
from service.data.reading import ReadingOptions
from service.data.tables import Table
from service.dataset import Dataset, Schema
from service.encoding import ColumnEncoding, Encoding
from service.errors import MAX_FAULTS, Fault, InvalidDataset, InvalidFeatures, counted, escape, first_of
from service.files import Format
from service.room import Content, rows_at_once, slices_of
from service.selection import Selection
from service.tasks import Task

Numbers = NDArray[np.float64]
ROWS_AT_ONCE = 2**15
SHOWN_CLASSES = 10


@dataclass(frozen=True)
class Samples:
    """So many samples in parts: features (n, n_features), and targets (n, n_targets) or class codes (n, 1)."""

    n_samples: int
    parts: Iterator[tuple[Numbers, Numbers]]


def samples_of_rows(
    schema: Schema, rows: Sequence[Sequence[Any]], names: Sequence[str] | None, targets: Sequence[Any]
) -> Samples:
    """Encode rows of raw values.

    Args:
        schema: of the model.
        rows: a value for each column that the model takes.
        names: of the columns, when they are not in the model's order.
        targets: one for each row.

    Raises:
        InvalidDataset: with every fault; pointers are `/features/row/position` and `/targets/row`.
    """
    if names is not None and tuple(names) != schema.input_names:
        _check_names(schema, names, "/feature_names")
        if all(len(row) == len(names) for row in rows):
            places = [list(names).index(name) for name in schema.input_names]
            compact = rows.compact if isinstance(rows, LongList) else None
            compact = compact.ordered(places) if isinstance(compact, Rows) else None
            rows = each(rows, lambda row: [row[place] for place in places], compact)
    is_plain = schema.encoding is None and finite_values(rows) is not None
    with_encoding = schema if schema.encoding is not None or is_plain else replace(schema, encoding=_encoding(schema))
    try:
        features = encode_rows(with_encoding, rows)
    except InvalidFeatures as invalid:
        raise InvalidDataset([Fault(f"/features{fault.pointer}", fault.detail) for fault in invalid.faults]) from None
    return _in_memory(schema, features, targets, "/targets/{}")


def samples_of_records(schema: Schema, records: Sequence[Mapping[str, Any]], target: str | None) -> Samples:
    """Encode records, one of whose fields is the target; the model's own when it is not named.

    Raises:
        InvalidDataset: with every fault; pointers are `/records/row/name`.
    """
    name = schema.target_names[0] if target is None else target
    if len(schema.target_names) > 1:
        detail = f"the model has {len(schema.target_names)} targets: give features and targets as rows, or a dataset"
        raise InvalidDataset([Fault("/target", detail)])
    told, n_faults = first_of(
        (row for row, record in enumerate(records) if name not in record),
        lambda row: Fault(f"/records/{row}", f"the target {name!r} is missing"),
    )
    if told:
        raise InvalidDataset(told, n_faults)
    compact = records.compact if isinstance(records, LongList) else None
    compact = compact.without(name) if isinstance(compact, Records) else None
    samples = each(records, lambda record: {key: value for key, value in record.items() if key != name}, compact)
    targets = column_of_records(records, name)
    try:
        features = encode_records(schema, samples)
    except InvalidFeatures as invalid:
        raise InvalidDataset([Fault(f"/records{fault.pointer}", fault.detail) for fault in invalid.faults]) from None
    return _in_memory(schema, features, targets, f"/records/{{}}/{escape(name)}")


def samples_of_dataset(schema: Schema, dataset: Dataset) -> Samples:
    """Take a dataset of numbers as it is.

    Raises:
        InvalidDataset: when it has other features than the model takes, or other labels.
    """
    if schema.encoding is not None or dataset.n_features != len(schema.feature_names):
        count = counted(dataset.n_features, "feature")
        detail = f"the dataset has {count}, and the model takes {', '.join(schema.input_names)}"
        raise InvalidDataset([Fault("", detail)])
    targets: list[Any] = dataset.targets.tolist()
    if dataset.schema.classes is not None:
        targets = [dataset.schema.classes[int(code)] for (code,) in targets]
    return _in_memory(schema, dataset.features.astype(np.float64), targets, "")


def samples_of_table(schema: Schema, task: Task, table: Table, asked: Selection) -> Samples:
    """Encode the columns of a table that the model takes, in parts.

    Args:
        schema: of the model.
        task: of the model.
        table: of any length.
        asked: its target is what to compare with, as of the type that it has there; its features, if any, are those
            that the model takes. What else it says of them the model knows itself.

    Raises:
        InvalidDataset: for a column that is not there or not of its kind at once; while it is read, for a value that is
            missing or unknown where the model refuses that.
    """
    if asked.features is not None:
        _check_names(schema, asked.features, "/features")
    encoding = _encoding(schema)
    kinds = {column.column: column.kind for column in encoding if column.column in table.names}
    of_targets = {name: kind for name, kind in asked.types.items() if name in asked.targets}
    selection = Selection(
        target=asked.target,
        features=list(schema.input_names),
        types={name: kind for name, kind in kinds.items() if table.kind_of(name) != kind} | of_targets,
        dates={column.column: list(column.parts) for column in encoding if column.kind == "date"},
    )
    choice = choose(table, selection, task)
    if not choice.faults and len(choice.targets) != len(schema.target_names):
        detail = f"the model has {counted(len(schema.target_names), 'target')}: {', '.join(schema.target_names)}"
        raise InvalidDataset([Fault("/target", detail)])
    if choice.faults:
        raise InvalidDataset(choice.faults)
    names = [column.name for column in choice.targets]
    return Samples(choice.table.n_samples, _parts(schema, encoding, choice.table, names))


def features_of_file(
    schema: Schema, content: Content, file_format: Format, reading: ReadingOptions, max_bytes: int
) -> Iterator[Numbers]:
    """Read a file of samples in parts: the columns that the model takes, and no others, in any order.

    Args:
        schema: of the model, which knows the types of its columns.
        content: of the file.
        file_format: of the file.
        reading: how it is read.
        max_bytes: that its table may take.

    Raises:
        DatasetTooLarge: when its table takes more than so many bytes.
        InvalidDataset: for a column that is missing, unknown or not of its kind; while it is read, for each value that
            its column does not take.
    """
    encoding, first = _encoding(schema), 0
    options = replace(reading, types={column.column: column.kind for column in encoding})
    try:
        source = source_of(content, file_format, options, max_bytes)
    except InvalidDataset as invalid:
        raise invalid.moved(lambda pointer: pointer.replace("/types/", "/columns/")) from None
    known = ", ".join(schema.input_names[:SHOWN_CLASSES])
    unknown = [column.name for column in source.columns if column.name not in schema.input_names]
    if unknown:
        said = f"is unknown: the model takes {known}"
        raise InvalidDataset([Fault(f"/columns/{escape(name)}", f"feature {name!r} {said}") for name in unknown])
    for frame in source.frames():
        for some in slices_of(len(frame), min(ROWS_AT_ONCE, rows_at_once(len(schema.feature_names)))):
            part = frame[some]
            faults = [
                Fault(f"/rows/{row}/{escape(column.column)}", detail)
                for column in encoding
                for row, detail in _refusals(column, part[column.column], first)
            ]
            if faults:
                raise InvalidDataset(faults)
            yield features_of(encoding, part).astype(np.float64, copy=False)
            first += len(part)
    if not first:
        yield np.empty((0, len(schema.feature_names)))


def _parts(schema: Schema, encoding: Encoding, table: Table, targets: list[str]) -> Iterator[tuple[Numbers, Numbers]]:
    first, rows = 0, min(ROWS_AT_ONCE, rows_at_once(len(schema.feature_names)))
    for frame in table.frames([*(column.column for column in encoding), *targets], rows):
        faults = [
            Fault(f"/features/{escape(column.column)}", detail)
            for column in encoding
            for _, detail in _refusals(column, frame[column.column], first)
        ]
        for name in targets:
            if frame[name].null_count():
                row = first + int(frame[name].is_null().arg_true()[0])
                faults.append(Fault("/target", f"row {row} has no value of the target {name!r}"))
        if faults:
            raise InvalidDataset(faults)
        features = features_of(encoding, frame).astype(np.float64, copy=False)
        if schema.classes is None:
            answers = frame.select(pl.col(targets).cast(pl.Float64)).to_numpy()
        else:
            answers = _codes(schema, labels_of(frame[targets[0]]), first)
        yield features, answers
        first += len(frame)


def _refusals(column: ColumnEncoding, values: pl.Series, first: int) -> Iterator[tuple[int, str]]:
    """Tell of the values of a column that the model refuses, up to 100: the row, and what is wrong."""
    refuses_missing = not column.takes_missing and values.null_count() > 0
    refuses_unseen = column.kind == "category" and column.unseen == "refuse"
    if not (refuses_missing or refuses_unseen):
        return
    is_missing = values.is_null()
    wrong = is_missing if refuses_missing else pl.zeros(len(values), dtype=pl.Boolean, eager=True)
    if refuses_unseen:
        wrong |= ~values.is_in(list(column.categories)) & ~is_missing
    for row in wrong.arg_true().head(MAX_FAULTS).to_list():
        detail = refusal(column, f"feature {column.column!r}", values[row], values[row])
        yield first + row, f"row {first + row}: {detail}"


def _codes(schema: Schema, labels: pl.Series, first: int) -> Numbers:
    known = labels.unique()
    codes = codes_of(known.to_list(), schema.classes or ())
    strange = [label for label, code in zip(known.to_list(), codes, strict=True) if code is None]
    if strange:
        row = first + int((labels == strange[0]).arg_true()[0])
        raise InvalidDataset([Fault("/target", f"row {row} has {_strange(schema, strange[0])}")])
    found = labels.replace_strict(known, pl.Series(codes, dtype=pl.Float64), return_dtype=pl.Float64)
    return found.to_numpy()[:, None]


def _in_memory(schema: Schema, features: Numbers, targets: Sequence[Any], place: str) -> Samples:
    if not len(features):
        raise InvalidDataset([Fault("", "the dataset is empty: give at least one sample")])
    if len(targets) != len(features):
        counts = f"{counted(len(targets), 'target')} for {counted(len(features), 'sample')}"
        raise InvalidDataset([Fault("/targets", f"{counts}: give exactly one for each")])
    if schema.classes is not None:
        codes = codes_of(targets, schema.classes)
        told, n_faults = first_of(
            (row for row, code in enumerate(codes) if code is None),
            lambda row: Fault(place.format(row), f"sample {row} has {_strange(schema, targets[row])}"),
        )
        if told:
            raise InvalidDataset(told, n_faults)
        return Samples(len(features), iter([(features, np.array(codes, dtype=np.float64)[:, None])]))
    n_targets, numbers = len(schema.target_names), finite_values(targets)
    if numbers is not None and numbers.size == len(targets) * n_targets:
        return Samples(len(features), iter([(features, numbers.reshape(-1, n_targets))]))
    rows = [target if is_list(target) else [target] for target in targets]
    faults = []
    for row, values in enumerate(rows):
        if len(values) != n_targets:
            faults.append(
                Fault(
                    place.format(row), f"sample {row} has {counted(len(values), 'target')}, and the model {n_targets}"
                )
            )
        faults += [Fault(place.format(row), not_a_number("a target", one)) for one in values if not is_number(one)]
        if len(faults) >= MAX_FAULTS:
            break
    if faults:
        raise InvalidDataset(faults)
    return Samples(len(features), iter([(features, np.array(rows, dtype=np.float64))]))


def _strange(schema: Schema, label: Any) -> str:
    known = ", ".join(repr(one) for one in (schema.classes or ())[:SHOWN_CLASSES])
    return f"the label {label!r}, which the model does not know: it tells {known} apart"


def _check_names(schema: Schema, names: Sequence[str], pointer: str) -> None:
    if sorted(names) != sorted(schema.input_names):
        known = ", ".join(schema.input_names[:SHOWN_CLASSES])
        raise InvalidDataset([Fault(pointer, f"the model takes {known}: give these, in any order")])


def _encoding(schema: Schema) -> Encoding:
    return schema.encoding or tuple(ColumnEncoding(name, "number") for name in schema.feature_names)
