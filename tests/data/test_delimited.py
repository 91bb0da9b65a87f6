import csv
import io
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.data.chunks import CHUNK_BYTES
from service.data.delimited import DelimitedSource
from service.data.reading import ReadingOptions
from tests.data.text_files import frame_of, outcome

STRAY = "has a quote inside a cell that does not begin with one"
CLOSED = "has text after a quote that ends a cell"
MALFORMED: dict[str, tuple[bytes, str, str]] = {
    "no byte": (b"", "", "the file is empty: it has 0 bytes"),
    "line breaks only": (b"\n\r\n\n", "", "nothing but line breaks"),
    "byte order mark only": (b"\xef\xbb\xbf", "", "nothing but line breaks"),
    "blank first line": (b"\na,b\n1,2\n", "", "line 1 is blank: begin with the header"),
    "name twice": (b"a,b,a\n1,2,3\n", "/columns/2", "line 1: the columns 1 and 3 are both named 'a'"),
    "name empty": (b"a,,c\n1,2,3\n", "/columns/1", "line 1: the name of column 2 is empty"),
    "index of pandas": (b",a,c\n0,1,2\n", "/columns/0", "pandas wrote its index as one: to_csv(…, index=False)"),
    "name of blanks": (b"a,  \n1,2\n", "/columns/1", "line 1: the name of column 2 is empty"),
    "name too long": (b"a," + b"x" * 201 + b"\n1,2\n", "/columns/1", "has 201 characters and may have 200"),
    "name with a line break": (
        b'a,"b\nc"\n1,2\n',
        "/columns/1",
        "has a line break, a tab or another control character",
    ),
    "too many columns": (b"a," * 10_000 + b"b\n1\n", "", "the table has 10,001 columns: 10,000 is the most"),
    "names or numbers": (
        b"0,1,2,3\n5,6,7,8\n",
        "",
        "line 1 has 0, 1, 2 …, which may be names of columns or the first row",
    ),
    "years or numbers": (b"2019,2020\n5,6\n", "", "upload with ?header=true if they are names, or ?header=false"),
    "no names": (
        b"5.1,1.4,x y\n4.9,1.4,x y\n",
        "",
        "line 1 has 5.1, 1.4, which may be names of columns or the first row",
    ),
    "no names, and holes": (b"flat,50,,2\nhouse,,,3\nflat,,1,\n", "", "line 1 has 50, 2, which may be"),
    "no names of dates": (b"a,2024-05-31,b\nc,2024-06-01,d\n", "", "line 1 has 2024-05-31, which may be"),
    "no names of booleans": (b"a;False\nb;true\n", "", "line 1 has False, which may be names of columns"),
    "years over numbers": (b"country,1990,2000\nFR,1.5,2\n", "", "upload with ?header=true if they are names"),
    "a number over nothing": (b"a,7\nb,\n", "", "line 1 has 7, which may be names of columns or the first row"),
    "zip archive": (b"PK\x03\x04" + b"x" * 50, "", "this is a zip archive, as Excel writes: save it as CSV"),
    "semicolons and decimal commas": (
        b"size;price\n2;10,5\n3;\n4;-1.210,5\n1;x\n",
        "/columns/price",
        "column 'price' has numbers with commas, such as '-1.210,5': write them without separators of thousands, and, "
        """if decimals stand after a comma, upload with ?decimal=,; or, if they are texts, with types {"price": """
        '"category"}',
    ),
    "commas between thousands": (
        b'size,price\n2,"1,210.50"\n3,1\n4,"2,100"\n',
        "/columns/price",
        "column 'price' has numbers with commas, such as '1,210.50': write them without separators of thousands",
    ),
    "a decimal comma among points": (
        b"size;price\n2;10.5\n3;1.5\n4;2,5\n",
        "/rows/2/price",
        "line 4, column 'price': '2,5' is no number: write it as 1234.5, without separators of thousands; "
        "if the column is not one of numbers, upload with its type in `types`; "
        "if its decimals stand after a comma, upload with ?decimal=,",
    ),
    "word among dates": (
        b"a,b\n1,2024-05-31\n2,soon\n3,2024-06-01\n4,\n",
        "/rows/1/b",
        "line 3, column 'b': 'soon' is no date: write it as 2024-05-31 or 2024-05-31T12:30:00Z, "
        "in the years 1 to 9999; if it stands for a missing value, leave it empty, or upload with ?missing=soon; "
        "if the column is not one of dates, upload with its type in `types`",
    ),
    "word among booleans": (
        b"a,b\n1,true\n2,False\n3,perhaps\n",
        "/rows/2/b",
        "line 4, column 'b': 'perhaps' is no boolean: write true or false; if it stands for a missing value, leave",
    ),
    "year 0": (b"a,b\n1,2024-05-31\n2,2024-06-01\n3,0000-01-01\n", "/rows/2/b", "'0000-01-01' is no date"),
    "before the year 1 in UTC": (
        b"a,b\n1,2024-05-31\n2,2024-06-01\n3,0001-01-01T00:00:00+10:00\n",
        "/rows/2/b",
        "in the years 1 to 9999",
    ),
    "after the year 9999 in UTC": (
        b"a,b\n1,2024-05-31\n2,2024-06-01\n3,9999-12-31T23:59:59-23:00\n",
        "/rows/2/b",
        "in the years 1 to 9999",
    ),
    "delimiter at the header's end": (b"a,b,\n1,2,3\n", "/columns/2", "the name of column 3 is empty"),
    "row too short": (
        b"a,b\n1,2\n3\n",
        "/rows/1",
        "line 3 has 1 cell where 2 are expected: leave a missing cell empty",
    ),
    "row too long": (
        b"a,b\n1,2,3\n",
        "/rows/0",
        "line 2 has 3 cells where 2 are expected: put a cell with a delimiter",
    ),
    "delimiter at a row's end": (b"a,b\n1,2\n3,4,\n", "/rows/1", "line 3 has 3 cells where 2 are expected"),
    "decimal comma": (b"a,b\n1,5,2\n", "/rows/0", "line 2 has 3 cells where 2 are expected"),
    "blank line": (b"a,b\n1,2\n\n3,4\n", "/rows/1", "line 3 is blank: remove it"),
    "blank line of Windows": (b"a,b\r\n1,2\r\n\r\n3,4\r\n", "/rows/1", "line 3 is blank: remove it"),
    "line of spaces": (b"a,b\n1,2\n  \n3,4\n", "/rows/1", "line 3 has 1 cell where 2 are expected"),
    "quote never closed": (b'a,b\n1,2\n3,"x\n4,5\n', "/rows/1", "line 3 opens a quote that is never closed"),
    "quote never closed in the header": (b'a,"b\n1,2\n', "", "line 1 opens a quote that is never closed"),
    "quote not closed where it should": (b'a,b\n1,"x\n2,"y"\n', "/rows/0", f"line 3 {CLOSED}"),
    "quote inside a cell": (b'a,b\n1,5" pipe\n', "/rows/0", f"line 2 {STRAY}"),
    "quote after a space": (b'a,b\n1, "x"\n', "/rows/0", f"line 2 {STRAY}"),
    "text after a quote": (b'a,b\n1,"x"y\n', "/rows/0", f"line 2 {CLOSED}"),
    "quote not doubled": (b'a,b\n1,"x "y" z"\n', "/rows/0", f"line 2 {CLOSED}"),
    "NUL": (b"a,b\n1,2\n3,\x004\n", "/rows/1", "line 3 has a NUL character"),
    "UTF-16 without a mark": ("a,b\n1,2\n".encode("utf-16-le"), "", "line 1 has a NUL character"),
    "latin-1": ("a,b\n1,caf\u00e9\n".encode("latin-1"), "/rows/0", "line 2 is not UTF-8 (byte 0xe9)"),
    "latin-1 in the header": ("caf\u00e9,b\n1,2\n".encode("latin-1"), "", "line 1 is not UTF-8 (byte 0xe9)"),
    "half a character": (b"a,b\n1,x\xc3\n", "/rows/0", "line 2 is not UTF-8 (byte 0xc3): save the file as UTF-8"),
    "UTF-16 cut off": ("a,b\n1,2\n".encode("utf-16")[:-1], "", "line 2 is not utf-16: truncated data"),
    "word in a number column": (b"a,b\n1,2\nabc,4\n5,6\n", "/rows/1/a", "line 3, column 'a': 'abc' is no number"),
    "stand-in for missing": (b"a,b\n1,2\n3,NA\n5,6\n", "/rows/1/b", "upload with ?missing=NA"),
    "thousands": (b'a,b\n1,"1,000"\n2,3\n4,5\n', "/rows/0/b", "line 2, column 'b': '1,000' is no number"),
    "underscore": (b"a,b\n1,1_000\n2,3\n4,5\n", "/rows/0/b", "line 2, column 'b': '1_000' is no number"),
    "infinity": (b"a,b\n1,inf\n2,3\n", "/rows/0/b", "line 2, column 'b': 'inf' is not finite"),
    "too large": (b"a,b\n1,1e400\n2,3\n", "/rows/0/b", "line 2, column 'b': '1e400' is not finite"),
    "fault after a line break in quotes": (b'a,b\n"x\ny",2\nz,w\nv,3\n', "/rows/1/b", "line 4, column 'b': 'w' is no"),
    "name with a slash": (b"a/b~,c\n1,2\nx,3\n4,5\n", "/rows/1/a~1b~0", "line 3, column 'a/b~': 'x' is no number"),
    "returns for line ends": (b"a,b\r1,2\r3,4", "", "line 1 has a carriage return in it"),
    "long text in a number column": (b"a\n1\n2\n" + b"x" * 500, "/rows/2/a", "'" + "x" * 80 + "…' is no number"),
}
REFUSED_OPTIONS: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown encoding": ({"encoding": "klingon"}, "/encoding", "the encoding 'klingon' is not known: choose utf-8"),
    "encoding that is none of text": ({"encoding": "base64"}, "/encoding", "the encoding 'base64' is not known"),
    "wrong encoding": ({"encoding": "ascii", "header": True}, "", "line 3 is not ascii: ordinal not in range(128)"),
    "long delimiter": ({"delimiter": "::"}, "/delimiter", "'::' cannot be a delimiter"),
    "delimiter of numbers": ({"delimiter": "1"}, "/delimiter", "'1' cannot be a delimiter"),
    "type of no column": ({"types": {"c/d": "text"}}, "/types/c~1d", "there is no column 'c/d': the columns are a, b"),
    "type that does not fit": ({"types": {"b": "boolean"}}, "/rows/0/b", "line 2, column 'b': '2' is no boolean"),
    "date that is none": (
        {"types": {"b": "date"}},
        "/rows/0/b",
        "line 2, column 'b': '2' is no date: write it as",
    ),
    "number that is none": ({"types": {"a": "number"}}, "/rows/0/a", "line 2, column 'a': 'x' is no number"),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files") / "table.csv"


