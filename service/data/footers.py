"""What Parquet files say of the size of their parts, read before anything is decompressed.

Source: https://github.com/apache/parquet-format (parquet.thrift, in Thrift's compact protocol).
"""

import struct
from collections.abc import Iterator
from typing import Any

from service.data.names import check_count
from service.room import Mapped

LARGEST_FOOTER = 2**24
MOST_PAGES = 2**21
ROW_GROUPS = 4
"""Their number among the fields of a Parquet file's footer."""
BROKEN = (LookupError, TypeError, ValueError, AttributeError, RecursionError, struct.error)
"""What reading a damaged footer raises."""


BYTES_OF_A_VALUE = 8
SMALL_VALUES = {0: 1, 1: 4, 4: 4}
"""What a value takes at least once it is decoded, however often it is repeated in the file; and what it does of the
types of Parquet whose values are smaller: booleans, integers and floats of 32 bits.
"""


def parquet_parts(content: Mapped) -> Iterator[tuple[int, int]]:
    """Give the rows of each row group of a Parquet file, and the bytes that it takes when it is read.

    Every page of it is looked at.

    No byte of the file is looked at more than twice, for chunks of columns that overlap are refused.

    Raises:
        InvalidDataset: when there are too many columns.
        ValueError: when a footer is too large to be looked at, pages are larger than their column says or too many, or
            chunks overlap.
        LookupError, TypeError, AttributeError, RecursionError, struct.error: when the footer is damaged.
    """
    length = int.from_bytes(content[-8:-4], "little")
    if length > LARGEST_FOOTER:
        raise ValueError(
            f"its footer takes {length:,} bytes and at most {LARGEST_FOOTER:,} can be: use larger row groups"
        )
    n_chunk_bytes = n_pages = 0
    for group in _row_groups(bytes(content[-8 - length : -8])):
        columns = [column[3] for column in group[1]]
        for column in columns:
            n_chunk_bytes += checked_size(column[7])
            if n_chunk_bytes > len(content):
                raise ValueError("its columns overlap")
            if column[4]:  # the codec, 0 for none
                n_pages += _check_pages(content, column, MOST_PAGES - n_pages)
        n_rows = checked_size(group[3])
        n_bytes = sum(
            max(checked_size(column[6]), n_rows * SMALL_VALUES.get(column.get(1), BYTES_OF_A_VALUE))
            for column in columns
        )
        yield n_rows, n_bytes


def _row_groups(footer: bytes) -> Iterator[dict[int, Any]]:
    """Read the row groups one by one, and of each only what is asked for."""
    at = number = 0
    while True:
        number, kind, at = _field(footer, at, number)
        if not kind:
            raise ValueError("its footer has no row groups")
        if number == ROW_GROUPS:
            break
        _, at = _value(footer, at, kind)
    count, _, at = _list_header(footer, at)
    for _ in range(count):
        group, at = _struct(footer, at, {1: {3: dict.fromkeys((1, 4, 6, 7, 9, 11))}, 3: None})
        yield group


def _check_pages(content: Mapped, column: dict[int, Any], most: int) -> int:
    """Check that the pages of a column of a row group decompress into no more than the column says; count them."""
    at = min(column[9], column.get(11) or column[9])
    end, n_bytes, n_pages = at + column[7], 0, 0
    while at < end:
        page, after = _struct(content, at, {2: None, 3: None})
        at, n_bytes, n_pages = after + checked_size(page[3]), n_bytes + checked_size(page[2]), n_pages + 1
        if at > end:
            raise ValueError("a page is larger than its column")
        if n_bytes > column[6]:
            raise ValueError("its pages decompress into more than its footer says")
        if n_pages > most:
            raise ValueError(f"it has more than {MOST_PAGES:,} pages: use larger ones")
    return n_pages


def checked_size(size: int) -> int:
    """Give a size that a file tells of; raises a ValueError when it is none."""
    if size < 0:
        raise ValueError("a part of it has a negative size")
    return size


def _varint(content: Mapped, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number has too many bytes")


def _skipped(content: Mapped, at: int, n_bytes: int) -> int:
    """Go over bytes that are not looked at, and that have to be there."""
    if n_bytes > len(content) - at:
        raise ValueError("a value goes beyond its end")
    return at + n_bytes


def _list_header(content: Mapped, at: int) -> tuple[int, int, int]:
    """Read how many elements a list has, of which type, and where they begin. Each takes a byte at least."""
    header, at = content[at], at + 1
    count, kind = header >> 4, header & 15
    if count == 15:
        count, at = _varint(content, at)
    _skipped(content, at, count)
    return count, kind, at


def _field(content: Mapped, at: int, number: int) -> tuple[int, int, int]:
    """Read the number and the type of a struct's next field, and where it begins; type 0 ends the struct."""
    header, at = content[at], at + 1
    if header and not header >> 4:
        value, at = _varint(content, at)
        return (value >> 1) ^ -(value & 1), header & 15, at
    return number + (header >> 4), header & 15, at


Wanted = dict[int, Any] | None
"""The fields of a struct, or of the structs of a list, that are to be read, each with those of its own."""


def _value(content: Mapped, at: int, kind: int, wanted: Wanted = None) -> tuple[Any, int]:
    """Read a value; of a double, a text, and a list or struct of which nothing is wanted, only where it ends."""
    if kind in (1, 2):
        return kind == 1, at
    if kind == 3:
        return content[at], at + 1
    if kind in (4, 5, 6):
        value, at = _varint(content, at)
        return (value >> 1) ^ -(value & 1), at
    if kind == 7:
        return None, _skipped(content, at, 8)
    if kind == 8:
        length, at = _varint(content, at)
        return None, _skipped(content, at, length)
    if kind in (9, 10):
        return _list(content, at, wanted)
    if kind == 12:
        return _struct(content, at, wanted or {})
    raise ValueError(f"type {kind} of a value is not known")


def _list(content: Mapped, at: int, wanted: Wanted) -> tuple[list[Any], int]:
    count, kind, at = _list_header(content, at)
    if kind in (1, 2, 3):
        return [], at + count
    if wanted:
        check_count(count)
    values = []
    for _ in range(count):
        value, at = _value(content, at, kind, wanted)
        if wanted:
            values.append(value)
    return values, at


def _struct(content: Mapped, at: int, wanted: dict[int, Any]) -> tuple[dict[int, Any], int]:
    """Read a struct: those of its fields that are wanted, by number."""
    fields: dict[int, Any] = {}
    number = 0
    while True:
        number, kind, at = _field(content, at, number)
        if not kind:
            return fields, at
        value, at = _value(content, at, kind, wanted.get(number))
        if number in wanted:
            fields[number] = value
