"""Commands that show one job of a running service, or do something to it."""

from typing import Annotated

import typer

from service.cli.options import Url, client_of
from service.terminal import job_lines, status_line

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="The job; `descent jobs` lists them.")]


def show(job: JobId, url: Url = None) -> None:
    """Show a job of a running service, with what is worth knowing of it."""
    with client_of(url) as client:
        typer.echo("\n".join(job_lines(client.job(job))))


def cancel(job: JobId, url: Url = None) -> None:
    """Cancel a job; what it has recorded stays."""
    with client_of(url) as client:
        typer.echo(status_line(client.job(job).cancel()))


def pause(job: JobId, url: Url = None) -> None:
    """Let a job wait in the queue until it is resumed; a running one stops for it."""
    with client_of(url) as client:
        typer.echo(status_line(client.job(job).pause()))


def resume(job: JobId, url: Url = None) -> None:
    """Let a paused job go on."""
    with client_of(url) as client:
        typer.echo(status_line(client.job(job).resume()))


def delete(job: JobId, url: Url = None) -> None:
    """Delete an ended job with its history; the version that it gave stays."""
    with client_of(url) as client:
        client.job(job).delete()
    typer.echo(f"{job} is deleted")


COMMANDS = (show, cancel, pause, resume, delete)
