"""What can be done to a job: cancel, pause, resume, delete; see `service.api.retry` for doing it again."""

from fastapi import APIRouter

from service.api.dependencies import Writing
from service.api.jobs import JobId, JobResponse, job_response
from service.api.problems import describe
from service.api.routes import LateRoute
from service.store import control

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=LateRoute)


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    response_description="The job: cancelled, or about to be.",
    responses=describe(404, 409, 507),
)
def cancel_job(session: Writing, job_id: JobId) -> JobResponse:
    """Cancel a job: a queued one at once, a running one within a step. Its history stays. Asking again is no error."""
    return job_response(session, control.request_cancel(session, job_id))


@router.post(
    "/{job_id}/pause",
    status_code=202,
    response_description="The job: paused, or about to be.",
    responses=describe(404, 409, 507),
)
def pause_job(session: Writing, job_id: JobId) -> JobResponse:
    """Pause a job: a queued one is not taken up, a running one stops within a step and goes back to the queue.

    It waits there until it is resumed or cancelled. Asking again is no error; a job that has ended cannot be paused.
    """
    return job_response(session, control.pause(session, job_id))


@router.post(
    "/{job_id}/resume",
    status_code=202,
    response_description="The job: in the queue, or still running.",
    responses=describe(404, 409, 507),
)
def resume_job(session: Writing, job_id: JobId) -> JobResponse:
    """Let a paused job go on, in the place in the queue that it had. One that is not paused stays as it is."""
    return job_response(session, control.resume(session, job_id))


@router.delete(
    "/{job_id}",
    status_code=204,
    response_description="It is gone.",
    responses=describe(404, 409, 507),
)
def delete_job(session: Writing, job_id: JobId) -> None:
    """Delete an ended job with its history. The version that it gave stays, and goes on naming it."""
    control.remove(session, job_id)
