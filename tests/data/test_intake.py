import json
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from service.data.intake import Intake, take_in
from service.data.names import MOST_COLUMNS
from service.data.reading import ReadingOptions
from service.data.tables import Table
from service.encoding import Column
from service.errors import InvalidDataset, StorageFull
from service.files import Format

MUCH = 2**40
HOUSES = pl.DataFrame(
    {
        "area": [70.5, 120.0, None, 33.0],
        "rooms": [3, 5, 4, 1],
        "kind": ["red", "blue", None, "red"],
        "is_new": [True, False, True, False],
        "sold": [datetime(2020, 1, 31), datetime(2021, 6, 30), None, datetime(2022, 12, 1)],
    }
)


def written(frame: pl.DataFrame, path: Path, file_format: Format) -> Path:
    if file_format == "csv":
        frame.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S")
    elif file_format == "jsonl":
        path.write_text("".join(f"{json.dumps(row, default=datetime.isoformat)}\n" for row in frame.to_dicts()))
    elif file_format == "parquet":
        frame.write_parquet(path)
    else:
        frame.write_ipc(path)
    return path


def taken(path: Path, file_format: Format, folder: Path, options: ReadingOptions | None = None) -> Intake:
    return take_in(path, file_format, options or ReadingOptions(), folder, MUCH, MUCH)


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("options", [ReadingOptions(), ReadingOptions(missing=("NA",))], ids=["", "missing said"])
@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet", "arrow"])
def test_a_column_without_any_value_is_one_of_texts_whatever_the_format(
    tmp_path: Path, file_format: Format, options: ReadingOptions
) -> None:
    path = written(pl.DataFrame({"a": [1, 2], "none": [None, None]}), tmp_path / "upload", file_format)
    intake = taken(path, file_format, tmp_path / "table", options)
    assert intake.columns == (Column("a", "number"), Column("none", "text"))
    assert (intake.statistics["none"]["count"], intake.statistics["none"]["missing"]) == (0, 2)
    table = Table.in_folder(tmp_path / "table", intake.columns, 2)
    assert table.preview(0, 9) == [{"a": 1, "none": None}, {"a": 2, "none": None}]
    for kind in ("number", "boolean", "date", "category"):
        assert pl.concat(table.with_kinds({"none": kind}).frames())["none"].null_count() == 2


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet", "arrow"])
def test_the_same_table_is_the_same_whatever_its_format(tmp_path: Path, file_format: Format) -> None:
    path = written(HOUSES, tmp_path / "upload", file_format)
    intake = taken(path, file_format, tmp_path / "table")
    assert {column.name: column.kind for column in intake.columns} == {
        "area": "number",
        "rooms": "number",
        "kind": "category",
        "is_new": "boolean",
        "sold": "date",
    }
    assert intake.n_samples == 4
    table = Table.in_folder(tmp_path / "table", intake.columns, intake.n_samples)
    assert_frame_equal(pl.concat(table.frames()), HOUSES)
    assert files(tmp_path / "table") == ["table.parquet" if file_format == "parquet" else "table-00000.arrow"]
    assert intake.n_bytes == sum(file.stat().st_size for file in (tmp_path / "table").iterdir())
    assert intake.statistics["area"] == {
        "count": 3,
        "missing": 1,
        "distinct": 3,
        "mean": pytest.approx(74.5),
        "standard_deviation": pytest.approx(np.std([70.5, 120.0, 33.0])),
        "quantiles": pytest.approx({"0.05": 36.75, "0.25": 51.75, "0.5": 70.5, "0.75": 95.25, "0.95": 115.05}),
        "min": 33.0,
        "max": 120.0,
    }
    assert intake.statistics["kind"]["top"] == [{"value": "red", "count": 2}, {"value": "blue", "count": 1}]
    assert intake.statistics["sold"]["max"] == "2022-12-01T00:00:00Z"
    assert json.loads(json.dumps([intake.statistics, intake.reading])) == [intake.statistics, intake.reading]


@pytest.mark.parametrize("file_format", ["parquet", "arrow"])
def test_a_binary_file_is_moved_as_it_is(tmp_path: Path, file_format: Format) -> None:
    path = written(HOUSES, tmp_path / "upload", file_format)
    content = path.read_bytes()
    taken(path, file_format, tmp_path / "table")
    assert not path.exists()
    (file,) = (tmp_path / "table").iterdir()
    assert file.read_bytes() == content


