import pytest

from tests.api.conftest import Json, LocalService, check_fault
from tests.api.uploading import CSV, MEDIA_TYPES, left_behind, upload, written


def test_the_fields_of_a_form_say_what_the_query_may_say(local: LocalService) -> None:
    fields = {"name": "homes", "types": '{"area": "category"}', "missing": ["flat", "?"]}
    answer = local.http.post("/datasets", data=fields, files={"file": ("houses.csv", CSV, "text/csv")})
    found = answer.json()
    assert (answer.status_code, found["name"]) == (201, "homes")
    assert found["schema"][0] == {"name": "area", "type": "category"}
    assert found["statistics"]["kind"]["missing"] == 3
    query = '?types={"area": "category"}&missing=%3F&missing=flat'
    assert upload(local, CSV, query=query).json()["id"] == found["id"]


@pytest.mark.parametrize(
    ("query", "fields", "pointer", "words"),
    [
        ("?nam=x", {}, "#/query/nam", "did you mean name?"),
        ("?types={", {}, "#/query/types", "JSON"),
        ('?types={"area": "integer"}', {}, "#/query/types/area", "'number', 'category'"),
        ("?types=[]", {}, "#/query/types", "object"),
        ("?delimiter=ab", {}, "#/query/delimiter", "at most 1 character"),
        ("?decimal=;", {}, "#/query/decimal", "not ';'"),
        ("?header=perhaps", {}, "#/query/header", "not 'perhaps'"),
        ("?encoding=base64", {}, "#/query/encoding", "'base64' is not known"),
        ("?delimiter=%22", {}, "#/query/delimiter", "cannot be a delimiter"),
        ("", {"encoding": "klingon"}, "#/encoding", "'klingon' is not known"),
        ('?types={"are": "text"}', {}, "#/query/types/are", "there is no column 'are'"),
        ("?name=", {}, "#/query/name", "at least 1 character"),
        ("?missing=", {}, "#/query/missing/0", "at least 1 character"),
        ("", {"header": "perhaps"}, "#/header", "not 'perhaps'"),
        ("", {"heder": "true"}, "#/heder", "heder is not known"),
        ("?name=a", {"name": "b"}, "#/name", "given twice"),
        ("", {"decimal": [",", "."]}, "#/decimal", "given twice"),
    ],
)
def test_what_is_said_of_a_file_wrongly_is_refused_where_it_stands(
    service: LocalService, query: str, fields: Json, pointer: str, words: str
) -> None:
    file = {"file": ("houses.csv", CSV, "text/csv")}
    answer = service.http.post(f"/datasets{query}", data=fields, files=file)
    check_fault(answer, pointer, words)
    assert left_behind(service.settings.data_dir) == set()


@pytest.mark.parametrize("option", ["delimiter=,", "decimal=.", "header=true"])
@pytest.mark.parametrize("format_", ["jsonl", "parquet", "arrow"])
def test_what_is_for_csv_is_refused_for_other_files(service: LocalService, format_: str, option: str) -> None:
    answer = upload(service, written(format_), MEDIA_TYPES[format_], f"?{option}")
    check_fault(answer, f"#/query/{option.partition('=')[0]}", f", and this is {format_}: leave it out")


def test_an_encoding_is_for_json_lines_too(local: LocalService) -> None:
    content = '{"kind":"café","n":1}\n'.encode("latin-1")
    answer = upload(local, content, MEDIA_TYPES["jsonl"])
    check_fault(answer, "#/rows/0", "name its encoding, as in ?encoding=latin-1")
    answer = upload(local, content, MEDIA_TYPES["jsonl"], "?encoding=latin-1")
    assert answer.status_code == 201
    assert answer.json()["reading"]["encoding"] == "iso8859-1"
    assert local.http.get(f"{answer.headers['location']}/preview").json()["rows"] == [["café", 1]]


@pytest.mark.parametrize("format_", ["parquet", "arrow"])
def test_an_encoding_is_refused_for_files_that_are_no_text(service: LocalService, format_: str) -> None:
    answer = upload(service, written(format_), MEDIA_TYPES[format_], "?encoding=utf-8")
    check_fault(answer, "#/query/encoding", f"is for CSV and JSON lines, and this is {format_}")


def test_the_same_content_read_in_another_way_is_another_dataset(local: LocalService) -> None:
    queries = ["", "?header=true", "?header=false", "?missing=x", "?delimiter=,", '?types={"area":"text"}']
    content = b"area,kind\nsmall,a\nlarge,b\n"
    answers = [upload(local, content, query=query) for query in queries]
    assert [answer.status_code for answer in answers] == [201] * len(queries)
    assert len({answer.json()["id"] for answer in answers}) == len(queries)
    assert upload(local, content, query="?missing=x&missing=x&name=other").status_code == 200
