"""Logs as JSON lines on standard error, one for each process of the service."""

import json
import logging
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_write = json.JSONEncoder(default=str).encode
_ABOUT: ContextVar[Mapping[str, Any]] = ContextVar("about", default=MappingProxyType({}))


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object: time, level, process, logger, message, what `log_about` and `extra` named."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Write the record; JSON escapes whatever a user's text has in it."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _ABOUT.get()
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _write(line)


def log_about(**values: Any) -> AbstractContextManager[None]:
    """Add these to every line that is logged inside, also by the threads in which endpoints run; None is left out."""
    return _About({name: value for name, value in values.items() if value is not None})


class _About(AbstractContextManager[None]):
    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __enter__(self) -> None:
        self._token: Token[Mapping[str, Any]] = _ABOUT.set({**_ABOUT.get(), **self._values})

    def __exit__(self, *_: object) -> None:
        _ABOUT.reset(self._token)


def request_at_hand() -> str | None:
    """Give the id of the request that is being answered, as the log lines have it; None outside of any."""
    return _ABOUT.get().get("request")


def configure_logging(level: str, process: str) -> None:
    """Send all logs of this process to standard error as JSON lines.

    What these do not tell of is not looked up for them: the place in the code, the thread, the process.
    """
    logging._srcfile = None  # as the manual of logging does
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(JsonLines(process))
    logging.basicConfig(level=level.upper(), handlers=[stream], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
