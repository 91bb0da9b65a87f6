import math
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import update

from service.store.tables import VersionRow
from tests.api.conftest import EXAMS, Json, LocalService, check_fault, line, local_service, switch
from tests.api.uploading import upload

FLATS = (
    "area,rooms,kind,sold,price\n50,2,flat,2020-01-31,100\n120,4,house,2021-06-30,240\n80,,flat,2021-07-15,160\n"
    "200,6,house,2022-02-28,410\n95,3,flat,2022-03-01,190\n"
)
SAMPLE: dict[str, Any] = {"area": 100, "rooms": 3, "kind": "flat", "sold": "2021-03-01"}


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service with models of a dataset whose columns are encoded, and one whose are not."""
    with local_service(tmp_path_factory.mktemp("houses")) as service:
        train(service)
        yield service


def train(service: LocalService) -> None:
    service.train({"task": "linear_regression", "model": "exams", "dataset": EXAMS})
    dataset = {
        "id": upload(service, FLATS.encode()).json()["id"],
        "target": "price",
        "missing": "median",
        "dates": {"sold": ["year"]},
    }
    for task in ("linear_regression", "mlp_regressor"):
        body = {"model": task, "task": task, "dataset": dataset}
        hyperparameters = {"scale": "standard", "epochs": 100, "seed": 0}
        assert service.train({**body, "hyperparameters": hyperparameters})["status"] == "succeeded"
    labels = {"id": dataset["id"], "target": "kind", "features": ["area", "price"]}
    for task in ("logistic_regression", "mlp_classifier"):
        hyperparameters = {"scale": "standard", "epochs": 20, "seed": 0}
        service.train({"model": task, "task": task, "dataset": labels, "hyperparameters": hyperparameters})


def explained(service: LocalService, body: Json) -> Json:
    answer = service.post("/predict", {**body, "explain": True})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


@pytest.mark.parametrize(
    ("model", "method"), [("linear_regression", "exact"), ("mlp_regressor", "integrated_gradients")]
)
def test_contributions_of_the_columns_sum_to_the_prediction(houses: LocalService, model: str, method: str) -> None:
    answer = explained(houses, {"model": model, "records": [SAMPLE, {**SAMPLE, "kind": "house"}]})
    assert answer["explained_by"] == method
    for prediction, one in zip(answer["predictions"], answer["explanations"], strict=True):
        assert list(one["contributions"]) == ["area", "rooms", "kind", "sold"]
        assert one["value"] == prediction
        total = one["base"] + sum(one["contributions"].values())
        assert total + one["residual"] == pytest.approx(prediction, rel=1e-12)
        assert total == pytest.approx(prediction, rel=1e-9)
    query: dict[str, Any] = {"model": model, **SAMPLE, "explain": "true"}
    (alone,), first = houses.http.get("/predict", params=query).json()["explanations"], answer["explanations"][0]
    assert alone["contributions"] == pytest.approx(first["contributions"], rel=1e-12)
    assert [alone["value"], alone["base"]] == pytest.approx([first["value"], first["base"]], rel=1e-12)


@pytest.mark.parametrize("model", ["logistic_regression", "mlp_classifier"])
def test_of_two_labels_the_log_odds_of_each_are_explained(houses: LocalService, model: str) -> None:
    answer = explained(houses, {"model": model, "features": [[100, 200]]})
    (one,), (probabilities,) = answer["explanations"], answer["probabilities"]
    for label, other in (("flat", "house"), ("house", "flat")):
        odds = math.log(probabilities[label] / probabilities[other])
        assert one["value"][label] == pytest.approx(odds)
        assert one["base"][label] + sum(one["contributions"][label].values()) == pytest.approx(odds)


def test_several_targets_and_several_labels_are_explained_each(local: LocalService) -> None:
    features = [[1, 2], [3, 5], [4, 4], [7, 1]]
    dataset = {"features": features, "targets": [[1, 2], [2, 1], [3, 5], [0, 1]]}
    local.train({"task": "linear_regression", "model": "two", "dataset": dataset})
    answer = explained(local, {"model": "two", "features": features})
    for prediction, one in zip(answer["predictions"], answer["explanations"], strict=True):
        for name, value in zip(("y1", "y2"), prediction, strict=True):
            assert one["base"][name] + sum(one["contributions"][name].values()) == pytest.approx(value)
    local.train(switch(0, 1, 2, 0, 1, 2, task="softmax_regression", model="three"))
    answer = explained(local, {"model": "three", "features": [[1.5]]})
    (one,), (probabilities,) = answer["explanations"], answer["probabilities"]
    powers = {label: math.exp(value) for label, value in one["value"].items()}
    assert {label: power / sum(powers.values()) for label, power in powers.items()} == pytest.approx(probabilities)
    assert sum(one["value"].values()) == pytest.approx(0, abs=1e-12)


def test_without_samples_there_is_nothing_to_explain(standing: LocalService) -> None:
    assert explained(standing, {"model": "exams", "features": []})["explanations"] == []


def test_what_would_be_too_much_to_explain_is_refused(standing: LocalService) -> None:
    body: Json = {"model": "exams", "columns": {name: [1.0] * 400_000 for name in ("quiz1", "quiz2", "quiz3")}}
    check_fault(standing.post("/predict", {**body, "explain": True}), "#/explain", "1000000 is the limit")


def test_a_version_without_means_is_not_explained_and_warns_of_nothing(local: LocalService) -> None:
    local.train(line(model="m", hyperparameters={"epochs": 1}))
    with local.database.writing() as session:
        session.execute(update(VersionRow).values(ranges=None))
    answer = local.http.get("/predict?model=m&x=1e9")
    assert (answer.status_code, "warnings" in answer.json()) == (200, False)
    check_fault(local.http.get("/predict?model=m&x=1&explain=true"), "#/query/explain", "train it again")


def test_a_value_that_training_did_not_see_is_told_with_its_range(houses: LocalService) -> None:
    def warnings(**changes: Any) -> list[Json]:
        answer = houses.post("/predict", {"model": "linear_regression", "records": [SAMPLE, {**SAMPLE, **changes}]})
        found: list[Json] = answer.json().get("warnings", [])
        return found

    assert warnings() == []
    (warning,) = warnings(area=1000)
    assert warning == {
        "code": "outside_training_range",
        "detail": "feature 'area' is 1000 in sample 1; in training it was from 50 to 200",
        "feature": "area",
        "sample": 1,
        "value": 1000,
        "n_samples": 1,
        "lowest": 50,
        "highest": 200,
    }
    assert warnings(sold="2030-01-01")[0]["feature"] == "sold.year"
    assert warnings(rooms=None) == []
    query: dict[str, Any] = {"model": "linear_regression", **SAMPLE, "area": 1000}
    assert houses.http.get("/predict", params=query).json()["warnings"] == [
        {**warning, "sample": 0, "detail": warning["detail"].replace("sample 1", "sample 0")}
    ]


def test_an_answer_of_a_version_named_by_its_number_may_be_kept(standing: LocalService) -> None:
    path = "/predict?model=line@1&x=2"
    answer = standing.http.get(path)
    assert "immutable" in answer.headers["cache-control"]
    tag = answer.headers["etag"]
    for known in (tag, f'"another", W/{tag}', "*"):
        again = standing.http.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert standing.http.get(path, headers={"If-None-Match": '"another"'}).json() == answer.json()
    for reference in ("line", "line@latest"):
        newest = standing.http.get(f"/predict?model={reference}&x=2", headers={"If-None-Match": "*"})
        assert (newest.status_code, newest.headers["cache-control"], "etag" in newest.headers) == (
            200,
            "no-store",
            False,
        )
    refused = standing.http.get("/predict?model=line@1&y=2", headers={"If-None-Match": tag})
    assert (refused.status_code, refused.headers["cache-control"]) == (422, "no-store")


def test_columns_are_as_good_as_rows(houses: LocalService) -> None:
    columns = {name: [value, value] for name, value in SAMPLE.items()}
    by_column = houses.post("/predict", {"model": "linear_regression", "columns": columns}).json()
    assert by_column == houses.post("/predict", {"model": "linear_regression", "records": [SAMPLE, SAMPLE]}).json()
    plain = {"quiz1": [73, 93], "quiz2": [80, 88.5], "quiz3": [75, 93]}
    rows = [list(row) for row in zip(*plain.values(), strict=True)]
    assert (
        houses.post("/predict", {"model": "exams", "columns": plain}).json()
        == houses.post("/predict", {"model": "exams", "features": rows}).json()
    )


@pytest.mark.parametrize(
    ("columns", "pointer", "words"),
    [
        ({"x": [1, "a"]}, "#/columns/x/1", 'must be a finite number, not "a"'),
        ({"x": [1], "y": [1]}, "#/columns/y", "'y' is unknown"),
        ({}, "#/columns/x", "'x' is missing"),
        ({"x": [None]}, "#/columns/x/0", "is missing"),
    ],
)
def test_columns_that_a_model_does_not_take_are_refused(
    standing: LocalService, columns: Json, pointer: str, words: str
) -> None:
    check_fault(standing.post("/predict", {"model": "line", "columns": columns}), pointer, words)


def test_a_version_without_means_of_its_features_is_not_explained_and_the_ways_out_are_told(
    local: LocalService,
) -> None:
    told = {"name": "given", "task": "linear_regression", "feature_names": ["x"]}
    assert local.post("/models", {**told, "parameters": {"weight": [2], "bias": 1}}).status_code == 201
    answer = local.post("/predict", {"model": "given", "features": [[1]], "explain": True})
    check_fault(
        answer, "#/explain", "given@1 has no means of its features, which explanations need: if it was imported,"
    )


def test_more_of_a_perceptron_than_can_be_explained_at_once_is_refused(houses: LocalService) -> None:
    hyperparameters = {"epochs": 1, "hidden_layers": [1000, 1000]}
    dataset: Json = {"features": [1, 2, 3], "targets": [1, 2, 3]}
    task = "mlp_regressor"
    houses.train({"task": task, "model": "wide", "dataset": dataset, "hyperparameters": hyperparameters})
    answer = houses.post("/predict", {"model": "wide", "features": [1] * 100, "explain": True})
    check_fault(answer, "#/explain", "of this perceptron 90 samples can be explained at once, not 100")
    dataset["targets"] = [[1] * 1000] * 3
    houses.train({"task": task, "model": "wide", "dataset": dataset, "hyperparameters": hyperparameters})
    check_fault(
        houses.http.get("/predict?model=wide&x=1&explain=true"),
        "#/query/explain",
        "4e+12 multiplications, and 2e+12 is",
    )
    assert houses.http.get("/predict?model=wide&x=1").status_code == 200


def test_columns_of_different_lengths_are_refused(standing: LocalService) -> None:
    columns = {"quiz1": [1, 2], "quiz2": [1], "quiz3": [1, 2]}
    answer = standing.post("/predict", {"model": "exams", "columns": columns})
    check_fault(answer, "#/columns/quiz2", "has 1 value, and the first one 2")
