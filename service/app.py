"""The API, put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import Scope

from service import __version__
from service.api import (
    access,
    actions,
    algorithms,
    aliases,
    audit,
    check,
    datasets,
    dialects,
    evaluate,
    events,
    exports,
    health,
    history,
    imports,
    inference,
    intakes,
    invocations,
    jobs,
    metrics,
    models,
    observing,
    predict,
    predict_files,
    problems,
    repeats,
    retry,
    short_way,
    train,
)
from service.api.bodies import PackedBodies
from service.api.dependencies import refuse_unknown_query
from service.api.limits import BodyLimit, BodyPace
from service.api.metrics import RequestMetrics
from service.api.model_cache import ModelCache
from service.api.routes import take_up
from service.api.waiting import JobWatch
from service.settings import Settings, read_settings
from service.store import folders
from service.store.database import open_database

BUSY_SECONDS = 5
"""A request waits so long for the database before it is answered with 503."""

DESCRIPTION = """Gradient descent over HTTP: data in, model out, prediction back, and every epoch in between.

1. `POST /train` takes a dataset and hyperparameters and answers with a job; `POST /train/check` tells beforehand what
   it would do, and which learning rate the data allows; `GET /algorithms` tells what there is to choose from.
2. `GET /jobs/{id}` tells how it is doing, `…/history` and `…/parameters` show every epoch, also while it runs,
   `…/events` tells what happens as it happens; `POST …/retry` trains again, with what the job suggests.
3. `GET /predict?model=NAME&…` answers for a sample.
4. `POST /datasets` keeps a file to train on, many times: CSV, JSON lines, Parquet or Arrow; `GET /datasets/{id}` tells
   what is in it.
5. `/v2/…` (the Open Inference Protocol) and `POST /models/{name}/invocations` (MLflow's) are for clients that speak
   them already.

Where there are access keys, send one as `Authorization: Bearer KEY`; what is another's is then not there.

A body may be compressed: `Content-Encoding: gzip`, `zstd` or `deflate`.

Errors are problem details (RFC 9457, `application/problem+json`); a 422 lists every fault with a pointer to it. Those
of other protocols have the shapes that their clients read.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the API over the database of the data directory, which whoever starts it has migrated."""
    settings = settings or read_settings()
    database = open_database(settings, BUSY_SECONDS)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        folders.sweep(database, settings)
        yield
        app.state.watch.stop()
        database.close()

    app = FastAPIOffline(
        title="Descent",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        separate_input_output_schemas=False,
        dependencies=[Depends(access.authorise), Depends(repeats.refuse_repeated)],
    )
    app.state.settings, app.state.database, app.state.ending = settings, database, False
    app.state.metrics = metrics.registry_of(database, settings.lease_seconds)
    ring = access.KeyRing(database, settings)
    app.state.watch = JobWatch(database, ring.accepted)
    app.state.models = ModelCache(database)
    app.state.long_bodies = asyncio.Semaphore(1)
    app.state.intakes = asyncio.Semaphore(max(1, intakes.INTAKES_AT_ONCE // settings.api_processes))
    app.add_middleware(PackedBodies, max_bytes=settings.max_body_bytes, but_for=_is_file)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, but_for=_is_file)
    app.add_middleware(BodyPace)
    problems.install(app, (*inference.SCHEMAS, *invocations.SCHEMAS))
    access.install(app, ring)
    observing.install(app, counted := RequestMetrics(app.state.metrics))
    short_way.install(app, database, ring, counted)
    # Predictions are to be found first, for that takes some microseconds for each route before. Of their queries the
    # models know the features' names. Files go before the other bodies, for they are told by their media types.
    for predictions in (predict.router, predict_files.router, predict.rows):
        take_up(app, predictions, responses=problems.describe(422, 503))
    for resource in (
        *(algorithms, train, check, jobs, actions, retry, history, events),
        *(models, exports, imports, aliases, evaluate, datasets, intakes, audit),
    ):
        known = [Depends(refuse_unknown_query)]
        take_up(app, resource.router, responses=problems.describe(422, 503), dependencies=known)
    for protocol, dialect in ((inference, dialects.INFERENCE), (invocations, dialects.INVOCATION)):
        errors = problems.describe(400, 503, dialect=dialect)
        take_up(app, protocol.router, responses=errors, dependencies=[Depends(refuse_unknown_query)])
    take_up(app, health.router)
    take_up(app, metrics.router)
    return app


def _is_file(scope: Scope) -> bool:
    """Tell whether a request brings a file, for which there is a limit of its own."""
    return scope["path"] == datasets.router.prefix or predict_files.is_file(scope)
