import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.data.encoder import encode_listed_texts, encode_named_texts, encode_records, encode_rows
from service.dataset import Schema
from service.errors import MAX_FAULTS, InvalidFeatures

SCHEMA = Schema(("age", "a/b", "height"), ("weight",))
TABLES = arrays.arrays(
    np.float64,
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
    elements=st.floats(allow_nan=False, allow_infinity=False),
)


def named(**changes: object) -> dict[str, Any]:
    return {"age": 1, "a/b": 2, "height": 3, **changes}


def texts(*more: tuple[str, str], **changes: str) -> list[tuple[str, str]]:
    return [*{"age": "1", "a/b": "2", "height": "3", **changes}.items(), *more]


@pytest.mark.parametrize(
    ("encode", "given", "pointer", "sentence"),
    [
        pytest.param(encode_records, [{"age": 1, "a/b": 2}], "/0", "feature 'height' is missing", id="missing"),
        pytest.param(encode_records, [named(), named(shoe=4)], "/1/shoe", "'shoe' is unknown", id="unknown"),
        pytest.param(encode_records, [named(shoe=4)], "/0/shoe", "takes age, a/b, height", id="what it takes"),
        pytest.param(encode_records, [named(age="old")], "/0/age", 'a finite number, not "old"', id="text"),
        pytest.param(encode_records, [named(age=None)], "/0/age", "'age' must be a finite number, not null", id="null"),
        pytest.param(encode_records, [named(age=True)], "/0/age", "not true", id="boolean"),
        pytest.param(encode_records, [named(age=float("nan"))], "/0/age", "not NaN", id="NaN"),
        pytest.param(encode_records, [named(age=float("inf"))], "/0/age", "not Infinity", id="infinite"),
        pytest.param(encode_records, [named(age=10**400)], "/0/age", "finite number, not 1000", id="too large"),
        pytest.param(encode_records, [named(**{"a/b": "x"})], "/0/a~1b", '"x"', id="pointer escaped"),
        pytest.param(encode_rows, [[1, 2, 3], [1, 2]], "/1", "row 1 has 2 features and the model takes 3", id="short"),
        pytest.param(encode_rows, [[1, 2, 3, 4]], "/0", "4 features and the model takes 3 (age, a/b, heigh", id="long"),
        pytest.param(encode_named_texts, texts()[1:], "/age", "feature 'age' is missing", id="text missing"),
        pytest.param(encode_named_texts, texts(("shoe", "4")), "/shoe", "'shoe' is unknown", id="text unknown"),
        pytest.param(encode_named_texts, texts(("age", "2")), "/age", "'age' is given 2 times", id="text repeated"),
        pytest.param(encode_named_texts, texts(age="old"), "/age", 'not "old"', id="word"),
        pytest.param(encode_named_texts, texts(age=""), "/age", 'not ""', id="empty"),
        pytest.param(encode_named_texts, texts(age="nan"), "/age", 'not "nan"', id="text nan"),
        pytest.param(encode_named_texts, texts(age="1e400"), "/age", 'not "1e400"', id="text too large"),
        pytest.param(encode_named_texts, texts(age="-Infinity"), "/age", 'not "-Infinity"', id="text infinite"),
        pytest.param(encode_named_texts, texts(age="1_000"), "/age", 'not "1_000"', id="a number in Python only"),
        pytest.param(encode_named_texts, texts(("a/b", "2")), "/a~1b", "2 times", id="text pointer escaped"),
        pytest.param(encode_listed_texts, "1,2", "/features", "2 features are given and the model takes 3", id="few"),
        pytest.param(encode_listed_texts, "1,2,3,4", "/features", "4 features are given", id="many"),
        pytest.param(encode_listed_texts, "1,two,3", "/features", 'position 1 must be a finite number, not "two"'),
        pytest.param(encode_listed_texts, "1,2,nan", "/features", 'position 2 must be a finite number, not "nan"'),
    ],
)
def test_features_that_a_model_does_not_take_are_refused_by_name_and_value(
    encode: Callable[[Schema, object], object], given: object, pointer: str, sentence: str
) -> None:
    with pytest.raises(InvalidFeatures) as refused:
        encode(SCHEMA, given)
    (fault,) = refused.value.faults
    assert fault.pointer == pointer
    assert sentence in fault.detail


def test_every_fault_of_a_sample_is_told_of_at_once() -> None:
    with pytest.raises(InvalidFeatures) as refused:
        encode_named_texts(SCHEMA, [("age", "old"), ("height", "1"), ("height", "2"), ("shoe", "3")])
    details = [fault.detail for fault in refused.value.faults]
    assert len(details) == 4
    for part in ("'a/b' is missing", "'shoe' is unknown", "'height' is given 2 times", "'age' must be"):
        assert any(part in detail for detail in details)


def test_no_more_than_a_hundred_faults_are_told_of() -> None:
    with pytest.raises(InvalidFeatures) as records_refused:
        encode_records(SCHEMA, [{}] * 1000)
    with pytest.raises(InvalidFeatures) as rows_refused:
        encode_rows(SCHEMA, [[1.0]] * 1000)
    assert len(records_refused.value.faults) == len(rows_refused.value.faults) == MAX_FAULTS


def test_a_model_of_many_features_names_the_first_ten_in_a_fault() -> None:
    schema = Schema(tuple(f"f{number}" for number in range(25)), ("y",))
    with pytest.raises(InvalidFeatures) as refused:
        encode_rows(schema, [[1.0]])
    assert "f9 … 15 more" in refused.value.detail
    assert "f10" not in refused.value.detail


@given(TABLES, st.randoms())
def test_names_lists_and_rows_all_give_the_table_that_was_meant(table: np.ndarray[Any, Any], random: Any) -> None:
    names = tuple(f"feature {column}" for column in range(table.shape[1]))
    schema = Schema(names, ("y",))
    records = []
    for row in table.tolist():
        shuffled = list(zip(names, row, strict=True))
        random.shuffle(shuffled)
        records.append(dict(shuffled))
    np.testing.assert_array_equal(encode_records(schema, records), table)
    np.testing.assert_array_equal(encode_rows(schema, table.tolist()), table)
    texts = [(name, repr(value)) for name, value in records[0].items()]
    np.testing.assert_array_equal(encode_named_texts(schema, texts), table[:1])
    np.testing.assert_array_equal(encode_listed_texts(schema, ",".join(map(repr, table[0].tolist()))), table[:1])


def test_no_samples_are_a_table_without_rows() -> None:
    assert encode_rows(SCHEMA, []).shape == (0, 3)
    assert encode_records(SCHEMA, []).shape == (0, 3)


def test_records_of_thousands_of_features_are_encoded_in_a_moment() -> None:
    names = tuple(f"feature {number}" for number in range(3000))
    start = time.perf_counter()
    table = encode_records(Schema(names, ("y",)), [dict.fromkeys(names, 1.0)] * 50)
    assert table.shape == (50, 3000)
    assert time.perf_counter() - start < 1
