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
from service.encoding import ColumnEncoding, UnseenPolicy, feature_names
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
    start = time.process_time()
    table = encode_records(Schema(names, ("y",)), [dict.fromkeys(names, 1.0)] * 50)
    assert table.shape == (50, 3000)
    assert time.process_time() - start < 1


def encoded(*columns: ColumnEncoding) -> Schema:
    return Schema(feature_names(columns), ("price",), None, columns)


def houses(unseen: UnseenPolicy = "refuse") -> Schema:
    return encoded(
        ColumnEncoding("area", "number", fill=70.0),
        ColumnEncoding("kind", "category", ("2", "2.5", "blue", "red, dark", "true"), unseen=unseen),
        ColumnEncoding("new", "boolean"),
        ColumnEncoding("sold", "date", parts=("year", "hour")),
    )


def house(**changes: Any) -> dict[str, Any]:
    return {"area": 50, "kind": "blue", "new": True, "sold": "2024-01-31", **changes}


def house_texts(**changes: str) -> list[tuple[str, str]]:
    return list({"area": "50", "kind": "blue", "new": "true", "sold": "2024-01-31", **changes}.items())


HOUSE = [50, 0, 0, 1, 0, 0, 1, 2024, 0]


@pytest.mark.parametrize(
    ("changes", "place", "features"),
    [
        pytest.param({}, 0, [50], id="as it is"),
        pytest.param({"area": None}, 0, [70], id="missing"),
        pytest.param({"kind": "2.5"}, 1, [0, 1, 0, 0, 0], id="text"),
        pytest.param({"kind": 2.5}, 1, [0, 1, 0, 0, 0], id="number as a category"),
        pytest.param({"kind": 2}, 1, [1, 0, 0, 0, 0], id="whole number as a category"),
        pytest.param({"kind": 2.0}, 1, [1, 0, 0, 0, 0], id="whole float as a category"),
        pytest.param({"kind": True}, 1, [0, 0, 0, 0, 1], id="boolean as a category"),
        pytest.param({"new": False}, 6, [0], id="false"),
        pytest.param({"sold": "2025-06-01T13:30:00"}, 7, [2025, 13], id="date-time"),
        pytest.param({"sold": "2024-12-31T23:30:00-02:00"}, 7, [2025, 1], id="in UTC"),
    ],
)
def test_raw_values_are_encoded_by_their_columns(changes: dict[str, Any], place: int, features: list[float]) -> None:
    expected = [*HOUSE[:place], *features, *HOUSE[place + len(features) :]]
    (found,) = encode_records(houses(), [house(**changes)]).tolist()
    assert found == expected
    (found,) = encode_rows(houses(), [list(house(**changes).values())]).tolist()
    assert found == expected


@pytest.mark.parametrize(
    ("changes", "place", "features"),
    [
        ({"area": ""}, 0, [70]),
        ({"area": "+5e1"}, 0, [50]),
        ({"kind": "red, dark"}, 1, [0, 0, 0, 1, 0]),
        ({"kind": "2"}, 1, [1, 0, 0, 0, 0]),
        ({"new": "False"}, 6, [0]),
        ({"sold": "2025-06-01 13:30"}, 7, [2025, 13]),
    ],
)
def test_a_query_has_raw_values_as_texts(changes: dict[str, str], place: int, features: list[float]) -> None:
    expected = [*HOUSE[:place], *features, *HOUSE[place + len(features) :]]
    assert encode_named_texts(houses(), house_texts(**changes)).tolist() == [expected]
    texts = [text for _, text in house_texts(**changes)]
    if "," not in "".join(texts):
        assert encode_listed_texts(houses(), ",".join(texts)).tolist() == [expected]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"area": "old"}, "feature 'area' must be a finite number, not \"old\""),
        ({"area": True}, "must be a finite number, not true"),
        ({"area": float("nan")}, "must be a finite number, not NaN"),
        ({"area": 10**400}, "must be a finite number, not 1000"),
        ({"area": [1]}, "must be a finite number, not [1]"),
        (
            {"kind": "blu"},
            'has no category "blu": did you mean "blue"? the model knows "2", "2.5", "blue", "red, dark"',
        ),
        ({"kind": 3}, 'has no category 3: the model knows "2"'),
        ({"kind": None}, "'kind' is missing, and the model was trained to refuse that: give a category"),
        ({"kind": ["blue"]}, 'must be text, a number or a boolean, not ["blue"]'),
        ({"kind": float("inf")}, "must be text, a number or a boolean, not Infinity"),
        ({"kind": "\ud800"}, "must be text, a number or a boolean"),
        ({"new": 1}, "must be true or false, not 1"),
        ({"new": "true"}, 'must be true or false, not "true"'),
        ({"new": None}, "'new' is missing"),
        (
            {"sold": "yesterday"},
            "must be a date or a date-time as ISO 8601 writes it, as 2026-01-31, in the years 1 to 9999, "
            'not "yesterday"',
        ),
        ({"sold": "2024-02-30"}, 'not "2024-02-30"'),
        ({"sold": "0000-01-01"}, 'not "0000-01-01"'),
        ({"sold": "0001-01-01T00:00:00+10:00"}, 'not "0001-01-01T00:00:00+10:00"'),
        ({"sold": "9999-12-31T23:59:59-23:00"}, 'not "9999-12-31T23:59:59-23:00"'),
        ({"sold": 20240131}, "not 20240131"),
        ({"sold": "\ud800"}, "must be a date"),
        ({"sold": None}, "'sold' is missing"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_raw_values_that_a_column_does_not_take_are_refused_at_their_place(
    changes: dict[str, Any], sentence: str
) -> None:
    (name,) = changes
    position = list(house()).index(name)
    cases: tuple[tuple[Callable[[Schema, Any], object], Any, str], ...] = (
        (encode_records, [house(), house(**changes)], f"/1/{name}"),
        (encode_rows, [list(house().values()), list(house(**changes).values())], f"/1/{position}"),
    )
    for encode, given_value, pointer in cases:
        with pytest.raises(InvalidFeatures) as refused:
            encode(houses(), given_value)
        (fault,) = refused.value.faults
        assert fault.pointer == pointer
        assert sentence in fault.detail


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"area": "old"}, 'must be a finite number, not "old"'),
        ({"area": "1e400"}, 'must be a finite number, not "1e400"'),
        ({"kind": ""}, "is missing, and the model was trained to refuse that"),
        ({"kind": "2.0"}, 'has no category "2.0"'),
        ({"new": "1"}, "must be true or false"),
        ({"new": "yes"}, 'must be true or false, not "yes"'),
        (
            {"sold": "31.1.2024"},
            "must be a date or a date-time as ISO 8601 writes it, as 2026-01-31, in the years 1 to 9999, "
            'not "31.1.2024"',
        ),
    ],
)
def test_texts_that_a_column_does_not_take_are_refused_by_name_or_position(
    changes: dict[str, str], sentence: str
) -> None:
    (name,) = changes
    with pytest.raises(InvalidFeatures) as refused:
        encode_named_texts(houses(), house_texts(**changes))
    (fault,) = refused.value.faults
    assert fault.pointer == f"/{name}"
    assert f"feature {name!r} {sentence}" in fault.detail
    with pytest.raises(InvalidFeatures) as refused:
        encode_listed_texts(houses(), ",".join(text for _, text in house_texts(**changes)))
    (fault,) = refused.value.faults
    assert fault.pointer == "/features"
    assert f"the value at position {list(house()).index(name)} {sentence}" in fault.detail


