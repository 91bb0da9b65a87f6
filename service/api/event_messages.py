"""The events of a stream as the OpenAPI document describes them: each a name, an id, and data as JSON text."""

from typing import Literal

from pydantic import Field, Json

from service.api.dependencies import Response
from service.api.jobs import JobResponse, JobWarning
from service.api.telling import ProgressEvent, StatusEvent


class _Message(Response):
    id: str = Field(default="", description="What to come back with as `Last-Event-ID`, to go on after this event.")


class StatusMessage(_Message):
    """A job has come to a status."""

    event: Literal["status"] = Field(description="The name of the event.")
    data: Json[StatusEvent] = Field(description="The status.")


class ProgressMessage(_Message):
    """A job has recorded epochs."""

    event: Literal["progress"] = Field(description="The name of the event.")
    data: Json[ProgressEvent] = Field(description="The epochs.")


class WarningMessage(_Message):
    """Something about a job is worth knowing."""

    event: Literal["warning"] = Field(description="The name of the event.")
    data: Json[JobWarning] = Field(description="What is worth knowing.")


class EndMessage(_Message):
    """A job has ended."""

    event: Literal["end"] = Field(description="The name of the event.")
    data: Json[JobResponse] = Field(description="All of the job.")


JobMessage = StatusMessage | ProgressMessage | WarningMessage | EndMessage
"""What a stream of one job has to tell."""
JobsMessage = StatusMessage | EndMessage
"""What a stream of all jobs has to tell."""
