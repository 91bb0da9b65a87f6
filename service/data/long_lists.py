"""Lists that are too long to be there as Python's objects: sequences that make their members, some at a time."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from service.data.json_numbers import Compact, Flat, Records, Rows
from service.errors import InvalidRequest

SHOWN = 80
"""Messages show the first so many characters of a value, and so no more members of a list."""


class LongList(Sequence[Any]):
    """A sequence like any other: quick from the first member to the last, slow to look into here and there.

    `compact` are its members as arrays, where they are numbers, rows of numbers, or objects with the same names.
    """

    compact: Compact | None

    @abstractmethod
    def parts(self) -> Iterator[list[Any]]:
        """Give all members in order, some at a time."""

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self.parts())

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return list(islice(self, *index.indices(len(self))))
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._member(index)

    def _member(self, index: int) -> Any:
        return next(islice(self, index, None))

    def __repr__(self) -> str:
        return repr(self[:SHOWN])


def as_shown(value: Any) -> Any:
    """Give what `json.dumps` shows of a value that it does not know; of a long list the first members."""
    return value[:SHOWN] if isinstance(value, LongList) else str(value)


class Derived(LongList):
    """A list of what a function makes of the members of another."""

    def __init__(self, members: LongList, make: Callable[[Any], Any], compact: Compact | None = None) -> None:
        self.compact = compact
        self._members, self._make = members, make

    def __len__(self) -> int:
        return len(self._members)

    def parts(self) -> Iterator[list[Any]]:
        """Give all members in order, some at a time."""
        return (list(map(self._make, part)) for part in self._members.parts())

    def _member(self, index: int) -> Any:
        return self._make(self._members[index])


def is_list(value: Any) -> bool:
    """Tell whether a value of JSON is a list, short or long."""
    return isinstance(value, list | LongList)


def finite_values(values: Sequence[Any]) -> NDArray[np.float64] | None:
    """Give a long list of finite numbers as an array, or one of rows that are equally long; None for anything else."""
    compact = values.compact if isinstance(values, LongList) else None
    if compact is None or isinstance(compact, Records):
        return None
    table = compact.values if isinstance(compact, Flat) else compact.table()
    return table if table is not None and np.isfinite(table).all() else None


def finite_columns(records: Sequence[Any], names: Sequence[str]) -> NDArray[np.float64] | None:
    """Give these values of a long list of objects as (n_records, n_names); None if not all of them are finite."""
    compact = records.compact if isinstance(records, LongList) else None
    if not isinstance(compact, Records) or not names:
        return None
    columns = [compact.columns.get(name) for name in names]
    arrays = [column.values for column in columns if column is not None and np.isfinite(column.values).all()]
    return np.column_stack(arrays) if len(arrays) == len(names) else None


def column_of_records(records: Sequence[Any], name: str) -> Sequence[Any]:
    """Give the values of a name that all objects of a list have."""
    compact = records.compact if isinstance(records, LongList) else None
    return each(records, itemgetter(name), compact.columns.get(name) if isinstance(compact, Records) else None)


def each(members: Sequence[Any], make: Callable[[Any], Any], compact: Compact | None = None) -> Sequence[Any]:
    """Give what a function makes of the members of a list; of a long one when they are asked for.

    Args:
        members: of a list, short or long.
        make: what is wanted of a member.
        compact: what is wanted of a long list, as arrays, where that is known.
    """
    return Derived(members, make, compact) if isinstance(members, LongList) else list(map(make, members))


def rows_not_of(rows: Sequence[Any], width: int) -> Iterable[tuple[int, int | None]]:
    """Give the numbers of the rows that have not so many values, and how many they have; None for what is no row."""
    compact = rows.compact if isinstance(rows, LongList) else None
    if isinstance(compact, Rows):
        wrong = np.flatnonzero(compact.lengths != width)
        return zip(wrong.tolist(), compact.lengths[wrong].tolist(), strict=True)
    lengths = (len(values) if is_row(values) else None for values in rows)
    return ((row, length) for row, length in enumerate(lengths) if length != width)


def is_row(value: Any) -> bool:
    """Tell whether a value is a list, short or long, or a tuple."""
    return is_list(value) or isinstance(value, tuple)


def in_parts(members: LongList, encode: Callable[[list[Any]], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Encode a long list, a part at a time, into rows of numbers.

    Raises:
        InvalidRequest: with the faults of the first part that has some; their pointers begin with a member's number, or
            they are of all members, and so of the first part.
    """
    found, first = list[NDArray[np.float64]](), 0
    for part in members.parts():
        try:
            found.append(encode(part))
        except InvalidRequest as invalid:
            raise invalid.moved(partial(_moved, first)) from None
        first += len(part)
    return np.concatenate(found)


def _moved(n_before: int, pointer: str) -> str:
    if not n_before:
        return pointer
    number, slash, rest = pointer[1:].partition("/")
    return f"/{int(number) + n_before}{slash}{rest}"
