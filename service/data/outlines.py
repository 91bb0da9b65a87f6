"""What a selection makes of a table: all that can be told before its numbers are read, and every fault in it."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from service.data.choice import (
    FITTING,
    SHOWN_COLUMNS,
    Choice,
    choose,
    effective_policy,
    missing_pointer,
    policy_misfit,
    target_pointer,
)
from service.data.labels import MAX_CLASSES, encode_labels
from service.data.tables import Table
from service.dataset import TEST, TRAIN, VALIDATION, Label, Outline, PartSizes, Schema
from service.encoding import Column, ColumnEncoding, Encoding, feature_names, is_plain
from service.errors import Fault, Finding, InvalidDataset, counted
from service.selection import Selection
from service.tasks import TRAITS, Task

MAX_CATEGORIES = 1000
"""No column may become more features than this."""
SHOWN_ROWS = 3
PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
"""The values of a split column."""


@dataclass(frozen=True)
class Outlined:
    """What would be trained on, and what a user should know of it."""

    outline: Outline
    warnings: list[Finding]


def outline_of(table: Table, selection: Selection, task: Task) -> Outlined:
    """Check a selection against a table, and tell what it makes of it.

    The columns that are chosen are gone through in parts; no more of them is kept than their different categories. In
    the outline's encoding fills are missing: they are statistics of samples that are not drawn yet.

    Raises:
        InvalidDataset: with every fault; pointers are relative to the request for the dataset.
    """
    choice = choose(table, selection, task)
    faults = list(choice.faults)
    if table.n_samples == 0:
        raise InvalidDataset([Fault("", "the dataset is empty: it has columns and no samples")])
    faults += _value_faults(choice, selection)
    part_sizes = _part_sizes(choice, faults)
    encoding = encoding_without_fills(choice, selection, faults)
    classes = classes_of(choice, faults) if TRAITS[task].classifies and choice.targets else None
    if faults:
        raise InvalidDataset(faults)
    schema = schema_of(choice, encoding, classes)
    return Outlined(Outline(table.n_samples, schema, part_sizes), warnings_about(choice, selection, encoding))


def warnings_about(choice: Choice, selection: Selection, encoding: Encoding | None) -> list[Finding]:
    """Tell what a user should know of a selection, and of the encoding of its columns, None where it has none."""
    unused = [] if selection.split or selection.features else _unused_splits(encoding or ())
    return [*choice.warnings, *unused]


def schema_of(choice: Choice, encoding: Encoding, classes: tuple[Label, ...] | None) -> Schema:
    """Name features and targets; columns that are features as they stand have no encoding, like inline ones."""
    targets = tuple(target.name for target in choice.targets)
    return Schema(feature_names(encoding), targets, classes, None if is_plain(encoding) else encoding)


def encoding_without_fills(choice: Choice, selection: Selection, faults: list[Fault]) -> Encoding:
    """Tell how the columns become features, but for the fills; reads the categories. Adds to the faults."""
    encoding = []
    for column in choice.features:
        categories = _categories(choice.table, column, faults) if column.kind == "category" else ()
        encoding.append(
            ColumnEncoding(
                column.name,
                column.kind,
                categories,
                tuple(selection.dates[column.name]) if column.kind == "date" else (),
                has_indicator=effective_policy(selection, column) == "indicator",
                unseen=selection.unseen,
            )
        )
    sources: dict[str, str] = {}
    for one in encoding:
        for name in one.feature_names:
            if name in sources and sources[name] != one.column:
                detail = f"columns {sources[name]!r} and {one.column!r} both become a feature {name!r}: leave one out"
                faults.append(Fault("/features", detail))
            sources[name] = one.column
    return tuple(encoding)


def classes_of(choice: Choice, faults: list[Fault]) -> tuple[Label, ...]:
    """Give the sorted labels of the target. Adds to the faults."""
    (target,) = choice.targets[:1]
    found = _different(choice.table, target.name, MAX_CLASSES)
    if found is None:
        detail = f"column {target.name!r} has more than {MAX_CLASSES} different labels, the most there may be: "
        faults.append(Fault("/target", f"{detail}is this a regression?"))
        return ()
    classes, _ = encode_labels(labels_of(found).to_list())
    return classes


def labels_of(values: pl.Series) -> pl.Series:
    """Give values of a target as labels: dates as texts, and of zeros the one without a sign."""
    if isinstance(values.dtype, pl.Datetime):
        return pl.Series([None if date is None else date.isoformat() for date in values.to_list()], dtype=pl.String)
    return values + 0.0 if values.dtype.is_float() else values


def _different(table: Table, name: str, most: int) -> pl.Series | None:
    """Collect the different values of a column, missing ones aside; None when there are more than some."""
    found: pl.Series | None = None
    for frame in table.frames([name]):
        values = frame[name].drop_nulls().unique()
        found = values if found is None else pl.concat([found, values]).unique()
        if len(found) > most:
            return None
    return found


def _categories(table: Table, column: Column, faults: list[Fault]) -> tuple[str, ...]:
    found = _different(table, column.name, MAX_CATEGORIES)
    if found is None:
        detail = f"column {column.name!r} has more than {MAX_CATEGORIES:,} categories, the most that become features"
        faults.append(Fault("/features", f"{detail}: leave it out of features, or group its values"))
        return ()
    return tuple(sorted(found.to_list()))


def _value_faults(choice: Choice, selection: Selection) -> list[Fault]:
    """Find the values that are missing where none may be, and weights that are none."""
    table = choice.table
    roles = [(target.name, target_pointer(selection, target.name), "the target") for target in choice.targets]
    if choice.sample_weight is not None:
        roles.append((choice.sample_weight, "/sample_weight", "a sample weight"))
    if choice.split is not None:
        roles.append((choice.split, "/split", "what a sample is for"))
    n_missing = table.missing([name for name, _, _ in roles] + [column.name for column in choice.features])
    faults = [
        Fault(pointer, f"{_missing(table, name, n_missing[name])}: {what} cannot be missing, so leave such samples out")
        for name, pointer, what in roles
        if n_missing[name]
    ]
    with_holes = [column for column in choice.features if n_missing[column.name]]
    faults += [
        Fault(missing_pointer(selection, column.name), wrong)
        for column in with_holes
        if (wrong := _refused(column, selection, table, n_missing[column.name], with_holes))
    ]
    return faults + _weight_faults(choice)


def _refused(
    column: Column, selection: Selection, table: Table, n_missing: int, with_holes: list[Column]
) -> str | None:
    """Say why the missing values of a feature, one of those that have some, cannot be taken; None when they can."""
    found = _missing(table, column.name, n_missing)
    policy = selection.missing_policy(column.name)
    if policy == "refuse":
        ways = "most_frequent or indicator" if column.kind in ("category", "boolean") else "mean, median or indicator"
        return f'{found}: say what becomes of them, as "missing": {{"{column.name}": …}} with {ways}'
    if policy != effective_policy(selection, column):
        if isinstance(selection.missing, dict):
            return None  # the choice is refused for it already, whether or not values are missing
        by_column = {one.name: policy if policy in FITTING[one.kind] else "most_frequent" for one in with_holes}
        shown = json.dumps(by_column, ensure_ascii=False) if len(by_column) <= SHOWN_COLUMNS else "…"
        return f'{found}, and {policy_misfit(column, policy)}; by column, as "missing": {shown}'
    if n_missing == table.n_samples:
        return f"column {column.name!r} has no value at all: leave it out of features"
    return None


def _missing(table: Table, name: str, n_missing: int) -> str:
    if not n_missing:
        return ""
    _, rows, _ = _first(table, name, lambda column: column.is_null())
    return f"column {name!r} has {counted(n_missing, 'missing value')}, {_in_rows(rows)}"


def _in_rows(rows: list[int]) -> str:
    return f"first in {'row' if len(rows) == 1 else 'rows'} {', '.join(map(str, rows))} (counted from 0)"


def _first(table: Table, name: str, wrong: Callable[[pl.Expr], pl.Expr]) -> tuple[int, list[int], list[Any]]:
    """Count the values of a column that are wrong, and give the first rows and values."""
    n_wrong = first = 0
    rows: list[int] = []
    values: list[Any] = []
    for frame in table.frames([name]):
        found = frame.select(wrong(pl.col(name)).arg_true()).to_series()
        shown = found.head(SHOWN_ROWS - len(rows))
        rows += [first + row for row in shown.to_list()]
        values += frame[name].gather(shown).to_list()
        n_wrong += len(found)
        first += len(frame)
    return n_wrong, rows, values


def _weight_faults(choice: Choice) -> list[Fault]:
    if choice.sample_weight is None:
        return []
    name = choice.sample_weight
    n_negative, rows, values = _first(choice.table, name, lambda weight: weight < 0)
    if n_negative:
        detail = f"column {name!r} has {counted(n_negative, 'weight')} below 0, {_in_rows(rows)}, as {values[0]}"
        return [Fault("/sample_weight", f"{detail}: a sample weight is at least 0")]
    n_positive, _, _ = _first(choice.table, name, lambda weight: weight > 0)
    if not n_positive:
        return [Fault("/sample_weight", f"all sample weights in column {name!r} are 0: at least one must count")]
    return []


def _part_sizes(choice: Choice, faults: list[Fault]) -> PartSizes | None:
    """Count the samples of each part, where a column says. Adds to the faults."""
    if choice.split is None:
        return None
    n_other, rows, values = _first(choice.table, choice.split, lambda part: ~part.is_in(list(PARTS)))
    if n_other:
        of_other = f"{counted(n_other, 'value')} that {'is' if n_other == 1 else 'are'}"
        detail = f"column {choice.split!r} has {of_other} no part, {_in_rows(rows)}, as {values[0]!r}"
        meant = part_meant(values[0])
        hint = "" if meant is None else f"; write {meant} for {values[0]!r}"
        faults.append(Fault("/split", f"{detail}: a split has the values {', '.join(PARTS)}{hint}"))
        return None
    sizes: Counter[str] = Counter()
    for frame in choice.table.frames([choice.split]):
        sizes.update(dict(frame[choice.split].value_counts().iter_rows()))
    n_train, n_validation, n_test = (sizes[part] for part in PARTS)
    if not n_train:
        faults.append(Fault("/split", f"column {choice.split!r} has no sample for train: at least one must be"))
    return n_train, n_validation, n_test


def part_meant(value: str | None) -> str | None:
    """Give the part that a text means in any case, also as `val` or `valid`; None when it means none."""
    word = "" if value is None else value.strip().casefold()
    return "validation" if word in ("val", "valid") else word if word in PARTS else None


def _unused_splits(encoding: Encoding) -> list[Finding]:
    """Tell of features that seem to say what each sample is for."""
    findings = []
    for column in encoding:
        parts = {part_meant(category) for category in column.categories}
        if None in parts or "train" not in parts or len(parts) < 2:
            continue
        values = ", ".join(column.categories)
        detail = (
            f"column {column.column!r} has the values {values} alone and is a feature: if it says what each sample is "
            f'for, name it as "split": {json.dumps(column.column, ensure_ascii=False)}, or choose features without it'
        )
        evidence = {"column": column.column, "values": list(column.categories)}
        findings.append(Finding("unused_split_column", detail, evidence))
    return findings
