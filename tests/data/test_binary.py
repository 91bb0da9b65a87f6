import tracemalloc
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from service.data.binary import BinarySource
from service.data.names import MOST_COLUMNS
from service.data.reading import ReadingOptions
from service.encoding import Column, Kind
from service.errors import MAX_FAULTS, InvalidDataset
from tests.data.binary_files import FORMATS, BinaryFormat, read, refusal, written


@pytest.mark.parametrize("file_format", FORMATS)
def test_kinds_and_values_are_those_of_the_types_in_the_file(tmp_path: Path, file_format: BinaryFormat) -> None:
    frame = pl.DataFrame(
        {
            "integer": pl.Series([1, None, 3], dtype=pl.UInt8),
            "float": pl.Series([1.5, float("nan"), None], dtype=pl.Float32),
            "decimal": [Decimal("1.25"), Decimal("2.50"), None],
            "boolean": [True, False, None],
            "string": ["a", None, "b"],
            "categorical": pl.Series(["a", None, "b"], dtype=pl.Categorical),
            "enum": pl.Series(["a", None, "b"], dtype=pl.Enum(["b", "a"])),
            "date": [date(2020, 2, 29), None, date(1, 1, 1)],
            "zoned": [datetime(2020, 1, 1, tzinfo=UTC), None, None],
            "nothing": pl.Series([None] * 3, dtype=pl.String),
        }
    ).with_columns(pl.col("zoned").dt.convert_time_zone("Asia/Tokyo"))
    path = written(frame, tmp_path, file_format, rows=2)
    source = BinarySource(path, file_format, ReadingOptions())
    kinds: dict[str, Kind] = {column.name: column.kind for column in source.columns}
    assert kinds == {
        "integer": "number",
        "float": "number",
        "decimal": "number",
        "boolean": "boolean",
        "string": "category",
        "categorical": "category",
        "enum": "category",
        "date": "date",
        "zoned": "date",
        "nothing": "text",
    }
    expected = pl.DataFrame(
        {
            "integer": pl.Series([1, None, 3], dtype=pl.UInt8),
            "float": pl.Series([1.5, None, None], dtype=pl.Float32),
            "decimal": [1.25, 2.5, None],
            "boolean": [True, False, None],
            "string": ["a", None, "b"],
            "categorical": ["a", None, "b"],
            "enum": ["a", None, "b"],
            "date": [datetime(2020, 2, 29), None, datetime(1, 1, 1)],
            "zoned": [datetime(2020, 1, 1), None, None],
            "nothing": pl.Series([None] * 3, dtype=pl.String),
        }
    )
    assert_frame_equal(pl.concat(source.frames()), expected)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        pytest.param([f"w{row % 1000}" for row in range(3000)], "category", id="a thousand words"),
        pytest.param([f"w{row % 1001}" for row in range(3000)], "text", id="more than a thousand"),
        pytest.param([f"w{row}" for row in range(19)], "category", id="few samples, all different"),
        pytest.param([f"w{row}" for row in range(20)], "text", id="all different"),
        pytest.param([f"w{row // 2}" for row in range(20)], "category", id="half different"),
        pytest.param(["a" * 100, "b"], "category", id="as long as can be"),
        pytest.param(["a" * 101, "b"], "text", id="too long"),
        pytest.param(["a\nb", "b"], "text", id="two lines"),
    ],
)
def test_texts_are_categories_unless_they_are_many_or_long(
    tmp_path: Path, file_format: BinaryFormat, values: list[str], kind: str
) -> None:
    path = written(pl.DataFrame({"word": values}), tmp_path, file_format)
    assert BinarySource(path, file_format, ReadingOptions()).columns[0].kind == kind


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    "values",
    [
        pytest.param([[1], [2]], id="list"),
        pytest.param([{"a": 1}, {"a": 2}], id="struct"),
        pytest.param([b"a", b"b"], id="binary"),
        pytest.param([time(1), time(2)], id="time"),
        pytest.param([timedelta(1), timedelta(2)], id="duration"),
        pytest.param(pl.Series([1, 2], dtype=pl.Int128), id="Int128"),
        pytest.param(pl.Series([1, 2], dtype=pl.UInt128), id="UInt128"),
    ],
)
def test_a_type_that_no_model_can_take_is_refused_by_column_and_type(
    tmp_path: Path, file_format: BinaryFormat, values: list[Any] | pl.Series
) -> None:
    frame = pl.DataFrame({"fine": [1, 2], "a/b": values})
    (fault,) = refusal(written(frame, tmp_path, file_format), file_format).faults
    assert fault.pointer == "/columns/a~1b"
    assert f"column 'a/b' has type {frame.schema['a/b']}, which no model can take: leave the column out" in fault.detail


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "the name of column 2 is empty"),
        (" ", "the name of column 2 is empty"),
        ("a\tb", "has a line break, a tab or another control character"),
        ("x" * 201, "has 201 characters and may have 200"),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path: Path, file_format: BinaryFormat, name: str, words: str) -> None:
    (fault,) = refusal(written(pl.DataFrame({"a": [1], name: [2]}), tmp_path, file_format), file_format).faults
    assert fault.pointer == "/columns/1"
    assert words in fault.detail


