"""Numbers out of long lists of JSON: arrays of what was parsed, a part of it at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]
NUMBERS = frozenset({int, float})
"""Types of numbers; that of true and false is none of them."""
LEAST_INEXACT = 2**53
"""Whole numbers below it are the same as float64; this one may have been the next, too."""


@dataclass(frozen=True)
class Flat:
    """A list of numbers: `values` of shape (n,), as float64; `types` are those that they had."""

    values: _Array
    types: frozenset[type]

    def as_rows(self) -> "Rows":
        """Give each number as a row of its own."""
        return Rows(self.values, np.ones(len(self.values), np.int64), self.types)

    def exact(self) -> list[Any] | None:
        """Give the different values as they were, in order; None where that is not known, or some are not finite."""
        if len(self.types) != 1 or not np.isfinite(self.values).all():
            return None
        if int in self.types and np.abs(self.values).max(initial=0) >= LEAST_INEXACT:
            return None
        if np.signbit(self.values[self.values == 0]).any():  # which is equal to 0, and another float
            return None
        different = np.unique(self.values)
        found: list[Any] = (different.astype(np.int64) if int in self.types else different).tolist()
        return found


@dataclass(frozen=True)
class Rows:
    """A list of rows of numbers: `values` are all of them, one row after another, as float64, and `lengths` theirs."""

    values: _Array
    lengths: NDArray[np.int64]
    types: frozenset[type]

    def ordered(self, places: Sequence[int]) -> "Rows | None":
        """Give the numbers at some places of each row, in this order; None where rows differ in length."""
        table = self.table()
        return None if table is None else replace(self, values=table[:, places].ravel())

    def table(self) -> _Array | None:
        """Give the numbers as (n_rows, n_columns); None where rows differ in length."""
        width = int(self.lengths[0])
        return self.values.reshape(len(self.lengths), width) if (self.lengths == width).all() else None


@dataclass(frozen=True)
class Records:
    """A list of objects with the same names, in the order of the first: the values by name; None if not all numbers."""

    columns: dict[str, Flat | None]

    def without(self, name: str) -> "Records":
        """Leave out the values of a name."""
        return Records({key: column for key, column in self.columns.items() if key != name})


Compact = Flat | Rows | Records


class _Growing:
    """An array that grows where it lies: parts that are put together later take twice the memory."""

    def __init__(self) -> None:
        self._values = np.empty(2**12)
        self._n = 0

    def add(self, values: _Array) -> None:
        end = self._n + len(values)
        if end > len(self._values):
            self._values.resize(max(end, len(self._values) * 5 // 4), refcheck=False)
        self._values[self._n : end] = values
        self._n = end

    def finish(self) -> _Array:
        self._values.resize(self._n, refcheck=False)
        return self._values


class Loading:
    """Takes the members of a list, some at a time, and gives them as arrays, if they are alike."""

    def __init__(self) -> None:
        self._kind: type | None = None
        self._is_compact = True
        self._values = _Growing()
        self._arrays: list[_Array] = []  # of records, a row for each name
        self._lengths: list[NDArray[np.int64]] = []
        self._names: tuple[str, ...] = ()
        self._types: list[set[type]] = [set()]

    def take(self, members: list[Any]) -> None:
        """Take what comes next."""
        if not self._is_compact:
            return
        kinds = set(map(type, members))
        kind = kinds.pop() if len(kinds) == 1 else None
        kind = kind if kind in (list, dict) else float
        if self._kind is None:
            self._kind = kind
            if kind is dict:
                self._names = tuple(members[0])
                self._types = [set() for _ in self._names]
        if kind is not self._kind or not self._take(members):
            self._refuse()

    def take_row(self, row: "Compact | None") -> None:
        """Take a row that is long itself."""
        self._kind = self._kind or list
        if self._is_compact and self._kind is list and isinstance(row, Flat):
            self._values.add(row.values)
            self._lengths.append(np.array([len(row.values)], np.int64))
            self._types[0] |= row.types
        else:
            self._refuse()

    def _refuse(self) -> None:
        self._is_compact = False
        self._arrays, self._values, self._lengths = [], _Growing(), []

    def _take(self, members: list[Any]) -> bool:
        if self._kind is dict:
            return self._take_records(members)
        values = members
        if self._kind is list:
            self._lengths.append(np.fromiter(map(len, members), np.int64, len(members)))
            values = list(chain.from_iterable(members))
        types = set(map(type, values))
        self._types[0] |= types
        array = _array(values) if types <= NUMBERS else None
        if array is not None:
            self._values.add(array)
        return array is not None

    def _take_records(self, records: list[dict[str, Any]]) -> bool:
        names = self._names
        if not names:
            return False
        if set(map(tuple, records)) == {names}:
            columns = list(zip(*map(dict.values, records), strict=True))
        elif all(len(record) == len(names) and record.keys() == set(names) for record in records):
            columns = [tuple(record[name] for record in records) for name in names]
        else:
            return False
        table = np.zeros((len(names), len(records)))
        for row, (its, values) in enumerate(zip(self._types, columns, strict=True)):
            its |= set(map(type, values))
            if its <= NUMBERS:
                array = _array(values)
                if array is None:
                    its.add(object)
                else:
                    table[row] = array
        self._arrays.append(table)
        return True

    def finish(self) -> Compact | None:
        """Give what was taken; None when its members are not numbers, rows of numbers, or objects that are alike."""
        if not self._is_compact or self._kind is None:
            return None
        if self._kind is dict:
            columns = [
                Flat(np.concatenate([table[row] for table in self._arrays]), frozenset(its)) if its <= NUMBERS else None
                for row, its in enumerate(self._types)
            ]
            return Records(dict(zip(self._names, columns, strict=True)))
        values, types = self._values.finish(), frozenset(self._types[0])
        return Rows(values, np.concatenate(self._lengths), types) if self._kind is list else Flat(values, types)


def _array(values: Sequence[Any]) -> _Array | None:
    """Round numbers to float64, to the nearest; None when one is beyond the largest."""
    try:
        return np.fromiter(values, np.float64, len(values))
    except OverflowError:
        return None
