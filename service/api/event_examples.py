"""Examples of event streams, for the OpenAPI document."""

import json
from typing import Any

from service.api.examples import JOB

_STATUS: dict[str, Any] = {
    "id": JOB["id"],
    "model": JOB["model"],
    "status": "running",
    "terminal": False,
    "attempt": 1,
    "progress": {"epoch": 0, "epochs": 2000, "fraction": 0.0, "eta_seconds": None},
}
_PROGRESS: dict[str, Any] = {
    "epoch": [0, 1, 2],
    "train_loss": [29310.6, 6.2417, 2.98301],
    "validation_loss": None,
    "gradient_norm": [51097.02, 20.1, 11.7],
    "learning_rate": [1e-5, 1e-5, 1e-5],
    "progress": {"epoch": 2, "epochs": 2000, "fraction": 0.001, "eta_seconds": 1.5},
}


def _event(kind: str, content: dict[str, Any], identifier: str) -> str:
    return f"event: {kind}\ndata: {json.dumps(content)}\nid: {identifier}\n\n"


JOB_EVENTS = (
    "retry: 1000\n\n"
    + _event("status", _STATUS, "1-running-0-")
    + _event("warning", JOB["warnings"][0], "1-running-0-5c1f0a")
    + _event("progress", _PROGRESS, "1-running-3-5c1f0a")
    + _event("end", JOB, "1-succeeded-2001-5c1f0a-end")
)
EVENTS = (
    "retry: 1000\nid: 1795255200000000-6\n\n"
    + _event("status", _STATUS, "1795255200020000-7")
    + _event("end", JOB, "1795255200250000-7")
)
