from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from service.data.batches import FEWEST_ROWS_AT_ONCE, ROWS_AT_ONCE
from service.data.tables import Table
from service.dataset import Dataset, Label, Schema
from service.encoding import Column, Kind
from service.errors import MAX_FAULTS, InvalidDataset

N_ROWS = 1000


@pytest.fixture
def frame() -> pl.DataFrame:
    draw = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "area": draw.normal(size=N_ROWS),
            "kind": [f"k{row % 3}" for row in range(N_ROWS)],
            "sold": [datetime(2020, 1, 1 + row % 30, 12) for row in range(N_ROWS)],
            "rooms": draw.integers(1, 9, N_ROWS),
        }
    )


COLUMNS = (Column("area", "number"), Column("kind", "category"), Column("sold", "date"), Column("rooms", "number"))


def tables(frame: pl.DataFrame, folder: Path) -> list[Table]:
    """Give the same table as Parquet with small row groups, as several Arrow files, and in memory."""
    for name in ("parquet", "arrow"):
        (folder / name).mkdir()
    frame.write_parquet(folder / "parquet" / "table.parquet", row_group_size=170)
    for number, first in enumerate(range(0, N_ROWS, 300)):
        frame.slice(first, 300).write_ipc(folder / "arrow" / f"table-{number:05}.arrow", compression="uncompressed")
    return [
        Table.in_folder(folder / "parquet", COLUMNS, N_ROWS),
        Table.in_folder(folder / "arrow", COLUMNS, N_ROWS),
        Table(COLUMNS, N_ROWS, (frame.lazy(),)),
    ]


def test_frames_are_the_table_in_parts_of_so_many_rows(tmp_path: Path, frame: pl.DataFrame) -> None:
    for table in tables(frame, tmp_path):
        parts = list(table.frames(rows=128))
        assert [len(part) for part in parts] == [128] * 7 + [104]
        assert_frame_equal(pl.concat(parts), frame)
        assert_frame_equal(pl.concat(table.frames(["rooms", "area"])), frame.select("area", "rooms"))


def test_frames_may_be_left_before_their_end(tmp_path: Path, frame: pl.DataFrame) -> None:
    for table in tables(frame, tmp_path):
        parts = table.frames(rows=10)
        assert_frame_equal(next(parts), frame.head(10))
        parts.close()  # type: ignore[attr-defined]  # it is a generator
        assert_frame_equal(pl.concat(table.frames()), frame)


def test_frames_of_many_columns_have_fewer_rows() -> None:
    n_rows = ROWS_AT_ONCE // 2
    wide = pl.DataFrame({f"x{number}": pl.repeat(0, n_rows, dtype=pl.Int8, eager=True) for number in range(1000)})
    table = Table(tuple(Column(name, "number") for name in wide.columns), n_rows, (wide.lazy(),))
    assert FEWEST_ROWS_AT_ONCE < len(next(table.frames())) < n_rows
    assert len(next(table.frames(["x1"]))) == n_rows


def test_a_file_damaged_after_it_was_taken_in_is_told_of(tmp_path: Path, frame: pl.DataFrame) -> None:
    table = tables(frame, tmp_path)[0]
    path = tmp_path / "parquet" / "table.parquet"
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[: middle - 500] + b"\xaa" * 1000 + content[middle + 500 :])
    with pytest.raises(InvalidDataset, match="the file is damaged"):
        list(table.frames())
    path.write_bytes(content[:middle])
    with pytest.raises(InvalidDataset, match="the file is damaged"):
        Table.in_folder(path.parent, COLUMNS, N_ROWS).preview(0, 1)


def test_a_preview_has_json_values(tmp_path: Path, frame: pl.DataFrame) -> None:
    for table in tables(frame, tmp_path):
        rows = table.preview(298, 4)
        assert [row["kind"] for row in rows] == ["k1", "k2", "k0", "k1"]
        assert rows[0] == {
            "area": frame["area"][298],
            "kind": "k1",
            "sold": "2020-01-29T12:00:00Z",
            "rooms": frame["rooms"][298],
        }
        assert table.preview(N_ROWS, 5) == []
    holes = pl.DataFrame({"x": [None, float("nan")], "sold": [None, datetime(1, 1, 1)]})
    table = Table((Column("x", "number"), Column("sold", "date")), 2, (holes.lazy(),))
    assert table.preview(0, 9) == [{"x": None, "sold": None}, {"x": None, "sold": "0001-01-01T00:00:00Z"}]


def test_a_preview_cuts_long_texts(tmp_path: Path) -> None:
    words = ["é" * 300, "é" * 301, None, "x" * 2**20]
    pl.DataFrame({"n": [1, 2, 3, 4], "word": words}).write_ipc(tmp_path / "table-00000.arrow")
    table = Table.in_folder(tmp_path, (Column("n", "number"), Column("word", "text")), 4)
    cut = ["é" * 300, "é" * 300 + "…", None, "x" * 300 + "…"]
    assert table.preview(0, 9) == [{"n": row + 1, "word": word} for row, word in enumerate(cut)]


