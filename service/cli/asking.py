"""Commands that ask a running service: for predictions, its models, its jobs, its datasets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.options import Url, client_of
from service.client.descent import EXPORTS
from service.errors import UnreadableFile
from service.terminal import dataset_line, dataset_lines, job_line, model_line, model_lines


def predict(
    model: Annotated[str, typer.Argument(help="NAME, NAME@latest, NAME@3 or NAME@ALIAS.")],
    features: Annotated[list[str], typer.Argument(metavar="NAME=VALUE…", help="The features of one sample.")],
    explain: Annotated[bool, typer.Option("--explain", help="Tell what each feature contributes.")] = False,
    url: Url = None,
) -> None:
    """Predict for one sample with a model of a running service."""
    pairs = [text.partition("=") for text in features]
    wrong = [name for name, sign, _ in pairs if not sign]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r} is not of the form name=value")
    with client_of(url) as client:
        answer = client.predict_one(model, [(name, value) for name, _, value in pairs], explain=explain)
    typer.echo(json.dumps(answer, ensure_ascii=False))


def models(
    model: Annotated[
        str | None, typer.Argument(help="The name of one, to see its versions; all models when left out.")
    ] = None,
    delete: Annotated[
        bool,
        typer.Option("--delete", help="Delete it, or with NAME@3 that version; refused while an alias names one."),
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, by name.")] = 100,
    url: Url = None,
) -> None:
    """List the models of a running service, with what their aliases name, or show one with its versions."""
    if delete and not model:
        raise typer.BadParameter("--delete needs the name of a model: `descent models` lists them")
    with client_of(url) as client:
        if not model:
            _tell_page(client.models(limit=limit), model_line, "first")
        elif delete:
            client.delete_model(model)
            typer.echo(f"{model} is deleted")
        else:
            typer.echo("\n".join(model_lines(client.model(model))))


def alias(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    name: Annotated[str, typer.Argument(metavar="ALIAS", help="The alias; MODEL@ALIAS means the version.")],
    version: Annotated[int | None, typer.Argument(help="The version that it is to name.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Take the alias away.")] = False,
    url: Url = None,
) -> None:
    """Let an alias name a version of a model, at once for all who ask."""
    if delete == (version is not None):
        raise typer.BadParameter("give the version that the alias is to name, or --delete")
    with client_of(url) as client:
        if version is None:
            client.delete_alias(model, name)
            typer.echo(f"{model}@{name} is deleted")
        else:
            client.set_alias(model, name, version)
            typer.echo(f"{model}@{name} is version {version}")


def export_model(
    model: Annotated[str, typer.Argument(help="NAME, NAME@latest, NAME@3 or NAME@ALIAS.")],
    file: Annotated[Path, typer.Argument(help="What to write; its name ends in .json, .safetensors or .onnx.")],
    url: Url = None,
) -> None:
    """Write a version of a model into a file: all of it as JSON, for `descent import`, as safetensors or as ONNX."""
    ending = file.suffix.lower().removeprefix(".")
    if ending not in EXPORTS:
        raise typer.BadParameter(f"{str(file)!r} ends in none of {', '.join(f'.{known}' for known in EXPORTS)}")
    with client_of(url) as client:
        content = client.export(model, ending)
    try:
        file.write_bytes(content)
    except OSError as fault:
        raise UnreadableFile(f"{file} cannot be written: {fault.strerror}") from None
    typer.echo(f"{file} has {model}, {len(content):,} bytes")


def import_model(
    file: Annotated[Path, typer.Argument(help="What `descent export` wrote as .json.")],
    name: Annotated[str | None, typer.Option(help="The name to publish under, in place of its own.")] = None,
    url: Url = None,
) -> None:
    """Make a version of a model that was exported, here or elsewhere."""
    try:
        content = file.read_bytes()
        model = json.loads(content)
    except OSError as fault:
        raise UnreadableFile(f"{file} cannot be read: {fault.strerror}") from None
    except ValueError:
        raise UnreadableFile(f"{file} is not JSON: give what `descent export` wrote as .json") from None
    if name is not None and isinstance(model, dict):
        content = json.dumps({**model, "name": name}).encode()
    with client_of(url) as client:
        version = client.import_model(content)
    typer.echo(f"{version['model']}@{version['version']} is ready to predict")


def jobs(
    status: Annotated[str | None, typer.Option(help="Only queued, running, succeeded, failed or cancelled.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest.")] = 20,
    url: Url = None,
) -> None:
    """List the newest jobs of a running service."""
    with client_of(url) as client:
        _tell_page(client.jobs(limit=limit, status=status), job_line, "newest")


def datasets(
    dataset: Annotated[
        str | None, typer.Argument(metavar="DATASET_ID", help="One of them, to see its columns; all when left out.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; refused while a job needs it.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest.")] = 20,
    url: Url = None,
) -> None:
    """List the newest datasets of a running service, or show one with what is known of its columns."""
    if delete and not dataset:
        raise typer.BadParameter("--delete needs the id of a dataset: `descent datasets` lists them")
    with client_of(url) as client:
        if not dataset:
            _tell_page(client.datasets(limit=limit), dataset_line, "newest")
        elif delete:
            client.delete_dataset(dataset)
            typer.echo(f"{dataset} is deleted")
        else:
            typer.echo("\n".join(dataset_lines(client.dataset(dataset))))


def _tell_page(page: dict[str, Any], line_of: Callable[[dict[str, Any]], str], which: str) -> None:
    """Write a line for each of a page, and say that the list goes on; not where each line is one of it."""
    for one in page["data"]:
        typer.echo(line_of(one))
    if page["has_more"]:
        typer.echo(f"these are the {which} {len(page['data'])}, and there are more: see --limit", err=True)


COMMANDS = (predict, models, alias, jobs, datasets)
