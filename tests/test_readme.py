import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LiveService

README = Path(__file__).parents[1] / "README.md"
URL = "http://127.0.0.1:8000"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
PROGRAMS = [block for block in BLOCKS if URL in block]


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