@pytest.mark.parametrize(
    ("encode", "given", "pointer", "sentence"),
    [
        (
            encode_records,
            [{**house(), "kind=blue": 1}],
            "/0/kind=blue",
            "unknown: the model takes area, kind, new, sold",
        ),
        (encode_records, [{"area": 1, "new": True, "sold": "2024-01-31"}], "/0", "feature 'kind' is missing"),
        (encode_rows, [[1, "blue", True]], "/0", "row 0 has 3 features and the model takes 4 (area, kind, new, sold)"),
        (encode_named_texts, house_texts()[1:], "/area", "feature 'area' is missing"),
        (encode_named_texts, [*house_texts(), ("kind", "blue")], "/kind", "'kind' is given 2 times"),
        (encode_named_texts, house_texts(shoe="4"), "/shoe", "'shoe' is unknown"),
        (
            encode_listed_texts,
            "1,red, dark,true,2024-01-31",
            "/features",
            "a category with a comma in it is given by nam",
        ),
        (
            encode_listed_texts,
            "1,blue",
            "/features",
            "2 features are given and the model takes 4 (area, kind, new, sold)",
        ),
    ],
)
def test_columns_are_named_and_counted_and_not_the_features_that_they_become(
    encode: Callable[[Schema, object], object], given: object, pointer: str, sentence: str
) -> None:
    with pytest.raises(InvalidFeatures) as refused:
        encode(houses(), given)
    (fault,) = refused.value.faults
    assert fault.pointer == pointer
    assert sentence in fault.detail


def test_every_fault_of_raw_values_is_told_of_at_once_up_to_a_hundred() -> None:
    with pytest.raises(InvalidFeatures) as refused:
        encode_records(houses(), [house(area="x"), {"area": 1}, house(shoe=1, kind="x")])
    assert {fault.pointer for fault in refused.value.faults} == {"/0/area", "/1", "/2/shoe", "/2/kind"}
    with pytest.raises(InvalidFeatures) as refused:
        encode_records(houses(), [house(area="x", kind="x")] * 1000)
    assert len(refused.value.faults) == MAX_FAULTS


def test_a_category_that_is_not_known_is_none_of_them_where_that_is_the_policy() -> None:
    indicated = encoded(ColumnEncoding("kind", "category", ("a", "b"), has_indicator=True, unseen="ignore"))
    assert encode_records(indicated, [{"kind": "c"}, {"kind": None}, {"kind": 7}]).tolist() == [
        [0, 0, 0],
        [0, 0, 1],
        [0, 0, 0],
    ]
    filled = encoded(ColumnEncoding("kind", "category", ("a", "b"), fill="b", unseen="ignore"))
    assert encode_records(filled, [{"kind": "c"}, {"kind": None}]).tolist() == [[0, 0], [0, 1]]
    with pytest.raises(InvalidFeatures, match="must be text"):
        encode_records(filled, [{"kind": "\ud800"}])


def test_an_empty_text_is_a_category_where_it_is_known() -> None:
    schema = encoded(ColumnEncoding("kind", "category", ("", "b"), fill="b"))
    assert encode_named_texts(schema, [("kind", "")]).tolist() == [[1, 0]]


def test_no_raw_samples_are_a_table_without_rows() -> None:
    assert encode_rows(houses(), []).shape == encode_records(houses(), []).shape == (0, 9)


def test_ten_thousand_raw_samples_are_encoded_in_a_moment() -> None:
    start = time.process_time()
    assert encode_records(houses(), [house()] * 10_000).shape == (10_000, 9)
    assert time.process_time() - start < 1
