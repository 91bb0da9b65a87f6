"""Other processes, as Linux shows them in /proc, and patience with them."""

import time
from collections.abc import Callable
from pathlib import Path

PROC = Path("/proc")
PATIENCE_SECONDS = 60


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Come back when the condition holds; fail when it still does not after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not waited for does not."""
    return _state_and_parent(pid)[0] not in "ZX"


def children_of(parent: int) -> dict[int, str]:
    """Give the command of each living child by its pid."""
    pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    return {pid: _command(pid) for pid in pids if is_alive(pid) and _state_and_parent(pid)[1] == parent}


def _state_and_parent(pid: int) -> tuple[str, int]:
    try:
        # The name of the program, in brackets, may hold anything.
        state, parent, *_ = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    return state, int(parent)


def _command(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""
