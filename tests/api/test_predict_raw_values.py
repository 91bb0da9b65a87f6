"""Predictions of models whose columns are encoded: raw values in, by the columns' names."""

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from httpx2 import Response

from service.data.fitting import dataset_of
from service.parameters import unflatten
from service.selection import Selection
from tests.api.conftest import LocalService, check_fault, check_problem
from tests.data.tables import SETTLED, table_of
from tests.store.recording import publish, random_vectors, start

HOUSES = table_of(
    {
        "area": [50.0, 70.0, None, 90.0],
        "kind": ["red", "blue", "3", "red, dark"],
        "new": [True, False, True, True],
        "sold": [datetime(2024, 1, 31), datetime(2024, 2, 1), datetime(2025, 6, 1, 12, 30), datetime(2025, 6, 2)],
        "price": [1.0, 2.0, 3.0, 4.0],
    }
)
SELECTION = Selection(target="price", missing={"area": "indicator"}, dates={"sold": ["month", "hour"]})
DATASET = dataset_of(HOUSES, SELECTION, "linear_regression", SETTLED, None)
RECORDS = [
    {name: value for name, value in record.items() if name != "price"} for record in HOUSES.preview(0, HOUSES.n_samples)
]


@pytest.fixture
def expected(local: LocalService) -> Any:
    """What a model named houses is to say of the four samples that it was trained on."""
    with local.database.writing() as session:
        job = start(session, "linear_regression", DATASET, model="houses")
        (vector,) = random_vectors(job, 1)
        publish(session, job, DATASET, vector, None)
    (layer,) = unflatten(vector, job.layout)
    return (DATASET.features @ layer.weight.T + layer.bias)[:, 0]


def predictions(answer: Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def test_raw_values_predict_what_the_training_made_of_them_however_they_are_given(
    local: LocalService, expected: Any
) -> None:
    named = local.post("/predict", {"model": "houses", "records": [dict(reversed(one.items())) for one in RECORDS]})
    np.testing.assert_allclose(predictions(named), expected, rtol=1e-12)
    rows = local.post("/predict", {"model": "houses", "features": [list(record.values()) for record in RECORDS]})
    assert rows.json() == named.json()
    for record, prediction in zip(RECORDS, expected, strict=True):
        texts = {name: "" if value is None else value for name, value in record.items()}
        by_name = local.http.get("/predict", params={"model": "houses", **texts})
        np.testing.assert_allclose(predictions(by_name), [prediction], rtol=1e-12)
    by_position = local.http.get("/predict?model=houses&features=50,red,true,2024-01-31")
    np.testing.assert_allclose(predictions(by_position), expected[:1], rtol=1e-12)
    without = local.http.get("/predict?model=houses&features=,3,true,2025-06-01T12:30")
    np.testing.assert_allclose(predictions(without), expected[2:3], rtol=1e-12)


def test_a_whole_number_is_the_category_that_reads_like_it(local: LocalService, expected: Any) -> None:
    for kind in (3, 3.0, "3"):
        answer = local.post("/predict", {"model": "houses", "features": [[None, kind, True, "2025-06-01T12:30:00"]]})
        np.testing.assert_allclose(predictions(answer), expected[2:3], rtol=1e-12)


@pytest.mark.parametrize(
    ("query", "pointer", "words"),
    [
        (
            "area=1&kind=green&new=true&sold=2024-01-01",
            "kind",
            'no category "green": the model knows "3", "blue", "red"',
        ),
        ("area=1&kind=rde&new=true&sold=2024-01-01", "kind", 'did you mean "red"?'),
        ("area=1&kind=&new=true&sold=2024-01-01", "kind", "is missing, and the model was trained to refuse that"),
        ("area=1&kind=red&new=1&sold=2024-01-01", "new", 'true or false, not "1"'),
        ("area=1&kind=red&new=true&sold=1.1.2024", "sold", "ISO 8601"),
        ("area=x&kind=red&new=true&sold=2024-01-01", "area", 'finite number, not "x"'),
        ("area=1&kind=red&new=true", "sold", "feature 'sold' is missing"),
        ("area=1&kind=red&kind=red&new=true&sold=2024-01-01", "kind", "given 2 times"),
        ("area=1&kind=red&new=true&sold=2024-01-01&kind%3Dred=1", "kind=red", "the model takes area, kind, new, sold"),
        ("features=1,red,%20dark,true,2024-01-01", "features", "a category with a comma in it is given by name"),
        ("features=1,green,true,2024-01-01", "features", 'the value at position 1 has no category "green"'),
    ],
)
@pytest.mark.usefixtures("expected")
def test_a_query_with_a_value_that_its_column_does_not_take_is_refused(
    local: LocalService, query: str, pointer: str, words: str
) -> None:
    check_fault(local.http.get(f"/predict?model=houses&{query}"), f"#/query/{pointer}", words)


@pytest.mark.parametrize(
    ("given", "pointer", "words"),
    [
        ({"features": [[1, "red", True]]}, "#/features/0", "row 0 has 3 features and the model takes 4"),
        ({"features": [[1, "red", "true", "2024-01-01"]]}, "#/features/0/2", "true or false"),
        ({"features": [[1, "red", 1, 20240101]]}, "#/features/0/2", "true or false"),
        ({"features": [[1, ["red"], True, "2024-01-01"]]}, "#/features/0/1", 'not ["red"]'),
        ({"features": [[float("nan"), "red", True, "2024-01-01"]]}, "#/features/0/0", "finite number, not NaN"),
        ({"features": [[1, 2, 3, 4]]}, "#/features/0/1", "has no category 2"),
        ({"features": [1]}, "#/features/0", "row 0 has 1 feature and the model takes 4"),
        ({"features": {"area": 1}}, "#/features", "valid list"),
        ({"records": [{**RECORDS[0], "kind": "green"}]}, "#/records/0/kind", 'no category "green"'),
        ({"records": [RECORDS[0], {**RECORDS[0], "new": None}]}, "#/records/1/new", "'new' is missing"),
    ],
)
@pytest.mark.usefixtures("expected")
def test_a_body_with_a_value_that_its_column_does_not_take_is_refused(
    local: LocalService, given: dict[str, Any], pointer: str, words: str
) -> None:
    faults = check_problem(local.post("/predict", {"model": "houses", **given}), 422)["errors"]
    assert any(fault["pointer"] == pointer and words in fault["detail"] for fault in faults), faults


def test_every_value_that_a_model_of_numbers_does_not_take_is_told_of(standing: LocalService) -> None:
    body = {"model": "exams", "features": [[1, "red", None], [True, 2, 3]]}
    faults = check_problem(standing.post("/predict", body), 422)["errors"]
    assert [fault["pointer"] for fault in faults] == ["#/features/0/1", "#/features/0/2", "#/features/1/0"]
    assert faults[0]["detail"].startswith("feature 'quiz2' must be a finite number")


def test_a_model_that_is_not_there_is_told_of_before_its_features(standing: LocalService) -> None:
    check_problem(standing.post("/predict", {"model": "nowhere", "features": [["red"]]}), 404)
