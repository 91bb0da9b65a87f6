import json
from datetime import datetime
from typing import Any

import pytest

from service.data.labels import MAX_CLASSES
from service.data.outlines import MAX_CATEGORIES, outline_of
from service.data.tables import Table
from service.encoding import feature_names
from service.errors import MAX_FAULTS, Fault, InvalidDataset
from service.selection import Selection
from service.tasks import Task
from tests.data.tables import table_of

HOUSES = table_of(
    {
        "area": [50.0, 70.0, None, 90.0],
        "kind": ["flat", "house", "flat", None],
        "new": [True, False, None, True],
        "sold": [datetime(2024, 1, 31), None, datetime(2025, 6, 1, 12), datetime(2025, 6, 2)],
        "rooms": [2, 3, 3, 4],
        "note": ["a", "b", "c", "d"],
        "price": [100, 200, 300, 400],
        "weight": [1.0, 0.0, 2.0, 1.0],
        "negative": [1.0, -1.0, -2.0, 1.0],
        "zero": [0, 0, 0, 0],
        "part": ["train", "validation", "train", "test"],
        "held out": ["test", "test", "validation", "test"],
        "other": ["train", "valid", None, "test"],
        "hole": [1.0, None, None, None],
        "empty": [None, None, None, None],
    },
    note="text",
    empty="number",
)


def outline(table: Table = HOUSES, task: Task = "linear_regression", **selection: Any) -> Any:
    return outline_of(table, Selection.model_validate({"target": "price", **selection}), task)


def faults(table: Table = HOUSES, task: Task = "linear_regression", **selection: Any) -> tuple[Fault, ...]:
    with pytest.raises(InvalidDataset) as refused:
        outline(table, task, **selection)
    return refused.value.faults


def test_columns_are_told_with_their_features_before_any_number_is_encoded() -> None:
    found = outline(
        features=["kind", "rooms", "sold", "new"],
        missing="indicator",
        dates={"sold": ["year", "weekday"]},
        sample_weight="weight",
        split="part",
        unseen="ignore",
    )
    schema = found.outline.schema
    assert schema.feature_names[:4] == ("kind=flat", "kind=house", "kind is missing", "rooms")
    assert schema.feature_names[4:7] == ("rooms is missing", "sold.year", "sold.weekday")
    assert schema.feature_names[7:] == ("sold is missing", "new", "new is missing")
    assert schema.input_names == ("kind", "rooms", "sold", "new")
    assert (schema.target_names, schema.classes) == (("price",), None)
    assert schema.encoding is not None
    assert {column.unseen for column in schema.encoding} == {"ignore"}
    assert schema.feature_names == feature_names(schema.encoding)
    assert (found.outline.n_samples, found.outline.part_sizes) == (4, (2, 1, 1))
    assert found.warnings == []


def test_all_usable_columns_but_the_target_are_features_when_none_are_named_and_the_others_are_told_of() -> None:
    table = table_of(
        {
            "a": [1.0, 2.0],
            "b": [True, False],
            "c": ["x", "y"],
            "d": [datetime(2024, 1, 1)] * 2,
            "e": ["p", "q"],
            "y": [1, 2],
        },
        e="text",
    )
    found = outline(table, target="y")
    assert found.outline.schema.input_names == ("a", "b", "c")
    (warning,) = found.warnings
    assert warning.code == "columns_left_out"
    assert warning.evidence == {"columns": {"d": "date", "e": "text"}}
    assert "'d' (date), 'e' (text)" in warning.detail
    with_parts = outline(table, target="y", dates={"d": ["year"]}, types={"e": "category", "a": "text"})
    assert with_parts.outline.schema.feature_names == ("b", "c=x", "c=y", "d.year", "e=p", "e=q")
    assert [warning.evidence for warning in with_parts.warnings] == [{"columns": {"a": "text"}}]