def test_the_table_of_malformed_files_has_at_least_forty() -> None:
    assert len(MALFORMED) >= 40


@pytest.mark.parametrize("chunk_bytes", [3, CHUNK_BYTES])
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused_with_place_and_reason(path: Path, name: str, chunk_bytes: int) -> None:
    content, pointer, words = MALFORMED[name]
    found = outcome(DelimitedSource, path, content, chunk_bytes)
    assert isinstance(found, list), found
    assert [there for there, _ in found] == [pointer]
    assert words in found[0][1]


@pytest.mark.parametrize("name", REFUSED_OPTIONS)
def test_options_that_do_not_fit_the_file_are_refused(path: Path, name: str) -> None:
    options, pointer, words = REFUSED_OPTIONS[name]
    found = outcome(DelimitedSource, path, "a,b\nx,2\né,4\n".encode(), CHUNK_BYTES, **options)
    assert isinstance(found, list), found
    assert found[0][0] == pointer
    assert words in found[0][1]


@pytest.mark.parametrize("chunk_bytes", [3, 20, CHUNK_BYTES])
def test_decimal_commas_are_told_of_once_a_column_also_where_it_is_said_to_be_one_of_numbers(
    path: Path, chunk_bytes: int
) -> None:
    content = "größe;preis;n\n1,5;10,5;1\n2;11,5;x\n3,5;x;3\n".encode()
    found = outcome(DelimitedSource, path, content, chunk_bytes, types={"preis": "number"})
    assert [pointer for pointer, _ in found] == ["/columns/größe", "/columns/preis", "/rows/1/n"]
    assert "such as '1,5'" in found[0][1]  # type: ignore[index]
    found = outcome(DelimitedSource, path, content, chunk_bytes, types={"preis": "category", "größe": "text"})
    assert [pointer for pointer, _ in found] == ["/rows/1/n"]
    found = outcome(DelimitedSource, path, content.replace(b"x", b""), chunk_bytes, decimal=",")
    assert found[0] == {"größe": "number", "preis": "number", "n": "number"}


