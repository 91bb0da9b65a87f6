"""The names of columns: which can be, and which are meant."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import polars as pl

from service.data.canonical import impossible
from service.encoding import Kind
from service.errors import MAX_FAULTS, Fault, InvalidDataset, escape

MAX_NAME_CHARACTERS = 200
MOST_COLUMNS = 10_000


def check_names(names: Sequence[str], where: str, if_first: str = "") -> None:
    """See that columns are not too many, and that their names are there, differ, and are not too long.

    Args:
        names: of all columns, in order.
        where: they stand, for the sentence of a fault.
        if_first: what else is to be said where it is the first that is empty.

    Raises:
        InvalidDataset: with a fault `/columns/{index}` for each name that cannot be.
    """
    check_count(len(names))
    faults = []
    counts = Counter(names)
    for index, name in enumerate(names):
        its = f"{where}: the name of column {index + 1}"
        if not name.strip():
            sentence = f"{its} is empty: give each column a name{'' if index else if_first}"
        elif len(name) > MAX_NAME_CHARACTERS:
            sentence = f"{its}, {name[:40]!r}…, has {len(name)} characters and may have {MAX_NAME_CHARACTERS}"
        elif any(unicodedata.category(character) == "Cc" for character in name):
            sentence = f"{its}, {name!r}, has a line break, a tab or another control character: leave it out"
        elif counts[name] > 1 and names.index(name) < index:
            sentence = f"{where}: the columns {names.index(name) + 1} and {index + 1} are both named {name!r}"
        else:
            continue
        faults.append(Fault(f"/columns/{index}", sentence))
        if len(faults) == MAX_FAULTS:
            break
    if faults:
        raise InvalidDataset(faults)


def check_count(n_columns: int) -> None:
    """See that columns are not too many.

    Raises:
        InvalidDataset: when they are.
    """
    if n_columns > MOST_COLUMNS:
        detail = f"the table has {n_columns:,} columns: {MOST_COLUMNS:,} is the most"
        raise InvalidDataset([Fault("", detail)])


def check_types(types: Mapping[str, Kind], schema: Mapping[str, pl.DataType]) -> None:
    """Check that overrides name columns that there are, and kinds that their types can become.

    Raises:
        InvalidDataset: with a fault `/types/{name}` for each that does not.
    """
    listed = ", ".join(list(schema)[:20]) + (" …" if len(schema) > 20 else "")
    faults = []
    for name, kind in types.items():
        if name not in schema:
            faults.append(Fault(f"/types/{escape(name)}", f"there is no column {name!r}: the columns are {listed}"))
        elif impossible(kind, schema[name]):
            detail = f"column {name!r} has type {schema[name]} in the file and cannot be taken as {kind}"
            faults.append(Fault(f"/types/{escape(name)}", detail))
    if faults:
        raise InvalidDataset(faults)
