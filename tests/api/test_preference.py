import pytest
from starlette.requests import Request

from service.api.preference import preferred

JSON, CSV, ARROW = "application/json", "text/csv", "application/vnd.apache.arrow.file"
CHOICES = {
    "": JSON,
    "*/*": JSON,
    "text/csv": CSV,
    "TEXT/CSV; header=present": CSV,
    "text/*": CSV,
    "application/*": JSON,
    "text/csv, application/json": CSV,
    "application/json, text/csv": JSON,
    "application/json;q=0, text/csv": CSV,
    "application/json;q=0.5, text/csv;q=0.9": CSV,
    "text/csv;q=0": JSON,
    "text/csv; q=0.1, */*": JSON,
    "*/*, application/json;q=0.2": CSV,
    "application/json;q=0, */*": CSV,
    "application/vnd.apache.arrow.file, */*;q=0.1": ARROW,
    "text/html": JSON,
    "text/csv;q=much": JSON,
    "text/csv;q=2": JSON,
    ";;,,": JSON,
}


@pytest.mark.parametrize("accept", CHOICES)
def test_the_media_type_that_is_accepted_most_is_preferred(accept: str) -> None:
    parts = accept.split(", ")  # each in a header of its own says the same
    for headers in ([accept], parts):
        scope = {"type": "http", "headers": [(b"accept", one.encode()) for one in headers]}
        assert preferred(Request(scope), (JSON, CSV, ARROW)) == CHOICES[accept]