def test_columns_of_numbers_without_holes_have_no_encoding() -> None:
    found = outline(features=["rooms", "zero"], target="price")
    assert found.outline.schema.encoding is None
    assert found.outline.schema.feature_names == found.outline.schema.input_names == ("rooms", "zero")


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        ("rooms", (2, 3, 4)),
        ("kind", ("flat", "house")),
        ("new", (False, True)),
        ("note", ("a", "b")),
        ("sold", ("2024-01-31T00:00:00", "2025-06-01T12:00:00")),
        ("area", (50.0, 70.0)),
    ],
)
def test_labels_are_of_the_kind_of_their_column(target: str, classes: tuple[Any, ...]) -> None:
    columns: dict[str, Any] = {
        "note": ["a", "b", "a"],
        "rooms": [3, 2, 4],
        "kind": ["house", "flat", "flat"],
        "x": [1, 2, 3],
    }
    columns |= {"new": [True, False, True], "area": [70.0, 50.0, 70.0]}
    columns["sold"] = [datetime(2024, 1, 31), datetime(2025, 6, 1, 12), datetime(2024, 1, 31)]
    table = table_of(columns, note="text")
    found = outline(table, "softmax_regression", target=target, features=["x"]).outline.schema.classes
    assert [(type(label), label) for label in found] == [(type(label), label) for label in classes]


def test_several_targets_of_a_regression_are_named_in_order() -> None:
    assert outline(target=["rooms", "price"], features=["zero"]).outline.schema.target_names == ("rooms", "price")


@pytest.mark.parametrize(
    ("selection", "pointer", "words"),
    [
        ({"target": "prise"}, "/target", "no column 'prise': did you mean 'price'?"),
        ({"target": ["price", "xyz"]}, "/target/1", "no column 'xyz': there are area, kind, new"),
        ({"target": "kind"}, "/target", "'kind' is a category, and linear_regression predicts numbers"),
        ({"target": "new"}, "/target", "'new' is a boolean"),
        ({"target": ["zero", "sold"]}, "/target/1", "'sold' is a date"),
        ({"target": "hole"}, "/target", "'hole' has 3 missing values, first in rows 1, 2, 3"),
        ({"features": ["roms"]}, "/features/0", "did you mean 'rooms'?"),
        ({"features": ["rooms", "rooms"]}, "/features/1", "chosen as feature already"),
        ({"features": ["rooms", "price"]}, "/features/1", "chosen as target already"),
        ({"features": ["rooms", "note"]}, "/features/1", "'note' is text"),
        ({"features": ["rooms", "sold"]}, "/features/1", "'sold' is a date, which becomes features by its parts"),
        ({"features": ["rooms", "area"]}, "/missing", "'area' has 1 missing value, first in row 2 (counted from 0)"),
        ({"features": ["kind"], "missing": {"kind": "refuse"}}, "/missing/kind", "with most_frequent or indicator"),
        ({"features": ["kind"], "missing": "mean"}, "/missing", "mean is not for column 'kind', a category"),
        ({"missing": {"kind": "median"}, "features": ["rooms", "kind"]}, "/missing/kind", "median is not for column"),
        ({"features": ["empty"], "missing": "mean"}, "/missing", "'empty' has no value at all"),
        ({"missing": {"kimd": "mean"}}, "/missing/kimd", "did you mean 'kind'?"),
        ({"missing": {"area": "mean"}}, "/missing/area", "'area' is not among the features"),
        ({"missing": {"price": "mean"}}, "/missing/price", "is the target, and this is for features"),
        ({"dates": {"area": ["year"]}}, "/dates/area", "not among the features"),
        ({"dates": {"rooms": ["year"]}}, "/dates/rooms", "'rooms' is a number: only a date has parts"),
        ({"features": ["sold"], "dates": {"sold": ["year", "year"]}, "missing": "mean"}, "/dates/sold", "stands twice"),
        ({"types": {"areas": "text"}}, "/types/areas", "did you mean 'area'?"),
        ({"types": {"area": "category"}}, "/types/area", "not among the features"),
        ({"types": {"rooms": "date"}}, "/types/rooms", "cannot be taken as"),
        ({"sample_weight": "wait"}, "/sample_weight", "no column 'wait'"),
        ({"sample_weight": "kind"}, "/sample_weight", "'kind' is a category: sample weights are numbers"),
        ({"sample_weight": "rooms"}, "/features/0", "'rooms' is chosen as sample weight already"),
        ({"sample_weight": "hole"}, "/sample_weight", "'hole' has 3 missing values"),
        (
            {"sample_weight": "negative"},
            "/sample_weight",
            "2 weights below 0, first in rows 1, 2 (counted from 0), as -1",
        ),
        ({"sample_weight": "zero"}, "/sample_weight", "all sample weights in column 'zero' are 0"),
        ({"split": "rooms", "features": ["zero"]}, "/split", "'rooms' is a number: a split says train, validation"),
        ({"split": "other"}, "/split", "'other' has 1 missing value, first in row 2"),
        ({"split": "kind"}, "/split", "values that are no part, first in rows 0, 1, 2 (counted from 0), as 'flat'"),
        ({"split": "held out"}, "/split", "no sample for train"),
    ],
    ids=str,
)
def test_a_selection_that_does_not_fit_the_table_is_refused_at_its_place(
    selection: dict[str, Any], pointer: str, words: str
) -> None:
    found = faults(**{"features": ["rooms"], **selection})
    assert any(fault.pointer == pointer and words in fault.detail for fault in found), found
    assert {fault.pointer for fault in found} <= {pointer, "/split"}


