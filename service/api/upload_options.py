"""What the sender of a file may say of it: in the query, or in the fields of the form that it comes in."""

from collections.abc import Collection
from typing import Annotated

from fastapi.exceptions import RequestValidationError
from pydantic import Field, StringConstraints, ValidationError

from service.api.references import MEANING, Reference
from service.api.uploads import Upload
from service.data.reading import ReadingOptions
from service.errors import Fault, InvalidRequest
from service.files import MAX_TEXT_LENGTH, CellReading, FileReading

DatasetName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_LENGTH)]
FOR_CSV = ("delimiter", "decimal", "header")
FOR_TEXT = (*FOR_CSV, "encoding")
_HEADERS = {"present": True, "absent": False}


class UploadOptions(FileReading):
    """How a file is to be read, and what to call the dataset, as far as its sender says."""

    name: DatasetName | None = Field(
        default=None,
        description="What to call the dataset, also one that is here already under another name; when left out the "
        "file's name without its endings, where it has one, and the dataset none. "
        "Endings tell the format where the media type does not: `.csv`, `.csv.gz` …",
    )

    def with_fields(self, fields: dict[str, list[str]]) -> "UploadOptions":
        """Add what the fields of a form say.

        Raises:
            InvalidRequest: for what is said twice.
            RequestValidationError: for what cannot be.
        """
        twice = [name for name in fields if name in self.model_fields_set]
        twice += [name for name, values in fields.items() if len(values) > 1 and name != "missing"]
        if twice:
            raise InvalidRequest([Fault(f"/{name}", f"{name} is given twice: give it once") for name in twice])
        given = {name: values if name == "missing" else values[0] for name, values in fields.items()}
        try:
            said = UploadOptions.model_validate(given)
        except ValidationError as invalid:
            found = [{**error, "loc": ("body", *error["loc"])} for error in invalid.errors()]
            raise RequestValidationError(found, body=given) from None
        return self.model_copy(update={name: getattr(said, name) for name in said.model_fields_set})


class SamplesOptions(CellReading):
    """What is said of a file of samples: the model that they are for, and how it is to be read."""

    model: Reference = Field(description=f"Of a file, and required for one: {MEANING}", examples=["exam-scores"])


def in_query(said: CellReading, refused: InvalidRequest, fields: Collection[str] = ()) -> InvalidRequest:
    """Let faults that are about options point to where those stand.

    Args:
        said: the options of the query.
        refused: with pointers as if all options were fields of a form.
        fields: those that the form has, where there is one.
    """

    def place(pointer: str) -> str:
        name = pointer.partition("/")[2].partition("/")[0]
        if name in said.model_fields_set:
            return f"/query{pointer}"
        return "/header/Content-Type" if name in ("encoding", "header") and name not in fields else pointer

    return refused.moved(place)


def options_of(said: CellReading, upload: Upload) -> ReadingOptions:
    """Give the options that the reader takes, types apart.

    Raises:
        InvalidRequest: for what is for CSV or for text only, and the file is none; and when its media type says of
            a header neither that it is present nor that it is absent.
    """
    idle = {"csv": (), "jsonl": FOR_CSV}.get(upload.format, FOR_TEXT)
    faults = []
    for name in idle:
        if name in said.model_fields_set:
            whose = "CSV" if name in FOR_CSV else "CSV and JSON lines"
            faults.append(Fault(f"/{name}", f"{name} is for {whose}, and this is {upload.format}: leave it out"))
    if faults:
        raise InvalidRequest(faults)
    return ReadingOptions(
        missing=tuple(sorted(set(said.missing))),
        delimiter=said.delimiter,
        decimal=said.decimal,
        header=_is_present(upload) if said.header is None else said.header,
        encoding=said.encoding or (upload.charset if upload.format in ("csv", "jsonl") else None),
    )


def _is_present(upload: Upload) -> bool | None:
    """Tell what the media type says of the header of a CSV file."""
    if upload.header is None or upload.format != "csv":
        return None
    if upload.header.lower() not in _HEADERS:
        ways = "say header=present or header=absent, or leave it out"
        raise InvalidRequest([Fault("/header", f"the Content-Type has header={upload.header}: {ways}")])
    return _HEADERS[upload.header.lower()]
