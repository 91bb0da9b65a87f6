"""What the endpoints are given: sessions, settings, the page of a list."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from service.settings import Settings
from service.store.database import Database, Session


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _settings(request: Request) -> Settings:
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

Limit = Annotated[int, Query(ge=1, le=1000, description="How many at the most.")]
After = Annotated[str | None, Query(max_length=200, description="Go on after this one: the `next` of the page before.")]


class Response(BaseModel):
    """What all answers have in common."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class Page(Response):
    """What all lists have in common, beside their `data`."""

    has_more: bool = Field(description="Whether there are more behind these.")
    next: str | None = Field(description="The `after` of the next page; null on the last.")