def test_too_many_columns_are_refused_before_a_value_is_looked_at(tmp_path: Path) -> None:
    wide = pl.DataFrame({f"x{number}": ["a"] for number in range(MOST_COLUMNS + 1)})
    for file_format in FORMATS:
        path = written(wide, tmp_path, file_format)
        with pytest.raises(InvalidDataset, match="the table has 10,001 columns: 10,000 is the most"):
            BinarySource(path, file_format, ReadingOptions())


@pytest.mark.parametrize("file_format", FORMATS)
def test_long_texts_are_not_kept_to_tell_what_a_column_is(tmp_path: Path, file_format: BinaryFormat) -> None:
    frame = pl.DataFrame({"a": [f"{number}" * 10_000 for number in range(1000)]})
    path = written(frame, tmp_path, file_format)
    source = BinarySource(path, file_format, ReadingOptions())
    tracemalloc.start()
    assert source.columns == (Column("a", "text"),)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**22


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_infinity_is_a_fault_with_row_column_and_value(tmp_path: Path, file_format: BinaryFormat) -> None:
    frame = pl.DataFrame({"a": [1.0, float("inf"), None, 2.0], "b": [float("-inf"), 0.0, 0.0, float("nan")]})
    faults = refusal(written(frame, tmp_path, file_format, rows=3), file_format).faults
    assert [fault.pointer for fault in faults] == ["/rows/0/b", "/rows/1/a"]
    assert (
        faults[0].detail == "row 0 (counted from 0), column 'b': -inf is not finite: write null if the value is missing"
    )


def test_no_more_than_a_hundred_faults_are_told_of(tmp_path: Path) -> None:
    path = written(pl.DataFrame({"a": [float("inf")] * 500, "b": [float("inf")] * 500}), tmp_path, "parquet", rows=7)
    faults = refusal(path, "parquet").faults
    assert len(faults) == MAX_FAULTS
    assert faults[-1].pointer == "/rows/49/b"


def test_a_category_taken_as_a_number_names_every_word(tmp_path: Path) -> None:
    values = ["1", "NaN", None, "word", "2.5", "inf", "1_000"]
    path = written(pl.DataFrame({"size": pl.Series(values, dtype=pl.Categorical)}), tmp_path, "parquet")
    faults = refusal(path, "parquet", ReadingOptions(types={"size": "number"})).faults
    assert [fault.pointer for fault in faults] == ["/rows/3/size", "/rows/5/size", "/rows/6/size"]
    assert faults[0].detail.startswith("row 3 (counted from 0), column 'size': 'word' is no number")
    assert "missing=word" in faults[0].detail
    fine = written(pl.DataFrame({"size": values[:3]}), tmp_path, "parquet")
    assert read(fine, "parquet", ReadingOptions(types={"size": "number"}))["size"].to_list() == [1.0, None, None]


@pytest.mark.parametrize("file_format", FORMATS)
def test_types_are_overridden(tmp_path: Path, file_format: BinaryFormat) -> None:
    frame = pl.DataFrame(
        {"zip": [1000, 8001], "size": [2.0, 2.5], "sold": ["2020-01-31", None], "new": ["True", "false"]}
    )
    types: dict[str, Kind] = {"zip": "category", "size": "category", "sold": "date", "new": "boolean"}
    source = BinarySource(written(frame, tmp_path, file_format), file_format, ReadingOptions(types=types))
    assert source.columns == tuple(Column(name, kind) for name, kind in types.items())
    assert source.types == types
    assert pl.concat(source.frames()).to_dict(as_series=False) == {
        "zip": ["1000", "8001"],
        "size": ["2", "2.5"],
        "sold": [datetime(2020, 1, 31), None],
        "new": [True, False],
    }


def test_overrides_that_cannot_be_are_faults(tmp_path: Path) -> None:
    path = written(pl.DataFrame({"sold": [date(2020, 1, 1)], "n": [1]}), tmp_path, "parquet")
    faults = refusal(path, "parquet", ReadingOptions(types={"sold": "number", "m": "number"})).faults
    assert [fault.pointer for fault in faults] == ["/types/sold", "/types/m"]
    assert faults[0].detail == "column 'sold' has type Date in the file and cannot be taken as number"
    assert faults[1].detail == "there is no column 'm': the columns are sold, n"


def test_dates_that_no_calendar_of_python_has_are_faults(tmp_path: Path) -> None:
    path = written(pl.DataFrame({"at": pl.Series([0, 10**18], dtype=pl.Datetime("us"))}), tmp_path, "parquet")
    (fault,) = refusal(path, "parquet").faults
    assert (
        fault.detail
        == "row 1 (counted from 0), column 'at': a date in the year 33658 lies outside of the years 1 to 9999"
    )


