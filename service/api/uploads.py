"""Uploads: a body, streamed into a file; plain or as a form, packed or not, in memory that does not grow with it."""

import asyncio
from codecs import lookup
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePath

from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.api.codings import CODINGS, Unpacker, is_coding
from service.api.forms import Form
from service.api.limits import UploadLimit
from service.errors import Fault, InvalidDataset
from service.files import ENDINGS, MAX_TEXT_LENGTH, MEDIA_TYPES, PACKED_ENDINGS, Format, file_name, format_of_start
from service.store.space import Disk

BATCH_BYTES = 2**20
"""So much is gathered before a thread takes it to the disk."""

FORM, BYTES, TEXT = "multipart/form-data", "application/octet-stream", "text/plain"
VAGUE: dict[str, Format | None] = {
    BYTES: None,
    "application/gzip": None,
    "application/x-gzip": None,
    "application/zstd": None,
    TEXT: "csv",
}
"""Media types of files of many formats, each with the one that it stands for when nothing else tells."""


@dataclass(frozen=True)
class Upload:
    """A file that has come in.

    `file_name`, without the endings that tell its format, and `fields` are those of the form that it came in, if any;
    `charset` and `header` are the parameters of its media type (RFC 4180), None where there are none and for UTF-8.
    """

    format: Format
    file_name: str | None = None
    fields: dict[str, list[str]] = field(default_factory=dict)
    charset: str | None = None
    header: str | None = None


async def receive(
    request: Request, write: Callable[[bytes], object], max_bytes: int, disk: Disk, name: str | None
) -> Callable[[], Upload]:
    """Stream the file that the body of a request has.

    Args:
        write: takes the file, piece by piece, in a thread.
        max_bytes: that the file may have.
        disk: what it may be written to; whether it may stay there is not asked, for it may be here already.
        name: by whose ending the format is known when the media type does not tell.

    Returns:
        What takes in the last of the body, and tells what has come in: to be called in a thread, by which then more may
        be done. It raises the same.

    Raises:
        HTTPException: 413 when the file is too large, 415 when its media type or its coding is not understood.
        StorageFull: when there is no space for it.
        InvalidDataset: when it is not coded as it says, is no form, or is empty.
        ClientDisconnect: when it is cut off.
    """
    receiver = _Receiver(request.headers, write, max_bytes, disk)
    last = await _pour(request.stream(), receiver.write)

    def finish() -> Upload:
        receiver.finish(last)
        return receiver.upload(name)

    return finish


async def _pour(stream: AsyncIterator[bytes], write: Callable[[bytes], None]) -> bytes:
    """Write what comes in in a thread, batch by batch, each while the next is gathered; give the last."""
    gathered: list[bytes] = []
    n_gathered = 0
    writing: asyncio.Task[None] | None = None
    try:
        async for chunk in stream:
            gathered.append(chunk)
            n_gathered += len(chunk)
            if n_gathered >= BATCH_BYTES:
                if writing is not None:
                    await writing
                writing = asyncio.create_task(run_in_threadpool(write, b"".join(gathered)))
                gathered, n_gathered = [], 0
        if writing is not None:
            await writing
        return b"".join(gathered)
    finally:
        if writing is not None:  # whatever happened: nobody may write any more when this comes back
            await asyncio.gather(writing, return_exceptions=True)