def test_all_faults_are_told_of_at_once() -> None:
    found = faults(features=["roms", "note", "area"], sample_weight="negative", split="other", types={"x": "text"})
    places = {"/features/0", "/features/1", "/missing", "/sample_weight", "/split", "/types/x"}
    assert {fault.pointer for fault in found} == places


def test_no_more_than_a_hundred_faults_are_told_of() -> None:
    assert len(faults(features=[f"x{number}" for number in range(500)])) == MAX_FAULTS


def test_a_classification_has_one_target() -> None:
    (fault,) = faults(task="softmax_regression", target=["rooms", "price"], features=["zero"])
    assert (fault.pointer, "one target, and 2 are named" in fault.detail) == ("/target", True)


@pytest.mark.parametrize("task", ["linear_regression", "softmax_regression"])
def test_a_table_without_usable_columns_is_refused(task: Task) -> None:
    table = table_of({"note": ["a", "b"], "y": [1, 2]}, note="text")
    (fault,) = faults(table, task, target="y")
    assert (fault.pointer, "no usable column" in fault.detail) == ("/features", True)


def test_a_table_without_samples_is_refused() -> None:
    (fault,) = faults(table_of({"x": [1.0], "price": [1.0]}).__class__(HOUSES.columns, 0, HOUSES.sources))
    assert "no samples" in fault.detail


def test_features_of_one_name_are_refused() -> None:
    (fault,) = faults(table_of({"a": ["x", "y"], "a=x": [1, 2], "price": [1, 2]}))
    assert (fault.pointer, "'a' and 'a=x' both become a feature 'a=x'" in fault.detail) == ("/features", True)


def test_a_column_of_more_categories_than_become_features_is_refused() -> None:
    table = table_of({"zip": list(map(str, range(MAX_CATEGORIES + 1))), "price": range(MAX_CATEGORIES + 1)})
    (fault,) = faults(table)
    assert "'zip' has more than 1,000 categories" in fault.detail
    table = table_of({"zip": list(map(str, range(MAX_CATEGORIES))), "price": range(MAX_CATEGORIES)})
    assert outline(table).outline.n_features == MAX_CATEGORIES


def test_more_labels_than_there_may_be_are_refused() -> None:
    table = table_of({"x": range(MAX_CLASSES + 1), "price": range(MAX_CLASSES + 1)})
    (fault,) = faults(table, "softmax_regression")
    assert (fault.pointer, "more than 10000 different labels" in fault.detail) == ("/target", True)


def test_a_policy_for_all_columns_refuses_holes_only_where_it_does_not_fit() -> None:
    found = outline(features=["area", "part"], missing="mean").outline.schema
    assert found.feature_names == ("area", "part=test", "part=train", "part=validation")


