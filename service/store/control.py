"""What users do to jobs: cancel, pause, resume, delete them."""

from sqlalchemy import Update, and_, delete, or_, update
from sqlalchemy.orm import Session

from service.errors import JobEnded, JobNotEnded
from service.store import checkpoints
from service.store.jobs import Job, back_in_queue, cancelled, get
from service.store.tables import JobRow

# A job whose attempt is not settled yet, for its dataset is being prepared: nothing is lost when it is taken from its
# worker, who may not look up for long. What the worker writes later is refused.
_preparing = and_(JobRow.status == "running", JobRow.engine.is_(None))


def request_cancel(session: Session, job_id: str) -> Job:
    """Cancel a job that has not begun to train at once; ask the worker of another to. Asking again changes nothing.

    Raises NotFound when there is no such job, JobEnded when it has succeeded or failed.
    """
    job = get(session, job_id)
    if job.status in ("succeeded", "failed"):
        raise JobEnded(f"job {job_id} has {job.status} already, so it cannot be cancelled")
    of_this = update(JobRow).where(JobRow.id == job_id)
    at_once = of_this.where(or_(JobRow.status == "queued", _preparing))
    session.execute(at_once.values(**cancelled(), cancel_requested=True))
    session.execute(of_this.where(JobRow.status == "running").values(cancel_requested=True))
    job = _again(session, job_id)
    if job.has_ended:
        checkpoints.delete(session, [job.sequence])
    return job


def pause(session: Session, job_id: str) -> Job:
    """Let a job wait in the queue until it is resumed; the worker that trains it is asked to release it for that.

    Asking again changes nothing. Raises NotFound when there is no such job, JobEnded when it has ended.
    """
    of_this = _of_unended(session, job_id, "paused")
    session.execute(of_this.where(_preparing).values(**back_in_queue()))
    session.execute(of_this.values(paused=True))
    return _again(session, job_id)


def resume(session: Session, job_id: str) -> Job:
    """Let a paused job go on, in its old place in the queue; one that is not paused stays as it is.

    Raises NotFound when there is no such job, JobEnded when it has ended.
    """
    session.execute(_of_unended(session, job_id, "resumed").values(paused=False))
    return _again(session, job_id)


def remove(session: Session, job_id: str) -> None:
    """Delete an ended job with its history; the version that it gave stays.

    Raises NotFound when there is no such job, JobNotEnded while it is queued or running.
    """
    job = get(session, job_id)
    if not job.has_ended:
        raise JobNotEnded(f"job {job_id} is {job.status}: wait for its end, or cancel it first")
    session.execute(delete(JobRow).where(JobRow.sequence == job.sequence))


def _of_unended(session: Session, job_id: str, verb: str) -> Update:
    job = get(session, job_id)
    if job.has_ended:
        how = "been cancelled" if job.status == "cancelled" else job.status
        raise JobEnded(f"job {job_id} has {how} already, so it cannot be {verb}")
    return update(JobRow).where(JobRow.id == job_id)


def _again(session: Session, job_id: str) -> Job:
    session.expire_all()  # what was changed past the session
    return get(session, job_id)
