"""The `descent` command."""

import inspect
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import Console

from service import __version__, demo
from service.client import Client
from service.data.examples import EXAMPLES
from service.data.readers import read_csv
from service.errors import DescentError, UnreadableFile
from service.hyperparameters import Hyperparameters
from service.log import configure_logging
from service.serve import Service, url_of
from service.settings import PREFIX, Settings, read_settings
from service.tasks import TRAITS, Task
from service.terminal import check_lines, finding_lines, loss_chart, result_line, show_progress

app = typer.Typer(
    help="Gradient descent over HTTP: data in, model out, prediction back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
console = Console()

DEFAULTS = Settings.model_fields
Url = Annotated[str | None, typer.Option(help="Where the service is; by default where `descent serve` listens.")]
DataDir = Annotated[Path | None, typer.Option(help=DEFAULTS["data_dir"].description, show_default="./descent-data")]
Follow = Annotated[bool, typer.Option("--follow", help="Show progress and the loss until the job ends.")]
Port = Annotated[int | None, typer.Option(help=DEFAULTS["port"].description, show_default="8000")]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help=DEFAULTS["host"].description, show_default="127.0.0.1")] = None,
    port: Port = None,
    data_dir: DataDir = None,
    workers: Annotated[int | None, typer.Option(help=DEFAULTS["workers"].description, show_default="1")] = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Serve the API only; run workers elsewhere.")] = False,
) -> None:
    """Serve the API and the workers until Ctrl-C or SIGTERM."""
    settings = read_settings(host=host, port=port, data_dir=data_dir, workers=0 if no_worker else workers)
    configure_logging(settings.log_level, "supervisor")
    _stop_on_sigterm()
    with Service(settings) as service, suppress(KeyboardInterrupt):
        typer.echo(f"Descent serves at {service.url} (data in {settings.data_dir}); Ctrl-C ends it.")
        signal.pause()


@app.command()
def worker(data_dir: DataDir = None) -> None:
    """Run one worker, beside an API that runs with --no-worker on the same data directory."""
    settings = read_settings(data_dir=data_dir)
    os.environ[f"{PREFIX}DATA_DIR"] = str(settings.data_dir)
    os.execv(sys.executable, [sys.executable, "-m", "service.worker"])


@app.command("demo")
def run_demo(
    port: Port = None,
    data_dir: DataDir = None,
    once: Annotated[bool, typer.Option("--once", help="End after the story instead of serving on.")] = False,
) -> None:
    """Serve, train a real example, show its loss curve and a prediction, and serve on."""
    settings = read_settings(port=port, data_dir=data_dir, log_level="warning")
    configure_logging(settings.log_level, "supervisor")
    _stop_on_sigterm()
    with Service(settings) as service, suppress(KeyboardInterrupt):
        with Client(service.url) as client:
            succeeded = demo.tell(client, console)
        if once or not succeeded:
            raise typer.Exit(0 if succeeded else 1)
        typer.echo("Serving until Ctrl-C.")
        signal.pause()


def train(
    source: Annotated[str, typer.Argument(metavar="FILE_OR_EXAMPLE", help=f"A CSV file, or {', '.join(EXAMPLES)}.")],
    target: Annotated[str | None, typer.Option(help="Column to predict; an example has its own.")] = None,
    task: Annotated[str | None, typer.Option(help=f"{', '.join(TRAITS)}; an example has its own.")] = None,
    features: Annotated[str | None, typer.Option(help="Columns to predict from, with commas; all others.")] = None,
    model: Annotated[str | None, typer.Option(help="Name to publish under; made of the file's name.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only tell what it would do, and which learning rate the data allows.")
    ] = False,
    follow: Follow = False,
    url: Url = None,
    **hyperparameters: str | None,
) -> None:
    """Train a model on a CSV file or a bundled example, on a running service.

    The exit code is 1 when the request is refused, and with --follow when the job does not succeed.
    """
    example = EXAMPLES.get(source)
    if example:
        target, task = target or example.target, task or example.task
    if target is None:
        raise UnreadableFile(f"name the column of {source} to predict: --target COLUMN")
    path = example.path if example else Path(source)
    table = read_csv(path, target, features.split(",") if features else None)
    request = {
        "model": model or re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:100] or None,
        "task": task or get_args(Task)[0],
        "dataset": {"features": table.features, "feature_names": table.feature_names, "targets": table.targets},
        "hyperparameters": _values(hyperparameters),
    }
    with _client(url) as client:
        if check:
            typer.echo("\n".join(check_lines(client.check(request))))
        else:
            _show(client, client.train(request), follow)


