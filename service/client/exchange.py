"""One request and its answer, sent again where that may help.

Nearly everything may be sent again: what makes a job has an `Idempotency-Key`, the same content is the same dataset,
and all else says what is to be, not what is to change. Only of an imported model each request makes another version.
"""

import json
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any
from urllib.parse import quote

import httpx

from service.client.steps import Conversation, Json, NextLine, Open, Send, Sleep
from service.errors import ServiceRefused, ServiceUnreachable

TRIES = 4
FIRST_DELAY_SECONDS = 0.1
"""Before the second try; it doubles with each."""
LONGEST_DELAY_SECONDS = 60.0
"""A service that says to come back later than this is not waited for."""
POLL_SECONDS = 0.1
MAY_PASS = (429, 502, 503, 504)
"""Statuses that say that another time it may be different."""


def path_of(*parts: object) -> str:
    """Give the path of these parts. What was mistyped in one names nothing, and not another: `a?b` is not `a`."""
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)


def ask(request: Send, *, tries: int = TRIES) -> Conversation[Json]:
    """Send a request until it is answered, and give the answer; {} for one without content.

    Waits between tries as long as the service's Retry-After says.

    Raises:
        ServiceUnreachable: when nothing answers there, or something that is no Descent service.
        ServiceRefused: for an error, with the problem that was answered.
    """
    answer = yield from _exchange(request, tries)
    if answer.status_code in (httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND):
        return {}
    if _kind(answer) == "application/json":
        body: Json = answer.json()
        return body
    raise _stranger(request, answer)


def fetch(path: str, media_type: str) -> Conversation[bytes]:
    """Ask for what is at a path as a file of a media type; raises as `ask` does."""
    request = Send("GET", path, headers={"Accept": media_type})
    answer = yield from _exchange(request, TRIES)
    if _kind(answer) != media_type:
        raise _stranger(request, answer)
    content: bytes = answer.content
    return content


def _exchange(request: Send, tries: int) -> Conversation[httpx.Response]:
    """Give a good answer: also that what is to be deleted is not there, where an earlier try may have deleted it."""
    for number in count(1):
        outcome: httpx.Response | httpx.TransportError = yield request
        delay = _delay(outcome, number)
        if number == tries or delay is None:
            break
        yield Sleep(delay)
    if isinstance(outcome, httpx.TransportError):
        hint = "is `descent serve` running there?"
        raise ServiceUnreachable(f"no service answers at {_address(request, outcome)} ({outcome}): {hint}")
    is_done = number > 1 and request.method == "DELETE" and outcome.status_code == httpx.codes.NOT_FOUND
    if outcome.is_success or is_done:
        return outcome
    if _kind(outcome) == "application/problem+json":
        raise ServiceRefused(outcome.json())
    raise _stranger(request, outcome)


def get(path: str, **params: Any) -> Conversation[Json]:
    """Ask for what is at a path; parameters that are None are left out."""
    return ask(Send("GET", path, params={name: value for name, value in params.items() if value is not None}))


def post(path: str, body: Any = None) -> Conversation[Json]:
    """Post a body."""
    return ask(Send("POST", path, json=body))


def submit(path: str, body: Json, wait_seconds: int | None = None, timeout_seconds: float = 60.0) -> Conversation[Json]:
    """Post what makes a job, once however often it is sent; give the job, ended if it ends in time.

    Args:
        path: where it is asked for.
        body: what is asked for.
        wait_seconds: that the service holds its answer for the job's end, 60 at most; None for not at all.
        timeout_seconds: to wait for an answer beyond those.
    """
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    if wait_seconds is None:
        return ask(Send("POST", path, json=body, headers=headers))
    headers["Prefer"] = f"wait={wait_seconds}"
    return ask(Send("POST", path, json=body, headers=headers, timeout_seconds=wait_seconds + timeout_seconds))


def follow(job_id: str, show: Callable[[Json], None]) -> Conversation[Json]:
    """Show a job whenever it has changed until it has ended, also across restarts of the service; give it then."""
    while True:
        job = yield from get(path_of("jobs", job_id))
        show(job)
        if job["terminal"]:
            return job
        kind, is_open = "", (yield Open(path_of("jobs", job_id, "events")))
        while is_open and (line := (yield NextLine())) is not None:
            field, _, value = line.partition(": ")
            if field == "event":
                kind = value
            elif field == "data":
                news = json.loads(value)
                job = news if kind == "end" else {**job, **{name: news[name] for name in news.keys() & job.keys()}}
                show(job)
                if kind == "end":
                    return job
        yield Sleep(POLL_SECONDS)  # the stream was cut off: the job says where it is, or why not


def ready(seconds: float) -> Conversation[None]:
    """Come back when trainings will be served.

    Raises:
        ServiceRefused, ServiceUnreachable: when they are not after so many seconds; says why.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            yield from ask(Send("GET", "/readyz"), tries=1)
        except (ServiceRefused, ServiceUnreachable):
            if time.monotonic() > deadline:
                raise
            yield Sleep(POLL_SECONDS)
        else:
            return


def _delay(outcome: httpx.Response | httpx.TransportError, number: int) -> float | None:
    """Tell how long to wait before another try; None when another would not help."""
    delay = FIRST_DELAY_SECONDS * 2.0 ** (number - 1)
    if isinstance(outcome, httpx.TransportError):
        return None if isinstance(outcome, httpx.UnsupportedProtocol) else delay
    if outcome.status_code not in MAY_PASS:
        return None
    with suppress(ValueError):  # a date, as some proxies send
        delay = float(outcome.headers.get("retry-after", delay))
    return delay if 0 <= delay <= LONGEST_DELAY_SECONDS else None


def _kind(answer: httpx.Response) -> str:
    kind: str = answer.headers.get("content-type", "").partition(";")[0]
    return kind


def _address(request: Send, outcome: httpx.Response | httpx.TransportError) -> str:
    return str(outcome.request.url.copy_with(query=None)).removesuffix(request.path)


def _stranger(request: Send, answer: httpx.Response) -> ServiceUnreachable:
    answered = f"it answered {answer.status_code} {answer.reason_phrase} as {_kind(answer) or 'nothing'}"
    return ServiceUnreachable(f"{_address(request, answer)} is no Descent service: {answered}")
