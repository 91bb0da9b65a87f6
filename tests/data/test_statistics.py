import json
import math
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.data.statistics import EXACT_UP_TO, KEPT_HASHES, Statistics
from service.encoding import Column, Kind


def statistics(frame: pl.DataFrame, kinds: list[Kind], rows: int = 1000) -> dict[str, dict[str, Any]]:
    gathered = Statistics([Column(name, kind) for name, kind in zip(frame.columns, kinds, strict=True)])
    for first in range(0, len(frame), rows):
        gathered.add(frame.slice(first, rows))
    found = gathered.to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


@given(
    st.lists(st.none() | st.floats(-1e100, 1e100) | st.integers(-3, 3).map(float), max_size=50),
    st.integers(1, 20),
)
def test_statistics_of_numbers_are_those_of_numpy(numbers: list[float | None], rows: int) -> None:
    found = statistics(pl.DataFrame({"x": pl.Series(numbers, dtype=pl.Float64)}), ["number"], rows)["x"]
    values = np.array([number for number in numbers if number is not None])
    assert (found["count"], found["missing"]) == (len(values), len(numbers) - len(values))
    assert found["distinct"] == len(np.unique(values))
    assert "estimated" not in found
    if not len(values):
        assert {found[name] for name in ("mean", "standard_deviation", "min", "max")} == {None}
        assert set(found["quantiles"].values()) == {None}
        return
    largest = np.abs(values).max()
    assert found["mean"] == pytest.approx(values.mean(), rel=1e-12, abs=1e-14 * largest)
    assert found["standard_deviation"] == pytest.approx(values.std(), rel=1e-9, abs=1e-14 * largest)
    assert (found["min"], found["max"]) == (values.min(), values.max())
    assert found["quantiles"] == {str(q): np.quantile(values, q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}


def test_a_large_offset_does_no_harm_to_mean_and_standard_deviation() -> None:
    noise = np.random.default_rng(0).normal(size=100_000)
    for offset in (1e9, -1e12):
        found = statistics(pl.DataFrame({"x": noise + offset}), ["number"], 777)["x"]
        exact = (noise + offset) - offset  # exact, by Sterbenz
        assert found["mean"] - offset == pytest.approx(exact.mean(), abs=1e-15 * abs(offset))
        assert found["standard_deviation"] == pytest.approx(exact.std(), rel=1e-9)


def test_integers_keep_their_extremes_exactly() -> None:
    found = statistics(pl.DataFrame({"n": [2**63 - 1, -(2**63), 7]}), ["number"])["n"]
    assert (found["min"], found["max"], found["distinct"]) == (-(2**63), 2**63 - 1, 3)


def test_what_is_not_finite_is_none() -> None:
    found = statistics(pl.DataFrame({"x": [1.7e308, -1.7e308, 1.7e308, 1.7e308]}), ["number"], 2)["x"]
    assert found["standard_deviation"] is None
    assert found["max"] == 1.7e308


@pytest.mark.parametrize("n_distinct", [1, 7, KEPT_HASHES // 2, 200_000])
def test_up_to_some_hundred_thousand_samples_everything_is_exact(n_distinct: int) -> None:
    draw = np.random.default_rng(0)
    values = draw.permutation(np.arange(EXACT_UP_TO) % n_distinct).astype(np.float32)
    found = statistics(pl.DataFrame({"x": values}), ["number"], 50_000)["x"]
    assert "estimated" not in found
    assert found["distinct"] == n_distinct
    assert found["quantiles"]["0.25"] == np.quantile(values.astype(np.float64), 0.25)


@pytest.mark.parametrize("n_distinct", [5, KEPT_HASHES // 2, 50_000, 1_000_000])
def test_beyond_quantiles_and_many_different_values_are_estimated_and_said_to_be(n_distinct: int) -> None:
    n_rows = 1_000_000
    values = np.random.default_rng(1).permutation(np.arange(n_rows) % n_distinct) / 8
    found = statistics(pl.DataFrame({"x": values}), ["number"], 131_072)["x"]
    if n_distinct <= KEPT_HASHES:
        assert found["estimated"] == ["quantiles"]
        assert found["distinct"] == n_distinct
    else:
        assert found["estimated"] == ["distinct", "quantiles"]
        assert found["distinct"] == pytest.approx(n_distinct, rel=0.04)
    for quantile, value in found["quantiles"].items():
        assert np.mean(values < value) - 0.01 <= float(quantile) <= np.mean(values <= value) + 0.01


def test_the_samples_of_an_estimate_are_evenly_spaced_over_the_whole_table() -> None:
    n_rows = 20 * EXACT_UP_TO
    found = statistics(pl.DataFrame({"x": np.arange(n_rows)}), ["number"], 123_457)["x"]
    for quantile, value in found["quantiles"].items():
        assert value / n_rows == pytest.approx(float(quantile), abs=1e-3)


def test_a_wide_table_keeps_fewer_values_of_each_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.data.statistics.KEPT_VALUES", 50 * 2048)
    frame = pl.DataFrame(np.random.default_rng(0).normal(size=(10_000, 50)), orient="row")
    exact = statistics(frame.head(2048), ["number"] * 50)["column_49"]
    assert "estimated" not in exact
    found = statistics(frame, ["number"] * 50)["column_49"]
    assert found["estimated"] == ["distinct", "quantiles"]
    assert found["distinct"] == pytest.approx(10_000, rel=0.1)
    assert found["quantiles"]["0.5"] == pytest.approx(0, abs=0.2)


@given(
    st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=2), max_size=60), st.integers(1, 20)
)
@settings(deadline=None)
def test_the_most_frequent_values_and_their_counts_are_those_of_a_count(words: list[str | None], rows: int) -> None:
    found = statistics(pl.DataFrame({"word": pl.Series(words, dtype=pl.String)}), ["category"], rows)["word"]
    counts = {word: words.count(word) for word in words if word is not None}
    assert found["distinct"] == len(counts)
    assert found["missing"] == words.count(None)
    expected = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0].encode()))[:10]
    assert [(top["value"], top["count"]) for top in found["top"]] == expected


