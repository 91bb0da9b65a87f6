import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store import jobs
from tests.api.conftest import LocalService, check_problem, line, local_service
from tests.logs import logged

ALL_HAVE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
MADE = r"req_[0-9A-Z]{26}"
ANSWERS = {
    ("GET", "/healthz"): 200,
    ("GET", "/readyz"): 503,
    ("GET", "/metrics"): 200,
    ("GET", "/openapi.json"): 200,
    ("GET", "/docs"): 200,
    ("GET", "/redoc"): 200,
    ("GET", "/docs/oauth2-redirect"): 200,
    ("GET", "/static-offline-docs/swagger-ui.css"): 200,
    ("GET", "/static-offline-docs/nothing"): 404,
    ("GET", "/jobs"): 200,
    ("GET", "/jobs/"): 307,
    ("GET", "/jobs/job_1"): 404,
    ("GET", "/nowhere"): 404,
    ("PUT", "/jobs"): 405,
    ("POST", "/train"): 415,
    ("OPTIONS", "/train"): 405,
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalService, str]]:
    """A service with a job that cannot be told of, since its row makes no sense."""
    with local_service(tmp_path_factory.mktemp("broken")) as service:
        job = service.enqueue(line())
        with service.database.connection(writes=True) as connection:
            connection.exec_driver_sql("UPDATE jobs SET resolved = '{\"epochs\": -7}'")
        yield service, job


@pytest.mark.parametrize(("method", "path"), ANSWERS)
def test_every_answer_has_a_request_id_and_security_headers(service: LocalService, method: str, path: str) -> None:
    answer = service.http.request(method, path, content=b"x", follow_redirects=False)
    assert answer.status_code == ANSWERS[method, path]
    assert re.fullmatch(MADE, answer.headers["X-Request-ID"])
    assert {name: answer.headers[name] for name in ALL_HAVE} == ALL_HAVE
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == ("private, no-cache" if "etag" in answer.headers else "no-store")
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_an_unforeseen_error_has_them_too_and_one_traceback_in_the_log(broken: tuple[LocalService, str]) -> None:
    service, job = broken
    with logged() as lines:
        answer = service.http.get(f"/jobs/{job}", headers={"X-Request-ID": "mine"})
    check_problem(answer, 500)
    assert answer.headers["X-Request-ID"] == "mine"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    (told,) = [found for found in lines.all if "exception" in found]
    assert (told["request"], told["message"]) == ("mine", "unforeseen error")
    assert [found["status"] for found in lines.of("request answered")] == [500]


def test_a_body_that_is_refused_before_it_is_read_has_them_too(tmp_path: Path) -> None:
    with local_service(tmp_path, max_body_bytes=1024) as service:
        answer = service.post("/train", b" " * 2000)
    check_problem(answer, 413)
    assert re.fullmatch(MADE, answer.headers["X-Request-ID"])
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_an_answer_that_may_be_asked_for_again_keeps_its_tag(standing: LocalService) -> None:
    path = standing.http.get("/jobs").json()["data"][0]["links"]["self"]
    tag = standing.http.get(path).headers["ETag"]
    again = standing.http.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.headers["Cache-Control"]) == (304, "private, no-cache")


@pytest.mark.parametrize("page", ["/docs", "/redoc", "/docs/oauth2-redirect"])
def test_the_docs_may_run_what_they_hold_and_load_from_here_and_nothing_else(service: LocalService, page: str) -> None:
    answer = service.http.get(page)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    inline = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in inline]
    assert policy["script-src"].split() == ["'self'", *(f"'sha256-{digest}'" for digest in digests)]
    assert policy["default-src"] == "'none'"
    assert bool(digests) is (page != "/redoc")
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert not re.search(r"\son\w+=", answer.text), "no handler in an attribute, which the policy would not run"


@given(st.text(st.characters(max_codepoint=255), max_size=30) | st.text("x", min_size=195, max_size=205))
def test_a_request_id_is_taken_when_it_is_short_and_printable_ascii_and_made_otherwise(
    service: LocalService, text: str
) -> None:
    sane = 0 < len(text) <= 200 and all(" " <= character <= "~" for character in text)
    answer = service.http.get("/healthz", headers={b"X-Request-ID": text.encode("latin-1")})
    assert (answer.headers["X-Request-ID"] == text) is sane
    if not sane:
        assert re.fullmatch(MADE, answer.headers["X-Request-ID"])


def test_of_two_request_ids_neither_is_taken(service: LocalService) -> None:
    answer = service.http.get("/healthz", headers=[("X-Request-ID", "one"), ("X-Request-ID", "two")])
    assert re.fullmatch(MADE, answer.headers["X-Request-ID"])


def test_the_log_has_a_line_for_each_request_with_its_id_route_status_and_time(service: LocalService) -> None:
    with logged() as lines:
        for number, path in enumerate(("/healthz", "/jobs/job_secret", "/static-offline-docs/x.js", "/a%0Ab")):
            service.http.get(path, headers={"X-Request-ID": f"id {number}"})
    told = lines.of("request answered")
    assert [(found["request"], found["route"], found["status"]) for found in told] == [
        ("id 0", "/healthz", 200),
        ("id 1", "/jobs/{job_id}", 404),
        ("id 2", "/static-offline-docs/{path}", 404),
        ("id 3", None, 404),
    ]
    assert [found.get("job") for found in told] == [None, "job_secret", None, None]
    assert told[3]["path"] == "/a\nb"
    for found in told:
        assert (found["method"], found["level"], found["process"]) == ("GET", "info", "api")
        assert found["client"] == "127.0.0.1"
        assert 0 < found["milliseconds"] < 10_000


@given(st.text(min_size=1, max_size=40))
def test_no_text_of_a_user_makes_a_line_of_its_own_in_the_log(service: LocalService, text: str) -> None:
    forged = f'{text}\r\n{{"level": "error", "message": "forged"}}\u2028\x1b[31m'
    with logged() as lines:
        service.http.get("/jobs", params={"model": forged})
        service.http.get(f"/{quote(forged, errors='replace')}", headers={"X-Request-ID": "x"})
    assert lines.text.isascii()
    assert all(found["message"] != "forged" for found in lines.all)
    assert len(lines.of("request answered")) == 2


def test_a_job_keeps_the_id_of_its_request_and_the_lines_of_both_have_the_ids_of_both(local: LocalService) -> None:
    with logged() as lines:
        answer = local.post("/train", line(), {"X-Request-ID": "the first"})
        job = answer.json()["id"]
        again = local.post(f"/jobs/{job}/cancel", {}, {"X-Request-ID": "the second"})
        retried = local.post(f"/jobs/{job}/retry", {}, {"X-Request-ID": "the third"}).json()["id"]
    assert again.status_code == 202
    told = [(found["request"], found["job"]) for found in lines.of("request answered")]
    assert told == [("the first", job), ("the second", job), ("the third", retried)]
    with local.database.reading() as session:
        kept = [jobs.get(session, identifier).request_id for identifier in (job, retried)]
    assert kept == ["the first", "the third"]