def test_points_are_told_of_where_decimals_stand_after_a_comma(path: Path) -> None:
    content = b"Ort;Preis;m2\nK;436.457,26;1.5\nM;950,5;2.5\nB;1.200,00;3.5\n"
    found = outcome(DelimitedSource, path, content, CHUNK_BYTES, decimal=",")
    assert [pointer for pointer, _ in found] == ["/columns/Preis", "/columns/m2"]
    way = "write them without separators of thousands, and, if decimals stand after a point, upload with ?decimal=.; or"
    assert f"has numbers with points, such as '1.200,00': {way}" in found[0][1]  # type: ignore[index]
    found = outcome(DelimitedSource, path, content, CHUNK_BYTES, decimal=",", types={"Preis": "text", "m2": "category"})
    assert isinstance(found, tuple)
    rare = content.replace(b"1.200,00", b"7").replace(b"2.5", b"2,5").replace(b"3.5", b"3,5")
    found = outcome(DelimitedSource, path, rare, CHUNK_BYTES, decimal=",")
    assert [pointer for pointer, _ in found] == ["/rows/0/Preis", "/rows/0/m2"]
    assert "'436.457,26' is no number: write it as 1234,5, without separators of thousands" in found[0][1]  # type: ignore[index]


def test_a_date_or_boolean_among_others_is_a_word_when_its_column_is_said_to_be_one_of_words(path: Path) -> None:
    content = b"a,b\ntrue,2024-05-31\nfalse,2024-06-01\nperhaps,soon\n"
    found = outcome(DelimitedSource, path, content, CHUNK_BYTES, types={"a": "category", "b": "category"})
    assert isinstance(found, tuple)
    assert found[1][2] == {"a": "perhaps", "b": "soon"}
    assert isinstance(outcome(DelimitedSource, path, content, CHUNK_BYTES, missing=("perhaps", "soon")), tuple)