def test_texts_that_stand_for_missing_values_are_missing(tmp_path: Path) -> None:
    path = written(pl.DataFrame({"size": ["1", "?", "2"], "n": [1, 2, 3]}), tmp_path, "parquet")
    source = BinarySource(path, "parquet", ReadingOptions(types={"size": "number"}, missing=("?", "NA")))
    assert not source.keeps_file
    assert pl.concat(source.frames())["size"].to_list() == [1.0, None, 2.0]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_path_may_have_any_characters(tmp_path: Path, file_format: BinaryFormat) -> None:
    folder = tmp_path / "year=2020" / "[a]*"
    folder.mkdir(parents=True)
    frame = pl.DataFrame({"a": [1, 2]})
    assert_frame_equal(read(written(frame, folder, file_format), file_format), frame)


def test_what_pandas_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    frame = pd.DataFrame(
        {
            "x": [1.0, None, 3.0],
            "n": pd.array([1, None, 3], dtype="Int64"),
            "kind": pd.Categorical(["a", "b", None]),
            "rank": pd.Categorical([3, 1, 3]),
            "sold": pd.to_datetime(["2020-01-01", None, "2021-06-30"]),
            "is_new": [True, False, True],
        }
    )
    frame.to_parquet(path, index=False)
    assert read(path, "parquet").to_dict(as_series=False) == {
        "x": [1.0, None, 3.0],
        "n": [1, None, 3],
        "kind": ["a", "b", None],
        "rank": [3, 1, 3],
        "sold": [datetime(2020, 1, 1), None, datetime(2021, 6, 30)],
        "is_new": [True, False, True],
    }


def written_by_pandas(frame: pd.DataFrame, path: Path, file_format: BinaryFormat) -> None:
    if file_format == "parquet":
        frame.to_parquet(path)
        return
    table = pa.Table.from_pandas(frame)
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_index_of_pandas_without_a_name_is_left_out_and_said(tmp_path: Path, file_format: BinaryFormat) -> None:
    path = tmp_path / "upload"
    written_by_pandas(pd.DataFrame({"x": [3.0, 1.0, 2.0]}, index=[7, 5, 6]), path, file_format)
    scan = pl.scan_parquet if file_format == "parquet" else pl.scan_ipc
    assert "__index_level_0__" in scan(path).collect_schema()
    source = BinarySource(path, file_format, ReadingOptions())
    assert source.columns == (Column("x", "number"),)
    assert source.reading["left_out"] == ["__index_level_0__"]
    assert pl.concat(source.frames()).to_dict(as_series=False) == {"x": [3.0, 1.0, 2.0]}
    types: dict[str, Kind] = {"__index_level_0__": "number"}
    (fault,) = refusal(path, file_format, ReadingOptions(types=types)).faults
    assert fault.pointer == "/types/__index_level_0__"


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_index_of_pandas_with_a_name_is_a_column(tmp_path: Path, file_format: BinaryFormat) -> None:
    path = tmp_path / "upload"
    frame = pd.DataFrame({"x": [3.0, 1.0]}, index=pd.Index([7, 5], name="year"))
    written_by_pandas(frame, path, file_format)
    source = BinarySource(path, file_format, ReadingOptions())
    assert [column.name for column in source.columns] == ["x", "year"]
    assert "left_out" not in source.reading


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_column_that_is_only_called_like_an_index_is_a_column(tmp_path: Path, file_format: BinaryFormat) -> None:
    path = written(pl.DataFrame({"x": [1], "__index_level_0__": [2]}), tmp_path, file_format)
    source = BinarySource(path, file_format, ReadingOptions())
    assert [column.name for column in source.columns] == ["x", "__index_level_0__"]
    written_by_pandas(pd.DataFrame({"x": [1], "__index_level_0__": [2]}), path, file_format)
    source = BinarySource(path, file_format, ReadingOptions())
    assert [column.name for column in source.columns] == ["x", "__index_level_0__"]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_frame_of_pandas_with_nothing_but_an_index_is_refused(tmp_path: Path, file_format: BinaryFormat) -> None:
    path = tmp_path / "upload"
    written_by_pandas(pd.DataFrame(index=[7, 5]), path, file_format)
    assert "the file has no columns" in refusal(path, file_format).detail


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
            st.none() | st.booleans(),
            st.none() | st.datetimes(),
        ),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(FORMATS),
    st.integers(1, 40),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_comes_back_equal(
    tmp_path: Path, rows: list[tuple[Any, ...]], file_format: BinaryFormat, part: int
) -> None:
    schema: dict[str, Any] = {
        "n": pl.Int64,
        "x": pl.Float64,
        "word": pl.String,
        "is_new": pl.Boolean,
        "at": pl.Datetime("us"),
    }
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    assert_frame_equal(read(written(frame, tmp_path, file_format, part), file_format), frame)