def retry(
    job: Annotated[str, typer.Argument(metavar="JOB_ID", help="The job to do again; it must have ended.")],
    apply_suggestion: Annotated[
        bool, typer.Option("--apply-suggestion", help="Change what its diagnosis suggests, or else its warnings.")
    ] = False,
    follow: Follow = False,
    url: Url = None,
    **hyperparameters: str | None,
) -> None:
    """Train again what an ended job trained, with the hyperparameters that are given changed.

    The exit code is 1 when the request is refused, and with --follow when the job does not succeed.
    """
    request: dict[str, Any] = {"hyperparameters": _values(hyperparameters)}
    if apply_suggestion:
        request["apply"] = "suggestion"
    with _client(url) as client:
        _show(client, client.retry(job, request), follow)


def _show(client: Client, job: dict[str, Any], follow: bool) -> None:
    """Tell where a queued job is; or follow it to its end, and show what it came to."""
    if not follow:
        typer.echo(f"{job['id']} {job['status']}; follow it at {client.url}/jobs/{job['id']}")
        return
    job = show_progress(client.follow(job["id"]), console)
    history = client.history(job["id"], 240)
    # A loss beyond the largest number is null.
    points = [point for point in zip(history["epoch"], history["train_loss"], strict=True) if point[1] is not None]
    if points:
        typer.echo(loss_chart([epoch for epoch, _ in points], [loss for _, loss in points]))
    typer.echo("\n".join([result_line(job), *finding_lines(job)]))
    if job["status"] != "succeeded":
        raise typer.Exit(1)


def _with_hyperparameters(command: Callable[..., None], default: str | None = None) -> Callable[..., None]:
    """Give a command an option for each hyperparameter, as declared in `service.hyperparameters`.

    Args:
        command: takes them as keyword arguments.
        default: what happens to those that are left out, in words; their own default when this is left out.
    """
    parameters = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
    for name, field in Hyperparameters.model_fields.items():
        value = field.get_default()
        written = value if isinstance(value, str) else json.dumps(value, default=lambda model: model.model_dump())
        shown = default or written
        panel = {"metavar": "VALUE", "rich_help_panel": "Hyperparameters"}
        option = Annotated[str | None, typer.Option(help=field.description, show_default=shown, **panel)]
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


app.command()(_with_hyperparameters(train))
app.command()(_with_hyperparameters(retry, default="as in the job"))


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="NAME, NAME@latest or NAME@3.")],
    features: Annotated[list[str], typer.Argument(metavar="NAME=VALUE…", help="The features of one sample.")],
    url: Url = None,
) -> None:
    """Predict for one sample with a model of a running service."""
    pairs = [text.partition("=") for text in features]
    wrong = [name for name, sign, _ in pairs if not sign]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r} is not of the form name=value")
    with _client(url) as client:
        answer = client.predict(model, [(name, value) for name, _, value in pairs])
    typer.echo(json.dumps(answer, ensure_ascii=False))


@app.command()
def jobs(
    status: Annotated[str | None, typer.Option(help="Only queued, running, succeeded, failed or cancelled.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest.")] = 20,
    url: Url = None,
) -> None:
    """List the newest jobs of a running service."""
    with _client(url) as client:
        found = client.jobs(limit=limit, status=status)
    for job in found:
        done = job["progress"]
        typer.echo(f"{job['id']}  {job['status']:<9}  {done['epoch']}/{done['epochs']} epochs  {job['model']}")


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    """Answer `descent --version`."""
    if show:
        typer.echo(f"descent {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command; an error that a user can mend is a line on standard error and exit code 1."""
    try:
        app()
    except DescentError as error:
        typer.echo(f"descent: {error.detail}", err=True)
        sys.exit(1)


def _client(url: str | None) -> Client:
    settings = read_settings()
    # A service that listens everywhere is reached here.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return Client(url or url_of(host, settings.port))


def _values(options: dict[str, str | None]) -> dict[str, Any]:
    """Read the options that were given."""
    return {name: _value(text) for name, text in options.items() if text is not None}


def _value(text: str) -> Any:
    """Read an option as JSON, so that 5 is a number and ["bias"] a list; anything else is a word."""
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text


def _stop_on_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)


if __name__ == "__main__":
    main()
