import json
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from service.dataset import Schema
from service.encoding import (
    ColumnEncoding,
    DatePart,
    Kind,
    encoding_as_json,
    encoding_from_json,
    feature_names,
    is_plain,
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def column_encodings(draw: st.DrawFn) -> ColumnEncoding:
    kinds: list[Kind] = ["number", "boolean", "category", "date"]
    kind = draw(st.sampled_from(kinds))
    fills: dict[str, st.SearchStrategy[Any]] = {
        "number": FINITE,
        "boolean": st.sampled_from([0.0, 1.0]),
        "category": TEXTS,
        "date": st.datetimes().map(lambda date: date.isoformat()),
    }
    return ColumnEncoding(
        draw(TEXTS),
        kind,
        draw(st.lists(TEXTS, unique=True).map(tuple)) if kind == "category" else (),
        draw(st.lists(st.sampled_from(get_args(DatePart)), unique=True).map(tuple)) if kind == "date" else (),
        draw(st.none() | fills[kind]),
        draw(st.booleans()),
        draw(st.sampled_from(["refuse", "ignore"])),
    )


@given(st.lists(column_encodings()).map(tuple))
def test_an_encoding_comes_back_from_its_json(encoding: tuple[ColumnEncoding, ...]) -> None:
    back = encoding_from_json(json.loads(json.dumps(encoding_as_json(encoding))))
    assert back == encoding
    assert [type(column.fill) for column in back] == [type(column.fill) for column in encoding]


@given(st.lists(column_encodings()).map(tuple))
def test_a_schema_with_an_encoding_comes_back_from_its_json(encoding: tuple[ColumnEncoding, ...]) -> None:
    schema = Schema(feature_names(encoding), ("y",), None, encoding)
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_a_schema_without_an_encoding_says_nothing_of_one() -> None:
    assert Schema(("x",), ("y",)).to_json().keys() == {"feature_names", "target_names", "classes"}


def test_features_are_named_for_their_columns_categories_and_parts() -> None:
    encoding = (
        ColumnEncoding("area", "number"),
        ColumnEncoding("kind", "category", ("flat", "house"), has_indicator=True),
        ColumnEncoding("sold", "date", parts=("year", "day_of_year")),
        ColumnEncoding("new", "boolean", fill=0.0, has_indicator=True),
    )
    names = ("area", "kind=flat", "kind=house", "kind is missing", "sold.year", "sold.day_of_year")
    assert feature_names(encoding) == (*names, "new", "new is missing")
    assert Schema(feature_names(encoding), ("y",), None, encoding).input_names == ("area", "kind", "sold", "new")


def test_an_encoding_is_plain_when_its_columns_are_numbers_that_may_not_be_missing() -> None:
    number = ColumnEncoding("x", "number")
    assert is_plain((number, number))
    for other in (
        ColumnEncoding("x", "number", fill=0.0),
        ColumnEncoding("x", "number", has_indicator=True),
        ColumnEncoding("x", "boolean"),
        ColumnEncoding("x", "category", ("a",)),
        ColumnEncoding("x", "date", parts=("year",)),
    ):
        assert not is_plain((number, other))


def test_a_column_takes_missing_values_when_it_has_something_for_them() -> None:
    assert ColumnEncoding("x", "number", fill=0.0).takes_missing
    assert ColumnEncoding("x", "category", ("a",), has_indicator=True).takes_missing
    assert not ColumnEncoding("x", "number").takes_missing
