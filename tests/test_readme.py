import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import LiveService

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
URL = "http://127.0.0.1:8000"
PROGRAMS = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if URL in block]
SHELL = """
set -e
curl() { command curl --silent --show-error --fail-with-body "$@"; }
descent() { "$PYTHON" -m service.cli "$@"; }
"""


def test_the_programs_of_the_readme_are_found() -> None:
    assert [word for word in ("httpx", "Descent(") if not any(word in program for program in PROGRAMS)] == []


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: re.findall(r"import (\w+)", program)[0])
def test_a_program_of_the_readme_runs_as_it_stands(
    live: LiveService, program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {job["id"] for job in live.http.get("/jobs?limit=1000").json()["data"]}
    exec(compile(program.replace(URL, live.url), "README.md", "exec"), {})
    jobs: list[dict[str, Any]] = live.http.get("/jobs?limit=1000").json()["data"]
    mine = [job for job in jobs if job["id"] not in before]
    assert len(mine) >= 2
    assert capsys.readouterr().out


def commands() -> Iterator[str]:
    """What the README has for a shell and `curl`, part by part, but for what needs keys or never ends."""
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL):
        if re.search(rf"curl .*{URL}/", block) and "descent keys" not in block:
            yield from re.sub(r"curl -N '[^']*/events\?.*\n", "", block).strip().split("\n\n")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_commands_of_the_readme_run_as_they_stand(live: LiveService, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "DESCENT_PORT": str(httpx.URL(live.url).port)}
    ids: dict[str, str] = {}
    for part in commands():
        command = part.replace(URL, live.url)
        for meant, its in ids.items():
            command = command.replace(meant, its)
        outcome = subprocess.run(
            ["sh", "-c", SHELL + command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert (outcome.returncode, bool(outcome.stdout)) == (0, True), (command, outcome.stdout, outcome.stderr)
        for meant, kind in ("JOB_ID", "job"), ("DATASET_ID", "ds"):
            if made := re.match(rf'{{"id":"({kind}_\w+)"', outcome.stdout):
                ids[meant] = made[1]
    models = {model["name"]: model["aliases"] for model in live.http.get("/models?limit=1000").json()["data"]}
    assert models.keys() >= {"exam-scores", "given", "copied"}
    assert models["houses"]["production"] == 1
