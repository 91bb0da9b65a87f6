"""GET /healthz and /readyz: is the process alive, can it do its work."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import Field

from service.api.dependencies import Response, TheDatabase, TheSettings
from service.api.problems import describe, problem
from service.store import workers
from service.store.migrations import is_migrated

router = APIRouter(tags=["health"])


class Health(Response):
    """All is well."""

    status: Literal["ok"] = Field(default="ok", description="Always `ok`; otherwise the answer is an error.")


@router.get("/healthz", response_description="The process lives.")
def healthz() -> Health:
    """Tell that the process lives."""
    return Health()


@router.get("/readyz", response_model=Health, response_description="Trainings will be served.", responses=describe(503))
def readyz(request: Request, database: TheDatabase, settings: TheSettings) -> object:
    """Tell whether trainings and predictions will be served: the database is there and migrated, a worker lives."""
    if not is_migrated(database):
        return problem(request, 503, "the database is not migrated: start the service once with `descent serve`")
    with database.reading() as session:
        if not workers.any_alive(session, settings.lease_seconds):
            return problem(request, 503, "no worker is alive, so trainings wait: see the log, or run `descent worker`")
    return Health()
