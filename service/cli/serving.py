"""Commands that serve: the API and workers, a single worker, the story of `make run`."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service import demo as story
from service.client import Descent
from service.log import configure_logging
from service.serve import Service, python_module
from service.settings import PREFIX, Settings, read_settings

DEFAULTS = Settings.model_fields
_STOPPING = (signal.SIGTERM, signal.SIGINT)
DataDir = Annotated[Path | None, typer.Option(help=DEFAULTS["data_dir"].description, show_default="./descent-data")]
Port = Annotated[int | None, typer.Option(help=DEFAULTS["port"].description, show_default="8000")]


ALONE = "There are no access keys, so it answers nobody but this machine; `descent keys create` makes one."
UNGUARDED = "There are no access keys, so whoever reaches it may use it; `descent keys create` makes one."


def serve(
    host: Annotated[str | None, typer.Option(help=DEFAULTS["host"].description, show_default="127.0.0.1")] = None,
    port: Port = None,
    data_dir: DataDir = None,
    workers: Annotated[
        str | None, typer.Option(help=DEFAULTS["workers"].description, show_default="1", metavar="N|auto")
    ] = None,
    api_processes: Annotated[
        int | None, typer.Option(help=DEFAULTS["api_processes"].description, show_default="1")
    ] = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Serve the API only; run workers elsewhere.")] = False,
) -> None:
    """Serve the API and the workers until Ctrl-C or SIGTERM."""
    settings = read_settings(
        host=host,
        port=port,
        data_dir=data_dir,
        workers=0 if no_worker else workers,
        api_processes=api_processes,
    )
    configure_logging(settings.log_level, "supervisor")
    _stop_on_first_signal()
    with suppress(KeyboardInterrupt), Service(settings) as service:
        service.wait_until_up()
        typer.echo(f"Descent serves at {service.url} (data in {settings.data_dir}); Ctrl-C ends it.")
        if not service.asks_for_keys:
            typer.echo(ALONE if not settings.allow_remote else UNGUARDED)
        service.wait()


def worker(data_dir: DataDir = None) -> None:
    """Run one worker, beside an API that runs with --no-worker on the same data directory."""
    settings = read_settings(data_dir=data_dir)
    os.environ[f"{PREFIX}DATA_DIR"] = str(settings.data_dir)
    os.execv(sys.executable, python_module("service.worker"))


def demo(
    port: Port = None,
    data_dir: DataDir = None,
    once: Annotated[bool, typer.Option("--once", help="End after the story instead of serving on.")] = False,
) -> None:
    """Serve, train a real example, show its loss curve and a prediction, and serve on."""
    settings = read_settings(port=port, data_dir=data_dir, log_level="warning")
    configure_logging(settings.log_level, "supervisor")
    _stop_on_first_signal()
    with suppress(KeyboardInterrupt), Service(settings) as service:
        service.wait_until_up()
        with Descent(service.url, key=settings.api_key) as client:
            succeeded = story.tell(client, Console(), ends=once)
        if once or not succeeded:
            raise typer.Exit(0 if succeeded else 1)
        typer.echo("Serving until Ctrl-C.")
        service.wait()


COMMANDS = (serve, worker, demo)


def _stop_on_first_signal() -> None:
    """Let the first SIGTERM or SIGINT end the service in order; more change nothing, for the end takes 5 s at most."""

    def stop(*_: object) -> None:
        for number in _STOPPING:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in _STOPPING:
        signal.signal(number, stop)
