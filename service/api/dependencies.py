"""What the endpoints are given: sessions, settings, the page of a list."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, get_origin

from fastapi import Depends, Query, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Cookie, Header, Path
from pydantic import BaseModel, ConfigDict, Field

from service.api.access import principal_of
from service.errors import Fault, InvalidRequest, escape
from service.log import request_at_hand
from service.settings import Settings
from service.store.database import Database, Session
from service.store.ownership import Actor


def database_of(request: Request) -> Database:
    """Give the database as who asks may see it; no endpoint is given another."""
    database: Database = request.app.state.database
    return database.as_seen_by(_actor(request))


def _actor(request: Request) -> Actor:
    principal = principal_of(request)
    return Actor(
        principal.owner,
        sees_all=principal.may("admin"),
        key_id=principal.key_id,
        action=f"{request.method} {request.scope['route'].path_format}",
        objects=tuple(map(str, request.path_params.values())),
        request_id=request_at_hand(),
    )


# Async, for they only look something up: others are run in a thread, which takes longer than that.
async def _database(request: Request) -> Database:
    return database_of(request)


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


TheDatabase = Annotated[Database, Depends(_database)]
TheSettings = Annotated[Settings, Depends(_settings)]


def _reading(database: TheDatabase) -> Iterator[Session]:
    with database.reading() as session:
        yield session


def _writing(database: TheDatabase) -> Iterator[Session]:
    with database.writing() as session:
        yield session


# scope="function": the session is closed, and its work committed, before the answer goes out.
Reading = Annotated[Session, Depends(_reading, scope="function")]
Writing = Annotated[Session, Depends(_writing, scope="function")]

_ELSEWHERE = (Path, Header, Cookie)
"""Where parameters stand that are not in the query; those of a model of query parameters are of no such kind."""


async def refuse_unknown_query(request: Request) -> None:
    """Refuse query parameters that would be ignored in silence: what a path does not have, or what is given twice.

    Raises:
        InvalidRequest: with a fault for each.
    """
    if request.query_params:
        parameters = get_flat_params(request.scope["route"].dependant)
        its = [one for one in parameters if not isinstance(one.field_info, _ELSEWHERE)]
        check_query(request, {one.alias: get_origin(one.field_info.annotation) is list for one in its})


def check_query(request: Request, known: Mapping[str, bool]) -> None:
    """Check that a query has no parameters but these, and none twice but those of which there may be several.

    Raises:
        InvalidRequest: with a fault for each.
    """
    faults = []
    for name in dict.fromkeys(request.query_params):
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known) or 'none'}"
            faults.append(Fault(f"/query/{escape(name)}", f"query.{name} is not known: {hint}"))
        elif not known[name] and len(request.query_params.getlist(name)) > 1:
            faults.append(Fault(f"/query/{escape(name)}", f"query.{name} is given twice: give it once"))
    if faults:
        raise InvalidRequest(faults)


Limit = Annotated[int, Query(ge=1, le=1000, description="How many at the most.")]
After = Annotated[str | None, Query(max_length=200, description="Go on after this one: the `next` of the page before.")]


class Response(BaseModel):
    """What all answers have in common."""

    # Built when the first answer of the kind is: all together they would take a twentieth of the start.
    model_config = ConfigDict(frozen=True, from_attributes=True, defer_build=True)


class Page(Response):
    """What all lists have in common, beside their `data`."""

    has_more: bool = Field(description="Whether there are more behind these.")
    next: str | None = Field(description="The `after` of the next page; null on the last.")
