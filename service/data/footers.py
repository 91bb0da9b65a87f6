"""What Parquet and Arrow IPC files say of the size of their parts, read before anything is decompressed.

Sources: https://github.com/apache/parquet-format (parquet.thrift, in Thrift's compact protocol) and
https://arrow.apache.org/docs/format/Columnar.html (File.fbs, Message.fbs, in FlatBuffers).
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any

Content = Any
"""The bytes of a file, a memory map of it: indexed for a byte, sliced for some."""

LARGEST_FOOTER = 2**24
BROKEN = (LookupError, TypeError, ValueError, AttributeError, RecursionError, struct.error)
"""What reading a damaged footer raises."""


BYTES_OF_A_VALUE = 8
"""What a value takes at least once it is decoded, however often it is repeated in the file."""


def parquet_parts(content: Content) -> Iterator[int]:
    """Give the bytes that each row group of a Parquet file takes when it is read, every page of it looked at.

    Raises:
        ValueError: when a footer is too large to be looked at, or pages are larger than their column says.
        LookupError, TypeError, AttributeError, RecursionError, struct.error: when the footer is damaged.
    """
    length = int.from_bytes(content[-8:-4], "little")
    if length > LARGEST_FOOTER:
        raise ValueError(
            f"its footer takes {length:,} bytes and at most {LARGEST_FOOTER:,} can be: use larger row groups"
        )
    footer, _ = _struct(bytes(content[-8 - length : -8]), 0)
    for group in footer[4]:
        columns = [column[3] for column in group[1]]
        for column in columns:
            if column[4]:  # the codec, 0 for none
                _check_pages(content, column)
        n_bytes = sum(column[6] for column in columns)
        if group[3] < 0 or n_bytes < 0:
            raise ValueError("a row group has fewer than 0 rows or bytes")
        yield max(n_bytes, group[3] * len(columns) * BYTES_OF_A_VALUE)


def _check_pages(content: Content, column: dict[int, Any]) -> None:
    """Check that the pages of a column of a row group decompress into no more than the column says."""
    at = min(column[9], column.get(11) or column[9])
    end, n_bytes = at + column[7], 0
    while at < end:
        page, after = _struct(content, at)
        if page[2] < 0 or page[3] < 0:
            raise ValueError("a page has a negative size")
        at, n_bytes = after + page[3], n_bytes + page[2]
        if n_bytes > column[6]:
            raise ValueError("its pages decompress into more than its footer says")


def _varint(content: Content, at: int) -> tuple[int, int]:
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


def _whole(content: Content, at: int) -> tuple[int, int]:
    value, at = _varint(content, at)
    return (value >> 1) ^ -(value & 1), at


def _text(content: Content, at: int) -> tuple[None, int]:
    length, at = _varint(content, at)
    return None, at + length


def _list(content: Content, at: int) -> tuple[list[Any], int]:
    header, at = content[at], at + 1
    count, kind = header >> 4, header & 15
    if count == 15:
        count, at = _varint(content, at)
    read = _READERS[kind] if kind > 2 else _byte
    values = []
    for _ in range(count):
        value, at = read(content, at)
        values.append(value)
    return values, at


def _byte(content: Content, at: int) -> tuple[int, int]:
    return content[at], at + 1


def _struct(content: Content, at: int) -> tuple[dict[int, Any], int]:
    """Read a struct: its fields by number. Texts are skipped."""
    fields: dict[int, Any] = {}
    number = 0
    while True:
        header, at = content[at], at + 1
        if header == 0:
            return fields, at
        if header >> 4:
            number += header >> 4
        else:
            number, at = _whole(content, at)
        fields[number], at = _READERS[header & 15](content, at)


_READERS: dict[int, Callable[[Content, int], tuple[Any, int]]] = {
    1: lambda _, at: (True, at),
    2: lambda _, at: (False, at),
    3: _byte,
    4: _whole,
    5: _whole,
    6: _whole,
    7: lambda _, at: (None, at + 8),
    8: _text,
    9: _list,
    10: _list,
    12: _struct,
}


def arrow_parts(content: Content) -> Iterator[int]:
    """Give the bytes that each dictionary and record batch of an Arrow IPC file takes when it is read.

    Raises:
        ValueError, LookupError, TypeError, struct.error: when the footer is damaged.
    """
    length = int.from_bytes(content[-10:-6], "little")
    footer = _Fields(content, len(content) - 10 - length)
    for kind in (2, 3):  # of the footer's fields: dictionaries, record batches
        for at in footer.vector(kind, 24):
            block, header_bytes = struct.unpack_from("<qi", content, at)
            prefix = 8 if content[block : block + 4] == b"\xff\xff\xff\xff" else 4
            batch = _Fields(content, block + prefix).table(2)
            if kind == 2:
                batch = batch.table(1)
            yield _batch(content, batch, block + header_bytes)


def _batch(content: Content, batch: "_Fields", body: int) -> int:
    is_compressed = batch.place(3) is not None
    n_bytes = 0
    for at in batch.vector(2, 16):
        offset, length = struct.unpack_from("<qq", content, at)
        # A compressed buffer begins with its length when decompressed, -1 where it is not compressed after all.
        (said,) = struct.unpack_from("<q", content, body + offset) if is_compressed and length else (-1,)
        n_bytes += length if said < 0 else said
    return n_bytes


class _Fields:
    """A table of FlatBuffers, its fields by number; the root of what begins at `at` or, once followed, there."""

    def __init__(self, content: Content, at: int, *, is_root: bool = True) -> None:
        self.content = content
        self.at = at + struct.unpack_from("<I", content, at)[0] if is_root else at
        self.names = self.at - struct.unpack_from("<i", content, self.at)[0]

    def place(self, number: int) -> int | None:
        """Give where a field stands; None when it is left out."""
        slot = 4 + 2 * number
        if slot >= struct.unpack_from("<H", self.content, self.names)[0]:
            return None
        (offset,) = struct.unpack_from("<H", self.content, self.names + slot)
        return self.at + offset if offset else None

    def table(self, number: int) -> "_Fields":
        """Follow a field to the table it refers to."""
        place = self.place(number)
        if place is None:
            raise ValueError(f"field {number} is left out")
        return _Fields(self.content, place + struct.unpack_from("<I", self.content, place)[0], is_root=False)

    def vector(self, number: int, width: int) -> range:
        """Give where each element of a vector of structs stands."""
        place = self.place(number)
        if place is None:
            return range(0)
        first = place + struct.unpack_from("<I", self.content, place)[0] + 4
        return range(first, first + width * struct.unpack_from("<I", self.content, first - 4)[0], width)
