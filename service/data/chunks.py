"""A text file in chunks of whole lines, as UTF-8, whatever its encoding and its length."""

import codecs
from collections.abc import Generator, Iterator
from typing import BinaryIO

from service.errors import Fault, InvalidDataset
from service.room import Content, opened

CHUNK_BYTES = 2**24
MAX_RECORD_BYTES = 2**24
"""No row is longer, with all line breaks in its quotes; a file without line ends would fill the memory otherwise."""
LINE_END_BYTES = 2**14
"""The end of a line is looked for in so many bytes before a block is read."""
WAY_OUT = "save the file as UTF-8, or name its encoding, as in ?encoding=latin-1 or ?encoding=cp1252"

_FAMILIES = ("utf-8", "utf-16", "utf-32", "ascii", "iso8859", "cp", "koi8", "mac", "shift_jis", "euc", "gb", "big5")


def find_encoding(content: Content, asked: str | None) -> str:
    """Tell the encoding of a file: the one asked for, or UTF-16 where its byte order mark says so, or UTF-8.

    Raises:
        InvalidDataset: when the file is empty, or the encoding asked for is not known.
    """
    with opened(content) as file:
        start = file.read(2)
    if not start:
        raise InvalidDataset([Fault("", "the file is empty: it has 0 bytes")])
    if asked is None:
        return "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8"
    try:
        name = codecs.lookup(asked).name
    except (LookupError, ValueError):
        name = ""
    if not name.startswith(_FAMILIES):
        sentence = f"the encoding {asked!r} is not known: choose utf-8, utf-16, latin-1, cp1252 or another of this kind"
        raise InvalidDataset([Fault("/encoding", sentence)])
    return name.removesuffix("-sig")


def read_chunks(
    content: Content, encoding: str, chunk_bytes: int, *, quoted: bool, blank_end: bool = False
) -> Generator[bytes, None, None]:
    """Read a text file in chunks of about so many bytes, each of whole lines and ending in a line feed.

    Blank lines at the end of the file are left out, unless with `blank_end`, and so is a byte order mark. With
    `quoted`, a line break between quotes ends no line. The last chunk may end inside quotes that are never closed.

    Raises:
        InvalidDataset: when the bytes are none of the encoding (UTF-8 is left to whoever reads the chunks), or no line
            ends within 16 MiB.
    """
    chunks = (
        _utf8_chunks(content, chunk_bytes, quoted, blank_end)
        if encoding == "utf-8"
        else _decoded(content, encoding, chunk_bytes, quoted, blank_end)
    )
    for chunk, is_last in chunks:
        if is_last and not blank_end:
            chunk = chunk.rstrip(b"\r\n")
        if chunk:
            yield chunk if chunk.endswith(b"\n") else chunk + b"\n"


def _utf8_chunks(content: Content, chunk_bytes: int, quoted: bool, blank_end: bool) -> Iterator[tuple[bytes, bool]]:
    with opened(content) as file:
        position = len(codecs.BOM_UTF8) if file.read(3) == codecs.BOM_UTF8 else 0
        size = chunk_bytes
        while True:
            n_wanted = _up_to_line_end(file, position, size)
            block = _read(file, n_wanted, position)
            if len(block) < n_wanted:
                yield block, True
                return
            end = _last_end(block, quoted, blank_end)
            if end:
                yield block[:end], False
            else:
                _check_length(block, quoted)
            position, size = position + end, chunk_bytes if end else 2 * size


def _up_to_line_end(file: BinaryIO, position: int, size: int) -> int:
    """Tell how much to read so that the block ends as a line does: cutting it off later would copy all of it."""
    looked_at = min(size, LINE_END_BYTES)
    end = _read(file, looked_at, position + size - looked_at).rfind(b"\n") + 1
    return size - looked_at + end if end else size


def _read(file: BinaryIO, n_bytes: int, position: int) -> bytes:
    file.seek(position)
    return file.read(n_bytes)


def _decoded(
    content: Content, encoding: str, chunk_bytes: int, quoted: bool, blank_end: bool
) -> Iterator[tuple[bytes, bool]]:
    rest = b""
    for block, is_last in _blocks(content, encoding, chunk_bytes):
        rest += block
        end = len(rest) if is_last else _last_end(rest, quoted, blank_end)
        if end:
            yield rest[:end], is_last
            rest = rest[end:]
        else:
            _check_length(rest, quoted)


def _check_length(rest: bytes, quoted: bool) -> None:
    if len(rest) > MAX_RECORD_BYTES:
        hint = "is a quote never closed?" if quoted and b'"' in rest else "is it a text file?"
        raise InvalidDataset([Fault("", f"a row is longer than {MAX_RECORD_BYTES:,} bytes: {hint}")])


def _blocks(content: Content, encoding: str, n_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """Read blocks of text as UTF-8, without a byte order mark, and tell which is the last."""
    decoder = codecs.getincrementaldecoder(encoding)()
    n_lines, is_start, is_end = 0, True, False
    with opened(content) as file:
        while not is_end:
            block = file.read(n_bytes)
            is_end = len(block) < n_bytes
            try:
                text = decoder.decode(block, final=is_end)
            except UnicodeDecodeError as fault:
                n_lines += fault.object[: fault.start].decode(encoding, errors="ignore").count("\n")
                sentence = f"line {n_lines + 1} is not {encoding}: {fault.reason}; {WAY_OUT}"
                raise InvalidDataset([Fault("", sentence)]) from None
            except UnicodeError:
                sentence = f"{encoding} begins with a byte order mark, and the file does not: say {encoding}-le or -be"
                raise InvalidDataset([Fault("/encoding", sentence)]) from None
            n_lines += text.count("\n")
            if is_start and text:
                text, is_start = text.removeprefix("\ufeff"), False
            yield text.encode(), is_end


def _last_end(block: bytes, quoted: bool, blank_end: bool) -> int:
    """Find where the last line ends, without `blank_end` the last one that is not blank; 0 when none does."""
    end = block.rfind(b"\n") + 1
    if quoted and block.find(b'"') >= 0:
        is_open = block.count(b'"', 0, end) % 2
        while is_open:
            before = block.rfind(b"\n", 0, end - 1) + 1
            is_open ^= block.count(b'"', before, end) % 2
            end = before
    # Blank lines wait for what follows them: at the end of the file they are none.
    while end > 0 and not blank_end and _is_blank(block[max(0, end - 3) : end - 1]):
        end = block.rfind(b"\n", 0, end - 1) + 1
    return end


def _is_blank(before: bytes) -> bool:
    """Tell whether a line is blank by the two characters before its end."""
    return before in (b"", b"\r", b"\n\r") or before.endswith(b"\n")