def test_utf_16_asked_for_without_a_byte_order_mark_has_to_say_which_it_is(path: Path) -> None:
    content = "a,b\n1,2\n".encode("utf-16-be")
    found = outcome(DelimitedSource, path, content, CHUNK_BYTES, encoding="utf-16")
    sentence = "utf-16 begins with a byte order mark, and the file does not: say utf-16-le or -be"
    assert found == [("/encoding", sentence)]
    whole = {"a": "number", "b": "number"}, [{"a": 1, "b": 2}]
    assert outcome(DelimitedSource, path, content, CHUNK_BYTES, encoding="utf-16-be") == whole


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda text: text.strip(" \t")
)
COLUMNS = {
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    "category": st.sampled_from(["red", "light, green", 'sky "blue"', "two\nlines", "naïve ☃", "a;b|c\td", "NULL"]),
    "words": TEXTS,
    "date": st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),
}
DTYPES: dict[str, Any] = {"float": pl.Float64, "integer": pl.Int64, "boolean": pl.Boolean, "date": pl.Datetime("us")}
TYPES: dict[str, Any] = {"float": "number", "integer": "number", "boolean": "boolean", "date": "date"}


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    """Columns of all sorts with holes."""
    n_rows = draw(st.integers(1, 6))
    sorts = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4))
    return pl.DataFrame(
        [
            pl.Series(
                f"{sort} {number}",
                draw(st.lists(st.none() | COLUMNS[sort], min_size=n_rows, max_size=n_rows)),
                DTYPES.get(sort, pl.String),
            )
            for number, sort in enumerate(sorts)
        ]
    )


def written_by_polars(table: pl.DataFrame) -> str:
    return table.write_csv()


def written_by_pandas(table: pl.DataFrame) -> str:
    frame = pd.DataFrame({name: pd.Series(table[name].to_list(), dtype=object) for name in table.columns})
    text: str = frame.to_csv(index=False)
    return text


def written_by_csv(table: pl.DataFrame) -> str:
    written = io.StringIO(newline="")
    rows = csv.writer(written)
    rows.writerow(table.columns)
    rows.writerows(table.iter_rows())
    return written.getvalue()


@pytest.mark.parametrize("write", [written_by_polars, written_by_pandas, written_by_csv])
@given(table=tables())
@settings(max_examples=80, deadline=None)
def test_a_table_written_comes_back_equal(path: Path, write: Any, table: pl.DataFrame) -> None:
    path.write_text(write(table), encoding="utf-8", newline="")
    types = {name: TYPES.get(name.split()[0], "text") for name in table.columns}
    back = frame_of(DelimitedSource(path, ReadingOptions(types=types)))
    whole = [pl.col(name).cast(dtype) for name, dtype in back.schema.items()]  # floats may all be written as integers
    assert back.equals(table.select(whole))


@pytest.mark.parametrize("chunk_bytes", [1, 3, CHUNK_BYTES])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("content", ["a\n1\n\n2.5\n\n\n", "a\r\n1\r\n\r\n2.5\r\n\r\n\r\n", 'a\n1\n\n2.5\n""\n\n'])
def test_a_blank_line_of_a_single_column_is_a_missing_value(
    path: Path, content: str, encoding: str, chunk_bytes: int
) -> None:
    found = outcome(DelimitedSource, path, content.encode(encoding), chunk_bytes)
    assert found == ({"a": "number"}, [{"a": value} for value in (1.0, None, 2.5, None, None)])


