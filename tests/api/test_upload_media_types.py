"""What a file is: by its media type, the ending of its name, its first bytes."""

from typing import Any

import pytest

from tests.api.conftest import LocalService, check_fault, check_problem
from tests.api.uploading import CSV, MEDIA_TYPES, PACK, field_part, file_part, form, upload, written

UMLAUTS = "größe,y\n1,2\n3,4\n".encode("latin-1")


@pytest.mark.parametrize("held", MEDIA_TYPES)
def test_content_that_is_here_is_no_other_format_for_that(local: LocalService, held: str) -> None:
    assert upload(local, written(held), MEDIA_TYPES[held]).status_code == 201
    for claimed, media_type in MEDIA_TYPES.items():
        assert upload(local, written(held), media_type).status_code == (200 if held == claimed else 422), claimed


@pytest.mark.parametrize("claimed", ["csv", "jsonl"])
@pytest.mark.parametrize("format_", ["parquet", "arrow"])
@pytest.mark.parametrize("length", [None, 100], ids=["whole", "cut off"])
def test_a_file_that_is_no_text_is_refused_as_text_by_what_it_is(
    service: LocalService, format_: str, claimed: str, length: int | None
) -> None:
    answer = upload(service, written(format_)[:length], MEDIA_TYPES[claimed], "?encoding=latin-1")
    check_fault(answer, "#", f"and not text: name its format by Content-Type: {MEDIA_TYPES[format_]}")


@pytest.mark.parametrize("name", ["PAR1", "ARROW1"])
def test_text_may_begin_as_files_do_that_are_none(local: LocalService, name: str) -> None:
    answer = upload(local, f"{name},b\n1,2\n".encode(), "text/csv")
    assert (answer.status_code, answer.json()["schema"][0]["name"]) == (201, name)


@pytest.mark.parametrize("content", [b'{"a":1}\n{"a":2}\n', b'{"":1}\n', b' {"a":"b"}\n\n', b'{"a":null}'])
def test_json_lines_of_a_single_column_are_no_csv_either(service: LocalService, content: bytes) -> None:
    check_problem(upload(service, content, "text/csv"), 422)


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
@pytest.mark.parametrize("is_form", [False, True], ids=["raw", "form"])
@pytest.mark.parametrize("format_", MEDIA_TYPES)
def test_a_packed_file_is_known_by_its_first_bytes_however_they_come(
    local: LocalService, format_: str, is_form: bool, packing: str
) -> None:
    plain = upload(local, written(format_), MEDIA_TYPES[format_]).json()
    body, media_type = PACK[packing](written(format_)), MEDIA_TYPES[format_]
    if is_form:
        body, media_type = form(file_part(body, f"houses.{format_}", Content_Type=media_type))
    for length in (0, 1, 3, 4, 5):
        parts: Any = (body[:length], body[length:])
        answer = upload(local, iter(parts) if length else body, media_type)
        assert (answer.status_code, answer.json()["id"]) == (200, plain["id"]), length


@pytest.mark.parametrize("packing", [("gzip", ".gz"), ("gzip", ".GZ"), ("zstd", ".zst")])
@pytest.mark.parametrize("media_type", ["application/octet-stream", "application/gzip", "application/x-gzip"])
def test_the_name_of_a_packed_file_tells_its_format(
    local: LocalService, media_type: str, packing: tuple[str, str]
) -> None:
    packed = PACK[packing[0]](CSV)
    body, form_type = form(file_part(packed, f"houses.v1.csv{packing[1]}", Content_Type=media_type))
    answer = upload(local, body, form_type)
    assert (answer.status_code, answer.json()["format"], answer.json()["name"]) == (201, "csv", "houses.v1")
    assert upload(local, packed, media_type, f"?name=houses.csv{packing[1]}").status_code == 200


def test_a_packed_file_that_is_cut_off_or_broken_is_refused_by_what_it_begins_with(service: LocalService) -> None:
    for packing in ("gzip", "zstd"):
        check_fault(upload(service, PACK[packing](CSV)[:-1]), "#", "cut off")
        broken = PACK[packing](CSV)[:6] + b"\xff" * 40
        check_fault(upload(service, broken), "#", f"is not what its first bytes say, {packing}")


