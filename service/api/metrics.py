"""GET /metrics: how the service does, in numbers, in the text format of Prometheus."""

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import get_args

from fastapi import APIRouter, Request, Response
from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from service.api.access import needs
from service.api.routes import LateRoute
from service.errors import DatabaseUnavailable
from service.store import census
from service.store.census import Census
from service.store.database import Database
from service.store.jobs import Status

disable_created_metrics()  # type: ignore[no-untyped-call]  # a line more for each series, which nobody asks for

router = APIRouter(tags=["health"], route_class=LateRoute)

SHARED = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
"""The folder in which several API processes count; prometheus_client itself goes by this variable."""
PROC = Path("/proc")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
NOWHERE = "nowhere"
"""The route of requests for what is not there: their paths are the users' own, and without end."""

EXAMPLE = """# HELP descent_queue_length Jobs that wait for a worker, without those that are paused.
# TYPE descent_queue_length gauge
descent_queue_length 3.0
"""


class RequestMetrics:
    """The requests of this process; where others answer beside it, they are added up when one of them is asked."""

    def __init__(self, registry: CollectorRegistry) -> None:
        its = None if SHARED else registry  # else the files speak for this process, too
        self.in_flight = Gauge(
            "descent_http_requests_in_flight", "Requests being answered.", registry=its, multiprocess_mode="livesum"
        )
        self._seconds = Histogram(
            "descent_http_request_seconds",
            "How long it took to answer, to the last byte, by route and class of status.",
            ("method", "route", "status"),
            registry=its,
            buckets=SECONDS,
        )
        self._of = cache(self._seconds.labels)  # which takes as long to look one up as to count

    def observe(self, method: str, route: str | None, status: int | None, seconds: float) -> None:
        """Count an answer; its status is None when the client hung up, or the process ended, before there was one."""
        kind = "none" if status is None else f"{status // 100}xx"
        self._of(method if method in METHODS else "other", route or NOWHERE, kind).observe(seconds)


class ProcessesCollector(Collector):
    """What all API processes of one supervisor count, from the files that they count in, and what each of them takes.

    Args:
        folder: of the files, whose names end with the id of their process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counted = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        """Give one metric after the other; those of single processes have the label `process`."""
        pids = {path.stem.rpartition("_")[2] for path in self._folder.glob("*.db")}
        alive = {pid for pid in pids if (PROC / pid).exists()}
        for pid in pids - alive:
            with suppress(FileNotFoundError):  # another process was quicker
                # What was in flight there is not any more.
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        yield from self._counted.collect()  # type: ignore[no-untyped-call]
        found: dict[str, Metric] = {}
        for pid in sorted(alive):
            for metric in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                told = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    told.add_sample(sample.name, {**sample.labels, "process": pid}, sample.value)
        yield from found.values()


class DatabaseCollector(Collector):
    """Counts what is in the database, each time that it is asked."""

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self._database = database
        self._lease_seconds = lease_seconds

    def collect(self) -> Iterator[Metric]:
        """Give one metric after the other; only that the database is not usable, when it is not."""
        counted: Census | None = None
        try:
            with self._database.reading() as session:
                counted = census.take(session, self._lease_seconds)
        except DatabaseUnavailable:
            pass  # in the log already
        yield GaugeMetricFamily("descent_database_up", "Whether the database can be read.", counted is not None)
        if counted is not None:
            yield from _metrics(counted)


def _metrics(counted: Census) -> Iterator[Metric]:
    by_status = GaugeMetricFamily("descent_jobs", "Jobs by status.", labels=["status"])
    for status in get_args(Status):
        by_status.add_metric([status], counted.n_jobs.get(status, 0))
    yield by_status
    for name, text, value in (
        ("queue_length", "Jobs that wait for a worker, without those that are paused.", counted.n_waiting),
        ("jobs_paused", "Queued jobs that wait to be resumed.", counted.n_paused),
        ("queue_oldest_seconds", "Age of the oldest job that waits for a worker; 0 for none.", counted.oldest_seconds),
        (
            "epochs_per_second",
            "Pace of the jobs that run, each in its present attempt, summed up.",
            counted.epochs_per_second,
        ),
        ("workers_alive", "Workers that were heard of within the lease.", counted.n_workers),
        ("datasets", "Datasets that are kept.", counted.n_datasets),
        ("datasets_bytes", "What the datasets take on disk.", counted.datasets_bytes),
        ("models", "Names of models.", counted.n_models),
        ("model_versions", "Versions of all models.", counted.n_versions),
    ):
        yield GaugeMetricFamily(f"descent_{name}", text, value)


def registry_of(database: Database, lease_seconds: float) -> CollectorRegistry:
    """Make a registry with what the database and this process tell; `RequestMetrics` adds the requests."""
    registry = CollectorRegistry()
    registry.register(DatabaseCollector(database, lease_seconds))
    if SHARED:
        registry.register(ProcessesCollector(Path(SHARED)))
    else:
        ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


@router.get(
    "/metrics",
    response_class=Response,
    response_description="Metrics in the text format of Prometheus.",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": EXAMPLE}}}},
)
@needs("admin")
def metrics(request: Request) -> Response:
    """Tell how the service does: queue, jobs, workers, datasets and models (of the whole service, from the database);
    requests, processor and memory (of the API processes of this address).
    """
    registry: CollectorRegistry = request.app.state.metrics
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
