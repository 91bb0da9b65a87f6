"""PUT and DELETE /models/{name}/aliases/{alias}: names for versions, moved at once for all who ask."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from service.api.dependencies import Response, Writing
from service.api.models import ModelName
from service.api.problems import describe
from service.api.routes import LateRoute
from service.hyperparameters import FROZEN_VALUES
from service.store import aliases

router = APIRouter(prefix="/models", tags=["models"], route_class=LateRoute)

AliasName = Annotated[
    str,
    Path(
        description="The alias: up to 100 letters, digits, `.`, `_` and `-`, the first a letter or a digit, not digits "
        "only. `latest` moves by itself.",
        pattern=r"^([A-Za-z]|[0-9]+[A-Za-z._-])[A-Za-z0-9._-]*$",
        max_length=100,
        examples=["production"],
    ),
]


class AliasRequest(BaseModel):
    """What an alias is to name."""

    model_config = FROZEN_VALUES

    version: int = Field(description="The version's number.", ge=1, le=2**31 - 1, examples=[1])


class AliasResponse(Response):
    """An alias of a version."""

    model: str = Field(description="The model's name.", examples=["exam-scores"])
    alias: str = Field(description="The alias: `MODEL@ALIAS` means the version.", examples=["production"])
    version: int = Field(description="The number of the version that it names.", examples=[1])
    updated_at: datetime = Field(description="When it was set.")


@router.put(
    "/{name}/aliases/{alias}", response_description="The alias as it is now.", responses=describe(404, 413, 415, 507)
)
def set_alias(session: Writing, name: ModelName, alias: AliasName, body: AliasRequest) -> AliasResponse:
    """Let an alias name a version: every request that begins after the answer means it, whichever process it reaches.

    While an alias names a version it cannot be deleted.
    """
    return AliasResponse.model_validate(aliases.assign(session, name, alias, body.version))


@router.delete(
    "/{name}/aliases/{alias}", status_code=204, response_description="It is gone.", responses=describe(404, 507)
)
def delete_alias(session: Writing, name: ModelName, alias: AliasName) -> None:
    """Take an alias away; the version that it named stays."""
    aliases.remove(session, name, alias)
