from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import OneHotEncoder

from service.data.features import features_of
from service.encoding import ColumnEncoding, DatePart

HOLES = pl.DataFrame({"x": [1, None], "b": [True, None], "c": ["red", None], "d": [datetime(2024, 2, 29, 13, 5), None]})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_written_row_after_row_and_rounded_once(dtype: type[np.floating]) -> None:
    values = {"a": [1.1, -2.2, 1e300], "b": [2**53 + 1, 3, -(2**63)], "c": [0.1, 1e-40, -0.0]}
    encoding = tuple(ColumnEncoding(name, "number") for name in values)
    found = features_of(encoding, pl.DataFrame(values), dtype)
    with np.errstate(over="ignore"):
        expected = np.array(list(values.values()), dtype=np.float64).T.astype(dtype)
    assert found.flags.c_contiguous
    assert found.tobytes() == expected.tobytes()


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "ü", "", "a=b"]), min_size=1, max_size=20))
def test_categories_are_encoded_as_scikit_learn_does_it(values: list[str]) -> None:
    oracle = OneHotEncoder(sparse_output=False).fit(np.array(values).reshape(-1, 1))
    encoding = (ColumnEncoding("kind", "category", tuple(sorted(set(values)))),)
    found = features_of(encoding, pl.DataFrame({"kind": values}))
    np.testing.assert_array_equal(found, oracle.transform(np.array(values).reshape(-1, 1)))


def test_features_stand_in_the_order_of_their_columns() -> None:
    encoding = (
        ColumnEncoding("c", "category", ("green", "red"), has_indicator=True),
        ColumnEncoding("x", "number", fill=7.5, has_indicator=True),
        ColumnEncoding("b", "boolean", fill=1.0),
        ColumnEncoding("d", "date", parts=("month", "day"), fill="2000-01-03T00:00:00"),
    )
    expected = [[0, 1, 0, 1, 0, 1, 2, 29], [0, 0, 1, 7.5, 1, 1, 1, 3]]
    np.testing.assert_array_equal(features_of(encoding, HOLES), expected)
    np.testing.assert_array_equal(features_of(encoding[:1], HOLES), [[0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(features_of((ColumnEncoding("c", "category", ("red",)),), HOLES), [[1], [0]])


def test_the_fill_of_a_category_is_one_of_them_and_one_that_is_not_known_is_none() -> None:
    encoding = (ColumnEncoding("c", "category", ("green", "red"), fill="red", has_indicator=True),)
    frame = pl.DataFrame({"c": ["green", None, "blue"]})
    np.testing.assert_array_equal(features_of(encoding, frame), [[1, 0, 0], [0, 1, 1], [0, 0, 0]])


@settings(deadline=None)
@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))
def test_the_parts_of_a_date_are_those_of_the_calendar(date: datetime) -> None:
    expected: dict[DatePart, float] = {
        "year": date.year,
        "month": date.month,
        "day": date.day,
        "weekday": date.isoweekday(),
        "hour": date.hour,
        "minute": date.minute,
        "day_of_year": date.timetuple().tm_yday,
        "timestamp": (date - datetime(1970, 1, 1)).total_seconds(),
    }
    encoding = (ColumnEncoding("d", "date", parts=tuple(expected)),)
    (found,) = features_of(encoding, pl.DataFrame({"d": [date]}, schema={"d": pl.Datetime("us")}))
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-15)


def test_no_rows_are_a_table_without_rows() -> None:
    encoding = (ColumnEncoding("x", "number"), ColumnEncoding("c", "category", ("red",)))
    assert features_of(encoding, HOLES.head(0)).shape == (0, 2)
    assert features_of(encoding[:1], HOLES.head(0)).shape == (0, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (ColumnEncoding("x", "number"), [[1.5], [np.nan]]),
        (ColumnEncoding("x", "number", fill=7.0), [[1.5], [7.0]]),
        (ColumnEncoding("x", "number", fill=7.0, has_indicator=True), [[1.5, 0.0], [7.0, 1.0]]),
    ],
)
@pytest.mark.parametrize("kept", [pl.Float32, pl.Float64])
def test_numbers_are_features_as_they_are_unless_a_missing_one_is_filled(
    column: ColumnEncoding, expected: list[list[float]], kept: type[pl.DataType], dtype: type[np.floating]
) -> None:
    frame = pl.DataFrame({"other": [0.0, 0.0], "x": pl.Series([1.5, None], dtype=kept)})
    found = features_of((column,), frame, dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)
