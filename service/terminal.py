"""What people see in a terminal: a progress bar, and the loss as a small chart."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bits of a braille character: two columns of four dots, from the top."""


def show_progress(jobs: Iterable[dict[str, Any]], console: Console) -> dict[str, Any]:
    """Show a progress bar while a job comes by again and again; give it as it was last."""
    job: dict[str, Any] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("queued")
        for job in jobs:
            done = job["progress"]
            progress.update(bar, description=job["status"], completed=done["epoch"], total=done["epochs"])
    return job


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


def result_line(job: dict[str, Any]) -> str:
    """Sum up an ended job in a line."""
    if job["status"] == "succeeded":
        metrics = job["result"]["metrics"]["train"]
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if value is not None)
        loss = job["result"]["train_loss"]
        return f"{job['model']}@{job['version']}: train_loss {loss:.6g}, {shown} ({job['stop_reason']})"
    why = job["error"]["detail"] if job["error"] else job["stop_reason"]
    return f"{job['id']} {job['status']}: {why}"