def test_a_policy_for_all_that_does_not_fit_is_refused_with_one_for_each_column() -> None:
    (fault,) = faults(features=["area", "kind", "new", "rooms"], missing="mean", target="price")[:1]
    assert fault.pointer == "/missing"
    ways = {"area": "mean", "kind": "most_frequent", "new": "most_frequent"}
    assert fault.detail.endswith(f'by column, as "missing": {json.dumps(ways)}')
    assert outline(features=["area", "kind", "new", "rooms"], missing=ways).warnings == []


def test_a_policy_for_a_column_that_does_not_fit_is_refused_once() -> None:
    (fault,) = faults(features=["rooms", "kind"], missing={"kind": "mean"})
    assert (fault.pointer, "mean is not for column 'kind'" in fault.detail) == ("/missing/kind", True)


@pytest.mark.parametrize("wrong", [{"target": "pricey"}, {"sample_weight": "wait"}, {"split": "prat"}], ids=str)
def test_nothing_is_said_of_features_that_may_be_what_was_named_wrongly(wrong: dict[str, Any]) -> None:
    columns = {"price": [1, None, 3], "weight": [1, None, 1], "part": ["train", "test", None], "y": [1, 2, 3]}
    found = faults(table_of(columns), **{"target": "y", **wrong})
    assert [fault.pointer for fault in found] == [f"/{name}" for name in wrong]
    named = faults(table_of(columns), features=["weight"], **{"target": "y", **wrong})
    assert {fault.pointer for fault in named} == {*(f"/{name}" for name in wrong), "/missing"}


@pytest.mark.parametrize(
    "selection",
    [
        {"dates": {"kind": ["year"]}},
        {"dates": {"kind": ["year"]}, "features": ["kind", "rooms"]},
        {"features": ["kind"]},
        {"missing": {"kind": "mean"}},
        {"split": "kind"},
        {"sample_weight": "kind"},
        {"target": "kind"},
    ],
)
def test_of_a_column_that_cannot_be_what_it_is_to_be_nothing_else_is_said(selection: dict[str, Any]) -> None:
    kind = "number" if {"sample_weight", "target", "missing"} & selection.keys() else "date"
    columns = {"kind": ["red", None, "green"], "rooms": [1, 2, 3], "price": [1, 2, 3]}
    found = faults(table_of(columns), **{"types": {"kind": kind}, **selection})
    assert [fault.pointer for fault in found] == ["/types/kind"]


@pytest.mark.parametrize(
    ("values", "is_told"),
    [
        (["train", "test"], True),
        (["Train", "VAL", "test"], True),
        (["train", "valid"], True),
        (["train"], False),
        (["test", "validation"], False),
        (["train", "bus"], False),
        (["train", "test", None], True),
    ],
)
def test_a_feature_that_seems_to_be_a_split_is_told_of(values: list[str | None], is_told: bool) -> None:
    rows = (values * 6)[:6]
    table = table_of({"use": rows, "x": list(range(6)), "price": list(range(6))})
    missing: dict[str, Any] = {"missing": {"use": "most_frequent"}} if None in values else {}
    found = outline(table, **missing).warnings
    if not is_told:
        assert found == []
        return
    (warning,) = found
    assert (warning.code, warning.suggestion) == ("unused_split_column", {})
    assert warning.evidence == {"column": "use", "values": sorted({value for value in values if value is not None})}
    assert 'name it as "split": "use"' in warning.detail
    assert outline(table, **missing, features=["use", "x"]).warnings == []


def test_the_names_of_parts_in_other_words_are_refused_with_the_right_ones() -> None:
    for word, meant in (("VAL", "validation"), ("Train", "train"), ("TEST ", "test")):
        table = table_of({"use": ["train", word, "train"], "x": [1, 2, 3], "price": [1, 2, 3]})
        (fault,) = faults(table, split="use")
        assert fault.detail.endswith(f"train, validation, test; write {meant} for {word!r}")
