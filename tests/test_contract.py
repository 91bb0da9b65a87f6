import re
from pathlib import Path

from tests.contract import examine


def test_the_service_answers_as_its_openapi_document_says(tmp_path: Path) -> None:
    found = examine(tmp_path, 20, 1)
    assert found.returncode == 0, found.stdout + found.stderr
    selected = re.search(r"(\d+) selected / (\d+) total", found.stdout)
    assert selected is not None
    assert selected[1] == selected[2] != "0"
