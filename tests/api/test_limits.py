import gzip
import http.client
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import zstandard

from service.settings import Settings
from tests.api.conftest import LocalService, check_problem, line, local_service
from tests.api.uploading import CSV, MEDIA_TYPES, PACK, file_part, form, kept, left_behind, upload, written
from tests.conftest import LiveService

MIB = 2**20
LIMIT = 100_000


def padded(size: int) -> bytes:
    """A CSV file of so many bytes."""
    return b"a,b\n" + b"12,34567\n" * ((size - 4) // 9) + b"\n" * ((size - 4) % 9)


@contextmanager
def service_of(folder: Path, **settings: Any) -> Iterator[LocalService]:
    with local_service(folder, **settings) as service:
        yield service
        assert left_behind(folder) == set()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[LocalService]:
    """A service that takes datasets of a hundred thousand bytes, and JSON of a thousand."""
    with service_of(tmp_path, max_upload_bytes=LIMIT, max_body_bytes=1024) as service:
        yield service


def check_too_large(service: LocalService, content: Any, media_type: str = "text/csv", **headers: str) -> None:
    problem = check_problem(upload(service, content, media_type, **headers), 413)
    assert f"{LIMIT} bytes" in problem["detail"]
    assert "DESCENT_MAX_UPLOAD_BYTES" in problem["detail"]
    assert left_behind(service.settings.data_dir) == kept(service.settings.data_dir) == set()


@pytest.mark.parametrize("chunked", [False, True], ids=["length known", "chunked"])
@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("is_form", [False, True], ids=["raw", "form"])
def test_a_file_that_is_too_large_is_refused_and_one_that_just_fits_is_not(
    small: LocalService, packing: str, is_form: bool, chunked: bool
) -> None:
    headers = {} if packing == "none" else {"Content_Encoding": packing}
    for size in (LIMIT + 1, LIMIT):
        body, media_type = form(file_part(padded(size))) if is_form else (padded(size), "text/csv")
        packed = PACK[packing](body)
        content = (packed[at : at + 999] for at in range(0, len(packed), 999)) if chunked else packed
        if size > LIMIT:
            check_too_large(small, content, media_type, **headers)
        else:
            assert upload(small, content, media_type, **headers).status_code == 201


def test_the_limit_of_other_bodies_is_not_that_of_uploads_and_holds_for_recipes(small: LocalService) -> None:
    assert upload(small, padded(LIMIT)).status_code == 201
    problem = check_problem(small.post("/datasets/synthetic", json.dumps({"kind": "moons"}) + " " * 2000), 413)
    assert "DESCENT_MAX_BODY_BYTES" in problem["detail"]


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
@pytest.mark.parametrize("is_form", [False, True], ids=["raw", "form"])
def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path, packing: str, is_form: bool) -> None:
    with service_of(tmp_path, max_upload_bytes=3 * MIB) as service:
        compressor = gzip.compress if packing == "gzip" else zstandard.ZstdCompressor(level=19).compress
        bomb = compressor(bytes(100 * MIB)) * 20
        assert len(bomb) < 3 * MIB
        headers = {"Content_Encoding": packing}
        body, media_type = bomb, "text/csv"
        if is_form:
            body, media_type = form(file_part(bomb, Content_Encoding=packing))
            headers = {}
        problem = check_problem(upload(service, body, media_type, **headers), 413)
        assert f"{3 * MIB} bytes" in problem["detail"]


@pytest.mark.parametrize(
    ("headers", "start", "filler"),
    [
        ({"Content_Encoding": "gzip"}, b"", gzip.compress(b"")),
        ({"Content_Encoding": "zstd"}, b"", zstandard.compress(b"")),
        ({}, b"--b0undary\r\n", b""),
    ],
    ids=["gzip", "zstd", "form"],
)
def test_a_body_without_end_that_brings_nothing_is_refused(
    small: LocalService, headers: dict[str, str], start: bytes, filler: bytes
) -> None:
    if start:
        head = (
            b'--b0undary\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n1\r\n--b0undary--\r\n'
        )
        check_too_large(small, (head + b" " * LIMIT for _ in range(100)), "multipart/form-data; boundary=b0undary")
    else:
        check_too_large(small, (filler * 1000 for _ in range(10_000)), **headers)


