import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from httpx2 import Response

from tests.api.conftest import LocalService, check_fault, check_problem, line, local_service
from tests.conftest import LiveService

LIMIT = 2000
BODIES = {"/train": line(), "/train/check": line(), "/predict": {"model": "line", "features": [[1]]}}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service that accepts bodies of two thousand bytes."""
    with local_service(tmp_path_factory.mktemp("small"), max_body_bytes=LIMIT) as service:
        service.train(line(model="line"))
        yield service


def padded(body: object, size: int) -> bytes:
    content = json.dumps(body).encode()
    return content + b" " * (size - len(content))


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nowhere"), ("GET", "/"), ("POST", "/jobs/x/again"), ("GET", "/jobs/a/b"), ("GET", "/models/a/versions")],
)
def test_a_path_that_is_not_there_is_not_found(standing: LocalService, method: str, path: str) -> None:
    problem = check_problem(standing.http.request(method, path), 404)
    assert path in problem["detail"]
    assert "errors" not in problem


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/train", "POST"),
        ("PUT", "/train/check", "POST"),
        ("GET", "/jobs/job_1/retry", "POST"),
        ("POST", "/jobs", "GET"),
        ("PUT", "/jobs/job_1", "DELETE, GET"),
        ("GET", "/jobs/job_1/cancel", "POST"),
        ("DELETE", "/jobs/job_1/history", "GET"),
        ("PATCH", "/models", "GET, POST"),
        ("POST", "/models/line/versions/1", "DELETE, GET"),
        ("POST", "/healthz", "GET"),
        ("DELETE", "/predict", "GET, POST"),
        ("PATCH", "/datasets/synthetic", "POST"),
        ("POST", "/datasets/ds_1", "DELETE, GET"),
    ],
)
def test_a_method_that_a_path_does_not_know_is_refused_with_those_it_knows(
    standing: LocalService, method: str, path: str, allowed: str
) -> None:
    answer = standing.http.request(method, path)
    problem = check_problem(answer, 405)
    assert f"{method} is not for {path}" in problem["detail"]
    assert sorted(answer.headers["allow"].split(", ")) == allowed.split(", ")


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("content_type", ["text/plain", "text/html", "application/x-www-form-urlencoded", None])
def test_a_body_of_another_media_type_is_refused_by_its_name(
    standing: LocalService, path: str, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = standing.http.post(path, content=json.dumps(BODIES[path]), headers=headers)
    problem = check_problem(answer, 415)
    assert "application/json" in problem["detail"]
    assert (content_type or "none") in problem["detail"]


def test_where_files_are_taken_too_a_media_type_is_refused_with_all_of_them(standing: LocalService) -> None:
    answer = standing.http.post("/predict", content=b"x", headers={"Content-Type": "text/plain"})
    words = "the body must be application/json, text/csv, application/csv"
    assert words in check_problem(answer, 415)["detail"]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/vnd.api+json"])
def test_json_may_say_more_about_itself(standing: LocalService, content_type: str) -> None:
    answer = standing.post("/predict", BODIES["/predict"], {"Content-Type": content_type})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("chunked", [False, True], ids=["length known", "chunked"])
def test_a_body_that_is_too_large_is_refused_and_one_that_just_fits_is_not(
    small: LocalService, path: str, chunked: bool
) -> None:
    def send(size: int) -> Response:
        content = padded(BODIES[path], size)
        chunks = (content[at : at + 100] for at in range(0, size, 100))
        headers = {"Content-Type": "application/json"}
        answer = small.http.post(path, content=chunks if chunked else content, headers=headers)
        assert ("content-length" in answer.request.headers) is not chunked
        return answer

    problem = check_problem(send(LIMIT + 1), 413)
    assert f"{LIMIT} bytes" in problem["detail"]
    assert (f"of {LIMIT + 1} bytes" in problem["detail"]) is not chunked  # which is not known then
    assert "DESCENT_MAX_BODY_BYTES" in problem["detail"]
    assert "POST /datasets" in problem["detail"]
    assert send(LIMIT).is_success


def test_a_body_that_grows_beyond_the_limit_on_the_wire_is_refused_before_it_ends(live: LiveService) -> None:
    connection = http.client.HTTPConnection(urlsplit(live.url).netloc, timeout=30)
    connection.putrequest("POST", "/train")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.read())["status"] == 413
    connection.close()


def test_an_unforeseen_error_is_a_problem_that_shows_nothing_of_the_inside(tmp_path: Path) -> None:
    with local_service(tmp_path) as service:
        job = service.enqueue(line())
        with service.database.connection(writes=True) as connection:
            connection.exec_driver_sql("UPDATE jobs SET resolved = '{\"epochs\": -7}'")
        answer = service.http.get(f"/jobs/{job}")
    problem = check_problem(answer, 500)
    assert "errors" not in problem
    for inside in ("-7", "epochs", "pydantic", ".py"):
        assert inside not in answer.text


def test_a_database_that_cannot_be_used_is_a_503_that_says_when_to_come_back(tmp_path: Path) -> None:
    with local_service(tmp_path) as service:
        with service.database.connection(writes=True) as connection:
            connection.exec_driver_sql("ALTER TABLE jobs RENAME TO lost")
        answer = service.http.get("/jobs")
    check_problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    for inside in ("lost", "sqlite", "SELECT", "no such table"):
        assert inside not in answer.text


def test_a_number_too_long_to_read_is_refused(standing: LocalService) -> None:
    content = json.dumps(line()).replace("[1, 2, 3]", f"[{'9' * 5000}, 2, 3]")
    problem = check_problem(standing.post("/train", content), 422)
    assert "nested" not in problem["detail"]


def test_no_more_than_a_hundred_faults_are_told_of(standing: LocalService) -> None:
    answer = standing.post("/train", line(dataset={"features": ["x"] * 1000, "targets": [1] * 1000}))
    problem = check_problem(answer, 422)
    assert len(problem["errors"]) == 100
    assert problem["detail"].endswith("; … and 997 more, of which errors lists 100")


@pytest.mark.parametrize(("n_faults", "more"), [(1, ""), (3, ""), (4, "; … and 1 more"), (100, "; … and 97 more")])
def test_the_detail_has_the_first_three_faults_and_the_number_of_the_others(
    standing: LocalService, n_faults: int, more: str
) -> None:
    targets: list[object] = [*(["x"] * n_faults), *([1] * 50)]
    problem = check_problem(
        standing.post("/train", line(dataset={"features": [1] * len(targets), "targets": targets})), 422
    )
    assert len(problem["errors"]) == n_faults
    first = [fault["detail"] for fault in problem["errors"][:3]]
    assert problem["detail"] == "; ".join(first) + more


def test_faults_that_are_known_and_not_listed_are_counted(standing: LocalService) -> None:
    answer = standing.post("/train", line(dataset={"features": [1] * 150, "targets": ["x"] * 150}))
    assert check_problem(answer, 422)["detail"].endswith("; … and 147 more, of which errors lists 100")


def test_a_pointer_leads_to_the_value_that_it_names(standing: LocalService) -> None:
    body = line(metadata={"a/b": "fine", "c~d": 1})
    check_fault(standing.post("/train", body), "#/metadata/c~0d", "valid string")


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/datasets?limt=5", "query.limt is not known: did you mean limit?"),
        ("GET", "/datasets/ds_1/preview?row=5", "did you mean rows?"),
        ("GET", "/datasets/ds_1?x=5", "there are none"),
        ("GET", "/jobs?state=queued", "did you mean status?"),
        ("GET", "/jobs/job_1/history?point=5", "query.point is not known"),
        ("GET", "/models?since=1", "there are"),
        ("DELETE", "/datasets/ds_1?force=true", "there are none"),
        ("POST", "/train?wait=5", "query.wait is not known: there are none"),
        ("POST", "/datasets/synthetic?nam=x", "did you mean name?"),
        ("POST", "/datasets?nam=x", "did you mean name?"),
    ],
)
def test_what_a_query_cannot_say_is_refused_and_not_ignored(
    standing: LocalService, method: str, path: str, words: str
) -> None:
    name = path.partition("?")[2].partition("=")[0]
    check_fault(standing.http.request(method, path, content=b"{}"), f"#/query/{name}", words)


def test_the_query_of_a_prediction_has_the_names_of_features(standing: LocalService) -> None:
    assert standing.http.get("/predict?model=line&x=1").status_code == 200
