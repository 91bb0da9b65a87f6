"""JSON in pieces: what is long in a body is never there as Python's objects, and no step of reading it takes long.

A list of a million rows takes a hundred bytes for each as objects, and a parser that reads it at once lets no other
thread run meanwhile. So the text is cut into pieces of some KiB, each of whole members, and one is parsed at a time.
"""

import json
import re
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import pydantic_core
from numpy.typing import NDArray

from service.data.json_names import names_twice, repeated
from service.data.json_numbers import Compact, Loading
from service.data.long_lists import LongList
from service.errors import MAX_FAULTS, Fault, InvalidRequest, escape

PIECE_BYTES = 2**16
MOST_LEVELS = 50
"""So deep may lists and objects be nested that are longer than a piece."""

_SPACE = re.compile(rb"[ \t\n\r]*")
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NAME = re.compile(rb"(%b)[ \t\n\r]*+:[ \t\n\r]*+" % _STRING, re.DOTALL)
_SCALAR = re.compile(rb"%b|[^,\]} \t\n\r]*+" % _STRING, re.DOTALL)
_COMMA, _QUOTE, _BACKSLASH = b',"\\'
_LIST, _OBJECT = b"[{"
_CLOSING = {ord("["): ord("]"), ord("{"): ord("}")}


@dataclass(frozen=True)
class Piece:
    """Some members of a list or an object: from and to where they stand, and how many there are.

    A list or an object that is longer than a piece has one of its own, as `value`.
    """

    start: int
    end: int
    n_members: int
    value: Any = None


class JsonList(LongList):
    """A long list of JSON, whose members are parsed when they are asked for, a piece of them at a time."""

    def __init__(self, text: "_Text", pieces: Sequence[Piece], compact: Compact | None) -> None:
        self.compact = compact
        self._text = text
        self._pieces = pieces
        self._starts = [0, *accumulate(piece.n_members for piece in pieces)]
        self._last: tuple[int, list[Any]] = -1, []

    def __len__(self) -> int:
        return self._starts[-1]

    def parts(self) -> Iterator[list[Any]]:
        """Give all members in order, some at a time."""
        return (self._text.members(piece, b"[]") for piece in self._pieces)

    def _member(self, index: int) -> Any:
        number = bisect(self._starts, index) - 1
        if self._last[0] != number:
            self._last = number, self._text.members(self._pieces[number], b"[]")
        return self._last[1][index - self._starts[number]]

    def let_go(self) -> None:
        """Give back the memory: whoever has read it needs it no longer."""
        self.compact, self._text, self._pieces = None, _Text(b"", 0), ()
        self._last = -1, []

    def large(self) -> Iterator[tuple[int, Any]]:
        """Give the lists and objects in it that are longer than a piece, each with its number."""
        return (
            (n, piece.value) for n, piece in zip(self._starts, self._pieces, strict=False) if piece.value is not None
        )


def read_json(content: bytes, piece_bytes: int = PIECE_BYTES) -> Any:
    """Read JSON, with NaN and Infinity as Python writes them; lists that are longer than a piece are `JsonList`s.

    Args:
        content: the JSON, in any encoding that Python's parser knows.
        piece_bytes: of its text, that are parsed at a time.

    Raises:
        JSONDecodeError, UnicodeDecodeError, RecursionError, ValueError: when it is no JSON, as Python's parser does.
        InvalidRequest: when a name stands twice in an object.
    """
    encoding = json.detect_encoding(content)
    utf8 = content if encoding == "utf-8" else content.decode(encoding).encode(errors="surrogatepass")
    text = _Text(utf8, piece_bytes)
    start = text.skip_space(0)
    if text.byte(start) not in _CLOSING:
        return json.loads(text.content)
    value, end = text.read(start, 0, "")
    if text.skip_space(end) < len(text.content):
        raise text.fault("Extra data", text.skip_space(end))
    if text.faults:
        raise InvalidRequest(text.faults)
    return value


