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
    queries = ["", "?header=false", "?missing=x", "?decimal=,", '?types={"area":"text"}', "?delimiter=;"]
    content = b"area,kind\nsmall,a\nlarge,b\n"
    answers = [upload(local, content, query=query) for query in queries]
    assert [answer.status_code for answer in answers] == [201] * len(queries)
    assert len({answer.json()["id"] for answer in answers}) == len(queries)
    assert upload(local, content, query="?missing=x&missing=x&name=other").status_code == 200


OWN_TYPES = '{"area":"number","price":"number","kind":"category","sold":"boolean"}'


@pytest.mark.parametrize("is_first", [True, False], ids=["said first", "said again"])
@pytest.mark.parametrize(
    ("format_", "query"),
    [
        ("csv", f"delimiter=,&header=true&decimal=.&encoding=UTF8&types={OWN_TYPES}"),
        ("csv", 'types={"area":"number"}'),
        ("jsonl", f"encoding=utf-8&types={OWN_TYPES}"),
        ("parquet", f"types={OWN_TYPES}"),
        ("arrow", f"types={OWN_TYPES}"),
    ],
)
def test_to_say_what_a_file_is_read_as_anyway_makes_no_other_dataset(
    local: LocalService, format_: str, query: str, *, is_first: bool
) -> None:
    queries = [f"?{query}", ""] if is_first else ["", f"?{query}"]
    first, again = (upload(local, written(format_), MEDIA_TYPES[format_], one) for one in queries)
    assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
    assert first.json()["reading"]["types"] == {}


@pytest.mark.parametrize("format_", MEDIA_TYPES)
def test_types_count_as_far_as_they_are_others_than_those_of_the_columns(local: LocalService, format_: str) -> None:
    content, media_type = written(format_), MEDIA_TYPES[format_]
    queries = ['?types={"area":"category"}', '?types={"area":"category","kind":"category","price":"number"}']
    for plain_comes in (False, True):  # which makes known what the columns are of themselves
        if plain_comes:
            assert upload(local, content, media_type).status_code == 201
        answers = [upload(local, content, media_type, query) for query in queries]
        assert [answer.status_code for answer in answers] == ([200, 200] if plain_comes else [201, 200])
        assert answers[0].json() == answers[1].json()
        assert answers[0].json()["reading"]["types"] == {"area": "category"}
    other = upload(local, content, media_type, '?types={"area":"text"}')
    assert (other.status_code, other.json()["reading"]["types"]) == (201, {"area": "text"})


@pytest.mark.parametrize(
    ("format_", "content", "query"),
    [
        ("csv", b'a,b\n"1,5",x\n"2,5",y\n', '?types={"a":"category"}'),
        ("csv", b"2019,2020\n1,2\n", "?header=true"),
        ("jsonl", b'{"a":1}\n{"a":2}\n{"a":"3"}\n', '?types={"a":"number"}'),
        ("csv", "a,b\ncafé,1\n".encode("latin-1"), "?encoding=latin-1"),
    ],
)
def test_what_cannot_be_read_of_itself_is_refused_also_after_it_was_read_as_was_said(
    local: LocalService, format_: str, content: bytes, query: str
) -> None:
    for status in (201, 200):
        assert upload(local, content, MEDIA_TYPES[format_]).status_code == 422
        assert upload(local, content, MEDIA_TYPES[format_], query).status_code == status


def test_a_name_that_is_given_takes_effect_on_what_is_here_already(local: LocalService) -> None:
    found = upload(local, query="?name=one").json()
    for query, name in [("?name=two", "two"), ("", "two"), ("?name=three&header=true", "three")]:
        again = upload(local, query=query)
        assert (again.status_code, again.json()) == (200, {**found, "name": name})
        assert local.http.get(found["links"]["self"]).json() == again.json()
    assert [one["name"] for one in local.http.get("/datasets").json()["data"]] == ["three"]


def test_the_name_of_a_file_is_no_other_name_for_what_is_here_already(local: LocalService) -> None:
    for file_name, status in [("homes.csv", 201), ("others.csv", 200)]:
        answer = local.http.post("/datasets", files={"file": (file_name, CSV, "text/csv")})
        assert (answer.status_code, answer.json()["name"]) == (status, "homes")
