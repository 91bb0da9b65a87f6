import asyncio
import gzip
import hashlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import zstandard
from fastapi import FastAPI
from httpx2 import Response

from service.files import ENDINGS
from service.files import MEDIA_TYPES as KNOWN
from tests.api.conftest import Json, LocalService, check_fault, check_problem
from tests.api.uploading import (
    CSV,
    MEDIA_TYPES,
    PACK,
    file_part,
    form,
    kept,
    left_behind,
    upload,
    written,
)
from tests.conftest import LiveService
from tests.processes import wait_until

SHA256 = hashlib.sha256(CSV).hexdigest()


def accepted(service: LocalService, answer: Response) -> Json:
    """Check that an upload has made a dataset; give it, and delete it."""
    assert answer.status_code == 201, answer.text
    assert service.http.delete(answer.headers["location"]).status_code == 204
    found: Json = answer.json()
    return found


def n_datasets(service: LocalService) -> int:
    return len(service.http.get("/datasets?limit=1000").json()["data"])


@pytest.mark.parametrize("format_", MEDIA_TYPES)
def test_the_same_file_is_the_same_dataset_however_it_is_sent(local: LocalService, format_: str) -> None:
    content = written(format_)
    first = upload(local, content, MEDIA_TYPES[format_])
    assert first.status_code == 201, first.text
    assert first.headers["location"] == f"/datasets/{first.json()['id']}"
    raw = content, MEDIA_TYPES[format_]
    for body, media_type in (raw, form(file_part(content, Content_Type=MEDIA_TYPES[format_]))):
        for packed, pack in PACK.items():
            encoded = {} if packed == "none" else {"Content_Encoding": packed}
            again = upload(local, pack(body), media_type, **encoded)
            assert again.status_code == 200, (media_type, packed, again.text)
            assert again.headers["location"] == first.headers["location"]
            assert again.json() == first.json()
    found = first.json()
    assert (found["id"], found["sha256"]) == (f"ds_{found['sha256'][:32]}", hashlib.sha256(content).hexdigest())
    assert (found["format"], found["n_samples"], found["origin"]) == (format_, 4, "upload")
    assert left_behind(local.settings.data_dir) == set()
    assert kept(local.settings.data_dir) == {found["id"]}


@pytest.mark.parametrize(("media_type", "format_"), KNOWN.items())
def test_each_media_type_is_understood_with_parameters_and_in_any_case(
    service: LocalService, media_type: str, format_: str
) -> None:
    answer = upload(service, written(format_), f"{media_type.upper()}; version=1")
    assert accepted(service, answer)["format"] == format_


@pytest.mark.parametrize(("ending", "format_"), ENDINGS.items())
def test_bytes_are_known_by_their_start_or_by_the_ending_of_their_name(
    service: LocalService, ending: str, format_: str
) -> None:
    query = f"?name=houses{ending.upper()}"
    answer = upload(service, written(format_), "application/octet-stream", query)
    assert accepted(service, answer)["format"] == format_
    body, media_type = form(file_part(written(format_), f"houses{ending}"))
    assert accepted(service, upload(service, body, media_type))["format"] == format_


@pytest.mark.parametrize("format_", ["parquet", "arrow"])
def test_binary_files_are_known_by_their_start_alone(service: LocalService, format_: str) -> None:
    answer = upload(service, written(format_), "application/octet-stream")
    assert accepted(service, answer)["format"] == format_


@pytest.mark.parametrize(
    "media_type", ["text/html", "application/json", "application/x-www-form-urlencoded", "", "csv", "text/csvx"]
)
def test_another_media_type_is_refused_with_those_that_there_are(service: LocalService, media_type: str) -> None:
    problem = check_problem(upload(service, CSV, media_type), 415)
    assert all(known in problem["detail"] for known in (*KNOWN, "multipart/form-data", repr(media_type or "none")))
    assert left_behind(service.settings.data_dir) == set()


def test_bytes_that_nothing_tells_of_are_refused(service: LocalService) -> None:
    for name in ("", "?name=houses", "?name=houses.xlsx"):
        assert "octet-stream" in check_problem(upload(service, CSV, "application/octet-stream", name), 415)["detail"]
    body, media_type = form(file_part(CSV, "houses", Content_Type="application/vnd.ms-excel"))
    check_problem(upload(service, body, media_type), 415)
    assert left_behind(service.settings.data_dir) == set()


@pytest.mark.parametrize("coding", ["br", "compress", "gzip, gzip", "zip"])
def test_another_content_coding_is_refused_with_those_that_there_are(service: LocalService, coding: str) -> None:
    answer = upload(service, CSV, Content_Encoding=coding)
    assert "gzip, zstd" in check_problem(answer, 415)["detail"]
    assert answer.headers["accept-encoding"] == "deflate, gzip, zstd"


@pytest.mark.parametrize("coding", ["identity", "", "GZIP", "identity, x-gzip"])
def test_content_codings_are_known_in_any_case_and_identity_is_none(service: LocalService, coding: str) -> None:
    content = gzip.compress(CSV) if "gzip" in coding.lower() else CSV
    assert accepted(service, upload(service, content, Content_Encoding=coding))["sha256"] == SHA256


def test_members_and_frames_in_a_row_are_one_file(service: LocalService) -> None:
    for coding in ("gzip", "zstd"):
        content = PACK[coding](CSV[:10]) + PACK[coding](b"") + PACK[coding](CSV[10:])
        assert accepted(service, upload(service, content, Content_Encoding=coding))["sha256"] == SHA256


