import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.forms import MAX_FIELD_BYTES, Form
from service.errors import InvalidDataset
from tests.api.uploading import field_part, file_part, form


def parsed(content: bytes, content_type: str, cuts: list[int]) -> tuple[Form, bytes]:
    """Take a form apart that comes in pieces which end at these places; give it with its file."""
    file: list[bytes] = []
    found = Form(content_type, lambda: None, file.append)
    places = [0, *sorted(cut % (len(content) + 1) for cut in cuts), len(content)]
    for start, end in itertools.pairwise(places):
        found.feed(content[start:end])
    found.finish()
    return found, b"".join(file)


@given(
    content=st.binary(max_size=300)
    | st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--b0undary", b"a,b"])).map(b"".join),
    cuts=st.lists(st.integers(0, 2000)),
)
def test_the_file_comes_back_as_it_was_whatever_pieces_the_form_comes_in(content: bytes, cuts: list[int]) -> None:
    if b"\r\n--b0undary" in content or content.startswith(b"--b0undary"):
        content = content.replace(b"b0", b"")
    body, content_type = form(field_part("name", "größe"), file_part(content, Content_Type="text/csv"))
    found, file = parsed(body, content_type, cuts)
    assert file == content
    assert (found.fields, found.file_name) == ({"name": ["größe"]}, "houses.csv")
    assert found.headers["content-type"] == "text/csv"


def test_a_field_may_come_many_times_and_after_the_file() -> None:
    body, content_type = form(field_part("missing", "NA"), file_part(b"x"), field_part("missing", "?"))
    assert parsed(body, content_type, [])[0].fields == {"missing": ["NA", "?"]}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "no file"),
        ([field_part("file", "a,b\n1,2\n")], "no file: give one part a filename"),
        ([file_part(b"1"), file_part(b"2")], "more than one file"),
        ([({"Content-Disposition": "form-data"}, b"1")], "no name"),
        ([({"X": "y"}, b"1")], "no name"),
        ([file_part(b"1"), field_part("file", "x" * MAX_FIELD_BYTES)], f"more than {MAX_FIELD_BYTES} bytes"),
        ([file_part(b"1"), *[field_part("", "")] * (MAX_FIELD_BYTES // 64 + 1)], f"more than {MAX_FIELD_BYTES} bytes"),
        ([file_part(b"1"), ({"Content-Disposition": 'form-data; name="a"'}, b"\xff")], "'a' of the form is not UTF-8"),
        ([file_part(b"1"), ({"X" * 10_000: "y"}, b"1")], "no multipart/form-data"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_form_that_is_not_one_of_one_file_and_short_fields_is_refused(parts: list[Any], words: str) -> None:
    body, content_type = form(*parts)
    with pytest.raises(InvalidDataset, match=words):
        parsed(body, content_type, [])


@given(length=st.integers(0, 200))
def test_a_form_that_is_cut_off_is_refused(length: int) -> None:
    body, content_type = form(file_part(b"a,b\n1,2\n"))
    with pytest.raises(InvalidDataset, match="cut off"):
        parsed(body[: min(length, len(body) - 5)], content_type, [])


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'b' * 300}"],
)
def test_a_form_names_its_boundary(content_type: str) -> None:
    with pytest.raises(InvalidDataset, match=r"[Bb]oundary"):
        parsed(b"", content_type, [])


def test_what_is_no_form_is_refused() -> None:
    with pytest.raises(InvalidDataset, match="no multipart/form-data"):
        parsed(b"area,price\n1,2\n", "multipart/form-data; boundary=x", [])
