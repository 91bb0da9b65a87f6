import re
from pathlib import Path

from tests.contract import examine

FEWEST_CASES = 40
"""So many even a machine that is busy with much else comes to in 20 s."""


def test_the_service_answers_as_its_openapi_document_says(tmp_path: Path) -> None:
    found = examine(tmp_path, 20, 1)
    assert found.returncode == 0, found.stdout + found.stderr
    selected = re.search(r"(\d+) selected / (\d+) total", found.stdout)
    assert selected is not None
    assert selected[1] == selected[2] != "0"
    generated = re.search(r"(\d+) generated, (\d+) passed", found.stdout)
    assert generated is not None, found.stdout
    assert int(generated[1]) >= FEWEST_CASES
