"""Forms: multipart/form-data with one file, which goes on in parts as it comes, and fields, which are short."""

from collections.abc import Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import Fault, InvalidDataset

MAX_FIELD_BYTES = 2**16
"""All fields together may have so many bytes: names, values …"""
FIELD_BYTES = 64
"""… and so many for each, so that there are not too many of them."""


def _fault(detail: str) -> InvalidDataset:
    return InvalidDataset([Fault("", detail)])


class Form:
    """Takes a form apart as it comes in.

    `fields` has the values of each field, by its name; `file_name` and `headers` are those of the file.

    Args:
        content_type: of the request, with the boundary.
        begin: is called when the file begins.
        write: is called with each part of the file.

    Raises:
        InvalidDataset: at any step, when it is no form, or not one of one file and short fields.
    """

    def __init__(self, content_type: str, begin: Callable[[], None], write: Callable[[bytes], None]) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not boundary:
            raise _fault("the Content-Type of a form names its boundary: multipart/form-data; boundary=…")
        self.fields: dict[str, list[str]] = {}
        self.file_name: str | None = None
        self.headers: dict[str, str] = {}
        self._begin, self._write = begin, write
        self._has_file = self._has_ended = self._in_file = False
        self._n_field_bytes = 0
        self._header_name, self._header_value = b"", b""
        self._part_headers: dict[str, bytes] = {}
        self._field, self._value = "", bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as fault:
            raise _fault(f"the body is no multipart/form-data: {fault}") from None

    def feed(self, content: bytes) -> None:
        """Go on with what comes next."""
        try:
            self._parser.write(content)
        except FormParserError as fault:
            raise _fault(f"the body is no multipart/form-data: {fault}") from None

    def finish(self) -> None:
        """Check that the form has come to its end, and had a file."""
        if not self._has_ended:
            raise _fault("the form ends in the middle: it was cut off")
        if not self._has_file:
            raise _fault("the form has no file: give one part a filename")

    def _on_part_begin(self) -> None:
        self._part_headers, self._value = {}, bytearray()

    def _on_header_field(self, content: bytes, start: int, end: int) -> None:
        self._header_name += content[start:end]

    def _on_header_value(self, content: bytes, start: int, end: int) -> None:
        self._header_value += content[start:end]

    def _on_header_end(self) -> None:
        self._part_headers[self._header_name.decode("latin-1").lower()] = self._header_value
        self._header_name, self._header_value = b"", b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._part_headers.get("content-disposition", b""))
        self._in_file = b"filename" in options
        if self._in_file:
            if self._has_file:
                raise _fault("the form has more than one file: upload one at a time")
            self._has_file = True
            self.file_name = _text(options[b"filename"], "a file name")
            self.headers = {name: value.decode("latin-1") for name, value in self._part_headers.items()}
            self._begin()
        elif b"name" in options:
            self._field = _text(options[b"name"], "the name of a field")
            self._count(len(self._field) + FIELD_BYTES)
        else:
            raise _fault("a part of the form has no name: Content-Disposition: form-data; name=…")

    def _on_part_data(self, content: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._write(content[start:end])
        else:
            self._count(end - start)
            self._value += content[start:end]

    def _on_part_end(self) -> None:
        if not self._in_file:
            value = _text(bytes(self._value), f"the field {self._field!r}")
            self.fields.setdefault(self._field, []).append(value)

    def _on_end(self) -> None:
        self._has_ended = True

    def _count(self, n_bytes: int) -> None:
        self._n_field_bytes += n_bytes
        if self._n_field_bytes > MAX_FIELD_BYTES:
            hint = "; is a file among them whose part has no filename?"
            raise _fault(f"the fields of the form have more than {MAX_FIELD_BYTES} bytes{hint}")


def _text(content: bytes, what: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _fault(f"{what} of the form is not UTF-8: {content[:60]!r}") from None
