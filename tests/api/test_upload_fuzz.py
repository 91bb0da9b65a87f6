from hypothesis import given, settings
from hypothesis import strategies as st

from service.files import MEDIA_TYPES as KNOWN
from tests.api.conftest import Json, LocalService, check_problem
from tests.api.uploading import MEDIA_TYPES, PACK, field_part, file_part, form, kept, left_behind, written

HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.sampled_from([*KNOWN, "application/octet-stream", "multipart/form-data; boundary=b0undary"])
        | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
        "Content-Encoding": st.sampled_from(["gzip", "zstd", "identity", "br", ""]),
    },
)
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(max_size=20) | st.sampled_from(["x.csv", "x.jsonl", "x.parquet", "x.arrow"]),
        "types": st.sampled_from(["{}", '{"a": "text"}', '{"a": "date"}', '{"column_1": "boolean"}', "null", "1e999"]),
        "missing": st.lists(st.text(max_size=3), max_size=3),
        "delimiter": st.characters() | st.just(";"),
        "decimal": st.sampled_from([".", ",", ""]),
        "header": st.sampled_from(["true", "false", "0", "x"]),
        "encoding": st.sampled_from(
            ["utf-8", "latin-1", "utf-16", "cp1252", "utf-7", "idna", "rot13", "\0", "undefined"]
        ),
    },
)
FILES = [written(name) for name in MEDIA_TYPES]
DATES = [b"a,d\n1,%s\n" % date for date in (b"0000-01-01", b"0001-01-01T00:00:00+10:00", b"9999-12-31T23:59:59-23:00")]
PIECES = st.sampled_from(
    [*FILES, *DATES, b"a,b\n", b"1,2\n", b'"', b'{"a":1}\n', b"\n", b"\xff\xfe", b"PAR1", b"ARROW1", b","]
)
BODIES = st.binary(max_size=60) | st.lists(PIECES, max_size=5).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file with some bytes cut out or changed."""
    content = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content) - 1))
        if draw(st.booleans()):
            content[at] = draw(st.integers(0, 255))
        else:
            del content[at : at + draw(st.integers(1, 50))]
        content = content or bytearray(b"x")
    return bytes(content)


@settings(max_examples=150, deadline=None)
@given(
    content=BODIES | damaged(),
    headers=HEADERS,
    query=QUERIES,
    packing=st.sampled_from(["none", "gzip", "zstd"]),
    is_form=st.booleans(),
)
def test_no_upload_whatever_it_is_breaks_the_service_or_leaves_a_file(
    service: LocalService, content: bytes, headers: dict[str, str], query: Json, packing: str, is_form: bool
) -> None:
    if is_form:
        part = {name.replace("-", "_"): value for name, value in headers.items() if value.isprintable()}
        content, media_type = form(file_part(content, "x.csv", **part), field_part("header", "true"))
        headers = {**headers, "Content-Type": media_type}
    answer = service.http.post("/datasets", content=PACK[packing](content), headers=headers, params=query)
    assert answer.status_code in (200, 201, 413, 415, 422), answer.text
    if answer.is_success:
        path = answer.headers["location"]
        assert service.http.get(f"{path}/preview").status_code == 200
        assert service.http.get(path).json() == answer.json()
        assert kept(service.settings.data_dir) == {answer.json()["id"]}
        assert service.http.delete(path).status_code == 204
    else:
        check_problem(answer, answer.status_code)
    assert left_behind(service.settings.data_dir) == kept(service.settings.data_dir) == set()
