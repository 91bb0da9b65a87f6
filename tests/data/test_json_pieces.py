import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.data.json_numbers import Flat, Records, Rows
from service.data.json_pieces import JsonList, read_json
from service.errors import InvalidRequest

NUMBERS = st.integers() | st.floats()
TEXTS = st.text('\\",:[]{} \nä€😀a')
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES: Any = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=40,
)
PIECES = st.integers(1, 40)


def plain(value: Any) -> Any:
    """Make lists of all long lists, as Python's parser gives them."""
    if isinstance(value, list | JsonList):
        return [plain(one) for one in value]
    return {name: plain(one) for name, one in value.items()} if isinstance(value, dict) else value


def same(one: Any, other: Any) -> bool:
    """Tell whether two values of JSON are the same in type and in every bit; NaN is itself."""
    return json.dumps(one) == json.dumps(other)


@settings(deadline=None, max_examples=100)
@given(VALUES, PIECES, st.sampled_from([None, 1]), st.booleans(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_json_in_pieces_of_any_size_is_what_python_s_parser_reads(
    value: Any, piece_bytes: int, indent: int | None, ascii_only: bool, encoding: str
) -> None:
    content = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode(encoding)
    assert same(plain(read_json(content, piece_bytes)), json.loads(content))


@settings(deadline=None, max_examples=100)
@given(VALUES, PIECES, st.data())
def test_what_is_no_json_is_refused_as_python_s_parser_does_and_at_the_same_character(
    value: Any, piece_bytes: int, data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=False)
    at = data.draw(st.integers(0, len(text)))
    n_left_out = data.draw(st.integers(0, 3))
    broken = text[:at] + data.draw(st.text('[]{},:"0-.\\ae ', max_size=2)) + text[at + n_left_out :]
    try:
        expected: Any = json.loads(broken)
    except json.JSONDecodeError as fault:
        expected_fault = fault.msg, fault.pos
        with pytest.raises(json.JSONDecodeError) as refused:
            read_json(broken.encode(), piece_bytes)
        assert (refused.value.msg, refused.value.pos) == expected_fault
    else:
        try:
            found = plain(read_json(broken.encode(), piece_bytes))
        except InvalidRequest as refused_names:
            assert "is given several times" in str(refused_names)  # noqa: PT017  # only where it may be
        else:
            assert same(found, expected)


@settings(deadline=None, max_examples=50)
@given(st.lists(NUMBERS, min_size=12), PIECES)
@example([2**53 + 1, 10**400, 0.1, -0.0, 5e-324, 1.7976931348623157e308, *range(30)], 8)
def test_numbers_are_the_nearest_floats_and_none_are_told_beyond_the_largest(
    numbers: list[float], piece_bytes: int
) -> None:
    found = read_json(json.dumps(numbers).encode(), piece_bytes)
    assert isinstance(found, JsonList)
    try:
        expected = np.array([float(number) for number in json.loads(json.dumps(numbers))])
    except OverflowError:
        assert found.compact is None
    else:
        assert isinstance(found.compact, Flat)
        assert found.compact.values.tobytes() == expected.tobytes()
        assert found.compact.types == set(map(type, numbers))
    assert len(found) == len(numbers)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(NUMBERS.filter(lambda one: abs(one) < 1e308), max_size=20), min_size=12), PIECES)
def test_rows_of_any_lengths_are_one_behind_the_other(rows: list[list[float]], piece_bytes: int) -> None:
    found = read_json(json.dumps(rows).encode(), piece_bytes)
    assert isinstance(found, JsonList)
    assert isinstance(found.compact, Rows)
    assert found.compact.lengths.tolist() == [len(row) for row in rows]
    assert found.compact.values.tolist() == [float(number) for row in rows for number in row]
    table = found.compact.table()
    is_table = len({len(row) for row in rows}) == 1
    assert (table is not None) == is_table
    assert same(plain(found[3:7]), rows[3:7])
    assert same([plain(found[index]) for index in range(len(rows))], rows)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(-9, 9), st.none() | st.floats(-9, 9), TEXTS), min_size=12), PIECES, st.booleans())
def test_objects_that_have_the_same_names_are_columns_of_numbers_and_of_others(
    samples: list[tuple[int, float | None, str]], piece_bytes: int, is_turned: bool
) -> None:
    records = [{"a": a, "b": b, "c": c} for a, b, c in samples]
    if is_turned:
        records[1:] = [dict(reversed(record.items())) for record in records[1:]]
    found = read_json(json.dumps(records).encode(), piece_bytes)
    assert isinstance(found, JsonList)
    assert plain(found) == records
    assert isinstance(found.compact, Records)
    assert list(found.compact.columns) == ["a", "b", "c"]
    for name, column in found.compact.columns.items():
        expected = [record[name] for record in records]
        if all(isinstance(value, int | float) for value in expected):
            assert column is not None
            assert column.values.tolist() == expected
        else:
            assert column is None


@pytest.mark.parametrize(
    "content",
    [
        b"[1, 2, true, 4, 5, 6]",
        b"[1, 2, null, 4, 5, 6]",
        b'[1, 2, "3", 4, 5, 6]',
        b"[1, 2, [3], 4, 5, 6]",
        b"[[1], [2], [[3]], [4]]",
        b"[[1], [2], 3, [4], [5]]",
        b'[[1], [2], {"a": 1}, [4]]',
        b'[{"a": 1}, {"a": 1}, {"b": 1}]',
        b'[{"a": 1}, {"a": 1}, {"a": 1, "b": 1}]',
        b"[{}, {}, {}, {}, {}, {}]",
    ],
)
def test_what_is_not_alike_is_there_as_it_was_written_and_no_array(content: bytes) -> None:
    found = read_json(content, 8)
    assert isinstance(found, JsonList)
    assert found.compact is None
    assert same(plain(found), json.loads(content))


@pytest.mark.parametrize(
    ("text", "pointers"),
    [
        ('[{"a": 1}, {"a": 1}, {"b": 1, "b": 2}]', ["/2/b"]),
        ('{"x": [1, 2, 3, 4], "y": 1, "x": 2}', ["/x"]),
        ('{"x": [{"y": [{"a": 1}, {"a": 1, "a": 2}, 3]}]}', ["/x/0/y/1/a"]),
        ('{"a/b": [1, 2, {"~": 1, "~": 1}], "c": {"d": 1, "d": 2}}', ["/a~1b/2/~0", "/c/d"]),
    ],
)
def test_a_name_that_stands_twice_is_told_where_it_stands(text: str, pointers: list[str]) -> None:
    for piece_bytes in range(1, 50):
        with pytest.raises(InvalidRequest) as refused:
            read_json(text.encode(), piece_bytes)
        assert [fault.pointer for fault in refused.value.faults] == pointers


def test_lists_are_nested_no_deeper_than_they_can_be_read() -> None:
    with pytest.raises(RecursionError):
        read_json(b"[" * 10_000 + b"]" * 10_000, 8)
