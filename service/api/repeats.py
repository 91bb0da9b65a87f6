"""Names that stand twice in an object of JSON: parsers take the last value in silence, which may not be meant."""

import re

from fastapi import Request

from service.api.fields import schema_of
from service.api.validating import Refused
from service.data.json_names import check_names

_JSON = re.compile(r"application/([^/]*\+)?json", re.IGNORECASE)
"""The media types of bodies that FastAPI reads as JSON."""


async def refuse_repeated(request: Request) -> None:
    """Refuse names that stand twice in a body that FastAPI has read as JSON, and whatever is wrong with a long one.

    Raises:
        InvalidRequest: with a fault for each.
        RequestValidationError: for the first faults of a long one.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    kind = schema_of(request.scope["route"])
    if kind is not None and _JSON.fullmatch(media_type):
        content = await request.body()
        value = await request.json() if content else None
        if isinstance(value, Refused):
            raise value.fault
        if isinstance(value, dict | list):  # for a long one is what it was read as, by now
            check_names(content, value)
