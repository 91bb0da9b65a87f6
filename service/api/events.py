"""GET /jobs/{id}/events and GET /events: what happens to jobs, as it happens (server-sent events)."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi import Response as HttpResponse
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.api.access import principal_of
from service.api.dependencies import Reading, TheDatabase
from service.api.event_examples import EVENTS, JOB_EVENTS
from service.api.event_messages import JobMessage, JobsMessage
from service.api.feeds import Feed, JobFeed, JobsFeed, Watcher
from service.api.jobs import JobId
from service.api.problems import describe
from service.api.routes import LateRoute
from service.api.telling import MOMENT, POSITION, Position, parse_moment, write_moment
from service.api.waiting import JobWatch
from service.store import changes, jobs

router = APIRouter(tags=["jobs"], route_class=LateRoute)

RETRY = "retry: 1000\n"
"""Milliseconds after which one who was cut off should come back."""
LONGEST_ID = 4000
_RESUMING = "The id of the last event that was received: the stream goes on after it, and gives nothing twice."


class EventStream(StreamingResponse):
    """What a feed has to tell from a position on, until it is over or nobody reads any more.

    FastAPI's own streams of events put every event together for every reader; here it is done once for all.
    """

    media_type = "text/event-stream"

    def __init__(self, request: Request, feed: Feed, position: Any, greeting: str = "") -> None:
        self._watch: JobWatch = request.app.state.watch
        self._feed = feed
        self._watcher = Watcher(position, f"{RETRY}{greeting}\n".encode(), principal_of(request).key_id)
        # X-Accel-Buffering has nginx pass events on at once.
        super().__init__(self._watcher, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        with self._watch.joined(self._feed, self._watcher):
            await super().__call__(scope, receive, send)


def _stream(description: str, message: Any, example: str) -> dict[int | str, dict[str, Any]]:
    """Describe a stream. The schema is that of each event, for OpenAPI 3.1 has no other place for it."""
    content = {EventStream.media_type: {"schema": {"type": "object"}, "example": example}}
    return {200: {"description": description, "model": message, "content": content}}


@router.get(
    "/jobs/{job_id}/events",
    status_code=200,
    response_class=EventStream,
    responses={
        **_stream("The events.", JobMessage, JOB_EVENTS),
        204: {"description": "Last-Event-ID is that of `end`: nothing follows, and a browser asks no more."},
        **describe(404),
    },
)
def get_job_events(
    request: Request,
    session: Reading,
    job_id: JobId,
    last_event_id: Annotated[
        str | None, Header(pattern=POSITION, max_length=LONGEST_ID, description=_RESUMING, examples=["1-running-500-"])
    ] = None,
) -> Any:
    """Tell what happens to a job, from its present status to its end.

    - `status`: `id`, `model`, `status`, `terminal`, `attempt`, `progress`, as in the job. First the present one, then
      each that it comes to; a job that has lost its worker is `queued` again, also when it is running again by the
      time that this is told. An attempt that begins anew is followed by its epochs, from 0.
    - `progress`: the epochs recorded since the event before, a column each as in the history (`epoch`, `train_loss`,
      `validation_loss` or null, `gradient_norm`, `learning_rate`), and `progress` as in the job. It comes five times a
      second at the most, less often to many watchers; where thousands of epochs were recorded in between, they are
      thinned evenly, and `GET /jobs/{id}/history` has them all. The columns are empty when none was recorded.
    - `warning`: something worth knowing, once, as in the job.
    - `end`: the whole job, as `GET /jobs/{id}` gives it; the stream ends with it. Without, it ends when the job is
      deleted before its end was told: it is a 404 from then on.

    What is beyond the largest number is null. Each event has an id; one who comes back with it as `Last-Event-ID` gets
    what was missed, and nothing twice. Comments keep the connection alive.
    """
    jobs.get(session, job_id)
    position = Position.parse(last_event_id) if last_event_id else Position()
    if position.has_ended:
        return HttpResponse(status_code=204)
    return EventStream(request, JobFeed(job_id), position)


@router.get(
    "/events",
    status_code=200,
    response_class=EventStream,
    responses=_stream("The events; they go on until one side has enough.", JobsMessage, EVENTS),
)
def get_events(
    request: Request,
    session: Reading,
    database: TheDatabase,
    model: Annotated[str | None, Query(max_length=200, description="Only jobs for this model.")] = None,
    last_event_id: Annotated[
        str | None,
        Header(pattern=MOMENT, max_length=LONGEST_ID, description=_RESUMING, examples=["1795255200250000-7"]),
    ] = None,
) -> Any:
    """Tell of all jobs when they come, start, go back to the queue and end.

    The events are `status` and `end`, as `GET /jobs/{id}/events` has them. One who comes back with `Last-Event-ID` is
    told of each job that has come, started, gone back or ended since, as it is now.
    """
    moment = parse_moment(last_event_id) if last_event_id else changes.latest(session)
    # An id without an event: one who is cut off before the first can come back with it.
    return EventStream(request, JobsFeed(model, database.actor), moment, f"id: {write_moment(moment)}\n")
