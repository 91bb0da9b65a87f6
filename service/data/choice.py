"""The columns that a selection means, each for its purpose: checked by names and kinds, before values are read."""

import difflib
from collections.abc import Container
from dataclasses import dataclass

from service.data.tables import Table
from service.encoding import Column, Kind
from service.errors import MAX_FAULTS, Fault, Finding, InvalidDataset, escape
from service.selection import MissingPolicy, Selection
from service.tasks import TRAITS, Task

FITTING: dict[Kind, tuple[MissingPolicy, ...]] = {
    "number": ("refuse", "mean", "median", "most_frequent", "indicator"),
    "date": ("refuse", "mean", "median", "most_frequent", "indicator"),
    "category": ("refuse", "most_frequent", "indicator"),
    "boolean": ("refuse", "most_frequent", "indicator"),
}
"""What can become of a missing value, by the kind of its column."""
SHOWN_COLUMNS = 10


@dataclass(frozen=True)
class Choice:
    """Columns of a table, each for its purpose, and what is wrong with the selection; what is wrong is left out.

    `table` has the kinds that were asked for. Pointers are relative to the request for the dataset.
    """

    table: Table
    features: tuple[Column, ...]
    targets: tuple[Column, ...]
    sample_weight: str | None
    split: str | None
    faults: tuple[Fault, ...]
    warnings: tuple[Finding, ...]


def choose(table: Table, selection: Selection, task: Task) -> Choice:
    """Find the columns of a selection in a table.

    Values are read only where `types` takes a column as another kind than the table does.
    """
    faults: list[Fault] = []
    purposes = _named(table, selection, faults)
    table, refused = _with_kinds(table, selection)
    faults += refused.values()
    # Of a column that is not of the kind that it is to be, nothing else is said that depends on its kind.
    roles = {name: what for name, what in purposes.items() if name not in refused}
    targets = [Column(name, table.kind_of(name)) for name, what in roles.items() if what == "target"]
    faults += _target_faults(targets, selection, task)
    features, unusable, warnings = _features(table, selection, purposes)
    faults += [fault for name, fault in unusable.items() if name not in refused]
    faults += _entry_faults(table, selection, features, purposes, refused)
    features = [] if _is_open(table, selection) else [column for column in features if column.name not in refused]
    weight, split = (next((name for name, what in roles.items() if what == role), None) for role in ROLES)
    if weight is not None and table.kind_of(weight) != "number":
        faults.append(Fault("/sample_weight", f"{_kind_of(table, weight)}: sample weights are numbers, at least 0"))
        weight = None
    if split is not None and table.kind_of(split) not in ("category", "text"):
        detail = f"{_kind_of(table, split)}: a split says train, validation or test for each sample"
        faults.append(Fault("/split", detail))
        split = None
    if not features and not faults:
        said = "left for features beside the target: date columns need their parts in dates, text cannot be one"
        faults.append(Fault("/features", f"there is no usable column {said}"))
    return Choice(table, tuple(features), tuple(targets), weight, split, tuple(faults), tuple(warnings))


def effective_policy(selection: Selection, column: Column) -> MissingPolicy:
    """Tell what becomes of a missing value of a feature; a policy for all is `refuse` where it does not fit."""
    policy = selection.missing_policy(column.name)
    return policy if policy in FITTING[column.kind] else "refuse"


def missing_pointer(selection: Selection, name: str) -> str:
    """Point to what says what becomes of a column's missing values."""
    is_named = isinstance(selection.missing, dict) and name in selection.missing
    return f"/missing/{escape(name)}" if is_named else "/missing"


def target_pointer(selection: Selection, name: str) -> str:
    """Point to what names a target."""
    return "/target" if isinstance(selection.target, str) else f"/target/{selection.target.index(name)}"


ROLES = ("sample weight", "split")


def _named(table: Table, selection: Selection, faults: list[Fault]) -> dict[str, str]:
    """Give the purpose of each column that is named and there: target, sample weight, split or feature."""
    several = isinstance(selection.target, list)
    named = [(name, "target", f"/target/{n}" if several else "/target") for n, name in enumerate(selection.targets)]
    if selection.sample_weight is not None:
        named.append((selection.sample_weight, "sample weight", "/sample_weight"))
    if selection.split is not None:
        named.append((selection.split, "split", "/split"))
    named += [(name, "feature", f"/features/{n}") for n, name in enumerate(selection.features or [])]
    known, purposes = set(table.names), dict[str, str]()
    for name, purpose, pointer in named:
        if name not in known:
            faults.append(Fault(pointer, _unknown(table, name)))
        elif name in purposes:
            detail = f"column {name!r} is chosen as {purposes[name]} already: choose it once"
            faults.append(Fault(pointer, detail))
        else:
            purposes[name] = purpose
    if selection.features is not None and not selection.features:
        faults.append(Fault("/features", "there must be at least one feature: name one, or leave features out"))
    return purposes


def _unknown(table: Table, name: str) -> str:
    close = difflib.get_close_matches(name, table.names, n=1)
    shown = ", ".join(table.names[:SHOWN_COLUMNS])
    more = f" … {len(table.names) - SHOWN_COLUMNS} more" if len(table.names) > SHOWN_COLUMNS else ""
    hint = f"did you mean {close[0]!r}?" if close else f"there are {shown}{more}"
    return f"the dataset has no column {name!r}: {hint}"


def _kind_of(table: Table, name: str) -> str:
    return f"column {name!r} is a {table.kind_of(name)}"


