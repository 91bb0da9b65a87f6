"""GET /audit: who did what."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from service.api.access import needs
from service.api.dependencies import Limit, Reading, Response
from service.api.routes import LateRoute
from service.store import audit

router = APIRouter(prefix="/audit", tags=["health"], route_class=LateRoute)


class EntryResponse(Response):
    """Something that was done."""

    sequence: int = Field(description="Its number; later ones have higher numbers.", examples=[7])
    at: datetime = Field(description="When it was done.")
    key: str | None = Field(
        description="The id of the key that was sent; null where none was needed.", examples=["key_01KAJ5Y8M4T0"]
    )
    owner: str = Field(description="The name of that key; `local` where none was needed.", examples=["vision-team"])
    action: str = Field(
        description="What was done: method and path of the request, or the command.", examples=["POST /train"]
    )
    objects: list[str] = Field(
        description="The ids and names of what it was done to and of what it made.", examples=[["job_01KAJ5Y8M4T0"]]
    )
    request_id: str | None = Field(
        description="The request's id, which the log has, too; null for a command.", examples=["req_01KAJ5Y8M4T0"]
    )


class AuditPage(Response):
    """What was done, latest first."""

    data: list[EntryResponse] = Field(description="The entries.")
    has_more: bool = Field(description="Whether there are more behind these.")
    next: int | None = Field(description="The `after` of the next page; null on the last.")


@router.get("", response_description="A page of the audit.")
@needs("admin")
def list_audit(
    session: Reading,
    limit: Limit = 100,
    after: Annotated[
        int | None, Query(ge=0, le=2**63 - 1, description="Go on after this one: the `next` of the page before.")
    ] = None,
) -> AuditPage:
    """Tell who changed what, latest first: everything that was made, changed or deleted, and by which key."""
    found, has_more = audit.page(session, limit=limit, after=after)
    data = [
        EntryResponse(
            sequence=entry.sequence,
            at=entry.at,
            key=entry.key_id,
            owner=entry.owner,
            action=entry.action,
            objects=entry.objects.split(),
            request_id=entry.request_id,
        )
        for entry in found
    ]
    return AuditPage(data=data, has_more=has_more, next=found[-1].sequence if has_more else None)
