"""The structure of CSV: where its records end, whether they have the cells they should, and their lines in the file."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.data.chunks import WAY_OUT
from service.errors import MAX_FAULTS, Fault, counted

_LINE_FEED, _RETURN, _QUOTE = b'\n\r"'
_DOT, _ZERO = np.frombuffer(b".0", np.uint8)
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Records:
    """The `content` of the records that stand as they should; all else as in `text_source.Piece`."""

    content: bytes
    rows: Positions
    lines: Positions
    faults: list[tuple[int, Fault]]
    n_rows: int
    n_lines: int
    is_end: bool


def are_plain(content: bytes, delimiter: str) -> bool:
    """Tell whether all quotes of a chunk enclose cells and all bytes are text, as far as a quick look tells."""
    return content.find(b"\0") < 0 and (content.find(b'"') < 0 or _stray_quote(content, delimiter) is None)


def n_delimiters(content: bytes, delimiter: str) -> tuple[int, int]:
    """Count the ends of records and the delimiters outside of quotes."""
    characters = np.frombuffer(content, np.uint8)
    ends, delimiters = characters == _LINE_FEED, characters == ord(delimiter)
    if content.find(b'"') >= 0:
        outside = np.cumsum(characters == _QUOTE, dtype=np.uint8) & 1 == 0
        ends &= outside
        delimiters &= outside
    return int(np.count_nonzero(ends)), int(np.count_nonzero(delimiters))


def has_leading_zero(content: bytes) -> bool:
    """Tell whether a cell may begin with a 0 and another digit; it may be one that is no number."""
    if content[:1] == b"0" and content[1:2].isdigit():
        return True
    characters = np.frombuffer(content, np.uint8)
    size = 2**17  # what stays in a cache near the processor
    for first in range(0, len(characters), size - 2):
        part = characters[first : first + size]
        hits = part[1:-1] == _ZERO
        hits &= part[2:] - _ZERO < 10
        hits &= part[:-2] - _DOT >= 12  # neither of . and / nor a digit, which follow each other
        if hits.any():
            for at in np.flatnonzero(hits) + first:
                before = characters[at]
                if before in b"+-":
                    before = characters[at - 1] if at else _LINE_FEED
                if not chr(before).isalnum() and before != _DOT:
                    return True
    return False


def split_records(content: bytes, delimiter: str, width: int, first_row: int, first_line: int) -> Records:
    """Look at each record of a chunk.

    Args:
        content: whole records, the last of which may end inside quotes.
        delimiter: one ASCII character.
        width: how many cells a record has to have.
        first_row, first_line: those of the chunk in the file.
    """
    characters = np.frombuffer(content, np.uint8)
    line_ends = np.flatnonzero(characters == _LINE_FEED)
    delimiters = np.flatnonzero(characters == ord(delimiter))
    ends = line_ends
    quotes = np.flatnonzero(characters == _QUOTE)
    if len(quotes):
        ends = line_ends[np.searchsorted(quotes, line_ends) % 2 == 0]
        delimiters = delimiters[np.searchsorted(quotes, delimiters) % 2 == 0]
    faults: list[tuple[int, Fault]] = []
    stop = first_stop(content, delimiter)
    if stop is not None:
        position, sentence = stop
        ends = ends[ends < position]
        line = first_line + int(np.searchsorted(line_ends, position))
        row = first_row + len(ends)
        faults.append((row, Fault(f"/rows/{row}", f"line {line}{sentence}; what follows was not looked at")))
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)[: len(ends)]
    lines = first_line + np.searchsorted(line_ends, starts)
    cells = np.diff(np.searchsorted(delimiters, ends), prepend=0) + 1
    lengths = ends - starts
    # Of a single column, a blank line is a row whose cell is empty.
    is_blank = (width > 1) & ((lengths == 0) | ((lengths == 1) & (characters[starts] == _RETURN)))
    is_wrong = is_blank | (cells != width)
    for at in np.flatnonzero(is_wrong)[:MAX_FAULTS]:
        row = first_row + int(at)
        faults.append((row, Fault(f"/rows/{row}", _width_sentence(lines[at], cells[at], width, bool(is_blank[at])))))
    good = np.flatnonzero(~is_wrong)
    return Records(
        _joined(content, starts, ends, is_wrong),
        first_row + good,
        lines[good],
        sorted(faults, key=lambda fault: fault[0]),
        len(ends),
        len(line_ends),
        stop is not None,
    )


def _width_sentence(line: int, cells: int, width: int, is_blank: bool) -> str:
    if is_blank:
        return f"line {line} is blank: remove it"
    counts = f"line {line} has {counted(cells, 'cell')} where {width} are expected"
    way = "put a cell with a delimiter or a line break in quotes" if cells > width else "leave a missing cell empty"
    return f"{counts}: {way}"


def _joined(content: bytes, starts: Positions, ends: Positions, is_wrong: NDArray[np.bool_]) -> bytes:
    """Leave out the wrong records."""
    if not is_wrong.any():
        return content[: int(ends[-1]) + 1] if len(ends) else b""
    # A run of good records begins where the one before is wrong.
    good = ~is_wrong
    firsts = np.flatnonzero(good & ~np.concatenate([[False], good[:-1]]))
    lasts = np.flatnonzero(good & ~np.concatenate([good[1:], [False]]))
    runs = zip(starts[firsts].tolist(), ends[lasts].tolist(), strict=True)
    return b"".join(content[start : end + 1] for start, end in runs)


def first_stop(content: bytes, delimiter: str) -> tuple[int, str] | None:
    """Find the first place from which on nothing can be relied on, and what is wrong with it."""
    stops = []
    if (zero := content.find(b"\0")) >= 0:
        stops.append(
            (zero, " has a NUL character, as text has none; UTF-16 without a byte order mark takes ?encoding=utf-16-le")
        )
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as fault:
        stops.append((fault.start, f" is not UTF-8 (byte 0x{content[fault.start]:02x}): {WAY_OUT}"))
    if (quote := _stray_quote(content, delimiter)) is not None:
        stops.append(quote)
    return min(stops, default=None)


def _stray_quote(content: bytes, delimiter: str) -> tuple[int, str] | None:
    """Find the first quote that neither begins nor ends a cell and is not doubled within quotes."""
    characters = np.frombuffer(content, np.uint8)
    quotes = np.flatnonzero(characters == _QUOTE)
    if not len(quotes):
        return None
    opening, closing = quotes[::2], quotes[1::2]
    before = np.where(opening > 0, characters[opening - 1], _LINE_FEED)
    after = characters[np.minimum(closing + 1, len(characters) - 1)]
    wrong_opening = opening[~_is_one_of(before, delimiter, _LINE_FEED, _QUOTE)][:1]
    is_line_end = (after == _RETURN) & (characters[np.minimum(closing + 2, len(characters) - 1)] == _LINE_FEED)
    wrong_closing = closing[~(_is_one_of(after, delimiter, _LINE_FEED, _QUOTE) | is_line_end)][:1]
    stops = [
        (
            int(at),
            " has a quote inside a cell that does not begin with one: put the cell in quotes and double those in it",
        )
        for at in wrong_opening
    ]
    stops += [
        (int(at), " has text after a quote that ends a cell: double the quotes inside of quotes, and close each")
        for at in wrong_closing
    ]
    if len(quotes) % 2:
        stops.append((int(quotes[-1]), " opens a quote that is never closed"))
    return min(stops, default=None)


def _is_one_of(characters: NDArray[np.uint8], delimiter: str, *others: int) -> NDArray[np.bool_]:
    return np.isin(characters, np.array([ord(delimiter), *others], np.uint8))