def _with_kinds(table: Table, selection: Selection) -> tuple[Table, dict[str, Fault]]:
    """Take columns as `types` says; give the fault of each that cannot be so, which stays what it is."""
    faults: dict[str, Fault] = {}
    for name, kind in selection.types.items():
        if name not in table.names:
            faults[name] = Fault(f"/types/{escape(name)}", _unknown(table, name))
            continue
        try:
            table = table.with_kinds({name: kind})
        except InvalidDataset as invalid:
            first, n_more = invalid.faults[0].detail, len(invalid.faults) - 1
            at_least = " or more" if len(invalid.faults) == MAX_FAULTS else ""
            others = f"; and {n_more}{at_least} such values of the column" if n_more else ""
            faults[name] = Fault(f"/types/{escape(name)}", f"{first}{others}")
    return table, faults


def _target_faults(targets: list[Column], selection: Selection, task: Task) -> list[Fault]:
    if TRAITS[task].classifies:
        if len(selection.targets) == 1:
            return []
        detail = f"{task} has one target, and {len(selection.targets)} are named: name one"
        return [Fault("/target", detail)]
    ways = {
        "boolean": "take it as a number (0, 1) by types, or train a logistic_regression",
        "date": "it can be a feature, by its parts",
    }
    labels = "for labels train a logistic_regression or softmax_regression"
    return [
        Fault(
            target_pointer(selection, target.name),
            f"column {target.name!r} is a {target.kind}, and {task} predicts numbers: {ways.get(target.kind, labels)}",
        )
        for target in targets
        if target.kind != "number"
    ]


def _features(
    table: Table, selection: Selection, purposes: dict[str, str]
) -> tuple[list[Column], dict[str, Fault], list[Finding]]:
    """Give the usable columns among those asked for; those that are not have a fault each when they were named."""
    if selection.features is not None:
        names = [name for name, purpose in purposes.items() if purpose == "feature"]
    else:
        names = [name for name in table.names if name not in purposes]
    columns = [Column(name, table.kind_of(name)) for name in names]
    unusable = {column.name: reason for column in columns if (reason := _unusable(column, selection))}
    usable = [column for column in columns if column.name not in unusable]
    if not unusable:
        return usable, {}, []
    if selection.features is not None:
        places = {name: number for number, name in enumerate(selection.features)}
        return usable, {name: Fault(f"/features/{places[name]}", reason) for name, reason in unusable.items()}, []
    kinds = {name: table.kind_of(name) for name in unusable}
    listed = ", ".join(f"{name!r} ({kind})" for name, kind in kinds.items())
    hint = "; dates become features by their parts, see dates" if "date" in kinds.values() else ""
    detail = f"these columns are no features: {listed}{hint}; name features to choose them yourself"
    return usable, {}, [Finding("columns_left_out", detail, {"columns": kinds})]


def _is_open(table: Table, selection: Selection) -> bool:
    """Tell whether the features are not known: they are all other columns, and one of these is named wrongly."""
    named = {*selection.targets, selection.sample_weight, selection.split} - {None}
    return selection.features is None and not named <= {*table.names}


def _unusable(column: Column, selection: Selection) -> str | None:
    if column.kind == "text":
        way = f'if its texts are categories, say so: "types": {{"{column.name}": "category"}}'
        return f"column {column.name!r} is text, which cannot be a feature: leave it out, or, {way}"
    if column.kind == "date" and column.name not in selection.dates:
        way = f'"dates": {{"{column.name}": ["year", "month"]}}'
        return f"column {column.name!r} is a date, which becomes features by its parts: name them, as in {way}"
    return None


def _entry_faults(
    table: Table, selection: Selection, features: list[Column], purposes: dict[str, str], refused: Container[str]
) -> list[Fault]:
    """Refuse what is said of columns that are no features, or does not fit their kind, unless that is refused."""
    kinds: dict[str, Kind] = {column.name: column.kind for column in features}
    candidates = set(table.names) if selection.features is None else {*purposes}
    faults = [
        Fault(f"/types/{escape(name)}", _not_a_feature(table, name, purposes))
        for name in selection.types
        if name in table.names and name not in candidates
    ]
    for name, parts in selection.dates.items():
        pointer = f"/dates/{escape(name)}"
        if name in refused:
            continue
        if name not in kinds:
            faults.append(Fault(pointer, _not_a_feature(table, name, purposes)))
        elif kinds[name] != "date":
            faults.append(Fault(pointer, f"{_kind_of(table, name)}: only a date has parts"))
        elif len(set(parts)) < len(parts):
            faults.append(Fault(pointer, f"a part of column {name!r} stands twice: name each once"))
    if isinstance(selection.missing, dict):
        for name, policy in selection.missing.items():
            pointer = f"/missing/{escape(name)}"
            if name in refused:
                continue
            if name not in kinds:
                faults.append(Fault(pointer, _not_a_feature(table, name, purposes)))
            elif policy not in FITTING[kinds[name]]:
                faults.append(Fault(pointer, policy_misfit(Column(name, kinds[name]), policy)))
    return faults


def policy_misfit(column: Column, policy: MissingPolicy) -> str:
    """Say that a policy is not for a kind of column, and which are."""
    allowed = ", ".join(FITTING[column.kind])
    return f"{policy} is not for column {column.name!r}, a {column.kind}: use one of {allowed}"


def _not_a_feature(table: Table, name: str, purposes: dict[str, str]) -> str:
    if name not in table.names:
        return _unknown(table, name)
    purpose = purposes.get(name)
    if purpose in (None, "feature"):
        return f"column {name!r} is not among the features: choose it as one, or leave this out"
    hint = "; a sample without one is always refused" if purpose == "target" else ""
    return f"column {name!r} is the {purpose}, and this is for features: leave it out{hint}"
