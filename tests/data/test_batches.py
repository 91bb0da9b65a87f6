import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from service.data import batches as reading
from service.data.batches import FIRST_ROWS, GROWTH, batches, n_rows_of, scan_file
from service.errors import InvalidDataset

N_ROWS = 20_000
WINDOW_ROWS = 1000
FRAME = pl.DataFrame({"x": np.random.default_rng(0).normal(size=N_ROWS), "n": range(N_ROWS)})


def written(folder: Path, layout: str) -> list[pl.LazyFrame]:
    """Write the rows as files of a layout, and give these."""
    if layout == "one large part":
        FRAME.write_parquet(folder / "t.parquet", row_group_size=N_ROWS)
    elif layout == "small parts":
        FRAME.write_parquet(folder / "t.parquet", row_group_size=70)
    elif layout == "packed":
        FRAME.write_ipc(folder / "t.arrow", compression="zstd", record_batch_size=6000)
    else:
        for number, first in enumerate(range(0, N_ROWS, 700)):
            FRAME.slice(first, 700).write_ipc(folder / f"t-{number:05}.arrow", compression="uncompressed")
    return [scan_file(file) for file in sorted(folder.iterdir())]


@pytest.fixture(params=["one large part", "small parts", "packed", "many files"])
def sources(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[pl.LazyFrame]:
    """Give files that are read in windows of a thousand rows of two numbers each."""
    monkeypatch.setattr(reading, "WINDOW_BYTES", WINDOW_ROWS * 16)
    return written(tmp_path, request.param)


def test_parts_have_so_many_rows_whatever_those_of_the_files_have(sources: Sequence[pl.LazyFrame]) -> None:
    for rows in (1, 999, 1000, 1001, 2500, N_ROWS, 2 * N_ROWS):
        parts = list(batches(sources, N_ROWS, [pl.col("n"), pl.col("x")], rows))
        assert_frame_equal(pl.concat(parts), FRAME.select("n", "x"))
        assert {len(part) for part in parts[:-1]} <= {rows}
        assert len(parts[-1]) <= rows
    assert sum(map(n_rows_of, sources)) == N_ROWS


def test_no_more_of_a_file_is_read_than_two_windows_before_it_is_asked_for(sources: Sequence[pl.LazyFrame]) -> None:
    read: list[int] = []

    def note(column: pl.Series) -> pl.Series:
        read.append(len(column))
        return column

    noted = pl.col("x").map_batches(note, return_dtype=pl.Float64, is_elementwise=True)
    n_given = 0
    for part in batches(sources, N_ROWS, [noted, pl.col("n")], rows=100):
        time.sleep(0.0005)  # for what reads further ahead to do so
        # What is given belongs to a window that is held as a whole, and the next one is on its way.
        assert sum(read) - n_given <= 2 * WINDOW_ROWS + 100
        n_given += len(part)
    assert n_given == sum(read) == N_ROWS
    assert max(read) <= WINDOW_ROWS


def test_windows_begin_small_and_grow_step_by_step_for_later_rows_may_be_larger(tmp_path: Path) -> None:
    read: list[int] = []

    def note(column: pl.Series) -> pl.Series:
        read.append(len(column))
        return column

    FRAME.cast(pl.String).write_parquet(tmp_path / "t.parquet")
    noted = pl.col("x").map_batches(note, return_dtype=pl.String, is_elementwise=True)
    parts = batches([scan_file(tmp_path / "t.parquet")], N_ROWS, [noted], rows=1)
    next(parts)
    parts.close()  # type: ignore[attr-defined]  # it is a generator
    assert 0 < sum(read) <= FIRST_ROWS * (1 + GROWTH)


@pytest.mark.parametrize("dtype", [pl.Int8, pl.Float64, pl.Boolean, pl.Datetime("us"), pl.Decimal(38, 2)])
def test_a_small_file_is_read_at_once_where_no_value_can_be_large(tmp_path: Path, dtype: pl.DataType) -> None:
    read: list[int] = []

    def note(column: pl.Series) -> pl.Series:
        read.append(len(column))
        return column

    pl.DataFrame({"x": pl.Series([0, 1] * 5000).cast(dtype)}).write_ipc(tmp_path / "t.arrow")
    noted = pl.col("x").map_batches(note, return_dtype=dtype, is_elementwise=True)
    parts = batches([scan_file(tmp_path / "t.arrow")], 10_000, [noted], rows=1)
    next(parts)
    parts.close()  # type: ignore[attr-defined]  # it is a generator
    assert sum(read) == 10_000


def test_rows_beyond_those_that_there_are_said_to_be_are_damage(tmp_path: Path) -> None:
    FRAME.write_ipc(tmp_path / "t.arrow")
    with pytest.raises(InvalidDataset, match="10,000"):
        list(batches([scan_file(tmp_path / "t.arrow")] * 2, N_ROWS // 2, [pl.col("x")]))