def test_an_upload_too_large_is_refused_before_it_comes(live: LiveService) -> None:
    connection = http.client.HTTPConnection(urlsplit(live.url).netloc, timeout=30)
    connection.putrequest("POST", "/datasets")
    connection.putheader("Content-Type", "text/csv")
    connection.putheader("Content-Length", str(10**15))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert "DESCENT_MAX_UPLOAD_BYTES" in json.loads(answer.read())["detail"]
    connection.close()
    assert left_behind(live.data_dir) == set()


def test_datasets_together_have_a_limit_and_deleting_makes_room(tmp_path: Path) -> None:
    parquet, other = written("parquet"), written("arrow")
    with service_of(tmp_path, max_storage_bytes=len(parquet) + len(other) - 1) as service:
        first = upload(service, parquet, MEDIA_TYPES["parquet"]).json()
        assert first["n_bytes"] == len(parquet)
        problem = check_problem(upload(service, other, MEDIA_TYPES["arrow"]), 507)
        for said in (
            f"{len(parquet):,} of {len(parquet) + len(other) - 1:,}",
            "DESCENT_MAX_STORAGE_BYTES",
            first["id"],
        ):
            assert said in problem["detail"]
        assert kept(tmp_path) == {first["id"]}
        assert service.http.delete(f"/datasets/{first['id']}").status_code == 204
        assert upload(service, other, MEDIA_TYPES["arrow"]).status_code == 201


@pytest.mark.parametrize("chunked", [False, True], ids=["length known", "chunked"])
@pytest.mark.parametrize("packing", PACK)
def test_an_upload_without_space_is_refused(tmp_path: Path, packing: str, chunked: bool) -> None:
    with service_of(tmp_path, max_storage_bytes=2 * MIB) as service:
        packed = PACK[packing](padded(4 * MIB))
        content = (packed[at : at + 9999] for at in range(0, len(packed), 9999)) if chunked else packed
        headers = {} if packing == "none" else {"Content_Encoding": packing}
        problem = check_problem(upload(service, content, **headers), 507)
        assert f"of {2 * MIB:,} bytes" in problem["detail"]


def test_what_is_here_already_needs_no_space(tmp_path: Path) -> None:
    content = written("parquet")
    with service_of(tmp_path, max_storage_bytes=len(content)) as service:
        first = upload(service, content, MEDIA_TYPES["parquet"])
        again = upload(service, content, MEDIA_TYPES["parquet"])
        assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())


def test_a_table_that_is_larger_than_its_file_is_refused_without_space(tmp_path: Path) -> None:
    with service_of(tmp_path, max_storage_bytes=1000) as service:
        check_problem(upload(service, b"a,b,c\n" + b"1,,\n" * 200), 507)
        assert kept(tmp_path) == set()


def test_a_recipe_without_space_is_refused(tmp_path: Path) -> None:
    with service_of(tmp_path, max_storage_bytes=1000) as service:
        check_problem(service.post("/datasets/synthetic", {"kind": "moons", "n_samples": 1000}), 507)
        assert service.post("/datasets/synthetic", {"kind": "moons", "n_samples": 2}).status_code in (201, 507)


def test_so_much_of_the_disk_stays_free(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with service_of(tmp_path, min_free_bytes=free + 2**40) as service:
        for content in (CSV, (CSV for _ in range(3))):
            problem = check_problem(upload(service, content), 507)
            assert f"{free + 2**40:,} stay so" in problem["detail"]
            assert "DESCENT_MIN_FREE_BYTES" in problem["detail"]
        check_problem(service.post("/datasets/synthetic", {"kind": "moons"}), 507)
        assert service.post("/train", line()).status_code == 202  # what is ready for trainings takes them


def test_the_defaults_leave_room_for_millions_of_rows() -> None:
    settings = Settings()
    assert settings.max_storage_bytes > settings.max_upload_bytes > 2**32 > settings.max_body_bytes
