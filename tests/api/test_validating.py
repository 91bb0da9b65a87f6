from typing import Any

import pytest

from service.api.validating import LONG
from tests.api.conftest import Json, LocalService, check_problem

MANY = LONG + 2
NAMES = {str(number): 0 for number in range(MANY)}


def train(**dataset: Any) -> Json:
    return {"task": "linear_regression", "dataset": dataset}


@pytest.mark.parametrize(
    ("path", "body", "pointers"),
    [
        ("/predict", {"model": "line", "records": [1] * MANY}, ["#/records/0"]),
        ("/predict", {"model": "line", "features": [[1], *["2"] * MANY]}, ["#/features/1"]),
        ("/predict", {"model": "line", "columns": {"x": [1], "inner": NAMES}}, ["#/columns/inner"]),
        ("/predict", {"model": "line", "columns": NAMES}, ["#/columns"]),
        ("/predict", {"model": "line", **NAMES}, ["#"]),
        ("/train", train(features=[1, "a"] * MANY, targets=[1]), ["#/dataset/features/1"]),
        ("/train", train(features=[["a"] * MANY, ["b"]], targets=["a"]), ["#/dataset/features/0/0"]),
        ("/models/line/evaluate", {"dataset": {"records": [{}, *[1] * MANY]}}, ["#/dataset/records/1"]),
        ("/models", {"name": "m", "task": "linear_regression", "parameters": ["a"] * MANY}, ["#/parameters/0"]),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value),
)
def test_of_a_long_body_the_first_fault_of_each_list_is_told(
    standing: LocalService, path: str, body: Json, pointers: list[str]
) -> None:
    problem = check_problem(standing.post(path, body), 422)
    assert [fault["pointer"] for fault in problem["errors"]] == pointers


def test_other_protocols_tell_the_first_fault_too(standing: LocalService) -> None:
    for path, body in (("/v2/models/line/infer", {"inputs": [1] * MANY}), ("/models/line/invocations", NAMES)):
        answer = standing.post(path, body)
        assert answer.status_code == 400
        assert ";" not in str(answer.json())


def test_rows_that_are_too_short_are_counted_and_the_first_are_told(standing: LocalService) -> None:
    problem = check_problem(standing.post("/predict", {"model": "exams", "features": [[]] * 200}), 422)
    assert len(problem["errors"]) == 100
    assert "and 197 more, of which errors lists 100" in problem["detail"]


def test_of_rows_a_hundred_values_that_are_no_numbers_are_told(standing: LocalService) -> None:
    body = {"model": "exams", "features": [[1, "2", "3"]] * (MANY // 3)}
    pointers = [fault["pointer"] for fault in check_problem(standing.post("/predict", body), 422)["errors"]]
    assert pointers == [f"#/features/{row}/{position}" for row in range(50) for position in (1, 2)]
