import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.data.columnar import BY_ROW, encode_columns, encode_matrix
from service.data.encoder import encode_rows
from service.dataset import Schema
from service.encoding import ColumnEncoding, feature_names
from service.errors import InvalidFeatures

PLAIN = Schema(("a", "b", "c"), ("y",))
MIXED = (
    ColumnEncoding("area", "number", fill=7.5, has_indicator=True),
    ColumnEncoding("kind", "category", categories=("flat", "house", "1"), has_indicator=True),
    ColumnEncoding("new", "boolean", fill=0.0),
    ColumnEncoding("sold", "date", parts=("year", "month"), fill="2020-01-31"),
)
ENCODED = Schema(feature_names(MIXED), ("y",), encoding=MIXED)
ROWS: list[list[Any]] = [
    [50, "flat", True, "2021-07-15"],
    [80.5, 1, False, "2020-01-01T10:00:00"],
    [None, None, None, None],
]
numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(arrays.arrays(np.float64, st.tuples(st.integers(0, 5), st.just(3)), elements=numbers))
def test_columns_and_a_matrix_are_encoded_as_the_same_rows_are(matrix: Any) -> None:
    expected = encode_rows(PLAIN, matrix.tolist())
    columns = dict(reversed(list(zip("abc", matrix.T, strict=True))))
    for found in (
        encode_matrix(PLAIN, matrix),
        encode_columns(PLAIN, columns),
        encode_columns(PLAIN, {name: column.tolist() for name, column in columns.items()}),
        encode_matrix(PLAIN, matrix.astype(str).astype(object)),
    ):
        np.testing.assert_array_equal(found, expected)


def test_columns_of_any_kind_are_encoded_as_rows_of_the_same_values_are() -> None:
    names = [one.column for one in MIXED]
    columns = {name: list(values) for name, values in zip(names, zip(*ROWS, strict=True), strict=True)}
    np.testing.assert_array_equal(encode_columns(ENCODED, columns), encode_rows(ENCODED, ROWS))


def test_texts_are_read_as_a_query_has_them_and_an_empty_one_is_missing() -> None:
    texts = [["50", "flat", "True", "2021-07-15"], ["80.5", "1", "false", "2020-01-01T10:00:00"], ["", "", "", ""]]
    found = encode_matrix(ENCODED, np.array(texts, dtype=object))
    np.testing.assert_array_equal(found, encode_rows(ENCODED, ROWS))


def test_not_a_number_is_missing_and_a_matrix_of_numbers_says_booleans_as_0_and_1() -> None:
    encoding = (MIXED[0], MIXED[2])
    schema = Schema(feature_names(encoding), ("y",), encoding=encoding)
    found = encode_matrix(schema, np.array([[1.5, 1], [np.nan, np.nan], [3, 0]]))
    np.testing.assert_array_equal(found, [[1.5, 0, 1], [7.5, 1, 0], [3, 0, 0]])


@pytest.mark.parametrize(
    ("columns", "pointer", "detail"),
    [
        ({"a": [1], "b": [2]}, "/c", "feature 'c' is missing"),
        ({"a": [1], "b": [2], "c": [3], "d": [4]}, "/d", "feature 'd' is unknown"),
        (
            {"a": [1], "b": [2, 3], "c": [3]},
            "/b",
            "feature 'b' has 2 values, and the first one 1: give",
        ),
        ({"a": [1], "b": [float("inf")], "c": [3]}, "/b/0", "feature 'b' must be a finite number, not Infinity"),
        ({"a": [1], "b": [2], "c": [10**400]}, "/c/0", "feature 'c' must be a finite number, not 1000"),
        ({"a": [1, 2], "b": [2, True], "c": [3, 4]}, "/b/1", "feature 'b' must be a finite number, not true"),
        ({"a": np.array([1, np.nan]), "b": [2, 2], "c": [3, 4]}, "/a/1", "feature 'a' is missing, and the model was"),
        ({"a": [1, np.nan], "b": [2, 2], "c": [3, 4]}, "/a/1", "feature 'a' must be a finite number, not NaN"),
    ],
)
def test_a_column_that_the_model_does_not_take_is_named(columns: Any, pointer: str, detail: str) -> None:
    with pytest.raises(InvalidFeatures, match=re.escape(detail)) as raised:
        encode_columns(PLAIN, columns)
    assert raised.value.faults[0].pointer == pointer


def test_a_fault_in_a_matrix_is_pointed_to_by_row_and_position() -> None:
    with pytest.raises(InvalidFeatures, match="feature 'c' is missing") as raised:
        encode_matrix(PLAIN, np.array([[1, 2, 3], [4, 5, np.nan]]))
    assert [fault.pointer for fault in raised.value.faults] == ["/1/2"]
    with pytest.raises(InvalidFeatures, match=r"there are 2 columns, and the model takes 3 \(a, b, c\)"):
        encode_matrix(PLAIN, np.ones((4, 2)))
    with pytest.raises(InvalidFeatures) as raised:
        encode_columns(PLAIN, {"a": [1], "b": [None], "c": [1]}, BY_ROW)
    assert raised.value.faults[0].pointer == "/0/1"
