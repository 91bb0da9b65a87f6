import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.data.labels import MAX_CLASSES, encode_labels, label_keys
from service.dataset import Label
from service.errors import InvalidDataset

LABELS = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(), st.sampled_from([1, "1"])
)


@given(st.lists(LABELS, min_size=1))
def test_the_class_of_a_code_is_the_label_that_was_given_with_its_type(labels: list[Label]) -> None:
    integers = {label for label in labels if type(label) is int}
    assume(not integers & {label for label in labels if type(label) is float})
    classes, codes = encode_labels(labels)
    assert codes.shape == (len(labels), 1)
    for label, code in zip(labels, codes[:, 0], strict=True):
        found = classes[int(code)]
        assert found == label
        assert type(found) is type(label)


@given(st.lists(LABELS, min_size=1))
def test_codes_count_the_different_labels_from_zero(labels: list[Label]) -> None:
    classes, codes = encode_labels(labels)
    assert set(codes[:, 0]) == set(range(len(classes)))


def test_one_true_and_the_text_one_are_three_labels() -> None:
    classes, codes = encode_labels([1, True, "1", "true", 1, True])
    assert [(type(label), label) for label in classes] == [(bool, True), (int, 1), (str, "1"), (str, "true")]
    assert codes.tolist() == [[1], [0], [2], [3], [1], [0]]


def test_an_integer_and_the_float_of_its_value_are_one_label() -> None:
    classes, codes = encode_labels([1, 1.0, 2])
    assert classes == (1, 2)
    assert codes.tolist() == [[0], [0], [1]]


@given(st.permutations([False, True, -3, 0.5, 2, 10, "10", "a", "ä"]))
def test_classes_are_sorted_booleans_then_numbers_then_text_whatever_the_order(labels: list[Label]) -> None:
    classes, _ = encode_labels(labels)
    assert [(type(label), label) for label in classes] == [
        (type(label), label) for label in (False, True, -3, 0.5, 2, 10, "10", "a", "ä")
    ]


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        (None, "null"),
        ([1, 2], "[1, 2]"),
        ({"a": 1}, '{"a": 1}'),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
    ],
)
def test_what_is_no_label_is_refused_by_row_and_value(label: object, shown: str) -> None:
    with pytest.raises(InvalidDataset) as refused:
        encode_labels(["a", label, "b"])
    (fault,) = refused.value.faults
    assert fault.pointer == "/targets/1"
    assert fault.detail.endswith(f"not {shown}")


def test_a_label_that_cannot_be_written_as_utf_8_is_refused() -> None:
    with pytest.raises(InvalidDataset) as refused:
        encode_labels(["a", json.loads(r'"\ud800"')])
    assert [fault.pointer for fault in refused.value.faults] == ["/targets/1"]


def test_a_column_of_ever_new_labels_is_taken_for_a_regression() -> None:
    encode_labels(list(range(MAX_CLASSES)))
    with pytest.raises(InvalidDataset) as refused:
        encode_labels(list(range(MAX_CLASSES + 1)))
    (fault,) = refused.value.faults
    assert fault.pointer == "/targets"
    assert f"{MAX_CLASSES + 1} different labels" in fault.detail


@pytest.mark.parametrize("label", [True, False, 1, -2.5, 10**30])
def test_the_key_of_a_label_that_is_no_text_is_its_json(label: Label) -> None:
    (key,) = label_keys([label])
    assert json.loads(key) == label
    assert type(json.loads(key)) is type(label)


@given(st.text())
def test_the_key_of_a_text_is_the_text(text: str) -> None:
    assert label_keys([text]) == [text]


@pytest.mark.parametrize("label", [True, 1, 0.5])
def test_a_text_that_reads_like_another_label_keeps_its_quotes(label: Label) -> None:
    assert label_keys([label, json.dumps(label), "other"]) == [json.dumps(label), f'"{json.dumps(label)}"', "other"]


def test_codes_are_float64_as_the_datasets_targets_are() -> None:
    assert encode_labels(["a"])[1].dtype == np.float64