def test_booleans_are_counted_and_long_texts_are_cut() -> None:
    frame = pl.DataFrame({"is_new": [True, None, True, False], "text": ["a" * 300, "b", None, None]})
    found = statistics(frame, ["boolean", "text"], 3)
    assert found["is_new"]["top"] == [{"value": True, "count": 2}, {"value": False, "count": 1}]
    assert found["text"]["top"] == [{"value": "a" * 100 + "…", "count": 1}, {"value": "b", "count": 1}]


def test_many_different_texts_are_counted_in_little_memory_and_frequent_ones_found() -> None:
    n_rows = 400_000
    words = pl.DataFrame({"row": np.arange(n_rows)}).select(
        text=pl.when(pl.col("row") % 3 == 0)
        .then(pl.lit("often"))
        .otherwise(pl.format("{}-{}", "row", pl.lit("x" * 90)))
    )
    columns = [Column("text", "text"), *(Column(f"other {number}", "text") for number in range(30))]
    gathered = Statistics(columns)
    for first in range(0, n_rows, 100_000):
        part = words.slice(first, 100_000)
        gathered.add(part.with_columns(pl.lit(None, pl.String).alias(column.name) for column in columns[1:]))
    found = gathered.to_json()
    assert found["text"]["estimated"] == ["distinct", "top"]
    assert found["text"]["top"][0] == {"value": "often", "count": math.ceil(n_rows / 3)}
    assert found["text"]["distinct"] == pytest.approx(n_rows * 2 / 3, rel=0.04)
    assert found["other 3"]["top"] == []


def test_dates_have_extremes_as_texts() -> None:
    values = [datetime(2020, 1, 31, 12), None, datetime(1999, 1, 1), datetime(2020, 1, 31, 12)]
    found = statistics(pl.DataFrame({"sold": values}), ["date"], 1)["sold"]
    assert found == {
        "count": 3,
        "missing": 1,
        "distinct": 2,
        "min": "1999-01-01T00:00:00Z",
        "max": "2020-01-31T12:00:00Z",
    }


def test_a_table_without_rows_has_statistics() -> None:
    frame = pl.DataFrame(schema={"x": pl.Float64, "word": pl.String, "at": pl.Datetime})
    found = statistics(frame, ["number", "category", "date"])
    assert found["x"]["count"] == 0
    assert found["word"] == {"count": 0, "missing": 0, "distinct": 0, "top": []}
    assert found["at"]["min"] is None