class _Receiver:
    """Takes a body apart, batch by batch: unpacked, out of its form, unpacked again, written."""

    def __init__(self, headers: Headers, write: Callable[[bytes], object], max_bytes: int, disk: Disk) -> None:
        content_type = headers.get("content-type", "")
        self._media_type = _media_type(content_type)
        self._content_type = content_type
        coding = content_coding(headers.get("content-encoding", ""))
        self._unpacker = Unpacker(coding)
        self._part_unpacker: Unpacker | None = None
        self._form = None
        if self._media_type == FORM:
            self._form = Form(content_type, self._begin_part, self._write_part)
        elif self._media_type not in (*MEDIA_TYPES, *VAGUE):
            raise _unsupported(f"a dataset of the Content-Type {content_type or 'none'!r} is not understood")
        is_wrapped = self._form is not None or coding is not None
        self._limit, self._disk = UploadLimit(max_bytes, is_wrapped=is_wrapped), disk
        length = headers.get("content-length", "")
        self._limit.announce(length)
        disk.check_disk(int(length) if length.isdecimal() and not is_wrapped else 0)
        self._write_out = write
        self._n_bytes = 0
        self._start = b""

    def write(self, batch: bytes) -> None:
        """Take in what comes next."""
        self._limit.receive(len(batch))
        for content in self._unpacker.decode(batch):
            self._take(content)

    def finish(self, batch: bytes) -> None:
        """Take in the last, and check that the body has come to its end."""
        self.write(batch)
        for content in self._unpacker.finish():
            self._take(content)
        if self._form is not None:
            self._form.finish()
        if self._part_unpacker is not None:
            for content in self._part_unpacker.finish():
                self._write_file(content)
        if not self._n_bytes:
            raise InvalidDataset([Fault("", "the file is empty: it is to be the body")])

    def upload(self, name: str | None) -> Upload:
        """Tell what has come in."""
        content_type, given_name, fields = self._content_type, "", {}
        if self._form is not None:
            content_type, fields = self._form.headers.get("content-type", ""), self._form.fields
            given_name = PurePath((self._form.file_name or "").replace("\\", "/")).name
            name = given_name or name
        media_type = _media_type(content_type)
        named = file_name(name or "")
        its_format = (
            MEDIA_TYPES.get(media_type) or format_of_start(self._start) or named.format or VAGUE.get(media_type)
        )
        if its_format is None:
            raise _unsupported(f"it is not known what {name or 'the body'!r} is, of the Content-Type {media_type!r}")
        its_name = named.stem[:MAX_TEXT_LENGTH] if given_name else None
        charset, header = _charset(content_type), _parameter(content_type, b"header")
        return Upload(its_format, its_name, fields, charset, header)

    def _begin_part(self) -> None:
        assert self._form is not None
        self._part_unpacker = Unpacker(content_coding(self._form.headers.get("content-encoding", "")))

    def _write_part(self, content: bytes) -> None:
        assert self._part_unpacker is not None
        for unpacked in self._part_unpacker.decode(content):
            self._write_file(unpacked)

    def _take(self, content: bytes) -> None:
        if self._form is None:
            self._write_file(content)
        else:
            self._form.feed(content)

    def _write_file(self, content: bytes) -> None:
        if self._n_bytes // BATCH_BYTES < (self._n_bytes + len(content)) // BATCH_BYTES:
            self._disk.check_disk(len(content))
        self._n_bytes += len(content)
        self._limit.unpack(self._n_bytes)
        self._write_out(content)
        if len(self._start) < 16:
            self._start += content[:16]


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _charset(content_type: str) -> str | None:
    """Give the encoding that a Content-Type tells of; None for UTF-8, which is what is taken without."""
    charset = _parameter(content_type, b"charset")
    with suppress(LookupError):
        if charset is not None and lookup(charset).name in ("utf-8", "ascii"):
            return None
    return charset


def _parameter(content_type: str, name: bytes) -> str | None:
    return parse_options_header(content_type)[1].get(name, b"").decode("latin-1").strip() or None


def content_coding(content_encoding: str) -> str | None:
    """Tell the coding that a Content-Encoding names; None when there is none. Raises a 415 for any that is unknown."""
    codings = [coding.strip().lower() for coding in content_encoding.split(",")]
    given = [coding for coding in codings if coding not in ("", "identity")]
    if not given:
        return None
    if len(given) > 1 or not is_coding(given[0]):
        accepted = f"the Content-Encoding {content_encoding!r} is not understood: there are {', '.join(CODINGS)}"
        raise HTTPException(415, accepted, headers={"Accept-Encoding": ", ".join(CODINGS)})
    return given[0]


def _unsupported(what: str) -> HTTPException:
    known = f"send {', '.join((*MEDIA_TYPES, TEXT))}, or {FORM} with one file"
    packed = f"(also with {' or '.join(PACKED_ENDINGS)} behind)"
    return HTTPException(415, f"{what}: {known}; or {BYTES} with a name that ends in {', '.join(ENDINGS)} {packed}")