def test_a_column_of_the_file_that_is_none_of_the_table_is_not_known_to_it(tmp_path: Path) -> None:
    pl.DataFrame({"n": [1], "__index_level_0__": [2]}).write_ipc(tmp_path / "table-00000.arrow")
    table = Table.in_folder(tmp_path, (Column("n", "number"),), 1)
    assert table.preview(0, 9) == [{"n": 1}]
    with pytest.raises(InvalidDataset, match="there is no column '__index_level_0__': the columns are n"):
        table.with_kinds({"__index_level_0__": "category"})


def test_kinds_are_overridden_where_all_values_can_be(tmp_path: Path, frame: pl.DataFrame) -> None:
    for table in tables(frame, tmp_path):
        changed = table.with_kinds({"rooms": "category", "area": "number"})
        assert changed.kind_of("rooms") == "category"
        assert changed.names == table.names
        assert changed.preview(0, 1)[0]["rooms"] == str(frame["rooms"][0])


@pytest.mark.parametrize(
    ("types", "pointers", "sentence"),
    [
        ({"size": "number"}, ["/types/size"], "there is no column 'size': the columns are area, kind, sold, rooms"),
        ({"sold": "number"}, ["/types/sold"], "column 'sold' has type Datetime"),
        (
            {"kind": "date"},
            [f"/rows/{row}/kind" for row in range(MAX_FAULTS)],
            "row 0 (counted from 0), column 'kind': 'k0' is no",
        ),
        ({"kind": "number"}, [f"/rows/{row}/kind" for row in range(MAX_FAULTS)], "'k0' is no number"),
    ],
)
def test_kinds_that_cannot_be_are_refused_with_every_value(
    tmp_path: Path, frame: pl.DataFrame, types: dict[str, Kind], pointers: list[str], sentence: str
) -> None:
    for table in tables(frame, tmp_path):
        with pytest.raises(InvalidDataset) as refused:
            table.with_kinds(types)
        assert [fault.pointer for fault in refused.value.faults] == pointers
        assert sentence in refused.value.faults[0].detail


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        pytest.param([1, None, 30], "category", ["1", None, "30"], id="integers"),
        pytest.param([1.0, 2.5, float("nan"), -0.0, 1e300], "category", ["1", "2.5", None, "0", "1e+300"], id="floats"),
        pytest.param([True, None], "category", ["true", None], id="booleans"),
        pytest.param([0, 1, None], "boolean", [False, True, None], id="0 and 1"),
        pytest.param(["TRUE", "false", None], "boolean", [True, False, None], id="words"),
        pytest.param(["1e3", "+.5", "nan"], "number", [1000.0, 0.5, None], id="texts of numbers"),
        pytest.param([True, False], "number", [1.0, 0.0], id="booleans as numbers"),
        pytest.param(
            ["2020-02-29", "2020-02-29T10:00:00+02:00", "2020-02-29 10:00:00.5"],
            "date",
            ["2020-02-29T00:00:00Z", "2020-02-29T08:00:00Z", "2020-02-29T10:00:00.500000Z"],
            id="texts of dates",
        ),
        pytest.param([datetime(2020, 1, 2, 3)], "category", ["2020-01-02T03:00:00.000000"], id="dates as texts"),
    ],
)
def test_values_of_another_kind_are_what_they_mean(values: list[Any], kind: Kind, expected: list[Any]) -> None:
    table = Table((Column("a", "text"),), len(values), (pl.DataFrame({"a": values}).lazy(),))
    assert [row["a"] for row in table.with_kinds({"a": kind}).preview(0, 9)] == expected


@pytest.mark.parametrize(
    ("classes", "kind", "values"),
    [
        pytest.param((1, 5), "number", [5, 1, 5], id="integers"),
        pytest.param((0.5, 2), "number", [2.0, 0.5, 2.0], id="numbers"),
        pytest.param((False, True), "boolean", [True, False, True], id="booleans"),
        pytest.param(("no", "yes"), "category", ["yes", "no", "yes"], id="texts"),
        pytest.param((1, "1"), "category", ['"1"', "1", '"1"'], id="a number and a text"),
        pytest.param((True, 1), "category", ["1", "true", "1"], id="a boolean and a number"),
        pytest.param((1, 10**30), "category", [str(10**30), "1", str(10**30)], id="a number too large"),
    ],
)
def test_a_dataset_in_memory_is_a_table(classes: tuple[Label, ...], kind: Kind, values: list[Any]) -> None:
    dataset = Dataset([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [1, 0, 1], Schema(("a", "b"), ("label",), classes))
    table = Table.of_dataset(dataset)
    assert table.columns == (Column("a", "number"), Column("b", "number"), Column("label", kind))
    assert pl.concat(table.frames()).to_dict(as_series=False) == {"a": [1, 3, 5], "b": [2, 4, 6], "label": values}


def test_a_dataset_of_a_regression_keeps_its_numbers() -> None:
    features, targets = np.array([[1], [2]], np.float32), [[0.1, 0.2], [0.3, 0.4]]
    table = Table.of_dataset(Dataset(features, targets))
    assert table.names == ("x", "y1", "y2")
    assert table.schema["x"] == pl.Float32
    assert table.preview(1, 1) == [{"x": 2.0, "y1": 0.3, "y2": 0.4}]


def test_a_name_of_a_feature_and_a_target_is_refused() -> None:
    with pytest.raises(InvalidDataset, match="'y' names a feature and a target"):
        Table.of_dataset(Dataset([1.0], [1.0], Schema(("y",), ("y",))))