def test_a_binary_file_whose_texts_stand_for_missing_values_is_written_anew(tmp_path: Path) -> None:
    path = written(pl.DataFrame({"kind": ["a", "NA", "a"], "n": [1, 2, 3]}), tmp_path / "upload", "parquet")
    intake = taken(path, "parquet", tmp_path / "table", ReadingOptions(missing=("NA",)))
    assert path.exists()
    assert files(tmp_path / "table") == ["table-00000.arrow"]
    assert intake.statistics["kind"]["missing"] == 1
    assert Table.in_folder(tmp_path / "table", intake.columns, 3).preview(1, 1) == [{"kind": None, "n": 2}]


def test_a_large_text_file_becomes_several_parts_that_are_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.data.intake.PART_BYTES", 2**20)
    draw = np.random.default_rng(0)
    frame = pl.DataFrame({"row": np.arange(1_500_000), "x": draw.integers(0, 100, 1_500_000) / 4})
    intake = taken(written(frame, tmp_path / "upload", "csv"), "csv", tmp_path / "table")
    parts = files(tmp_path / "table")
    assert len(parts) > 1
    assert parts == [f"table-{number:05}.arrow" for number in range(len(parts))]
    table = Table.in_folder(tmp_path / "table", intake.columns, intake.n_samples)
    assert_frame_equal(pl.concat(table.frames()), frame)
    assert intake.statistics["row"]["mean"] == 749_999.5


def test_columns_are_what_all_rows_make_them(tmp_path: Path) -> None:
    """The first rows look like integers in categories; the last one shows otherwise."""
    path = tmp_path / "upload"
    n_rows = 300_000
    path.write_text("size,word\n" + "".join(f"{row},w{row % 7}\n" for row in range(n_rows)) + "0.5," + "a" * 200 + "\n")
    intake = taken(path, "csv", tmp_path / "table")
    assert intake.columns == (Column("size", "number"), Column("word", "text"))
    table = Table.in_folder(tmp_path / "table", intake.columns, intake.n_samples)
    assert intake.n_samples == n_rows + 1
    assert table.preview(n_rows, 1)[0]["size"] == 0.5


@pytest.mark.parametrize(
    ("content", "file_format"),
    [
        pytest.param(b"a,b\n1,2\n1\n", "csv", id="ragged"),
        pytest.param(
            b"a,b\n" + b"12345678,123456789\n" * 300_000 + b"1\n", "csv", id="ragged at the end of a large file"
        ),
        pytest.param(b'{"a": 1}\n{"b": 1}\n', "jsonl", id="other keys"),
        pytest.param(b"PAR1, it says", "parquet", id="no Parquet"),
        pytest.param(b"", "arrow", id="nothing"),
    ],
)
@pytest.mark.parametrize("was_there", [True, False])
def test_a_file_with_faults_leaves_nothing(
    tmp_path: Path, content: bytes, file_format: Format, was_there: bool
) -> None:
    path = tmp_path / "upload"
    path.write_bytes(content)
    if was_there:
        (tmp_path / "table").mkdir()
    with pytest.raises(InvalidDataset):
        taken(path, file_format, tmp_path / "table")
    assert files(tmp_path) == (["table", "upload"] if was_there else ["upload"])
    assert not was_there or files(tmp_path / "table") == []
    assert path.read_bytes() == content


@pytest.mark.parametrize("file_format", ["csv", "parquet", "arrow"])
def test_a_table_without_rows_is_refused(tmp_path: Path, file_format: Format) -> None:
    path = written(HOUSES.head(0), tmp_path / "upload", file_format)
    with pytest.raises(InvalidDataset, match="no rows"):
        taken(path, file_format, tmp_path / "table")
    assert path.exists()
    assert not (tmp_path / "table").exists()


def test_too_many_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    pl.DataFrame({f"x{number}": [1] for number in range(MOST_COLUMNS + 1)}).write_ipc(path)
    with pytest.raises(InvalidDataset, match="the table has 10,001 columns: 10,000 is the most"):
        taken(path, "arrow", tmp_path / "table")


def test_writing_more_than_may_be_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = written(HOUSES, tmp_path / "upload", "csv")
    with pytest.raises(StorageFull, match="more than the 1,000 bytes that are left for datasets"):
        take_in(path, "csv", ReadingOptions(), tmp_path / "table", 1000, MUCH)
    assert files(tmp_path) == ["upload"]


def test_a_full_disk_is_told_of_and_nothing_left(tmp_path: Path) -> None:
    path, folder = written(HOUSES, tmp_path / "upload", "csv"), tmp_path / "table"
    folder.mkdir()
    (folder / "table-00000.arrow").symlink_to("/dev/full")
    with pytest.raises(StorageFull, match="the disk is full"):
        taken(path, "csv", folder)
    assert files(folder) == []
