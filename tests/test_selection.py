from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.selection import Selection

NAMES = st.sampled_from(["price", "area", "kind"])
POLICIES = st.sampled_from(["refuse", "mean", "median", "most_frequent", "indicator"])
VALUES = st.fixed_dictionaries(
    {"target": NAMES | st.lists(NAMES, min_size=1, max_size=2)},
    optional={
        "features": st.none() | st.lists(NAMES, min_size=1, max_size=3),
        "types": st.dictionaries(NAMES, st.sampled_from(["number", "category", "boolean", "date", "text"])),
        "missing": POLICIES | st.dictionaries(NAMES, POLICIES),
        "unseen": st.sampled_from(["refuse", "ignore"]),
        "dates": st.dictionaries(NAMES, st.lists(st.sampled_from(["year", "timestamp"]), min_size=1)),
        "sample_weight": st.none() | NAMES,
        "split": st.none() | NAMES,
    },
)


@pytest.mark.parametrize("name", Selection.model_fields)
def test_every_field_has_a_sentence(name: str) -> None:
    description = Selection.model_fields[name].description
    assert description
    assert description[0].isupper()
    assert description.endswith(".")


@given(VALUES)
def test_a_selection_comes_back_from_its_json(values: dict[str, Any]) -> None:
    sent = Selection.model_validate(values)
    assert Selection.model_validate_json(sent.model_dump_json()) == sent
    assert Selection.model_validate(sent.model_dump(mode="json", exclude_unset=True)) == sent


@pytest.mark.parametrize(
    ("values", "place", "words"),
    [
        ({}, ("target",), "Field required"),
        ({"target": 3}, ("target", "<word>"), "valid string"),
        ({"target": {"name": "price"}}, ("target", "<word>"), "valid string"),
        ({"target": ""}, ("target", "<word>"), "at least 1 character"),
        ({"target": "a" * 201}, ("target", "<word>"), "at most 200 characters"),
        ({"target": []}, ("target", "<list>"), "at least 1 item"),
        ({"target": ["price", 1]}, ("target", "<list>", 1), "valid string"),
        ({"target": "price", "features": []}, ("features",), "at least 1 item"),
        ({"target": "price", "features": "area"}, ("features",), "valid list"),
        ({"target": "price", "types": {"area": "float"}}, ("types", "area"), "'number', 'category'"),
        ({"target": "price", "missing": "zero"}, ("missing", "<word>"), "'refuse', 'mean'"),
        ({"target": "price", "missing": None}, ("missing", "<word>"), "'refuse', 'mean'"),
        ({"target": "price", "missing": {"area": "zero"}}, ("missing", "<columns>", "area"), "'refuse', 'mean'"),
        ({"target": "price", "unseen": "drop"}, ("unseen",), "'refuse' or 'ignore'"),
        ({"target": "price", "dates": {"sold": []}}, ("dates", "sold"), "at least 1 item"),
        ({"target": "price", "dates": {"sold": ["century"]}}, ("dates", "sold", 0), "'year', 'month'"),
        ({"target": "price", "weight": "w"}, ("weight",), "Extra inputs are not permitted"),
    ],
)
def test_a_selection_that_cannot_be_is_refused_at_its_place(
    values: dict[str, Any], place: tuple[str | int, ...], words: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        Selection.model_validate(values)
    (fault,) = refused.value.errors()
    assert fault["loc"] == place
    assert words in fault["msg"]


def test_a_policy_for_all_columns_is_that_of_each_and_one_by_column_refuses_for_the_others() -> None:
    assert Selection(target="y", missing="mean").missing_policy("x") == "mean"
    by_column = Selection(target="y", missing={"x": "median"})
    assert [by_column.missing_policy(name) for name in ("x", "z")] == ["median", "refuse"]


def test_a_single_target_is_a_list_of_one() -> None:
    assert Selection(target="y").targets == ["y"]
    assert Selection(target=["y", "z"]).targets == ["y", "z"]
