"""Files of tables: their formats, how names and media types tell them, and what may be said of how to read one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Json, StringConstraints

from service.encoding import Kind
from service.selection import ColumnName

Format = Literal["csv", "jsonl", "parquet", "arrow"]

MEDIA_TYPES: dict[str, Format] = {
    "text/csv": "csv",
    "application/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/jsonl": "jsonl",
    "application/x-ndjson": "jsonl",
    "application/jsonlines": "jsonl",
    "application/vnd.apache.parquet": "parquet",
    "application/parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/vnd.apache.arrow.file": "arrow",
}
"""Those of each format; the first is the one to send."""
ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
"""What the names of files end in."""
MAGIC: dict[Format, bytes] = {"parquet": b"PAR1", "arrow": b"ARROW1"}
"""What files that are no text begin and end with."""
FORMAT_NAMES: dict[Format, str] = {"parquet": "a Parquet file", "arrow": "an Arrow IPC file"}
"""What those are called in a sentence."""
PACKED_ENDINGS = {".gz": "gzip", ".zst": "zstd"}
"""What the names of compressed files end in, with the content coding of each."""
MAX_TEXT_LENGTH = 200


@dataclass(frozen=True)
class FileName:
    """What the name of a file tells.

    `stem` is what stands before the endings; `format` and `coding` are None where no ending tells one.
    """

    stem: str
    format: Format | None
    coding: str | None

    @property
    def media_type(self) -> str | None:
        """The media type to send it as; None where its format is not told."""
        return None if self.format is None else media_type_of(self.format)


def file_name(name: str) -> FileName:
    """Read the endings of a file's name, in either case."""
    unpacked, packed_ending = _without(name, PACKED_ENDINGS)
    stem, ending = _without(unpacked, ENDINGS)
    return FileName(stem, ENDINGS.get(ending), PACKED_ENDINGS.get(packed_ending))


def _without(name: str, endings: Iterable[str]) -> tuple[str, str]:
    ending = next((one for one in endings if name.lower().endswith(one)), "")
    return name.removesuffix(name[len(name) - len(ending) :]) or name, ending


def media_type_of(file_format: Format) -> str:
    """Give the media type to send a file of a format as."""
    return next(media_type for media_type, kind in MEDIA_TYPES.items() if kind == file_format)


def format_of_start(start: bytes) -> Format | None:
    """Tell the format of a file that is no text by its first bytes; None where they are of none that is known."""
    return next((kind for kind, magic in MAGIC.items() if start.startswith(magic)), None)


class CellReading(BaseModel):
    """How the cells of a file are to be read, as far as its sender says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    missing: list[Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_LENGTH)]] = Field(
        default=[],
        max_length=100,
        description="A text that stands for a missing value, beside the empty cell; may be given many times.",
        examples=[["NA"]],
    )
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] | None = Field(
        default=None, description="For CSV: what stands between cells; found among `,` `;` tab `|` when left out."
    )
    decimal: Literal[".", ","] = Field(default=".", description="For CSV: what stands before decimals.")
    header: bool | None = Field(
        default=None,
        description="For CSV: whether the first row names the columns; when left out what the media type says "
        "(`header=present` or `header=absent`), or else it does unless it is all numbers. A first row that may be "
        "either is refused.",
    )
    encoding: Annotated[str, StringConstraints(min_length=1, max_length=50)] | None = Field(
        default=None,
        description="For CSV and JSON lines: of the text; when left out what the media type or a byte-order mark says, "
        "or else UTF-8.",
        examples=["latin-1"],
    )


class FileReading(CellReading):
    """How a file is to be read, as far as its sender says."""

    types: Json[dict[ColumnName, Kind]] | None = Field(
        default=None,
        description="As JSON, columns to take as another type than they would be taken as: `number`, `category`, "
        "`boolean`, `date` or `text`. Of itself a column of texts is what more than half of its values are, all of "
        "them counted, and a category or text when none is; what else there is among them is refused, so name in "
        "`missing` what stands for a missing value. A date with a time zone is taken in UTC.",
        examples=['{"zip": "category"}'],
    )
