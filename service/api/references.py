"""References: what names a version of a model, in a path, a query or a body."""

from typing import Annotated

from fastapi import Depends, Path, Request
from pydantic import StringConstraints

from service.api.dependencies import TheDatabase
from service.api.model_cache import ModelCache
from service.store.models import TrainedModel

MOST_CHARACTERS = 201
"""A name, `@` and an alias may be so long; both are up to 100 characters."""
MEANING = "`NAME` or `NAME@latest` for the newest version, `NAME@3` for the third, `NAME@ALIAS` for the one so named."
Reference = Annotated[str, StringConstraints(min_length=1, max_length=MOST_CHARACTERS)]
ReferenceInPath = Annotated[str, Path(description=MEANING, max_length=MOST_CHARACTERS, examples=["exam-scores"])]


async def _named(request: Request, database: TheDatabase, name: ReferenceInPath) -> TrainedModel:
    cache: ModelCache = request.app.state.models
    return await cache.find(database, name)


Named = Annotated[TrainedModel, Depends(_named)]
"""The version that `{name}` in a path means."""
