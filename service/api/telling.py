"""What there is to tell of a job to those who watch it: events, from where a stream stands to where the job stands."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from fastapi.sse import format_sse_event
from pydantic import Field

from service.api.dependencies import Response
from service.api.history import HistoryResponse
from service.api.jobs import JobWarning, Progress, job_response, progress_of
from service.store import history
from service.store.changes import Moment, moment_of
from service.store.database import Session
from service.store.jobs import Job, Status

EVENT_POINTS = 500
"""So many recorded epochs go into one event at the most."""
_STATUSES = "|".join(get_args(Status))
POSITION = rf"^(\d{{1,9}}-({_STATUSES})-\d{{1,16}}(\.\d{{1,9}})?-([0-9a-f]{{6}}(\.[0-9a-f]{{6}})*)?(-end)?)?$"
"""The id of an event of one job."""
MOMENT = r"^(\d{1,17}-\d{1,18})?$"
"""The id of an event of all jobs."""

_START = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class StatusEvent(Response):
    """The status that a job has come to."""

    id: str = Field(description="The job's id.")
    model: str = Field(description="The name that its model is published under.")
    status: Status = Field(description="`queued`, `running`, then one of `succeeded`, `failed`, `cancelled`.")
    terminal: bool = Field(description="Whether the status is final.")
    attempt: int = Field(description="How many times the job was started.")
    progress: Progress = Field(description="How far it is.")


class ProgressEvent(HistoryResponse):
    """Newly recorded epochs, a column each; empty columns when the training went on without recording one."""

    progress: Progress = Field(description="How far the job is.")


@dataclass(frozen=True)
class Position:
    """How far the events of one job have been told; the id of each event says it."""

    attempt: int = 0
    status: str = ""
    next_epoch: int = 0  # the first that was not told of
    begun_in: int = 0  # the attempt that those that were told of begin with
    warnings: tuple[str, ...] = ()  # the fingerprint of each that was told
    has_ended: bool = False
    progress: float | None = None  # not in the id: None for one who has come back

    def __str__(self) -> str:
        end = "-end" if self.has_ended else ""
        begun_in = f".{self.begun_in}" if self.next_epoch and self.begun_in != self.attempt else ""
        return f"{self.attempt}-{self.status}-{self.next_epoch}{begun_in}-{'.'.join(self.warnings)}{end}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read the id of an event, which must be of the form of `POSITION`."""
        attempt, status, epoch, warnings, *end = text.split("-")
        next_epoch, _, begun_in = epoch.partition(".")
        known = tuple(warnings.split(".")) if warnings else ()
        return cls(int(attempt), status, int(next_epoch), int(begun_in or attempt), known, bool(end))


def write_moment(moment: Moment | None) -> str:
    """Give the id of an event of all jobs; the beginning stands for None."""
    return "0-0" if moment is None else f"{(moment.time - _START) // _MICROSECOND}-{moment.sequence}"


def parse_moment(text: str) -> Moment | None:
    """Read what `write_moment` wrote, or any text of the form of `MOMENT`."""
    microseconds, sequence = map(int, text.split("-"))
    latest = datetime.max.replace(tzinfo=UTC) - _START
    return Moment(_START + min(microseconds * _MICROSECOND, latest), sequence) if microseconds else None


class Telling:
    """Puts what happened to one job into events, each with the position after it.

    Args:
        session: which sees one state of the database.
        job: as it is there.
        position: how far it was told.
        max_points: so many recorded epochs are told of at once, evenly spread when there are more.
    """

    def __init__(self, session: Session, job: Job, position: Position, max_points: int) -> None:
        self.position = position
        self.events: list[bytes] = []
        self._session, self._job, self._max_points = session, job, max_points
        self._progress = progress_of(job, job.hyperparameters["epochs"])
        if position.has_ended:
            return
        if not position.status:
            self._tell_status(job.status)
        elif job.attempt > position.attempt and job.status != "queued":
            if position.status == "running":
                self._tell_status("queued", job.attempt - 1)  # it was, or it would not have been started again
            self._tell_status("running")  # it was, however soon it ended
        self._tell_warnings()
        self._tell_epochs()
        if (job.status, job.attempt) != (self.position.status, self.position.attempt):
            self._tell_status(job.status)
        if job.has_ended:
            self._tell("end", job_response(session, job), has_ended=True)

    def _tell(self, event: str, content: Response, **changes: Any) -> None:
        self.position = replace(self.position, **changes)
        data = content.model_dump_json()
        self.events.append(format_sse_event(event=event, data_str=data, id=str(self.position)))

    def _tell_status(self, status: Status, attempt: int | None = None) -> None:
        job = self._job
        content = status_event(job, status, self._progress, attempt)
        self._tell("status", content, status=status, attempt=content.attempt, progress=job.progress)

    def _tell_warnings(self) -> None:
        for warning in self._job.warnings:
            fingerprint = hashlib.sha256(json.dumps(warning, sort_keys=True).encode()).hexdigest()[:6]
            if fingerprint not in self.position.warnings:
                known = (*self.position.warnings, fingerprint)
                self._tell("warning", JobWarning.model_validate(warning), warnings=known)

    def _tell_epochs(self) -> None:
        job = self._job
        if job.status == "running" and job.engine is None:
            return  # what an earlier attempt recorded is there until this one has found out whether to go on from it
        if job.begun_in_attempt != self.position.begun_in:
            self.position = replace(self.position, next_epoch=0, begun_in=job.begun_in_attempt)
        found = history.read(self._session, job, first=self.position.next_epoch, last=None, max_points=self._max_points)
        columns = {name: None if column is None else column.tolist() for name, column in vars(found).items()}
        for start in range(0, len(found.epoch), EVENT_POINTS):
            self._tell_progress(columns, slice(start, start + EVENT_POINTS))
        if job.status == "running" and self.position.progress not in (None, job.progress):
            self._tell_progress(columns, slice(0))
        self.position = replace(self.position, progress=job.progress)

    def _tell_progress(self, columns: dict[str, list[Any] | None], rows: slice) -> None:
        part: dict[str, Any] = {name: None if column is None else column[rows] for name, column in columns.items()}
        # Nothing is validated: these are numbers already, and many.
        content = ProgressEvent.model_construct(**part, progress=self._progress)
        next_epoch = part["epoch"][-1] + 1 if part["epoch"] else self.position.next_epoch
        self._tell("progress", content, next_epoch=next_epoch, progress=self._job.progress)


def status_event(job: Job, status: Status, progress: Progress, attempt: int | None = None) -> StatusEvent:
    """Tell of a status that a job has, or had on the way, in its last attempt or an earlier one."""
    return StatusEvent(
        id=job.id,
        model=job.model,
        status=status,
        terminal=job.has_ended and status == job.status,
        attempt=job.attempt if attempt is None else attempt,
        progress=progress,
    )


def events_of(session: Session, job: Job) -> Iterator[bytes]:
    """Tell those who watch all jobs that one has come to a status."""
    identifier = write_moment(moment_of(job))
    content = status_event(job, job.status, progress_of(job, job.hyperparameters["epochs"])).model_dump_json()
    # Of two events the second has the id: a stream that is cut between them tells both again.
    yield format_sse_event(event="status", data_str=content, id=None if job.has_ended else identifier)
    if job.has_ended:
        yield format_sse_event(event="end", data_str=job_response(session, job).model_dump_json(), id=identifier)