@pytest.mark.parametrize("content", [b"a", b"a,b", b"\x1f", b"\x1f\x8b", b"\x28\xb5\x2f"])
def test_a_file_of_a_few_bytes_is_read_to_its_end(service: LocalService, content: bytes) -> None:
    body, media_type = form(file_part(content))
    for answer in (upload(service, content), upload(service, body, media_type)):
        assert "the file is empty" not in check_problem(answer, 422)["detail"]


@pytest.mark.parametrize("media_type", ["text/tab-separated-values", "application/csv", "text/plain"])
def test_other_words_for_text_in_columns_are_csv(local: LocalService, media_type: str) -> None:
    found = upload(local, CSV.replace(b",", b"\t"), media_type).json()
    assert (found["format"], found["n_columns"]) == ("csv", 4)


def test_plain_text_may_be_json_lines_by_its_name(local: LocalService) -> None:
    found = upload(local, written("jsonl"), "text/plain", "?name=houses.jsonl").json()
    assert (found["format"], found["n_columns"]) == ("jsonl", 4)


@pytest.mark.parametrize("charset", ["latin-1", '"ISO-8859-1"', "cp1252"])
def test_the_charset_of_a_media_type_is_the_encoding(local: LocalService, charset: str) -> None:
    named = charset.strip('"')
    for answer in (
        upload(local, UMLAUTS, f"text/csv; charset={charset}"),
        upload(local, *form(file_part(UMLAUTS, Content_Type=f"text/csv; charset={charset}"))),
        upload(local, UMLAUTS, "text/csv", f"?encoding={named}"),
        upload(local, UMLAUTS, "text/csv; charset=utf-8", f"?encoding={named}"),
    ):
        assert answer.json()["schema"][0]["name"] == "größe", answer.text
    assert len(local.http.get("/datasets").json()["data"]) == 1


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", "us-ascii", "Utf-8", ""])
def test_a_charset_that_says_nothing_new_makes_no_other_dataset(local: LocalService, charset: str) -> None:
    assert upload(local).json()["id"] == upload(local, CSV, f"text/csv; charset={charset}").json()["id"]


def test_a_charset_that_there_is_not_is_refused_where_it_stands(service: LocalService) -> None:
    for charset in ("klingon", "base64", "\xe9"):
        answer = upload(service, CSV, f"text/csv; charset={charset}".encode("latin-1"))  # type: ignore[arg-type]
        check_fault(answer, "#/header/Content-Type", "is not known")
    check_fault(upload(service, CSV, "text/csv; charset=latin-1", "?encoding=klingon"), "#/query/encoding", "klingon")
    body, media_type = form(file_part(CSV), field_part("encoding", "klingon"))
    check_fault(upload(service, body, media_type), "#/encoding", "klingon")


@pytest.mark.parametrize(
    ("file_name", "name"),
    [
        ("houses.csv", "houses"),
        ("houses.v2.JSONL.gz", "houses.v2"),
        ("houses.2024", "houses.2024"),
        (".csv", ".csv"),
        ("n" * 300 + ".csv", "n" * 200),
        ("ü" * 197 + ".csv", "ü" * 197),
    ],
)
def test_a_form_names_the_dataset_by_its_file(local: LocalService, file_name: str, name: str) -> None:
    format_ = "jsonl" if "JSONL" in file_name else "csv"
    body, media_type = form(file_part(written(format_), file_name, Content_Type=MEDIA_TYPES[format_]))
    assert upload(local, body, media_type).json()["name"] == name


def test_the_header_of_a_media_type_tells_whether_there_is_one(local: LocalService) -> None:
    content = b"1,a\n2,b\n"
    for answer, n_samples in (
        (upload(local, content, "text/csv; header=absent"), 2),
        (upload(local, content, 'text/csv; charset=utf-8; header="Present"'), 1),
        (upload(local, content, "text/csv; header=absent", "?header=true"), 1),
        (upload(local, *form(file_part(content, Content_Type="text/csv; header=absent"))), 2),
    ):
        assert answer.json()["n_samples"] == n_samples, answer.text
    assert len(local.http.get("/datasets").json()["data"]) == 2
    check_fault(upload(local, content), "#", "line 1 has 1, which may be names of columns or the first row")
    check_fault(upload(local, content, "text/csv; header=no"), "#/header/Content-Type", "say header=present or")
