"""Streams of events, read as the HTML standard says, and what a reader makes of them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """An event as it was dispatched."""

    kind: str
    data: Json
    id: str


def events_in(lines: Iterable[str]) -> Iterator[Event]:
    """Read events out of lines; comments, and blocks without data, are none."""
    last_id, block = "", {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            block[name] = value
            continue
        last_id = block.get("id", last_id)
        if "data" in block:
            yield Event(block.get("event", "message"), json.loads(block["data"]), last_id)
        block = {}


@dataclass
class Reader:
    """Takes in the events of one job, and checks what holds of each as it comes."""

    last_id: str = ""
    statuses: list[tuple[str, int]] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    warnings: list[Json] = field(default_factory=list)
    end: Json | None = None
    n_restarts: int = 0  # from the first epoch

    def take(self, event: Event) -> None:
        assert self.end is None, "nothing follows the end"
        assert event.id != self.last_id or (event.kind == "progress" and not event.data["epoch"])
        self.last_id = event.id
        if event.kind == "status":
            assert event.data["terminal"] == (event.data["status"] not in ("queued", "running"))
            before = self.statuses[-1][0] if self.statuses else None
            assert (before, event.data["status"]) != ("running", "running"), "a job is started from the queue only"
            self.statuses.append((event.data["status"], event.data["attempt"]))
        elif event.kind == "warning":
            assert event.data not in self.warnings
            self.warnings.append(event.data)
        elif event.kind == "progress":
            self._append(event.data)
        else:
            assert event.kind == "end"
            self.end = event.data

    def _append(self, data: Json) -> None:
        epochs = data["epoch"]
        assert len(epochs) <= 500
        if epochs and self.columns.get("epoch") and epochs[0] <= self.columns["epoch"][-1]:
            assert epochs[0] == 0, "epochs come in order, and from 0 when an attempt began anew"
            self.columns = {}
            self.n_restarts += 1
        for name, column in data.items():
            if name == "progress" or column is None:
                continue
            assert len(column) == len(epochs)
            self.columns.setdefault(name, []).extend(column)
