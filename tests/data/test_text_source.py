import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.data.chunks import CHUNK_BYTES
from service.data.delimited import DelimitedSource
from service.data.json_lines import JsonLinesSource
from service.data.reading import LookedAgain, ReadingOptions
from service.data.text_source import TextSource
from service.errors import MAX_FAULTS, InvalidDataset
from tests.data.text_files import Opener, outcome

CELLS = st.sampled_from(
    [
        "",
        "1",
        "2.5",
        "-3",
        "+7",
        "007",
        "1e400",
        " 4",
        "5 ",
        "inf",
        "NaN",
        "-nan",
        "99999999999999999999",
        "x",
        "NA",
        " ",
        "true",
        "False",
        "2024-05-31",
        "2024-05-31 12:00",
        "0000-01-01",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59-23:00",
        '"1.234,5"',
        '"a,b"',
        '"a\nb"',
        '""',
        '"3"',
        '" 3"',
        '"q""q"',
        "é",
        "1\r",
        "-00",
        'a"b',
        '"a"b',
        '"',
        "\x00",
        "1_0",
        "0x1",
        "1.",
        ".5",
        "-",
        "a" * 101,
        "0.5",
        "1e-05",
        "2,5",
        "1.5.2",
    ]
)
ROWS = st.lists(st.lists(CELLS, min_size=1, max_size=3).map(",".join) | st.just(""), min_size=1, max_size=12)
USUAL = st.sampled_from(["1", "2.5", "", "x", "true", "2024-05-31", "007", '"a\nb"', "3", "4", '"1,5"', "0000-01-01"])
EVEN_ROWS = st.lists(st.lists(USUAL, min_size=2, max_size=2).map(",".join), min_size=1, max_size=30)
VALUES = st.sampled_from(
    [
        "null",
        "1",
        "2.5",
        "-3",
        '"x"',
        '"1"',
        "true",
        "false",
        "[1]",
        '{"a": 1}',
        "1e400",
        "NaN",
        '"null"',
        '"true"',
        "-0",
        '"\\u00e9"',
        '"\\ud800"',
        '"\\\\"',
        '"\\""',
        '"\\":"',
        "99999999999999999999",
        '"2024-05-31"',
        '"2024-06-01"',
        '"0000-01-01"',
        '"9999-12-31T23:59:59-23:00"',
        "01",
        "é",
        '"é"',
    ]
)
LINES = st.lists(
    st.tuples(
        VALUES,
        VALUES,
        st.sampled_from(['{"a":%s,"b":%s}'] * 12 + ['{"b":%s, "a": %s}', '{"a":%s,"a":%s}', "%s%s", '{"a":%s,"c":%s}']),
    ),
    min_size=1,
    max_size=10,
).map(lambda lines: "\n".join(form % (one, two) for one, two, form in lines))
FEW = st.lists(
    st.tuples(*[st.sampled_from(["null", "1", "2", "2.5", '"x"', "true"])] * 2), min_size=1, max_size=10
).map(lambda lines: "\n".join(f'{{"a":{one},"b":{two}}}' for one, two in lines))
GAPS = st.lists(
    st.tuples(
        st.sampled_from(["null", "1", '"x"']),
        st.sampled_from(["null", "1", "true"]),
        st.sampled_from(
            ['{"a":%s,"b":%s}'] * 3
            + ['{"a":%s,"a":%s}', '{"b":%s,"b":%s}', '{"a":%s}%.0s', '{"b":%s}%.0s', '{"b":%s,"a":%s}', "{}%.0s%.0s"]
        ),
    ),
    min_size=1,
    max_size=4,
).map(lambda lines: "\n".join(['{"a":null,"b":null}', *(form % (one, two) for one, two, form in lines)]))
"""Fields that are there twice beside others that are missing, so that counts of all of them may agree."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files") / "file"


@given(rows=ROWS | EVEN_ROWS, chunk_bytes=st.integers(1, 60), missing=st.sampled_from([(), ("NA",), ("NA", "1", "x")]))
@settings(max_examples=100, deadline=None)
def test_csv_comes_out_the_same_wherever_its_chunks_are_cut(
    path: Path, rows: list[str], chunk_bytes: int, missing: tuple[str, ...]
) -> None:
    content = "\n".join(["a,b", *rows]).encode()
    whole = outcome(DelimitedSource, path, content, CHUNK_BYTES, missing=missing)
    assert outcome(DelimitedSource, path, content, chunk_bytes, missing=missing) == whole


@given(lines=LINES | FEW | GAPS, chunk_bytes=st.integers(1, 60))
@settings(max_examples=80, deadline=None)
def test_json_lines_come_out_the_same_wherever_their_chunks_are_cut(path: Path, lines: str, chunk_bytes: int) -> None:
    whole = outcome(JsonLinesSource, path, lines.encode(), CHUNK_BYTES)
    assert outcome(JsonLinesSource, path, lines.encode(), chunk_bytes) == whole


class CarefulDelimited(DelimitedSource):
    """Reads no chunk the fast way."""

    def _fast(self, body: bytes) -> pl.DataFrame | None:  # noqa: ARG002
        return None


class CarefulJsonLines(JsonLinesSource):
    """Reads no chunk the fast way."""

    def _fast(self, body: bytes) -> pl.DataFrame | None:  # noqa: ARG002
        return None


@given(rows=ROWS | EVEN_ROWS, decimal=st.sampled_from([".", ","]), data=st.data())
@settings(max_examples=100, deadline=None)
def test_csv_read_fast_is_as_read_with_care(path: Path, rows: list[str], decimal: str, data: st.DataObject) -> None:
    delimiter = ";" if decimal == "," else ","
    content = "\n".join([f"a{delimiter}b", *rows]).replace(",", delimiter).encode()
    kinds = st.sampled_from(["number", "category", "boolean", "date", "text"])
    types = data.draw(st.dictionaries(st.sampled_from(["a", "b"]), kinds, max_size=2))
    options: dict[str, Any] = {"decimal": decimal, "delimiter": delimiter, "types": types}
    careful = outcome(CarefulDelimited, path, content, CHUNK_BYTES, **options)
    assert outcome(DelimitedSource, path, content, CHUNK_BYTES, **options) == careful


@given(lines=LINES | FEW)
@settings(max_examples=80, deadline=None)
def test_json_lines_read_fast_are_as_read_with_care(path: Path, lines: str) -> None:
    careful = outcome(CarefulJsonLines, path, lines.encode(), CHUNK_BYTES)
    assert outcome(JsonLinesSource, path, lines.encode(), CHUNK_BYTES) == careful


@given(lines=GAPS)
@settings(max_examples=100, deadline=None)
def test_fields_there_twice_and_fields_missing_are_found_however_they_are_read(path: Path, lines: str) -> None:
    careful = outcome(CarefulJsonLines, path, lines.encode(), CHUNK_BYTES)
    assert outcome(JsonLinesSource, path, lines.encode(), CHUNK_BYTES) == careful


VALID = {
    DelimitedSource: b'a,b,"c d"\n1,x,2024-01-01\n2.5,"y, ""z""\nw",\n,x,2024-02-01T10:00Z\n' * 3,
    JsonLinesSource: b'{"a":1,"b":"x"}\n{"a":2.5,"b":null}\n{"a":null,"b":"\\u00e9 \\"q\\""}\n' * 3,
}
MUTATIONS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3), st.binary(max_size=3)), max_size=6)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "encoding": st.sampled_from(["utf-8", "utf-16", "utf-32", "latin-1", "cp1252", "shift_jis", "base64", "x", ""])
        | st.text(max_size=5),
        "delimiter": st.characters() | st.text(max_size=2),
        "decimal": st.sampled_from([".", ","]),
        "header": st.booleans(),
        "missing": st.lists(st.text(max_size=2), max_size=2).map(tuple),
    },
)


@pytest.mark.parametrize("opener", VALID)
@given(
    content=st.binary(max_size=80) | MUTATIONS,
    chunk_bytes=st.sampled_from([CHUNK_BYTES] * 5 + [1, 50]),
    options=OPTIONS,
)
@settings(max_examples=250, deadline=None)
def test_any_bytes_are_a_table_or_refused_with_faults(
    path: Path, opener: Opener, content: bytes | list[tuple[int, int, bytes]], chunk_bytes: int, options: dict[str, Any]
) -> None:
    if isinstance(content, list):
        mutated = VALID[opener]  # type: ignore[index]
        for at, length, new in content:
            mutated = mutated[:at] + new + mutated[at + length :]
        content = mutated
    found = outcome(opener, path, content, chunk_bytes, **options)
    assert found
    if isinstance(found, list):
        assert all(detail for _, detail in found)
        assert len(found) <= MAX_FAULTS


def test_a_column_that_turns_out_otherwise_late_is_read_again_from_the_start(path: Path) -> None:
    path.write_text("a,b\n" + "1,2\n" * 10 + "2.5,2\n" + "x,2\n" * 20)
    source = DelimitedSource(path, ReadingOptions(), 16)
    assert [column.kind for column in source.columns] == ["number", "number"]
    frames = source.frames()
    assert next(frames).dtypes == [pl.Int64, pl.Int64]
    with pytest.raises(LookedAgain):
        list(frames)
    assert [column.kind for column in source.columns] == ["category", "number"]
    again = pl.concat(source.frames())
    assert again["a"].to_list() == ["1"] * 10 + ["2.5"] + ["x"] * 20
    assert again["b"].to_list() == [2] * 31


@pytest.mark.parametrize(("n_texts", "kind"), [(1000, "category"), (1001, "text")])
def test_a_category_becomes_text_by_its_last_value_without_being_read_again(
    path: Path, n_texts: int, kind: str
) -> None:
    texts = [f"t{number}" for number in range(n_texts)]
    path.write_text("a,b\n" + "".join(f"{text},1\n" for text in [*texts[:1000] * 2, *texts]))
    source = DelimitedSource(path, ReadingOptions(), 100)
    frame = pl.concat(source.frames())
    assert frame["a"].to_list() == [*texts[:1000] * 2, *texts]
    assert source.columns[0].kind == kind


@pytest.mark.parametrize("chunk_bytes", [20, CHUNK_BYTES])
def test_the_first_hundred_faults_are_told_of_in_the_order_of_the_file(path: Path, chunk_bytes: int) -> None:
    rows = ["1,2"] * 1000
    for row in range(0, 400, 2):
        rows[row] = "1" if row % 4 else "1,x"
    found = outcome(DelimitedSource, path, "\n".join(["a,b", *rows]).encode(), chunk_bytes)
    assert isinstance(found, list)
    assert [pointer for pointer, _ in found] == [
        f"/rows/{row}" if row % 4 else f"/rows/{row}/b" for row in range(0, 200, 2)
    ]


@pytest.mark.parametrize(
    ("opener", "content"), [(DelimitedSource, "a,b\n1,2\nx,3\n"), (JsonLinesSource, '{"a":1,"b":2}\n{"a":"x","b":3}\n')]
)
def test_values_are_looked_at_when_it_is_asked_what_the_columns_are_and_not_for_how_they_are_read(
    path: Path, opener: type[TextSource[Any]], content: str
) -> None:
    n_looks = 0

    class Watched(opener):  # type: ignore[valid-type, misc]
        def _careful(self, body: bytes, row: int, line: int) -> Any:
            nonlocal n_looks
            n_looks += 1
            return super()._careful(body, row, line)

    path.write_text(content)
    source = Watched(path, ReadingOptions(types={"b": "category"}))
    assert (source.reading["encoding"], n_looks) == ("utf-8", 0)
    for _ in range(2):
        assert ([column.name for column in source.columns], source.types, n_looks) == (["a", "b"], {"b": "category"}, 1)


def test_a_consumer_may_stop_in_the_middle(path: Path) -> None:
    path.write_text("a,b\n" + "1,2\n" * 1000)
    frames = DelimitedSource(path, ReadingOptions(), 40).frames()
    assert len(next(frames)) == 9  # of the 40 bytes, 4 are the header's
    frames.close()  # type: ignore[attr-defined]


def test_names_that_mean_something_to_polars_or_json_are_names_like_others(path: Path) -> None:
    names = ["*", "^a.*$", "a/b~c", " a", "model", "{x}", "0"]
    path.write_text(",".join(names) + "\n" + ",".join("x1234567"[: len(names)]) + "\n")
    found = outcome(DelimitedSource, path, path.read_bytes(), CHUNK_BYTES)
    assert isinstance(found, tuple) or found
    path.write_text(",".join(names) + "\n1,2,x,4,5,6,7\n1,2,3,4,5,6,7\n1,2,3,4,5,6,7\n")
    found = outcome(DelimitedSource, path, path.read_bytes(), CHUNK_BYTES, header=True)
    assert found[0][0] == "/rows/0/a~1b~0c"  # type: ignore[index]
    lines = "\n".join(json.dumps(dict.fromkeys(names, value)) for value in (1, 2))
    found = outcome(JsonLinesSource, path, lines.encode(), CHUNK_BYTES)
    assert found == (dict.fromkeys(names, "number"), [dict.fromkeys(names, 1), dict.fromkeys(names, 2)])


def test_two_thousand_columns_are_read_and_a_fault_in_the_last_is_named(path: Path) -> None:
    header = ",".join(f"c{number}" for number in range(2000))
    row = ",".join(["0.5"] * 2000)
    path.write_text("\n".join([header, *[row] * 5, row[:-3] + "x"]))
    with pytest.raises(InvalidDataset) as refused:
        list(DelimitedSource(path, ReadingOptions()).frames())
    (fault,) = refused.value.faults
    assert (fault.pointer, fault.detail[:27]) == ("/rows/5/c1999", "line 7, column 'c1999': 'x'")
