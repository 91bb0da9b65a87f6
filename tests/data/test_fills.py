from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from service.data.choice import choose
from service.data.fills import with_fills
from service.data.outlines import encoding_without_fills
from service.data.tables import Table
from service.encoding import Column
from service.selection import Selection
from tests.data.tables import table_of

N = 300_000  # several parts


def fills(table: Table, policy: Any, rows: Any) -> dict[str, Any]:
    selection = Selection.model_validate({"target": "y", "missing": policy, "dates": {"d": ["year"]}})
    choice = choose(table, selection, "linear_regression")
    found = with_fills(encoding_without_fills(choice, selection, []), choice, selection, rows)
    return {column.column: column.fill for column in found}


@pytest.mark.parametrize("is_split", [False, True])
def test_statistics_of_a_table_of_several_parts_are_those_of_the_whole(tmp_path: Path, is_split: bool) -> None:
    draw = np.random.default_rng(4)
    numbers, days = np.round(draw.normal(1e6, 1e3, N)), draw.integers(-9, 9, N)
    start = datetime(2024, 1, 1)
    columns = {
        "x": [None if n % 5 == 2 else value for n, value in enumerate(numbers.tolist())],
        "d": [None if n % 3 == 1 else start + timedelta(days=day) for n, day in enumerate(days.tolist())],
        "c": ["ab"[day % 2] if day != 3 else None for day in days.tolist()],
        "b": [day % 3 > 0 for day in days.tolist()],
        "y": range(N),
    }
    kinds = {"x": "number", "d": "date", "c": "category", "b": "boolean", "y": "number"}
    pl.DataFrame(columns, schema_overrides={"d": pl.Datetime("us")}).write_ipc(tmp_path / "table-00000.arrow")
    table = Table.in_folder(tmp_path, tuple(Column(name, kind) for name, kind in kinds.items()), N)  # type: ignore[arg-type]
    rows = np.sort(draw.choice(N, N // 2, replace=False)) if is_split else None
    kept = pl.DataFrame(columns) if rows is None else pl.DataFrame(columns)[rows]
    x, d = kept["x"].drop_nulls(), kept["d"].drop_nulls()
    frequent = fills(table, "most_frequent", rows)
    assert frequent == {
        "x": x.mode().min(),
        "d": d.mode().min().isoformat(),  # type: ignore[union-attr]
        "c": kept["c"].drop_nulls().mode().min(),
        "b": 1.0,
    }
    median = fills(table, {"x": "median", "d": "median"}, rows)
    assert (median["x"], median["d"]) == (x.median(), d.median().isoformat())  # type: ignore[union-attr]
    mean = fills(table, {"x": "mean", "d": "mean"}, rows)
    assert mean["x"] == pytest.approx(x.mean(), rel=1e-14)
    assert abs(datetime.fromisoformat(mean["d"]) - d.mean()) <= timedelta(microseconds=2)  # type: ignore[operator, arg-type]


def test_of_numbers_that_are_as_frequent_the_least_is_taken() -> None:
    assert fills(table_of({"x": [3.0, None, 2.0, 3.0, 2.0, 9.0], "y": range(6)}), "most_frequent", None) == {"x": 2.0}
