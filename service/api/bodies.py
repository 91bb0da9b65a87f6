"""Bodies that endpoints read themselves, for their protocols have more in them than JSON."""

from typing import Annotated, Any, TypeVar

import pydantic_core
from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from service.api.codings import Decoder
from service.api.dependencies import TheSettings
from service.api.repeats import check_names
from service.api.uploads import content_coding
from service.errors import Fault, InvalidRequest

Body = TypeVar("Body", bound=BaseModel)


async def _received(request: Request) -> bytes:
    return await request.body()


def _unpacked(request: Request, settings: TheSettings, received: Annotated[bytes, Depends(_received)]) -> bytes:
    coding = content_coding(request.headers.get("content-encoding", ""))
    if coding is None:
        return received
    decoder, content = Decoder(coding), bytearray()
    for part in decoder.decode(received):
        content += part
        if len(content) > settings.max_body_bytes:
            limit = f"the {settings.max_body_bytes} bytes accepted here (setting DESCENT_MAX_BODY_BYTES)"
            raise HTTPException(413, f"the body, unpacked, is larger than {limit}")
    decoder.finish()
    return bytes(content)


WholeBody = Annotated[bytes, Depends(_unpacked)]
"""The whole body, unpacked where its Content-Encoding says how; at most DESCENT_MAX_BODY_BYTES."""


def json_of(content: bytes) -> Any:
    """Read JSON, with NaN and Infinity as Python writes them.

    Raises:
        InvalidRequest: when it is none, or a name stands twice in an object.
    """
    try:
        value = pydantic_core.from_json(content)
    except ValueError as fault:
        raise InvalidRequest([Fault("", f"the body cannot be read as JSON: {fault}")]) from None
    check_names(content, value)
    return value


def validated(kind: type[Body], given: Any) -> Body:
    """Check JSON values against their schema.

    Raises:
        RequestValidationError: as FastAPI does for the bodies that it reads.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as refusal:
        errors = [{**error, "loc": ("body", *error["loc"])} for error in refusal.errors()]
        raise RequestValidationError(errors, body=given) from None


def request_body(kind: type[BaseModel], description: str, *others: str) -> dict[str, Any]:
    """Describe a body that an endpoint reads itself: JSON of this schema, or other media types."""
    reference = {"$ref": f"#/components/schemas/{kind.__name__}"}
    bytes_ = {"schema": {"type": "string", "format": "binary"}}
    content = {"application/json": {"schema": reference}, **dict.fromkeys(others, bytes_)}
    return {"required": True, "description": description, "content": content}
