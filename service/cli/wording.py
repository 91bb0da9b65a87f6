"""What the service says of a request, in the words of the command line: options for fields, commands for requests."""

import re
import shlex
from urllib.parse import unquote

from service.cli.options import option_of
from service.cli.training import READING
from service.errors import ServiceRefused
from service.files import FileReading
from service.hyperparameters import Hyperparameters
from service.selection import Selection

COMMANDS = {
    r"GET /(models|jobs|datasets)\b": r"`descent \1`",
    r"DELETE /models/(\S+)/aliases/ALIAS": r"`descent alias \1 ALIAS --delete`",
    r"DELETE /datasets/(\w+)": r"`descent datasets \1 --delete`",
    r"POST /jobs/(\w+)/(cancel|pause|resume)": r"`descent \2 \1`",
    r"DELETE /jobs/(\w+)": r"`descent delete \1`",
}
"""Requests that sentences name, and what does the same."""
READ_OPTIONS = {name: option_of(READING.get(name, name)) for name in FileReading.model_fields}
COLUMN_OPTIONS = {name: option_of(name) for name in Selection.model_fields}
TRAIN_OPTIONS = COLUMN_OPTIONS | {
    name: option_of(name) for name in ("model", "task", "priority", *Hyperparameters.model_fields)
}
PLACES: tuple[tuple[str, str, dict[str, str]], ...] = (
    (r"/datasets", r"#/(?:query|header)/(?P<name>[\w-]+)", READ_OPTIONS | {"Content-Type": READ_OPTIONS["encoding"]}),
    (r"/datasets", r"#/(?P<name>rows|columns)?", {}),
    (r"/train(?:/check)?|/jobs/\w+/retry", r"#/(?:(?:dataset|hyperparameters)/)?(?P<name>\w+)", TRAIN_OPTIONS),
    (r"/(?:jobs|models|datasets)", r"#/query/(?P<name>\w+)", {name: option_of(name) for name in ("status", "limit")}),
    (r"/predict", r"#/(?P<name>query)", {}),
)
"""Where a request tells what options say: its path, the pointers, and the option of each name."""


def in_options(refused: ServiceRefused) -> ServiceRefused:
    """Put what was answered into the words of the command line.

    The place of a fault is the option that gave what is there. Where none did, the sentence tells it; only in a file
    of JSON, which is sent as it is, it stays a pointer.
    """
    problem = refused.problem
    path = problem.get("instance", "")
    faults = [_fault(path, fault["pointer"], fault["detail"]) for fault in problem.get("errors") or []]
    return ServiceRefused({**problem, "detail": _sentence(path, problem["detail"]), "errors": faults})


def _fault(path: str, pointer: str, detail: str) -> dict[str, str]:
    option, sentence = _option(path, pointer), _sentence(path, detail)
    return {"pointer": "" if sentence.startswith(f"{option}:") else option, "detail": sentence}


def _option(path: str, pointer: str) -> str:
    for request, place, options in PLACES:
        found = re.match(place, pointer)
        if found and re.fullmatch(request, path):
            return options.get(found["name"], "")
    return pointer


def _sentence(path: str, detail: str) -> str:
    """Write `?name=value`, and `"name": {…}`, a marked or a dotted name of a field, as options."""
    options = READ_OPTIONS if path == "/datasets" else TRAIN_OPTIONS

    def of_query(found: re.Match[str]) -> str:
        option = READ_OPTIONS.get(found["name"])
        return found[0] if option is None else f"{option} {shlex.quote(unquote(found['value']))}"

    def of_field(found: re.Match[str]) -> str:
        value = found["value"]
        return f"{COLUMN_OPTIONS[found['name']]} {value if value == '…' else shlex.quote(value)}"

    def of_name(found: re.Match[str]) -> str:
        return options.get(found["marked"] or found["dotted"], found[0])

    for request, command in COMMANDS.items():
        detail = re.sub(request, command, detail)
    detail = re.sub(r"\?(?P<name>\w+)=(?P<value>[^\s;)]*)", of_query, detail)
    detail = re.sub(rf"\"?\b(?P<name>{'|'.join(COLUMN_OPTIONS)})\b\"?:? (?P<value>\{{.*?\}}|…)", of_field, detail)
    return re.sub(r"`(?P<marked>\w+)`|\b(?:dataset|hyperparameters|query)\.(?P<dotted>\w+)", of_name, detail)
