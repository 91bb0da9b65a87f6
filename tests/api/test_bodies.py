"""Bodies that are packed: every endpoint takes them as if they were not, and a bomb does not go off in any."""

import json
from collections.abc import Callable, Iterator

import pytest
from httpx2 import Response

from tests.api.conftest import LocalService, check_fault, check_problem, line, local_service
from tests.api.test_codings import PACK

LIMIT = 100_000


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    with local_service(tmp_path_factory.mktemp("narrow"), max_body_bytes=LIMIT) as service:
        yield service


def packed(service: LocalService, body: bytes, coding: str, *, path: str = "/train") -> Response:
    return service.post(path, body, {"Content-Encoding": coding})


def in_pieces(content: bytes) -> Iterator[bytes]:
    yield from (content[first : first + 1000] for first in range(0, len(content), 1000))


@pytest.mark.parametrize(("coding", "pack"), PACK.items(), ids=PACK)
def test_a_training_may_be_packed(narrow: LocalService, coding: str, pack: Callable[[bytes], bytes]) -> None:
    body = line(dataset={"features": list(range(500)), "targets": list(range(500))})
    content = pack(json.dumps(body).encode())
    job = packed(narrow, content, coding).json()
    pieces = narrow.http.post(
        "/train", content=in_pieces(content), headers={"Content-Type": "application/json", "Content-Encoding": coding}
    ).json()
    assert job["dataset"] == pieces["dataset"] == narrow.post("/train", body).json()["dataset"]


@pytest.mark.parametrize("coding", ["identity", "", "Identity"])
def test_what_is_not_packed_may_say_so(narrow: LocalService, coding: str) -> None:
    assert packed(narrow, json.dumps(line()).encode(), coding).status_code == 202


@pytest.mark.parametrize(("coding", "pack"), PACK.items(), ids=PACK)
@pytest.mark.parametrize("path", ["/train", "/train/check", "/predict", "/v2/models/line/infer"])
def test_a_body_that_is_too_large_when_unpacked_is_refused(
    narrow: LocalService, coding: str, pack: Callable[[bytes], bytes], path: str
) -> None:
    answer = packed(narrow, pack(b" " * (LIMIT + 1)), coding, path=path)
    assert answer.status_code == 413
    assert f"the body, unpacked, is larger than the {LIMIT} bytes accepted here" in answer.text


@pytest.mark.parametrize(("coding", "pack"), PACK.items(), ids=PACK)
def test_a_body_that_is_not_packed_as_it_says_is_refused(
    narrow: LocalService, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    content = json.dumps(line()).encode()
    check_fault(packed(narrow, content, coding), "#", f"the body is not what its Content-Encoding says, {coding}: ")
    check_fault(packed(narrow, pack(content)[:-1], coding), "#", f"ends in the middle of its {coding} stream")
    check_fault(packed(narrow, pack(b""), coding), "#", "the body is missing")


def test_a_body_packed_in_an_unknown_way_is_refused_by_its_name(narrow: LocalService) -> None:
    answer = packed(narrow, json.dumps(line()).encode(), "br")
    assert (
        "the Content-Encoding 'br' is not understood: there are deflate, gzip, zstd"
        in (check_problem(answer, 415)["detail"])
    )
    assert answer.headers["accept-encoding"] == "deflate, gzip, zstd"


def test_without_a_body_there_is_nothing_to_unpack(narrow: LocalService) -> None:
    assert narrow.http.get("/jobs", headers={"Content-Encoding": "br"}).status_code == 200