class _Text:
    """JSON in UTF-8; `faults` tell of the names that were found to stand twice."""

    def __init__(self, content: bytes, piece_bytes: int) -> None:
        self.content = content
        self._piece_bytes = piece_bytes
        self.faults: list[Fault] = []

    def read(self, start: int, level: int, pointer: str) -> tuple[Any, int]:
        """Read a list or an object; give it, and the place behind it."""
        if level > MOST_LEVELS:
            raise RecursionError("long lists are nested too deeply")
        opening = self.content[start]
        brackets, end = bytes((opening, _CLOSING[opening])), self.skip_space(start + 1)
        if self.byte(end) == brackets[1]:
            return [] if opening == _LIST else {}, end + 1
        if opening == _OBJECT:
            return self._object(end, brackets, level, pointer)
        pieces, loading, n_members = list[Piece](), Loading(), 0
        for piece in self._pieces(end, brackets, level, pointer):
            members = self.members(piece, brackets)
            self._note_names(piece, members, brackets, pointer, n_members)
            if isinstance(piece.value, JsonList):
                loading.take_row(piece.value.compact)
            else:
                loading.take(members)
            n_members += len(members)
            pieces.append(piece)
        is_short = len(pieces) == 1 and piece.value is None
        return members if is_short else JsonList(self, pieces, loading.finish()), piece.end + 1

    def _object(self, start: int, brackets: bytes, level: int, pointer: str) -> tuple[dict[str, Any], int]:
        found = dict[str, Any]()
        for piece in self._pieces(start, brackets, level, pointer):
            members = self.members(piece, brackets)
            self._note_names(piece, members, brackets, pointer, 0)
            self.faults += [repeated(pointer, name) for name in members if name in found]
            found |= members
        return found, piece.end + 1

    def _pieces(self, start: int, brackets: bytes, level: int, pointer: str) -> Iterator[Piece]:
        here, number = start, 0
        while True:
            piece = self._piece(here, brackets, level, pointer, number)
            yield piece
            if self.byte(piece.end) != _COMMA:
                break
            here, number = self.skip_space(piece.end + 1), number + piece.n_members
        if self.byte(piece.end) != brackets[1]:
            raise self.fault("Expecting ',' delimiter", piece.end)

    def _piece(self, here: int, brackets: bytes, level: int, pointer: str, number: int) -> Piece:
        """Find the piece that begins somewhere, its first member being of this number in a list."""
        is_list = brackets[0] == _LIST
        if is_list and self.byte(here) in b",]}\0":
            raise self.fault("Expecting value", here)
        if not is_list and self.byte(here) != _QUOTE:
            raise self.fault("Expecting property name enclosed in double quotes", here)
        end, n_members = cut(self.content, here, self._piece_bytes)
        if end >= 0:
            return Piece(here, end, n_members)
        named = None if is_list else _NAME.match(self.content, here)
        at = here if named is None else named.end()
        if self.byte(at) in _CLOSING and (is_list or named):
            name = str(number) if named is None else self._parsed(*named.span(1), b"[]")[0]
            value, behind = self.read(at, level + 1, f"{pointer}/{escape(name)}")
            return Piece(here, self.skip_space(behind), 1, value if is_list else {name: value})
        scalar = _SCALAR.match(self.content, at)
        assert scalar is not None
        return Piece(here, self.skip_space(scalar.end()), 1)

    def members(self, piece: Piece, brackets: bytes) -> Any:
        """Give the members of a piece as a list, or as an object."""
        if piece.value is not None:
            return [piece.value] if brackets[0] == _LIST else piece.value
        return self._parsed(piece.start, piece.end, brackets)

    def _parsed(self, start: int, end: int, brackets: bytes) -> Any:
        """Parse members; what pydantic's parser refuses Python's reads, or says what is wrong."""
        members = self._bracketed(start, end, brackets)
        try:
            return pydantic_core.from_json(members)
        except ValueError:
            text = members.decode()
        try:
            return json.loads(text)
        except json.JSONDecodeError as fault:
            raise self.fault(fault.msg, start - 1 + len(text[: fault.pos].encode())) from None

    def _bracketed(self, start: int, end: int, brackets: bytes) -> bytes:
        return b"%b%b%b" % (brackets[:1], self.content[start:end], brackets[1:])

    def _note_names(self, piece: Piece, members: Any, brackets: bytes, pointer: str, first: int) -> None:
        """Note the names that stand twice in a piece of a list or of an object, one behind so many members."""
        if piece.value is None and self.content.find(b":", piece.start, piece.end) >= 0:
            for fault in names_twice(self._bracketed(piece.start, piece.end, brackets), members):
                place = fault.pointer
                if first:
                    number, _, rest = place[1:].partition("/")
                    place = f"/{first + int(number)}/{rest}"
                self.faults.append(Fault(pointer + place, fault.detail))
            if len(self.faults) > MAX_FAULTS:  # to find each of millions takes long
                raise InvalidRequest(self.faults)

    def fault(self, words: str, at: int) -> json.JSONDecodeError:
        """Say what is wrong at a byte, by its place among the characters."""
        return json.JSONDecodeError(words, "", len(self.content[:at].decode(errors="replace")))

    def skip_space(self, at: int) -> int:
        """Give the place of what comes next."""
        found = _SPACE.match(self.content, at)
        assert found is not None
        return found.end()

    def byte(self, at: int) -> int:
        """Give a byte; 0 behind the end."""
        return self.content[at] if at < len(self.content) else 0


def cut(content: bytes, start: int, n_bytes: int) -> tuple[int, int]:
    """Find where the whole members of a list or an object end that stand in the next piece.

    Args:
        content: JSON.
        start: of a member.
        n_bytes: of a piece.

    Returns:
        The place of the last comma behind a whole member, or of the closing bracket, -1 where there is neither; and how
        many members stand before it.
    """
    text = np.frombuffer(content, np.uint8, min(n_bytes, len(content) - start), start)
    brackets = text | 0x20  # which makes [ the same as {, and ] as }
    opening, closing, commas = brackets == _OBJECT, brackets == _CLOSING[_OBJECT], text == _COMMA
    if content.find(b'"', start, start + len(text)) >= 0:
        outside = _outside(text)
        opening &= outside
        closing &= outside
        commas &= outside
    depth = np.cumsum(opening.view(np.int8) - closing.view(np.int8), dtype=np.int32)
    end = int((depth < 0).argmax())
    closes = depth[end] < 0 if len(depth) else False
    between = np.flatnonzero((commas & (depth == 0))[: end if closes else None])
    if closes:
        return start + end, len(between) + 1
    return (start + int(between[-1]), len(between)) if len(between) else (-1, 0)


def _outside(text: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which characters are outside of strings; the first one is."""
    quotes = text == _QUOTE
    back = np.flatnonzero(text == _BACKSLASH)
    if len(back):
        # Of backslashes in a row every other one escapes what follows.
        firsts = np.maximum.accumulate(np.where(np.diff(back, prepend=-2) > 1, back, 0))
        escaped = back[(back - firsts) % 2 == 0] + 1
        quotes[escaped[escaped < len(text)]] = False
    outside: NDArray[np.bool_] = np.cumsum(quotes, dtype=np.uint8) & 1 == 0
    return outside
