"""Options that several commands have, and those made of the fields of a model."""

import inspect
import json
from collections.abc import Callable, Container, Mapping
from typing import Annotated, Any, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from service.client import Descent
from service.serve import url_of
from service.settings import read_settings

Url = Annotated[str | None, typer.Option(help="Where the service is; by default where `descent serve` listens.")]
Follow = Annotated[bool, typer.Option("--follow", help="Show progress and the loss until the job ends.")]

Command = Callable[..., None]


def client_of(url: str | None) -> Descent:
    """Talk to the service at an address, or where `descent serve` listens."""
    settings = read_settings()
    # A service that listens everywhere is reached here.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return Descent(url or url_of(host, settings.port), key=settings.api_key)


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
    options = {}
    for name, field in model.model_fields.items():
        if name in but:
            continue
        value = field.get_default(call_default_factory=True)
        written = value if isinstance(value, str) else json.dumps(value, default=lambda inner: inner.model_dump())
        shown: dict[str, Any] = {"show_default": default or written, "metavar": "VALUE", "rich_help_panel": panel}
        assert value is not PydanticUndefined
        example = _example(field)
        help_text = field.description if example is None else f"{field.description} An object is JSON: '{example}'."
        options[name] = Annotated[str | None, typer.Option(help=help_text, **shown)]
    return _with_options(command, options)


def with_texts(command: Command, model: type[BaseModel], panel: str, called: Mapping[str, str]) -> Command:
    """Give a command an option for each of these fields of a model, whose text is taken as it stands by `texts_of`.

    That of a field which is a list may be given many times.

    Args:
        command: takes them as keyword arguments.
        model: declares them, with a sentence each.
        panel: the heading that they stand under in the help.
        called: the fields, and the argument for each.
    """
    options = {}
    for name, argument in called.items():
        field = model.model_fields[name]
        kind: Any = list[str] if get_origin(field.annotation) is list else str
        shown: dict[str, Any] = {"show_default": field.default or False, "metavar": "TEXT", "rich_help_panel": panel}
        options[argument] = Annotated[kind | None, typer.Option(help=field.description, **shown)]
    return _with_options(command, options)


def _with_options(command: Command, options: Mapping[str, Any]) -> Command:
    kept = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in options.items()
    ]
    command.__signature__ = inspect.Signature([*kept, *added])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in (*kept, *added)}
    return command


def texts_of(options: Mapping[str, Any], called: Mapping[str, str]) -> dict[str, Any]:
    """Give by field the texts of those options of `with_texts` that were given."""
    return {name: options[argument] for name, argument in called.items() if options[argument] not in (None, [])}


def values_of(model: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """Read those of the options that were given and are fields of a model.

    Raises:
        typer.BadParameter: for one that may be an object and seems to be meant as one, in another form than JSON.
    """
    given = {name: text for name, text in options.items() if text is not None and name in model.model_fields}
    return {name: _value(name, text, _example(model.model_fields[name])) for name, text in given.items()}


def option_of(name: str) -> str:
    """Write the name of an argument as that of the option which gives it."""
    return f"--{name.replace('_', '-')}"


def _value(name: str, text: str, example: str | None) -> Any:
    """Read an option as JSON, so that 5 is a number and ["bias"] a list; anything else is a word."""
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        if example is not None and ("=" in text or text.lstrip().startswith("{")):
            raise typer.BadParameter(
                f"{text!r} is no JSON: an object is given as {option_of(name)} '{example}'"
            ) from None
        return text


def _example(field: FieldInfo) -> str | None:
    """Give an object that a field may be, as JSON; None when it may be none."""
    return next((json.dumps(example) for example in field.examples or () if isinstance(example, dict)), None)
