import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.data.chunks import CHUNK_BYTES
from service.data.json_lines import JsonLinesSource
from service.data.reading import ReadingOptions
from tests.data.text_files import frame_of, outcome

MALFORMED: dict[str, tuple[str, str, str]] = {
    "no byte": ("", "", "the file is empty: it has 0 bytes"),
    "line breaks only": ("\n\n", "", "nothing but line breaks"),
    "a list": ('[{"a":1}]', "/rows/0", "line 1 is JSON, but no object: give one object a line"),
    "no fields": ("{}\n{}", "/rows/0", "line 1 has no fields"),
    "indented": ('{\n"a": 1\n}', "/rows/0", "line 1 is no JSON object"),
    "empty name": ('{"":1}', "/columns/0", "line 1: the name of column 1 is empty"),
    "name twice": ('{"a":1,"a":2}', "/columns/1", "line 1: the columns 1 and 2 are both named 'a'"),
    "blank line": ('{"a":1}\n\n{"a":2}', "/rows/1", "line 2 is blank: remove it"),
    "no JSON": ('{"a":1}\n{"a":x}', "/rows/1", "line 2 is no JSON object (Expecting value at character 6)"),
    "two objects": ('{"a":1}\n{"a":1} {"a":2}', "/rows/1", "line 2 is no JSON object (Extra data at character 9)"),
    "NaN": ('{"a":1}\n{"a":NaN}', "/rows/1", "NaN and Infinity are null in JSON"),
    "too large": ('{"a":1}\n{"a":-1e400}', "/rows/1/a", "line 2, column 'a': -Infinity is not finite"),
    "missing field": ('{"a":1,"b":2}\n{"a":1}', "/rows/1", "line 2 has no field 'b', which line 1 has"),
    "unknown field": ('{"a":1}\n{"a":1,"b/":2}', "/rows/1/b~1", "line 2 has a field 'b/', which line 1 has not"),
    "field twice": ('{"a":1}\n{"a":1,"a":2}', "/rows/1/a", "line 2 has the field 'a' 2 times"),
    "field twice and none at all": ('{"a":5}\n{"a":1,"a":null}\n{}', "/rows/1/a", "line 2 has the field 'a' 2 times"),
    "field twice and another missing": (
        '{"a":5,"b":1}\n{"a":1,"a":null}',
        "/rows/1",
        "line 2 has no field 'b', which line 1 has",
    ),
    "zip archive": ("PK\x03\x04", "", "this is a zip archive, as Excel writes: save it as CSV"),
    "name with a tab": ('{"a\\tb":1}', "/columns/0", "has a line break, a tab or another control character"),
    "too many columns": (
        json.dumps({f"c{number}": 1 for number in range(10_001)}),
        "",
        "the table has 10,001 columns: 10,000 is the most",
    ),
    "list as a value": ('{"a":1}\n{"a":[1]}', "/rows/1/a", "line 2, column 'a': […] is nested"),
    "object as a value": ('{"a":1}\n{"a":{"b":1}}', "/rows/1/a", "line 2, column 'a': {…} is nested"),
    "text among numbers": (
        '{"a":1}\n{"a":"2"}\n{"a":3}',
        "/rows/1/a",
        '"2" is a text, and the column is one of numbers',
    ),
    "number among texts": (
        '{"a":"x"}\n{"a":2}\n{"a":"y"}',
        "/rows/1/a",
        "2 is a number, and the column is",
    ),
    "boolean among numbers": (
        '{"a":1}\n{"a":true}\n{"a":3}',
        "/rows/1/a",
        "true is a boolean, and the column is",
    ),
    "number among booleans": (
        '{"a":true}\n{"a":0}\n{"a":false}',
        "/rows/1/a",
        "0 is a number, and the column is",
    ),
    "half a pair": ('{"a":"x"}\n{"a":"\\ud83d"}', "/rows/1", "line 2 has half of a surrogate pair"),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files") / "table.jsonl"


@pytest.mark.parametrize("chunk_bytes", [3, CHUNK_BYTES])
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused_with_place_and_reason(path: Path, name: str, chunk_bytes: int) -> None:
    content, pointer, words = MALFORMED[name]
    found = outcome(JsonLinesSource, path, content.encode(), chunk_bytes)
    assert isinstance(found, list), found
    assert found[0][0] == pointer
    assert words in found[0][1]
    assert len(found) <= 2


def test_bytes_that_are_no_text_are_refused_and_read_when_their_encoding_is_told(path: Path) -> None:
    content = '{"a":"x"}\n{"a":"é"}\n'.encode("latin-1")
    found = outcome(JsonLinesSource, path, content, CHUNK_BYTES)
    assert isinstance(found, list)
    assert found[0][0] == "/rows/1"
    assert "line 2 is not UTF-8 (byte 0xe9)" in found[0][1]
    rows = [{"a": "x"}, {"a": "é"}]
    assert outcome(JsonLinesSource, path, content, CHUNK_BYTES, encoding="latin-1") == ({"a": "category"}, rows)


def test_columns_are_what_json_says_and_dates_where_all_texts_are(path: Path) -> None:
    content = (
        b'{"n":1,"x":2.5,"ok":true,"kind":"3","day":"2024-05-31"}\r\n'
        b'{"day":null,"kind":null,"ok":false,"x":-1,"n":null}\n\n'
    )
    assert outcome(JsonLinesSource, path, content, CHUNK_BYTES) == (
        {"n": "number", "x": "number", "ok": "boolean", "kind": "category", "day": "date"},
        [
            {"n": 1, "x": 2.5, "ok": True, "kind": "3", "day": datetime(2024, 5, 31)},
            {"n": None, "x": -1.0, "ok": False, "kind": None, "day": None},
        ],
    )


def test_types_that_are_told_win(path: Path) -> None:
    content = b'{"a":2.50,"b":"007","c":true}\n{"a":"x","b":"1.5","c":"1"}\n'
    types = {"a": "category", "b": "number", "c": "text"}
    rows = [{"a": "2.5", "b": 7.0, "c": "true"}, {"a": "x", "b": 1.5, "c": "1"}]
    assert outcome(JsonLinesSource, path, content, CHUNK_BYTES, types=types) == (types, rows)


VALUES = {
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    "text": st.text(st.characters(codec="utf-8"), max_size=10),
}
DTYPES: dict[str, Any] = {"float": pl.Float64, "integer": pl.Int64, "boolean": pl.Boolean, "text": pl.String}


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    n_rows = draw(st.integers(1, 6))
    sorts = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
    columns = {
        f"{sort} {number}": pl.Series(
            draw(st.lists(st.none() | VALUES[sort], min_size=n_rows, max_size=n_rows)), dtype=DTYPES[sort]
        )
        for number, sort in enumerate(sorts)
    }
    return pl.DataFrame(columns)


def written_by_polars(table: pl.DataFrame) -> str:
    return table.write_ndjson()


def written_by_json(table: pl.DataFrame) -> str:
    return "\n".join(json.dumps(row) for row in table.to_dicts())


def written_by_pandas(table: pl.DataFrame) -> str:
    frame = pd.DataFrame({name: pd.Series(table[name].to_list(), dtype=object) for name in table.columns})
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in frame.to_dict("records"))


@pytest.mark.parametrize("write", [written_by_polars, written_by_json, written_by_pandas])
@given(table=tables())
@settings(max_examples=60, deadline=None)
def test_a_table_written_comes_back_equal(path: Path, write: Any, table: pl.DataFrame) -> None:
    path.write_text(write(table), encoding="utf-8", newline="")
    types: dict[str, Any] = {name: "text" if name.startswith("text") else "number" for name in table.columns}
    types |= {name: "boolean" for name in table.columns if name.startswith("boolean")}
    back = frame_of(JsonLinesSource(path, ReadingOptions(types=types)))
    assert back.equals(table.select(pl.col(name).cast(dtype) for name, dtype in back.schema.items()))
