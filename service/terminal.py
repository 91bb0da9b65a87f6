"""What people see in a terminal: a progress bar, the loss as a small chart, and what is worth knowing in words."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

READ_BYTES = 2**20
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bits of a braille character: two columns of four dots, from the top."""


@contextmanager
def progress_bar(
    console: Console, *, is_shown: bool = True, only_if_seen: bool = False
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show a progress bar; give what is to be told of a job whenever it has changed.

    Args:
        console: where to.
        is_shown: whether there is to be one.
        only_if_seen: none where nobody would see it move, neither in a terminal nor in a notebook.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeRemainingColumn(),
    )
    is_seen = console.is_terminal or console.is_jupyter
    with Progress(*columns, console=console, disable=not is_shown or (only_if_seen and not is_seen)) as progress:
        bar = progress.add_task("queued")

        def show(job: Mapping[str, Any]) -> None:
            done = job["progress"]
            progress.update(bar, description=job["status"], completed=done["epoch"], total=done["epochs"])

        yield show


def read_with_progress(path: Path, console: Console, *, is_shown: bool = True) -> Iterator[bytes]:
    """Read a file in parts, with a progress bar that says what became of them, where somebody would see it move."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    is_seen = console.is_terminal or console.is_jupyter
    bars = Progress(*columns, console=console, transient=True, disable=not (is_shown and is_seen))
    with bars as progress, path.open("rb") as file:
        bar = progress.add_task(f"uploading {path.name}", total=path.stat().st_size)
        while part := file.read(READ_BYTES):
            yield part
            progress.advance(bar, len(part))


def job_line(job: dict[str, Any]) -> str:
    """Sum up a job in a line, with how far it is."""
    done = job["progress"]
    return f"{job['id']}  {job['status']:<9}  {done['epoch']}/{done['epochs']} epochs  {job['model']}"


def dataset_line(dataset: dict[str, Any]) -> str:
    """Sum up a dataset in a line, with all that it takes on disk."""
    n_bytes = dataset["n_bytes"] + dataset["encoded_bytes"]
    size = f"{dataset['n_samples']} x {dataset['n_columns']}"
    name = dataset["name"] or f"({dataset['origin']})"
    return f"{dataset['id']}  {size:>14}  {decimal(n_bytes):>9}  {dataset['created_at'][:16]}  {name}"


def dataset_lines(dataset: dict[str, Any]) -> list[str]:
    """Tell what is known of a dataset and of each of its columns; of some nothing is but name and type."""
    rows = [("column", "type", "missing", "distinct", "")]
    for column in dataset["schema"]:
        known = (dataset["statistics"] or {}).get(column["name"])
        told = ("", "", "") if known is None else (str(known["missing"]), _distinct(known), _summary(known))
        rows.append((column["name"], column["type"], *told))
    widths = [max(len(row[place]) for row in rows) for place in range(4)]
    table = ["  ".join([*map(str.ljust, row[:4], widths), row[4]]).rstrip() for row in rows]
    return [dataset_line(dataset), *table]


def _distinct(known: dict[str, Any]) -> str:
    return f"{'~' if 'distinct' in known.get('estimated', []) else ''}{known['distinct']}"


def _summary(known: dict[str, Any]) -> str:
    """Tell what values a column has."""
    if known.get("mean") is not None:
        return f"{known['mean']:.4g} ± {known['standard_deviation']:.4g}, {known['min']:.4g} to {known['max']:.4g}"
    if known.get("top"):
        return ", ".join(f"{one['value']} ({one['count']})" for one in known["top"][:5])
    return f"{known['min']} to {known['max']}" if known.get("min") is not None else ""


def model_line(model: dict[str, Any]) -> str:
    """Sum up a model in a line, with what its aliases name."""
    aliases = ", ".join(f"{alias}={version}" for alias, version in model["aliases"].items())
    return f"{model['name']}  {aliases}"


def model_lines(model: dict[str, Any]) -> list[str]:
    """Tell of a model and of each of its versions, the newest first: since when, what it is, where it comes from."""
    return [
        model_line(model),
        *(
            f"{model['name']}@{one['version']}  {one['created_at'][:16]}  {one['task']}  {one['job'] or 'imported'}"
            for one in model["versions"]
        ),
    ]


def loss_chart(epochs: Sequence[int], losses: Sequence[float], width: int = 60, height: int = 10) -> str:
    """Draw the loss over the epochs in braille dots, on a logarithmic scale where it spans more than a decade.

    Args:
        epochs, losses: the points, from left to right; at least one, finite.
        width, height: of the plot in characters; a character is two dots wide and four high.

    Returns:
        Lines of text: the plot with the scale at its left, and the first and last epoch below.
    """
    top, bottom = max(losses), min(losses)
    logarithmic = bottom > 0 and top / bottom > 10
    heights = [math.log(loss) for loss in losses] if logarithmic else list(losses)
    low, span = min(heights), max(heights) - min(heights) or 1.0
    first, reach = epochs[0], epochs[-1] - epochs[0] or 1
    columns, rows = 2 * width, 4 * height
    cells = [[0] * width for _ in range(height)]
    xs = [round((epoch - first) / reach * (columns - 1)) for epoch in epochs]
    ys = [round((1 - (value - low) / span) * (rows - 1)) for value in heights]
    for x, y, before in zip(xs, ys, [ys[0], *ys], strict=False):
        # A stroke from the height of the point before joins the dots to a line.
        for dot in range(min(y, before), max(y, before) + 1):
            cells[dot // 4][x // 2] |= _DOTS[x % 2][dot % 4]
    labels = [f"{top:.4g}", *[""] * (height - 2), f"{bottom:.4g}"]
    margin = max(map(len, labels))
    lines = [
        f"{label:>{margin}} ┤" + "".join(chr(0x2800 + dots) for dots in row).rstrip("\u2800")
        for label, row in zip(labels, cells, strict=True)
    ]
    scale = "train_loss, logarithmic" if logarithmic else "train_loss"
    axis = f"{'':>{margin}} └{'─' * width}"
    ends = f"{'':>{margin}}  {first}{f'epoch {epochs[-1]}':>{width - len(str(first))}}"
    return "\n".join([f"{'':>{margin}}  {scale}", *lines, axis, ends])


SHOWN_METRICS = ("mse", "mae", "r2", "accuracy", "log_loss", "f1_macro", "roc_auc")
"""Of all that there are, those that tell most."""


def result_line(job: Mapping[str, Any]) -> str:
    """Sum up an ended job in a line."""
    if job["status"] == "succeeded":
        metrics = job["result"]["metrics"]
        shown = _metrics(metrics["train"])
        held_out = "".join(f"; {part} {_metrics(metrics[part])}" for part in ("validation", "test") if metrics[part])
        loss = job["result"]["train_loss"]
        return f"{job['model']}@{job['version']}: train_loss {loss:.6g}, {shown}{held_out} ({job['stop_reason']})"
    why = job["error"]["detail"] if job["error"] else job["stop_reason"]
    return f"{job['id']} {job['status']}: {why}"


def _metrics(metrics: dict[str, Any]) -> str:
    return ", ".join(f"{name} {metrics[name]:.4g}" for name in SHOWN_METRICS if metrics.get(name) is not None)


def status_line(job: Mapping[str, Any]) -> str:
    """Tell where a job is in its life."""
    if job["paused"]:
        return f"{job['id']} {job['status']}, {'paused' if job['status'] == 'queued' else 'about to be paused'}"
    place = f", place {job['queue_position']}" if job["queue_position"] else ""
    return f"{job['id']} {job['status']}{place}"


def job_lines(job: Mapping[str, Any]) -> list[str]:
    """Tell what is known of a job."""
    done, hyperparameters = job["progress"], job["hyperparameters"]
    eta = done["eta_seconds"]
    table = {
        "model": job["model"] + (f"@{job['version']}" if job["version"] else ""),
        "task": job["task"],
        "dataset": job["dataset"],
        "created": job["created_at"][:19],
        "started": (job["started_at"] or "")[:19],
        "finished": (job["finished_at"] or "")[:19],
        "priority": job["priority"],
        "attempt": job["attempt"],
        "retry of": job["retry_of"] or "",
        "epochs": f"{done['epoch']} of {done['epochs']}" + (f", {eta:.0f} s to go" if eta else ""),
        "learning rate": hyperparameters["learning_rate"],
        "engine": job["engine"] or "",
        "seed": job["seed"],
    }
    lines = [status_line(job), *(f"{name:<15}{value}" for name, value in table.items() if value != "")]
    return [*lines, *([result_line(job)] if job["terminal"] else []), *finding_lines(job)]


def finding_lines(job: Mapping[str, Any]) -> list[str]:
    """Tell what is worth knowing of a job, and what to change: its diagnosis, then its warnings."""
    diagnosis = job["diagnosis"]
    # What a diagnosis says is the job's error as well, which is told of already.
    lines = [] if diagnosis is None else [f"diagnosis {diagnosis['code']}{_way_out(diagnosis)}"]
    lines += _warnings(job["warnings"])
    if any("\n" in line for line in lines):
        lines.append(f"descent retry {job['id']} --apply-suggestion trains again like that")
    return lines


def check_lines(answer: dict[str, Any]) -> list[str]:
    """Tell what a training would do: the answer of `POST /train/check`."""
    rate, resolved = answer["learning_rate"], answer["hyperparameters"]["learning_rate"]
    epochs = rate["epochs_to_tolerance"]
    table = {
        "task": answer["task"],
        "engine": answer["engine"],
        "samples": f"{answer['n_samples']} of {answer['n_features']} features ({answer['n_train']} to train on)",
        "parameters": answer["n_parameters"],
        "memory": f"about {answer['memory_bytes'] / 2**20:.1f} MiB",
        "learning rate": f"{resolved:.6g}" + (" (auto)" if rate["requested"] == "auto" else ""),
        "limit": _number(rate["limit"]) + f" ({rate['kind']})",
        "suggested": _number(rate["suggested"]),
        "fastest": _number(rate["fastest"]),
        "condition number": _number(answer["condition_number"]),
        "epochs it takes": "not known" if epochs is None else epochs,
    }
    return [*(f"{name:<18}{value}" for name, value in table.items()), *_warnings(answer["warnings"])]


def _warnings(warnings: list[dict[str, Any]]) -> list[str]:
    return [f"warning {found['code']}: {found['detail']}{_way_out(found)}" for found in warnings]


def _way_out(finding: dict[str, Any]) -> str:
    """Write a suggestion as options of the command line, in a line of its own."""
    texts = (
        (name, value if isinstance(value, str) else json.dumps(value)) for name, value in finding["suggestion"].items()
    )
    options = [f"--{name.replace('_', '-')} {text}" for name, text in texts]
    return f"\n  try {' '.join(options)}" if options else ""


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.6g}"
