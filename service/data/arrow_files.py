"""Arrow IPC files: what they say of the size of their parts, and small ones read and written at once.

polars reads and writes files by its streaming engine, whose start takes ten times as long as ten thousand rows do, and
streams without it. A file is the messages of a stream, with a footer that tells where they are; schemas are written
alike in both, and refer to their parts by distances, so that one is taken from the other as it is.

Source: https://arrow.apache.org/docs/format/Columnar.html (File.fbs, Message.fbs, in FlatBuffers).
"""

import struct
from collections.abc import Iterator
from io import BytesIO

import polars as pl
from polars.exceptions import PanicException, PolarsError

from service.data.footers import BROKEN, LARGEST_FOOTER, checked_size
from service.files import MAGIC
from service.room import Mapped

_CONTINUATION = b"\xff\xff\xff\xff"
_END = _CONTINUATION + bytes(4)
_PREFIX_BYTES = 8
"""Before each message: that one comes, and how many bytes it has."""
_SCHEMA = 1
"""The kind of a message that is one."""
_MESSAGE = struct.Struct("<I5H2xihBxI4x")
_FOOTER = struct.Struct("<I6Hi2Ih6xI")


def arrow_parts(content: Mapped) -> Iterator[tuple[int, int]]:
    """Give the rows of each part of an Arrow IPC file, and the bytes that it takes when it is read.

    Its dictionaries, which come first, have no rows; the others are its record batches.

    Raises:
        ValueError: when the footer is too large to be looked at, or batches overlap.
        ValueError, LookupError, TypeError, struct.error: when the footer is damaged.
    """
    footer, end, n_block_bytes = arrow_footer(content), len(content) - 10, 0
    for kind in (2, 3):  # of the footer's fields: dictionaries, record batches
        for at in footer.vector(kind, 24, end):
            block, header_bytes, body_bytes = struct.unpack_from("<qi4xq", content, at)
            n_block_bytes += checked_size(header_bytes) + checked_size(body_bytes)
            if n_block_bytes > len(content):
                raise ValueError("its batches overlap")
            prefix = 8 if content[block : block + 4] == b"\xff\xff\xff\xff" else 4
            batch = Fields(content, block + prefix).table(2)
            n_rows = batch.number(0) if kind == 3 else 0
            if kind == 2:
                batch = batch.table(1)
            yield checked_size(n_rows), _batch(content, batch, block + header_bytes, body_bytes)


def arrow_metadata(content: Mapped) -> dict[bytes, bytes]:
    """Give what the writer of an Arrow IPC file has said of its schema, by key.

    Raises:
        ValueError, LookupError, TypeError, struct.error: when the footer is damaged.
    """
    schema = arrow_footer(content).table(1)
    pairs = [
        Fields(content, at + struct.unpack_from("<I", content, at)[0], is_root=False)
        for at in schema.vector(2, 4, len(content) - 10)
    ]
    return {pair.text(0): pair.text(1) for pair in pairs}


def arrow_footer(content: Mapped) -> "Fields":
    """Give the footer of an Arrow IPC file.

    Raises:
        ValueError, struct.error: when it is too large to be looked at, or damaged.
    """
    length = int.from_bytes(content[-10:-6], "little")
    if length > LARGEST_FOOTER:
        raise ValueError(
            f"its footer takes {length:,} bytes and at most {LARGEST_FOOTER:,} can be: use larger record batches"
        )
    return Fields(content, len(content) - 10 - length)


def _batch(content: Mapped, batch: "Fields", body: int, body_bytes: int) -> int:
    is_compressed = batch.place(3) is not None
    n_bytes = 0
    for at in batch.vector(2, 16, body):
        offset, length = struct.unpack_from("<qq", content, at)
        if checked_size(offset) + checked_size(length) > body_bytes:
            raise ValueError("a buffer lies outside of its batch")
        # A compressed buffer begins with its length when decompressed, -1 where it is not compressed after all.
        (said,) = struct.unpack_from("<q", content, body + offset) if is_compressed and length else (-1,)
        n_bytes += length if said < 0 else said
    return n_bytes


def frame_of(content: bytes) -> pl.DataFrame | None:
    """Read a file whose parts have been looked at; None when it has dictionaries, or can only be read otherwise."""
    try:
        footer = arrow_footer(content)
        if len(footer.vector(2, 24, len(content))):
            return None
        pieces = [_schema_message(content, footer)]
        for at in footer.vector(3, 24, len(content)):
            block, header_bytes, body_bytes = struct.unpack_from("<qi4xq", content, at)
            pieces.append(content[block : block + header_bytes + body_bytes])
            if _sizes(pieces[-1], 0) != (header_bytes, body_bytes):
                return None
        return pl.read_ipc_stream(BytesIO(b"".join((*pieces, _END))))
    except (*BROKEN, PolarsError, PanicException, OSError):  # polars raises OSErrors for what it cannot unpack
        return None


