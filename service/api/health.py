"""GET /healthz and /readyz: is the process alive, can it do its work."""

import shutil
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import Field

from service.api.dependencies import Response, TheDatabase, TheSettings
from service.api.observing import ENDING
from service.api.problems import describe, problem
from service.api.routes import LateRoute
from service.store import workers
from service.store.revision import is_migrated
from service.store.space import reserve_bytes

router = APIRouter(tags=["health"], route_class=LateRoute)


class Health(Response):
    """All is well."""

    status: Literal["ok"] = Field(default="ok", description="Always `ok`; otherwise the answer is an error.")


@router.get("/healthz", response_description="The process lives.")
def healthz() -> Health:
    """Tell that the process lives."""
    return Health()


@router.get("/readyz", response_model=Health, response_description="Trainings will be served.", responses=describe(503))
def readyz(request: Request, database: TheDatabase, settings: TheSettings) -> object:
    """Tell whether trainings and predictions will be served: the process is not about to end, the database is there and
    migrated, the disk has space, a worker lives.
    """
    if request.app.state.ending:
        return problem(request, 503, ENDING)
    if not is_migrated(database):
        return problem(request, 503, "the database is not migrated: start the service once with `descent serve`")
    free, least = shutil.disk_usage(settings.data_dir).free, reserve_bytes(settings)
    if free < least:
        return problem(request, 503, f"the disk is nearly full: {free:,} bytes are free, and {least:,} are needed")
    with database.reading() as session:
        if not workers.any_alive(session, settings.lease_seconds):
            return problem(request, 503, "no worker is alive, so trainings wait: see the log, or run `descent worker`")
    return Health()
