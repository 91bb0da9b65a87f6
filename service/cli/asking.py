"""Commands that ask a running service: for predictions, its jobs, its datasets."""

import json
from typing import Annotated, Any

import typer

from service.cli.options import Url, client_of
from service.terminal import dataset_line, dataset_lines


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
    with client_of(url) as client:
        answer = client.predict(model, [(name, value) for name, _, value in pairs])
    typer.echo(json.dumps(answer, ensure_ascii=False))


def jobs(
    status: Annotated[str | None, typer.Option(help="Only queued, running, succeeded, failed or cancelled.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest.")] = 20,
    url: Url = None,
) -> None:
    """List the newest jobs of a running service."""
    with client_of(url) as client:
        found = client.jobs(limit=limit, status=status)
    for job in found["data"]:
        done = job["progress"]
        typer.echo(f"{job['id']}  {job['status']:<9}  {done['epoch']}/{done['epochs']} epochs  {job['model']}")
    _tell_of_more(found)


def datasets(
    dataset: Annotated[
        str | None, typer.Argument(metavar="DATASET_ID", help="One of them, to see its columns; all when left out.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; refused while a job needs it.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest.")] = 20,
    url: Url = None,
) -> None:
    """List the newest datasets of a running service, or show one with what is known of its columns."""
    if delete and dataset is None:
        raise typer.BadParameter("--delete needs the id of a dataset: `descent datasets` lists them")
    with client_of(url) as client:
        if dataset is None:
            found = client.datasets(limit=limit)
            lines = [dataset_line(one) for one in found["data"]]
        elif delete:
            client.delete_dataset(dataset)
            lines = [f"{dataset} is deleted"]
        else:
            lines = dataset_lines(client.dataset(dataset))
    for line in lines:
        typer.echo(line)
    if dataset is None:
        _tell_of_more(found)


def _tell_of_more(page: dict[str, Any]) -> None:
    """Say that a list goes on; not on standard output, where each line is one of it."""
    if page["has_more"]:
        typer.echo(f"these are the newest {len(page['data'])}, and there are more: see --limit", err=True)


COMMANDS = (predict, jobs, datasets)