def file_of(frame: pl.DataFrame) -> bytes:
    """Write a file of a frame whose columns are no categories."""
    written = BytesIO()
    frame.write_ipc_stream(written, compression="uncompressed")
    stream, start, blocks, at = written.getvalue(), MAGIC["arrow"].ljust(_PREFIX_BYTES, b"\0"), [], 0
    while not stream.startswith(_END, at):
        blocks.append((len(start) + at, *_sizes(stream, at)))
        at += sum(blocks[-1][1:])
    (_, header_bytes, _), *batches = blocks
    footer = _footer(stream[_PREFIX_BYTES:header_bytes], batches)
    return b"".join((start, stream, footer, struct.pack("<I", len(footer)), MAGIC["arrow"]))


def _sizes(stream: bytes, at: int) -> tuple[int, int]:
    """Tell how many bytes the header of a message has, and how many the body behind it; (0, 0) when there is none."""
    start, n_bytes = struct.unpack_from("<4sI", stream, at)
    return (0, 0) if start != _CONTINUATION else (_PREFIX_BYTES + n_bytes, Fields(stream, at + _PREFIX_BYTES).number(3))


def _schema_message(content: bytes, footer: "Fields") -> bytes:
    """Write the message of a footer's schema: a root that refers into the footer behind it."""
    version, schema = footer.short(0), footer.table(1)
    held = content[footer.start :]
    held += bytes(-len(held) % _PREFIX_BYTES)
    root = _MESSAGE.pack(16, 10, 12, 4, 6, 8, 12, version, _SCHEMA, _MESSAGE.size - 24 + schema.at - footer.start)
    return _CONTINUATION + struct.pack("<I", len(root) + len(held)) + root + held


def _footer(message: bytes, blocks: list[tuple[int, int, int]]) -> bytes:
    """Write the footer of a file from the message of its schema: a root, where batches are, and the message."""
    found = Fields(message, 0)
    schema = _FOOTER.size + 24 * len(blocks) + found.table(2).at
    root = _FOOTER.pack(16, 12, 14, 12, 4, 0, 8, 12, schema - 20, 36 - 24, found.short(0), len(blocks))
    return b"".join((root, *(struct.pack("<qi4xq", *block) for block in blocks), message))


class Fields:
    """A table of FlatBuffers, its fields by number; the root of what begins at `at` or, once followed, there."""

    def __init__(self, content: Mapped, at: int, *, is_root: bool = True) -> None:
        self.content = content
        self.start = at
        self.at = at + struct.unpack_from("<I", content, at)[0] if is_root else at
        self.names = self.at - struct.unpack_from("<i", content, self.at)[0]

    def place(self, number: int) -> int | None:
        """Give where a field stands; None when it is left out."""
        slot = 4 + 2 * number
        if slot >= struct.unpack_from("<H", self.content, self.names)[0]:
            return None
        (offset,) = struct.unpack_from("<H", self.content, self.names + slot)
        return self.at + offset if offset else None

    def number(self, number: int) -> int:
        """Give a whole number of 64 bits; 0 where it is left out."""
        place = self.place(number)
        return 0 if place is None else int(struct.unpack_from("<q", self.content, place)[0])

    def short(self, number: int) -> int:
        """Give a whole number of 16 bits; 0 where it is left out."""
        place = self.place(number)
        return 0 if place is None else int(struct.unpack_from("<h", self.content, place)[0])

    def table(self, number: int) -> "Fields":
        """Follow a field to the table it refers to."""
        place = self.place(number)
        if place is None:
            raise ValueError(f"field {number} is left out")
        return Fields(self.content, place + struct.unpack_from("<I", self.content, place)[0], is_root=False)

    def vector(self, number: int, width: int, end: int) -> range:
        """Give where each element of a vector stands, all of which are to lie before an end."""
        place = self.place(number)
        if place is None:
            return range(0)
        first = place + struct.unpack_from("<I", self.content, place)[0] + 4
        stop = first + width * struct.unpack_from("<I", self.content, first - 4)[0]
        if stop > end:
            raise ValueError("a list goes beyond its end")
        return range(first, stop, width)

    def text(self, number: int) -> bytes:
        """Give the bytes of a text; none where it is left out."""
        found = self.vector(number, 1, len(self.content))
        return bytes(self.content[found.start : found.stop])
