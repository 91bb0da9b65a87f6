"""Commands that train on a running service: on a file, an example or a dataset that is there; and again."""

import re
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from service.cli.options import Follow, Url, client_of, option_of, texts_of, values_of, with_fields, with_texts
from service.client import Descent, Job
from service.data.examples import EXAMPLES
from service.errors import UnreadableFile
from service.files import ENDINGS, PACKED_ENDINGS, FileReading, file_name
from service.hyperparameters import Hyperparameters
from service.selection import Selection
from service.tasks import TRAITS
from service.terminal import check_lines, finding_lines, loss_chart, progress_bar, result_line

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help=f"A file ({', '.join(ENDINGS)}, also with {' or '.join(PACKED_ENDINGS)}), the id of a dataset that is "
        f"there, or an example: {', '.join(EXAMPLES)}.",
    ),
]
Target = Annotated[str | None, typer.Option(help="Column to predict, or several with commas; an example has its own.")]
TaskName = Annotated[str | None, typer.Option(help=f"{', '.join(TRAITS)}; made of the target's values when left out.")]
Features = Annotated[
    str | None, typer.Option(help="Columns to predict from, with commas; all usable ones when left out.")
]
ModelName = Annotated[
    str | None,
    typer.Option(help="Name to publish under; made of the name of the file, or of the dataset that an id names."),
]
Priority = Annotated[int, typer.Option(min=-100, max=100, help="Jobs of a higher one are taken up first.")]
Check = Annotated[
    bool, typer.Option("--check", help="Only tell what it would do, and which learning rate the data allows.")
]
console = Console()


def train(
    source: Source,
    target: Target = None,
    task: TaskName = None,
    features: Features = None,
    model: ModelName = None,
    priority: Priority = 0,
    check: Check = False,
    follow: Follow = False,
    url: Url = None,
    **options: Any,
) -> None:
    """Train a model on a file, a bundled example or a dataset of a running service.

    A file is uploaded first, unless it is there already. The exit code is 1 when something is refused, and with
    --follow when the job does not succeed.
    """
    example = EXAMPLES.get(source)
    if example:
        source, target, task = str(example.path), target or example.target, task or example.task
    if target is None:
        raise UnreadableFile(f"name the column of {source} to predict: --target COLUMN")
    targets = [name.strip() for name in target.split(",")]
    chosen, hyperparameters = values_of(Selection, options), values_of(Hyperparameters, options)
    with client_of(url) as client:
        dataset, selection = _dataset(client, source, texts_of(options, READING), chosen)
        selection["target"] = targets if len(targets) > 1 else target
        if features:
            selection["features"] = [name.strip() for name in features.split(",")]
        request = {
            "model": model or _model_name(source, dataset),
            "task": task or _task_for(dataset, targets[0]),
            "dataset": {"id": dataset["id"], **selection},
            "hyperparameters": hyperparameters,
            "priority": priority,
        }
        if check:
            typer.echo("\n".join(check_lines(client.check(request))))
        else:
            _show(client, client.submit(request), follow)


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
    changes = values_of(Hyperparameters, hyperparameters)
    with client_of(url) as client:
        _show(client, client.job(job).retry(apply_suggestion=apply_suggestion, **changes), follow)


# Types are those of the columns here: a dataset that is there can be taken to have others, too.
READING = {name: name for name in FileReading.model_fields if name != "types"} | {"missing": "missing_text"}
"""What may be said of how a file is read, and by which argument: `missing` is what becomes of missing values."""
HYPERPARAMETERS = "Hyperparameters"
with_texts(train, FileReading, "How the file is read", READING)
with_fields(train, Selection, "Columns", but=("target", "features"))
with_fields(train, Hyperparameters, HYPERPARAMETERS)
with_fields(retry, Hyperparameters, HYPERPARAMETERS, default="as in the job")
COMMANDS = (train, retry)


def _dataset(
    client: Descent, source: str, reading: dict[str, Any], selection: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the dataset that a source names, uploaded if need be, and what is left to select of its columns."""
    if _is_id(source):
        if reading:
            given = ", ".join(option_of(READING[name]) for name in reading)
            raise typer.BadParameter(f"{source} has been read already: leave {given} out, or train on its file")
        return client.dataset(source), selection
    # Types belong to the reading, for a number like 007 loses its zeros when it is read as one.
    return client.upload(source, types=selection.pop("types", None), **reading), selection


def _is_id(source: str) -> bool:
    """Tell the id of a dataset from a file, which may be called like one."""
    return re.fullmatch(r"ds_\w+", source) is not None and not Path(source).is_file()


def _model_name(source: str, dataset: dict[str, Any]) -> str | None:
    """Make a name for a model of that of the file: the same content may be there under another's."""
    name = dataset["name"] or "" if _is_id(source) else file_name(Path(source).name).stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:100] or None


def _task_for(dataset: dict[str, Any], target: str) -> str:
    """Choose the task that a target asks for: a regression for numbers, a classification for anything else."""
    kinds = {column["name"]: column["type"] for column in dataset["schema"]}
    if kinds.get(target, "number") == "number":
        return next(iter(TRAITS))
    known = (dataset["statistics"] or {}).get(target, {})
    return "logistic_regression" if known.get("distinct") == 2 else "softmax_regression"


def _show(client: Descent, job: Job, follow: bool) -> None:
    """Tell where a queued job is; or follow it to its end, and show what it came to."""
    if not follow:
        typer.echo(f"{job.id} {job['status']}; follow it at {client.url}/jobs/{job.id}")
        return
    with progress_bar(console) as show:
        job.follow(show)
    history = job.thinned_history(240)
    # A loss beyond the largest number is not finite here.
    is_finite = np.isfinite(history["train_loss"])
    if is_finite.any():
        typer.echo(loss_chart(history["epoch"][is_finite].tolist(), history["train_loss"][is_finite].tolist()))
    typer.echo("\n".join([result_line(job), *finding_lines(job)]))
    if job["status"] != "succeeded":
        raise typer.Exit(1)