def test_a_semicolon_file_with_decimal_commas_is_read_when_told_so(path: Path) -> None:
    content = 'Größe;Preis;Ort\r\n1,5;"1e3";München\r\n-0,25;;"Köln; Süd"\r\n'.encode("cp1252")
    found = outcome(DelimitedSource, path, content, CHUNK_BYTES, decimal=",", encoding="cp1252")
    assert found == (
        {"Größe": "number", "Preis": "number", "Ort": "category"},
        [{"Größe": 1.5, "Preis": 1000.0, "Ort": "München"}, {"Größe": -0.25, "Preis": None, "Ort": "Köln; Süd"}],
    )
    source = DelimitedSource(path, ReadingOptions(decimal=",", encoding="cp1252"))
    assert source.reading == {"delimiter": ";", "header": True, "decimal": ",", "encoding": "cp1252", "missing": []}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_texts_of_several_lines_in_quotes_are_read_in_a_file_with_a_byte_order_mark(path: Path, encoding: str) -> None:
    content = '"id","note ""x"""\n1,"first\n\nline, and ""more"""\n2,"☃"'.encode(encoding)
    found = outcome(DelimitedSource, path, content, CHUNK_BYTES)
    rows = [{"id": 1, 'note "x"': 'first\n\nline, and "more"'}, {"id": 2, 'note "x"': "☃"}]
    assert found == ({"id": "number", 'note "x"': "text"}, rows)


def test_categories_with_holes_are_read_and_other_words_for_missing_when_told_so(path: Path) -> None:
    content = (
        b"kind,rooms,zip,new,sold\nhouse,3,01234,True,2024-05-31\n,NA,98765,,\n n/a,4,,FALSE,2024-05-31T12:00+02:00\n"
    )
    found = outcome(DelimitedSource, path, content, CHUNK_BYTES, missing=("NA", " n/a"))
    assert found == (
        {"kind": "category", "rooms": "number", "zip": "category", "new": "boolean", "sold": "date"},
        [
            {"kind": "house", "rooms": 3, "zip": "01234", "new": True, "sold": datetime(2024, 5, 31)},
            {"kind": None, "rooms": None, "zip": "98765", "new": None, "sold": None},
            {"kind": None, "rooms": 4, "zip": None, "new": False, "sold": datetime(2024, 5, 31, 10)},
        ],
    )


@pytest.mark.parametrize(
    ("content", "options", "names", "header"),
    [
        (b"1,3\n3,4\n", {}, ["column_1", "column_2"], False),
        (b"2,1\n3,4\n", {}, ["column_1", "column_2"], False),
        (b"2.5,1\n3,4\n", {}, ["column_1", "column_2"], False),
        (b"1,2\n3,4\n", {"header": False}, ["column_1", "column_2"], False),
        (b"1\n3\n", {}, ["column_1"], False),
        (b"1,2\n3,4\n", {"header": True}, ["1", "2"], True),
        (b"a,b\n3,4\n", {"header": False}, ["column_1", "column_2"], False),
        (b"1,b\n3,4\n", {"header": True}, ["1", "b"], True),
        (b"1,b\n3,4\n", {"types": {"1": "number"}}, ["1", "b"], True),
        (b"1,true\nx,4\ny,5\n3,4\n", {}, ["1", "true"], True),
        (b"1,5\n3,4\n", {"types": {"column_1": "number"}}, ["column_1", "column_2"], False),
        (b"a\n3\n", {}, ["a"], True),
        (b"a|b\n3|4", {}, ["a", "b"], True),
        (b"a\tb,c\n3\t4", {}, ["a", "b,c"], True),
        (b"a b\n3 4", {"delimiter": " "}, ["a", "b"], True),
        (b'"a,b,c";d\n3;4', {}, ["a,b,c", "d"], True),
    ],
)
def test_delimiter_and_header_are_found_unless_they_are_told(
    path: Path, content: bytes, options: dict[str, Any], names: list[str], header: bool
) -> None:
    path.write_bytes(content)
    source = DelimitedSource(path, ReadingOptions(**options))
    assert [column.name for column in source.columns] == names
    assert source.reading["header"] is header
    assert [float(cell) for cell in frame_of(source).rows()[-1]] == [3, 4][: len(names)]


def test_ten_thousand_names_of_which_some_are_numbers_are_told_apart(path: Path) -> None:
    names = [f"x{number}" for number in range(9_999)]
    path.write_text(",".join(["7", *names]) + "\n" + ",".join(["x", *["1"] * 9_999]))
    source = DelimitedSource(path, ReadingOptions())
    assert [column.name for column in source.columns] == ["7", *names]