def test_the_part_of_a_form_may_be_packed_itself(local: LocalService) -> None:
    packed = file_part(zstandard.compress(CSV), Content_Type="text/csv", Content_Encoding="zstd")
    body, media_type = form(packed)
    assert upload(local, body, media_type).json()["sha256"] == SHA256


def test_a_form_as_httpx_sends_it_names_the_dataset_by_its_file(local: LocalService) -> None:
    answer = local.http.post("/datasets", files={"file": ("C:\\data\\houses.csv", CSV, "text/csv")})
    assert (answer.status_code, answer.json()["name"]) == (201, "houses")


@pytest.mark.parametrize("format_", MEDIA_TYPES)
@pytest.mark.parametrize("claimed", MEDIA_TYPES)
def test_no_file_is_of_two_formats_so_that_its_content_is_its_identity(
    service: LocalService, format_: str, claimed: str
) -> None:
    answer = upload(service, written(format_), MEDIA_TYPES[claimed])
    if claimed == format_:
        assert accepted(service, answer)["format"] == format_
    else:
        check_problem(answer, 422)


@pytest.mark.parametrize("coding", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("is_form", [False, True], ids=["raw", "form"])
def test_an_empty_file_is_refused(service: LocalService, is_form: bool, coding: str) -> None:
    body, media_type = form(file_part(b"")) if is_form else (b"", "text/csv")
    encoded = {} if coding == "none" else {"Content_Encoding": coding}
    check_fault(upload(service, PACK[coding](body), media_type, **encoded), "#", "the file is empty")


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_stream_that_is_not_what_its_coding_says_is_refused(service: LocalService, coding: str) -> None:
    check_fault(upload(service, CSV, Content_Encoding=coding), "#", coding)
    check_fault(upload(service, PACK[coding](CSV)[:-1], Content_Encoding=coding), "#", "cut off")
    assert left_behind(service.settings.data_dir) == set()
    assert n_datasets(service) == 0


def test_a_faulty_file_is_refused_and_leaves_nothing(service: LocalService) -> None:
    check_problem(upload(service, b"a,b\n1,2\n3\n"), 422)
    assert left_behind(service.settings.data_dir) == kept(service.settings.data_dir) == set()
    assert n_datasets(service) == 0


def send_and_vanish(app: FastAPI, headers: dict[str, str], *parts: bytes) -> None:
    """Send these parts of a body as a client does that is gone then."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.disconnect"})

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        assert message["type"] != "http.response.start" or message["status"] < 500

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/datasets",
        "raw_path": b"/datasets",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "app": app,
    }
    asyncio.run(app(scope, receive, send))


@pytest.mark.parametrize("n_parts", [0, 1, 5])
def test_an_upload_that_is_cut_off_leaves_nothing_behind(
    service: LocalService, caplog: pytest.LogCaptureFixture, n_parts: int
) -> None:
    app = service.http.app
    assert isinstance(app, FastAPI)
    body, media_type = form(file_part(CSV * 100_000))
    packed = {"Content-Type": "text/csv", "Content-Encoding": "zstd"}
    send_and_vanish(app, {"Content-Type": "text/csv"}, *[CSV * 10_000] * n_parts)
    send_and_vanish(app, {"Content-Type": media_type}, *[body[:2_000_000]] * min(1, n_parts))
    send_and_vanish(app, packed, *[zstandard.compress(CSV * 50_000)[:-9]] * min(1, n_parts))
    assert left_behind(service.settings.data_dir) == kept(service.settings.data_dir) == set()
    assert n_datasets(service) == 0
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_an_upload_whose_client_dies_leaves_nothing_behind(live: LiveService) -> None:
    address = urlsplit(live.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = (
            f"POST /datasets HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: text/csv\r\nContent-Length: 99999999"
        )
        connection.sendall(f"{head}\r\n\r\n".encode() + CSV * 30_000)
        wait_until(lambda: any(name.endswith("/upload") for name in left_behind(live.data_dir)))
    wait_until(lambda: left_behind(live.data_dir) == set())


def test_of_uploads_of_the_same_at_once_one_makes_the_dataset(local: LocalService) -> None:
    content = b"a,b\n" + b"".join(b"%d,%d\n" % (number, number % 7) for number in range(20_000))
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: upload(local, content), range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert left_behind(local.settings.data_dir) == set()
    assert kept(local.settings.data_dir) == {answers[0].json()["id"]}


def test_others_are_answered_while_a_large_upload_comes_in(live: LiveService) -> None:
    line = b"".join(b"%d,%f,word%d\n" % (number, number / 7, number % 5) for number in range(100_000))
    before = kept(live.data_dir)
    answers: list[httpx.Response] = []

    def send() -> None:
        parts = (b"a,b,c\n" if number == 0 else line for number in range(40))
        with httpx.Client(base_url=live.url, timeout=60) as http:
            answers.append(http.post("/datasets", content=parts, headers={"Content-Type": "text/csv"}))

    thread = threading.Thread(target=send)
    thread.start()
    n_answered = 0
    while thread.is_alive():
        assert live.http.get("/healthz").status_code == 200
        n_answered += thread.is_alive()
        time.sleep(0.01)
    thread.join()
    found = answers[0].json()
    assert (answers[0].status_code, found["n_samples"]) == (201, 3_900_000)
    assert n_answered >= 5  # in seconds; one by one behind parts of the upload, or not before its end, were fewer
    assert live.http.delete(f"/datasets/{found['id']}").status_code == 204
    assert kept(live.data_dir) <= before
