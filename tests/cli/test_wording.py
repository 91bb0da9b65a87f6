import re
from pathlib import Path
from typing import Any

import pytest

from service.cli.wording import in_options
from service.errors import ServiceRefused
from tests.conftest import Command, LiveService


def told(path: str, pointer: str, detail: str) -> str:
    """What a person reads of a request at this path that was refused for one fault."""
    problem: dict[str, Any] = {"instance": path, "detail": detail, "errors": [{"pointer": pointer, "detail": detail}]}
    return in_options(ServiceRefused(problem)).detail


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("x;y\n1,5;2\n2,5;3\n", ["--types", '{"x":"number"}'], "--decimal ,"),
        ("2019,2020,2021\n1,2,3\n", [], "--header true if they are names, or --header false"),
        ("x,y\n1,2\nnot known,3\n2,4\n3,5\n", [], "--missing-text 'not known'"),
        ("x,y\n1,2\n-,3\n2,4\n3,5\n", [], "with its type in --types"),
        ("größe,y\n1,2\n".encode("latin-1"), [], "--encoding latin-1 or --encoding cp1252"),
        ("x,y\n1,2\n,3\n2,4\n", [], "say what becomes of them, as --missing '{\"x\": …}' with mean, median"),
        ("x,y\n1,2\n2,4\n", ["--encoding", "utf-99"], "--encoding: "),
        ("x,y\n1,2\n2,4\n", ["--types", '{"z":"number"}'], "--types: "),
        ("x,y\n1,2\n2,4\n", ["--decimal", ".."], "--decimal: "),
    ],
)  # fmt: skip
def test_a_refused_file_is_told_of_by_options_only(
    live: LiveService, descent: Command, tmp_path: Path, content: str | bytes, options: list[str], said: str
) -> None:
    path = tmp_path / "faulty.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    outcome = descent("train", str(path), "--target", "y", *options, "--url", live.url)
    assert outcome.code == 1
    assert said in outcome.err
    assert re.search(r"#|[?]\w+=|upload_|`", outcome.err) is None, outcome.err


@pytest.mark.parametrize(
    ("path", "pointer", "detail", "line"),
    [
        ("/train", "#/dataset/missing", 'as "missing": {"a": "mean"}', "--missing: as --missing '{\"a\": \"mean\"}'"),
        ("/train", "#/dataset/features/0", 'say "dates": {"d": []}', "--features: say --dates '{\"d\": []}'"),
        ("/train", "#", "no more than 5", "no more than 5"),
        ("/train/check", "#/hyperparameters/batch_size", "is wrong", "--batch-size: is wrong"),
        ("/jobs/job_1/retry", "#/hyperparameters/l2", "hyperparameters.l2: wrong", "--l2: wrong"),
        ("/datasets", "#/query/missing/0", "query.missing[0]: too long", "--missing-text: --missing-text[0]: too long"),
        ("/datasets", "#/rows/0/x", "with ?missing=1%25; or `types`", "with --missing-text 1%; or --types"),
        ("/datasets", "#/header/Content-Type", "as in ?encoding=latin-1", "--encoding: as in --encoding latin-1"),
        ("/models", "#/parameters/weight", "is missing", "#/parameters/weight: is missing"),
        ("/jobs/x", "#", "GET /jobs, DELETE /datasets/ds_1", "`descent jobs`, `descent datasets ds_1 --delete`"),
    ],
)  # fmt: skip
def test_fields_are_told_as_the_options_that_give_them(path: str, pointer: str, detail: str, line: str) -> None:
    assert told(path, pointer, detail) == line
