import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.data.json_names import check_names
from service.errors import InvalidRequest
from tests.api.conftest import LocalService, check_fault

EXAM = '{"quiz1":1,"quiz2":2,"quiz3":3}'
TWICE = '{"quiz1":1,"quiz1":2,"quiz2":2,"quiz3":3}'
BODIES = {
    "records": ("/predict", f'{{"model":"exams","records":[{EXAM},{TWICE}]}}', "#/records/1/quiz1"),
    "columns": (
        "/predict",
        '{"model":"exams","columns":{"quiz1":[1],"quiz2":[2],"quiz3":[3],"quiz2":[4]}}',
        "#/columns/quiz2",
    ),
    "model": ("/predict", '{"model":"a","model":"exams","features":[[1,2,3]]}', "#/model"),
    "evaluate": (
        "/models/exams/evaluate",
        '{"dataset":{"records":[{"quiz1":1,"quiz2":2,"quiz3":3,"final":4,"final":5}],"target":"final"}}',
        "#/dataset/records/0/final",
    ),
    "train": (
        "/train",
        '{"task":"linear_regression","dataset":{"features":[1,2],"targets":[1,2]},'
        '"hyperparameters":{"epochs":1,"epochs":2}}',
        "#/hyperparameters/epochs",
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_name_that_stands_twice_in_a_body_is_refused_where_it_stands(standing: LocalService, name: str) -> None:
    path, body, pointer = BODIES[name]
    check_fault(standing.post(path, body), pointer, f"{pointer.rpartition('/')[2]!r} is given several times")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/models/exams/invocations", f'{{"dataframe_records":[{TWICE}]}}'),
        ("/v2/models/exams/infer", '{"inputs":[{"name":"x","shape":[1,3],"shape":[1,3],"datatype":"FP64","data":[]}]}'),
    ],
)
def test_a_name_that_stands_twice_is_refused_in_other_protocols_too(
    standing: LocalService, path: str, body: str
) -> None:
    answer = standing.post(path, body)
    assert answer.status_code == 400
    assert "several times" in answer.text


def test_a_body_that_is_not_json_is_refused_for_that(standing: LocalService) -> None:
    answer = standing.http.post("/predict", content=b'{"a":1,"a":2}', headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


names = st.text(':"\\ab ', max_size=3)
values: Any = st.recursive(
    st.none() | st.integers() | names,
    lambda inner: st.lists(inner) | st.lists(st.tuples(names, inner)).map(tuple),
    max_leaves=6,
)


def written(value: Any) -> tuple[str, bool]:
    """Write JSON in which objects, given as tuples of pairs, may have a name twice; tell whether one has."""
    if isinstance(value, list):
        parts = [written(one) for one in value]
        return f"[{', '.join(text for text, _ in parts)}]", any(twice for _, twice in parts)
    if isinstance(value, tuple):
        parts = [written(one) for _, one in value]
        members = [f"{json.dumps(name)} : {text}" for (name, _), (text, _) in zip(value, parts, strict=True)]
        is_twice = len({name for name, _ in value}) < len(value)
        return f"{{{','.join(members)}}}", is_twice or any(twice for _, twice in parts)
    return json.dumps(value), False


@given(values, st.sampled_from(["utf-8", "utf-16", "utf-32-le"]))
def test_whatever_else_a_body_has_names_that_stand_twice_are_found_and_no_others(value: Any, encoding: str) -> None:
    text, is_twice = written(value)
    content = text.encode(encoding)
    if is_twice:
        with pytest.raises(InvalidRequest, match="several times"):
            check_names(content, json.loads(content))
    else:
        check_names(content, json.loads(content))
