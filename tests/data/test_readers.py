import csv
import string
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.data.readers import read_csv
from service.errors import UnreadableFile

NAMES = st.lists(
    st.text(string.ascii_letters + string.digits + " ,;:'äé#", min_size=1, max_size=10).map(lambda name: f"n{name}n"),
    min_size=2,
    max_size=5,
    unique=True,
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ON_DISK = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[float]]:
    """Columns of one length by name; the last is the target."""
    length = draw(st.integers(1, 8))
    column = st.lists(FLOATS, min_size=length, max_size=length)
    return {name: draw(column) for name in draw(NAMES)}


def assert_read_back(path: Path, columns: dict[str, list[Any]]) -> None:
    *features, target = columns
    table = read_csv(path, target)
    assert table.feature_names == features
    assert table.target == target
    assert table.targets == columns[target]
    assert table.features == [list(row) for row in zip(*(columns[name] for name in features), strict=True)]


@ON_DISK
@given(tables())
def test_what_the_csv_module_wrote_is_read_back(tmp_path: Path, columns: dict[str, list[float]]) -> None:
    path = tmp_path / "written.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])
    assert_read_back(path, columns)


@ON_DISK
@given(tables())
def test_what_polars_wrote_is_read_back(tmp_path: Path, columns: dict[str, list[float]]) -> None:
    path = tmp_path / "written.csv"
    pl.DataFrame(columns).write_csv(path)
    assert_read_back(path, columns)


def test_a_quote_in_a_column_s_name_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "written.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([['size 3"', "y"], [1, 2]])
    assert_read_back(path, {'size 3"': [1], "y": [2]})


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("cells", "targets"),
    [
        (["1", "2"], [1, 2]),
        (["1.5", "2"], [1.5, 2.0]),
        (["true", "false"], [True, False]),
        (["setosa", "virginica"], ["setosa", "virginica"]),
        (['"a,b"', '"say ""no"""'], ["a,b", 'say "no"']),
        (["2026-01-31", "2026-02-01"], ["2026-01-31", "2026-02-01"]),
    ],
)
def test_targets_come_with_the_type_that_they_read_as(
    tmp_path: Path, cells: list[str], targets: list[Any], start: str, ending: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(start + ending.join(["x,answer", *(f"1,{cell}" for cell in cells)]) + ending, newline="")
    table = read_csv(path, "answer")
    assert [(type(target), target) for target in table.targets] == [(type(target), target) for target in targets]
    assert table.features == [[1], [1]]


def test_only_the_columns_that_are_asked_for_are_read_and_in_that_order(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,comment,b,y\n1,fine,2,3\n4,,5,6\n")
    table = read_csv(path, "y", ["b", "a"])
    assert table.feature_names == ["b", "a"]
    assert table.features == [[2, 1], [5, 4]]
    assert table.targets == [3, 6]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        pytest.param(b"a,y\n1,2\n3,4,5\n", ["line 3"], id="long row"),
        pytest.param(b"a,b,y\n1,2,3\n4,5\n", ["line 3", "'y'", "empty"], id="short row"),
        pytest.param(b"a,a,y\n1,2,3\n", ["'a'", "more than once"], id="duplicate header"),
        pytest.param(b"a,y\n1,2\n,3\n", ["line 3", "'a'", "empty"], id="empty cell"),
        pytest.param(b"a,y\n1,2\n3,\n", ["line 3", "'y'", "empty"], id="empty target"),
        pytest.param(b"a,y\n1,2\n\n3,4\n", ["line 3", "empty"], id="blank line"),
        pytest.param(b"a,y\n1,2\ntall,3\n", ["line 3", "'a'", "'tall' is no number"], id="word in a number column"),
        pytest.param(b"a,y\n1,2\n2026-01-31,3\n", ["line 3", "'a'", "'2026-01-31' is no number"], id="date"),
        pytest.param(b"a,y\ntrue,2\nfalse,3\n", ["line 2", "'a'", "True is no number"], id="boolean feature"),
        pytest.param(b"a,y\n1,2\n3.5,3\nNaN,4\n", ["line 4", "'a'", "nan is not finite"], id="NaN"),
        pytest.param(b"a,y\n1,2\n3.5,3\nnan,4\n", ["line 4", "'a'", "nan"], id="nan"),
        pytest.param(b"a,y\n1,2\n-inf,3\n", ["line 3", "'a'", "-inf is not finite"], id="infinity"),
        pytest.param(b"a,y\n1,2\n1e400,3\n", ["line 3", "'a'", "not finite"], id="number too large"),
        pytest.param(b"a,y\n1,2\n3,inf\n", ["line 3", "'y'", "inf is not finite"], id="infinite target"),
        pytest.param(b"a,y\n", ["a header and no rows"], id="header only"),
        pytest.param(b"", ["empty"], id="empty file"),
        pytest.param(b"\n\n\n", ["empty"], id="blank file"),
        pytest.param(bytes(range(256)) * 20, ["utf-8"], id="binary"),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00", ["utf-8"], id="picture"),
        pytest.param("größe,y\n1,2\n".encode("latin-1"), ["utf-8"], id="another encoding"),
        pytest.param(b'a,y\n1,"2\n3,4\n', ['"2'], id="quote left open"),
        pytest.param(b"a;y\n1;2\n", ["no column 'y'", "a;y"], id="semicolons"),
        pytest.param(b"1,2\n3,4\n", ["no column 'y'", "1, 2"], id="no header"),
    ],
)
def test_a_malformed_file_is_refused_with_what_and_where(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile) as refused:
        read_csv(path, "y")
    for part in [str(path), *parts]:
        assert part in refused.value.detail


@pytest.mark.parametrize(
    ("target", "features", "part"),
    [
        ("z", None, "no column 'z': it has a, b, y"),
        ("y", ["a", "c"], "no column 'c': it has a, b, y"),
        ("y", ["a", "a"], "'a'"),
        ("y", ["a", "y"], "'y'"),
    ],
)
def test_columns_that_cannot_be_chosen_are_refused_by_name(
    tmp_path: Path, target: str, features: list[str] | None, part: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b,y\n1,2,3\n")
    with pytest.raises(UnreadableFile) as refused:
        read_csv(path, target, features)
    assert part in refused.value.detail


def test_a_table_without_features_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("y\n1\n2\n")
    with pytest.raises(UnreadableFile, match="'y'"):
        read_csv(path, "y")


@pytest.mark.parametrize("name", ["missing.csv", "no such folder/table.csv", "*.csv"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "table.csv").write_text("a,y\n1,2\n")
    with pytest.raises(UnreadableFile) as refused:
        read_csv(tmp_path / name, "y")
    assert refused.value.detail == f"there is no file {tmp_path / name}"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,y\n1,2\n")
    with pytest.raises(UnreadableFile) as refused:
        read_csv(tmp_path, "y")
    assert str(tmp_path) in refused.value.detail


@pytest.mark.parametrize("name", ["table[1].csv", "what?.csv", "stars*.csv", "größe 1.csv"])
def test_a_file_name_is_taken_as_it_is_and_not_as_a_pattern(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("a,y\n1,2\n")
    assert read_csv(path, "y").targets == [2]


def test_many_faults_are_told_of_ten_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,y\n" + ",1\n" * 25)
    with pytest.raises(UnreadableFile) as refused:
        read_csv(path, "y")
    assert refused.value.detail.count("the cell is empty") == 10
    assert "line 11," in refused.value.detail
    assert "line 12," not in refused.value.detail
    assert refused.value.detail.endswith("… and 15 more")
