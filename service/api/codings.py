"""Content codings: compressed bytes in, what they stand for out, in parts of 32 MiB at the most."""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import zstandard

from service.errors import Fault, InvalidDataset


def _begin_gzip() -> Any:
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)


def _begin_deflate() -> Any:
    return zlib.decompressobj()


def _begin_zstd() -> Any:
    return zstandard.ZstdDecompressor().decompressobj()


# So many bytes are unpacked at once: gzip makes up to 1,032 out of one, zstandard 32,768.
_CODINGS: dict[str, tuple[Callable[[], Any], int]] = {
    "gzip": (_begin_gzip, 2**15),
    "x-gzip": (_begin_gzip, 2**15),
    "deflate": (_begin_deflate, 2**15),
    "zstd": (_begin_zstd, 2**10),
}
CODINGS = ("deflate", "gzip", "zstd")
"""What a body may be compressed with."""
_STARTS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
START_BYTES = max(map(len, _STARTS))
"""So many of the first bytes tell what a stream is packed with."""


def coding_of(start: bytes) -> str | None:
    """Tell the coding of what starts so, from its first `START_BYTES`; None when it is of none."""
    return next((coding for shown, coding in _STARTS.items() if start.startswith(shown)), None)


def is_coding(coding: str) -> bool:
    """Tell whether a content coding is known."""
    return coding in _CODINGS


class Decoder:
    """Unpacks a stream of a known coding: one member or frame after another, as both formats allow.

    Args:
        coding: of the stream.
        told_by: what says so, in words.
    """

    def __init__(self, coding: str, told_by: str = "its Content-Encoding says") -> None:
        self._coding = coding
        self._told_by = told_by
        self._begin, self._at_once = _CODINGS[coding]
        self._member: Any = None

    def decode(self, packed: bytes) -> Iterator[bytes]:
        """Unpack what comes next.

        Raises:
            InvalidDataset: when it is not of this coding.
        """
        view = memoryview(packed)
        for first in range(0, len(packed), self._at_once):
            part: bytes | memoryview = view[first : first + self._at_once]
            while len(part):
                if self._member is None or self._member.eof:
                    self._member = self._begin()
                try:
                    unpacked = self._member.decompress(part)
                except (zlib.error, zstandard.ZstdError) as fault:
                    raise self._fault(f"is not what {self._told_by}, {self._coding}: {fault}") from None
                if unpacked:
                    yield unpacked
                part = self._member.unused_data if self._member.eof else b""

    def finish(self) -> None:
        """Check that the stream has come to its end.

        Raises:
            InvalidDataset: when it was cut off.
        """
        if self._member is not None and not self._member.eof:
            raise self._fault(f"ends in the middle of its {self._coding} stream: it was cut off")

    def _fault(self, what: str) -> InvalidDataset:
        return InvalidDataset([Fault("", f"the body {what}")])


class Unpacker:
    """Unpacks a stream by the coding that is told, or else by that which its first bytes show, if any.

    Args:
        coding: of the stream; None where nothing is told.
    """

    def __init__(self, coding: str | None) -> None:
        self._decoder = None if coding is None else Decoder(coding)
        self._start: bytes | None = b"" if coding is None else None

    def decode(self, packed: bytes) -> Iterator[bytes]:
        """Unpack what comes next; see `Decoder.decode`."""
        if self._start is not None:
            self._start += packed
            if len(self._start) < START_BYTES:
                return
            packed = self._begin(self._start)
        yield from [packed] if self._decoder is None else self._decoder.decode(packed)

    def finish(self) -> Iterator[bytes]:
        """Give what is left at the end of the stream; see `Decoder.finish`."""
        if self._start is not None:
            rest = self._begin(self._start)
            yield from [rest] if self._decoder is None else self._decoder.decode(rest)
        if self._decoder is not None:
            self._decoder.finish()

    def _begin(self, start: bytes) -> bytes:
        coding = coding_of(start)
        self._decoder = None if coding is None else Decoder(coding, "its first bytes say")
        self._start = None
        return start
