"""What is seen of every request: its id, its line in the log, its time in the metrics, the headers of its answer."""

import asyncio
import logging
import time

from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.headers import DOCS, Pairs, secure
from service.api.metrics import RequestMetrics
from service.api.problems import problem
from service.log import log_about
from service.store.identifiers import new_identifier

logger = logging.getLogger(__name__)

REQUEST_ID = "X-Request-ID"
_ID_HEADER = REQUEST_ID.lower().encode()
MAX_ID_CHARACTERS = 200
SHOWN_CHARACTERS = 200
ENDING = "this process is about to end: ask again, and the next one answers"
_JOBS = "/jobs/"


class Observed:
    """Stands around a whole app, also around what answers unforeseen errors."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        answer = _Answer(scope, send, request_id)
        started = time.perf_counter()
        self._metrics.in_flight.inc()
        with log_about(request=request_id):
            try:
                await self._app(scope, receive, answer.send)
            except asyncio.CancelledError:
                if answer.status is not None or not scope["app"].state.ending:
                    raise
                await problem(Request(scope), 503, ENDING)(scope, receive, answer.send)
            except Exception:
                if not answer.is_complete:
                    raise  # the connection has to break, or the client takes a part for the whole
            finally:
                self._metrics.in_flight.dec()
                note(self._metrics, scope, request_id, answer.status, time.perf_counter() - started, answer.job)


class _Answer:
    """Sends an answer on with the headers that all have."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id
        self._held: Message | None = None
        self._body = b""
        self.status: int | None = None
        self.job: str | None = None
        self.is_complete = False

    async def send(self, message: Message) -> None:
        """Send a message of the answer; the start of a page of the docs is held until its body is known."""
        if message["type"] == "http.response.start":
            await self._start(message)
            return
        if message["type"] == "http.response.body":
            self.is_complete = not message.get("more_body", False)
            if self._held is not None:
                await self._send_page(self._held, message)
                return
        await self._send(message)

    async def _start(self, message: Message) -> None:
        self.status = message["status"]
        given = dict(message["headers"])
        location = given.get(b"location", b"").decode("latin-1")
        self.job = location.removeprefix(_JOBS) if location.startswith(_JOBS) else None
        is_page = self._scope["path"] in DOCS and given.get(b"content-type", b"").startswith(b"text/html")
        message["headers"] = headers_of(self._scope, message["headers"], self._request_id)
        if is_page:
            self._held = message
            return
        secure(message["headers"])
        await self._send(message)

    async def _send_page(self, start: Message, message: Message) -> None:
        self._body += message.get("body", b"")
        if self.is_complete:
            secure(start["headers"], self._body)
            await self._send(start)
            await self._send({**message, "body": self._body})


def request_id_of(scope: Scope) -> str:
    """Take the id that the client gave, when it is one and fit to be written anywhere; else make one."""
    given: list[str] = [value.decode("latin-1") for name, value in scope["headers"] if name == _ID_HEADER]
    if len(given) == 1 and 0 < len(given[0]) <= MAX_ID_CHARACTERS and given[0].isascii() and given[0].isprintable():
        return given[0]
    return new_identifier("req_")


def route_of(scope: Scope) -> str | None:
    """Give the template of the path that a request was routed to; None when there is nothing at its path."""
    template: str | None = getattr(scope.get("route"), "path_format", None)
    if template is not None:
        return template
    if "app_root_path" in scope:  # files, under the path of their folder
        return f"{scope['root_path']}/{{path}}"
    return scope["path"] if "endpoint" in scope and not scope.get("path_params") else None


def headers_of(scope: Scope, headers: Pairs, request_id: str) -> Pairs:
    """Add to the headers of an answer what they tell of the request, and of the process."""
    headers = [*headers, (_ID_HEADER, request_id.encode())]
    if scope["app"].state.ending:
        # so that the client's next request goes to the process that comes after
        headers = [*(pair for pair in headers if pair[0] != b"connection"), (b"connection", b"close")]
    return headers


def note(
    metrics: RequestMetrics, scope: Scope, request_id: str, status: int | None, seconds: float, job: str | None = None
) -> None:
    """Count an answer, and write its line in the log.

    Args:
        metrics: that count it.
        scope: of the request, as routing has left it.
        request_id: what the line calls it.
        status: None when the client hung up, or the process ended, before there was one.
        seconds: to the last byte.
        job: that the answer's Location names, if any.
    """
    route = route_of(scope)
    metrics.observe(scope["method"], route, status, seconds)
    if not logger.isEnabledFor(logging.INFO):
        return
    client = scope.get("client")
    line = {
        "request": request_id,
        "method": scope["method"],
        "route": route,
        "status": status,
        "milliseconds": round(1000 * seconds, 2),
        "client": client[0] if client else None,
    }
    principal = scope.get("principal")
    if principal is not None and principal.key_id is not None:
        line["key"] = principal.key_id
    job = job or (scope.get("path_params") or {}).get("job_id")
    if job is not None:
        line["job"] = job[:SHOWN_CHARACTERS]
    if route is None:
        line["path"] = scope["path"][:SHOWN_CHARACTERS]
    logger.info("request answered" if status else "request cut off", extra=line)


def install(app: FastAPI, metrics: RequestMetrics) -> None:
    """Observe all requests of an app. Its own middleware would stand inside of what answers unforeseen errors."""
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: Observed(build(), metrics)  # type: ignore[method-assign]
