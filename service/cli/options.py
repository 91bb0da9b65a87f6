"""Options that several commands have, and those made of the fields of a model."""

import inspect
import json
from collections.abc import Callable, Container
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from service.client import Client
from service.serve import url_of
from service.settings import read_settings

Url = Annotated[str | None, typer.Option(help="Where the service is; by default where `descent serve` listens.")]
Follow = Annotated[bool, typer.Option("--follow", help="Show progress and the loss until the job ends.")]

Command = Callable[..., None]


def client_of(url: str | None) -> Client:
    """Talk to the service at an address, or where `descent serve` listens."""
    settings = read_settings()
    # A service that listens everywhere is reached here.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return Client(url or url_of(host, settings.port))


def with_fields(
    command: Command, model: type[BaseModel], panel: str, *, default: str | None = None, but: Container[str] = ()
) -> Command:
    """Give a command an option for each field of a model, whose text is read by `values_of`.

    Args:
        command: takes them as keyword arguments.
        model: declares them, with a sentence each.
        panel: the heading that they stand under in the help.
        default: what happens to those that are left out, in words; their own default when this is left out.
        but: fields to leave out.
    """
    parameters = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
    for name, field in model.model_fields.items():
        if name in but:
            continue
        value = field.get_default(call_default_factory=True)
        written = value if isinstance(value, str) else json.dumps(value, default=lambda inner: inner.model_dump())
        shown = {"show_default": default or written, "metavar": "VALUE", "rich_help_panel": panel}
        assert value is not PydanticUndefined
        option = Annotated[str | None, typer.Option(help=field.description, **shown)]
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def values_of(model: type[BaseModel], options: dict[str, str | None]) -> dict[str, Any]:
    """Read those of the options that were given and are fields of a model."""
    return {name: _value(text) for name, text in options.items() if text is not None and name in model.model_fields}


def _value(text: str) -> Any:
    """Read an option as JSON, so that 5 is a number and ["bias"] a list; anything else is a word."""
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text
