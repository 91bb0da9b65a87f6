"""Putting jobs into the queue: once for each idempotency key, and only while there is room."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header
from pydantic import BaseModel

from service.api.jobs import JobResponse, job_response, response_of
from service.errors import Fault, InvalidRequest
from service.settings import Settings
from service.store import idempotency, queue
from service.store.database import Database, Session
from service.store.jobs import Job

MAX_KEY_LENGTH = 255

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_LENGTH,
        description="A text of your own, such as a UUID. The same request again under the same key within 24 hours "
        "is answered with the job that the first one made, so that it can be sent again when its answer was lost. "
        "Another request under the same key is refused.",
        examples=["5f0c9a4e-8d6b-4d1f-9f0a-3f4f6a1b2c3d"],
    ),
]

Put = Callable[[Session], Job]

HEADERS: dict[str, Any] = {
    "Location": {"schema": {"type": "string"}, "description": "Where the job is.", "example": "/jobs/job_01KAJ5Y8M4T0"},
    "Idempotency-Replayed": {
        "schema": {"type": "string"},
        "description": "`true` when an earlier request under the same `Idempotency-Key` has made the job.",
        "example": "true",
    },
}


@dataclass(frozen=True)
class Submitted:
    """A job in the queue, and the headers of the answer that tells so."""

    job: JobResponse
    headers: dict[str, str]


def submit(
    database: Database,
    settings: Settings,
    prepare: Callable[[], Put],
    priority: int,
    *,
    key: str | None,
    path: str,
    body: BaseModel,
) -> Submitted:
    """Put a job into the queue, unless its request has made one already.

    Args:
        prepare: checks the request and gives what puts its job into the queue; called outside of any transaction, and
            only where there is a job to make.
        priority: that the job has.
        key: the request's idempotency key, if it has one.
        path, body: what was asked for; with another path or body a key is used for another request.

    Raises:
        QueueFull: when there is no room.
        InvalidRequest: when the key was used for another request, or for a job that has been deleted.
    """
    sha256 = "" if key is None else _sha256(path, body)

    def known(session: Session) -> Submitted | None:
        found = None if key is None else idempotency.find(session, key, sha256)
        return None if found is None else _submitted(job_response(session, found), is_new=False)

    def place(session: Session) -> int:
        return queue.check_room(session, settings.max_queued_jobs, settings.max_jobs_per_key, priority)

    with database.reading_once() if key is None else database.reading() as session:
        before = known(session)
        if before is not None:
            return before
        place(session)
    put = prepare()
    with database.writing() as session:
        before = known(session)  # again: another may have been quicker
        if before is not None:
            return before
        its_place = place(session)
        job = put(session)
        if key is not None:
            idempotency.remember(session, key, sha256, job)
        return _submitted(response_of(job, its_place), is_new=True)


def _sha256(path: str, body: BaseModel) -> str:
    """Give a hash of what was asked for, in whichever order and with whatever white space it was written."""
    try:
        content = json.dumps([path, body.model_dump(mode="json", exclude_unset=True)])
    except (ValueError, RecursionError):
        raise InvalidRequest([Fault("", "the body is nested too deeply: lists are to be lists of rows")]) from None
    return hashlib.sha256(content.encode()).hexdigest()


def _submitted(job: JobResponse, *, is_new: bool) -> Submitted:
    return Submitted(job, {"Location": f"/jobs/{job.id}"} | ({} if is_new else {"Idempotency-Replayed": "true"}))
