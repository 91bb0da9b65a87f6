"""The `descent` command, put together."""

import sys
from typing import Annotated

import typer

from service import __version__
from service.cli import acting, asking, keys, serving, training
from service.cli.wording import in_options
from service.errors import DescentError, ServiceRefused

app = typer.Typer(
    help="Gradient descent over HTTP: data in, model out, prediction back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for command in (*serving.COMMANDS, *training.COMMANDS, *asking.COMMANDS, *acting.COMMANDS):
    app.command()(command)
app.command("export")(asking.export_model)
app.command("import")(asking.import_model)
app.add_typer(keys.app, name="keys")


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
        told = in_options(error) if isinstance(error, ServiceRefused) else error
        typer.echo(f"descent: {told.detail}", err=True)
        sys.exit(1)
