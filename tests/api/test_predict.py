import math
from typing import Any

import numpy as np
import pytest
import torch

from service.dataset import Dataset, Schema
from service.parameters import Parameters, unflatten
from service.tasks import Task
from tests.api.conftest import LocalService, check_fault, check_problem, line, switch
from tests.store.recording import publish, random_vectors, start

NAN, INF, HUGE = float("nan"), float("inf"), 10**400
SAMPLES = [[73.0, 80.0, 75.0], [93.0, 88.0, 93.0], [-1.5, 0.0, 1e6]]
NAMES = ["quiz1", "quiz2", "quiz3"]


def expected_outputs(service: LocalService, model: str, samples: Any) -> Any:
    learned = service.http.get(f"/models/{model}/versions/1/parameters").json()
    return np.array(samples) @ np.array(learned["weight"]) + learned["bias"]


def test_predictions_are_the_weighted_sums_of_the_features_however_they_are_given(standing: LocalService) -> None:
    rows = standing.post("/predict", {"model": "exams", "features": SAMPLES})
    named = [dict(zip(NAMES, sample, strict=True)) for sample in SAMPLES]
    assert rows.status_code == 200
    answer = rows.json()
    assert (answer["model"], answer["version"]) == ("exams", 1)
    np.testing.assert_allclose(answer["predictions"], expected_outputs(standing, "exams", SAMPLES), rtol=1e-12)
    backwards = [dict(reversed(record.items())) for record in named]
    assert standing.post("/predict", {"model": "exams", "records": backwards}).json() == answer
    for sample, record, prediction in zip(SAMPLES, named, answer["predictions"], strict=True):
        by_name = standing.http.get("/predict", params={"model": "exams", **record})
        by_position = standing.http.get("/predict", params={"model": "exams", "features": ",".join(map(str, sample))})
        assert by_name.json() == by_position.json()
        assert by_name.json()["predictions"] == [prediction]


@pytest.mark.parametrize("text", ["4", "4.0", "4e0", "+4", "0.4E1", "-4", "1e-400"])
def test_a_number_may_be_written_in_every_way_that_json_and_csv_know(standing: LocalService, text: str) -> None:
    answer = standing.http.get("/predict", params={"model": "line", "x": text}).json()
    np.testing.assert_allclose(answer["predictions"], expected_outputs(standing, "line", [[float(text)]]), rtol=1e-12)


@pytest.mark.parametrize("given", [{"features": []}, {"records": []}])
def test_no_samples_have_no_predictions(standing: LocalService, given: dict[str, Any]) -> None:
    answer = standing.post("/predict", {"model": "exams", **given})
    assert (answer.status_code, answer.json()["predictions"]) == (200, [])


def test_samples_of_one_feature_may_be_a_flat_list(standing: LocalService) -> None:
    rows, flat = (standing.post("/predict", {"model": "line", "features": one}) for one in ([[1], [2.5]], [1, 2.5]))
    assert flat.status_code == 200
    assert flat.json() == rows.json()


@pytest.mark.parametrize("value", [None, "1", True, NAN, 10**400])
def test_a_value_in_a_row_that_is_no_number_is_told_with_its_feature(standing: LocalService, value: object) -> None:
    body = {"model": "exams", "features": [[1, 2, 3], [1, 2, value]]}
    check_fault(standing.post("/predict", body), "#/features/1/2", "feature 'quiz3' must be a finite number, not ")
    check_fault(
        standing.post("/predict", {"model": "line", "features": [1, value]}), "#/features/1/0", "feature 'x' must"
    )


def test_a_classifier_gives_labels_and_the_probability_of_each(standing: LocalService) -> None:
    samples = [[-1.0], [0.0], [1.4], [3.0]]
    answer = standing.post("/predict", {"model": "switch", "features": samples}).json()
    logits = torch.from_numpy(expected_outputs(standing, "switch", samples))
    assert answer["predictions"] == ["on" if logit > 0 else "off" for logit in logits]
    assert set(answer["predictions"]) == {"off", "on"}
    assert [set(row) for row in answer["probabilities"]] == [{"off", "on"}] * 4
    for label, sign in (("on", 1), ("off", -1)):
        found = [row[label] for row in answer["probabilities"]]
        np.testing.assert_allclose(found, torch.sigmoid(sign * logits), rtol=1e-12)


def published(local: LocalService, task: Task, dataset: Dataset, name: str = "m", **hyperparameters: Any) -> Parameters:
    """Publish a model of random parameters; give them."""
    with local.database.writing() as session:
        job = start(session, task, dataset, model=name, **hyperparameters)
        (vector,) = random_vectors(job, 1)
        publish(session, job, dataset, vector, None)
    return unflatten(vector, job.layout)


def outputs(layers: Parameters, samples: Any, activation: torch.nn.Module) -> torch.Tensor:
    """What torch makes of samples in float64."""
    values = torch.tensor(samples, dtype=torch.float64)
    for number, layer in enumerate(layers):
        values = activation(values) if number else values
        values = torch.nn.functional.linear(values, torch.tensor(layer.weight), torch.tensor(layer.bias))
    return values


@pytest.mark.parametrize("task", ["softmax_regression", "mlp_classifier"])
@pytest.mark.parametrize("labels", [("a", "b", "c"), (3, 1.5, False), (1, True, "1", "true", "yes")])
def test_a_classifier_of_several_classes_gives_the_most_probable_label(
    local: LocalService, task: Task, labels: tuple[Any, ...]
) -> None:
    random = np.random.default_rng(1)
    dataset = Dataset(random.random((9, 2)), np.arange(9) % len(labels), Schema(("x", "y"), ("kind",), labels))
    layers = published(local, task, dataset)
    samples = random.standard_normal((50, 2)).tolist()
    logits = outputs(layers, samples, torch.nn.ReLU())
    answer = local.post("/predict", {"model": "m", "features": samples}).json()
    expected = [labels[int(code)] for code in logits.argmax(dim=1)]
    assert [(type(label), label) for label in answer["predictions"]] == [(type(label), label) for label in expected]
    assert {len(row) for row in answer["probabilities"]} == {len(labels)}
    found = [list(row.values()) for row in answer["probabilities"]]
    np.testing.assert_allclose(found, torch.softmax(logits, dim=1), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "activation"), [("relu", torch.nn.ReLU()), ("tanh", torch.nn.Tanh()), ("sigmoid", torch.nn.Sigmoid())]
)
def test_a_perceptron_predicts_with_its_own_activation_also_out_of_the_cache(
    local: LocalService, name: str, activation: torch.nn.Module
) -> None:
    dataset = Dataset(np.eye(3), np.eye(3)[:, :2])
    layers = published(local, "mlp_regressor", dataset, hidden_layers=[5, 4], activation=name)
    samples = np.random.default_rng(2).standard_normal((7, 3)).tolist()
    first, again = (local.post("/predict", {"model": "m", "features": samples}).json() for _ in range(2))
    np.testing.assert_allclose(first["predictions"], outputs(layers, samples, activation), rtol=1e-12)
    assert first == again


def test_an_extreme_sample_of_a_classifier_is_as_good_as_certain(standing: LocalService) -> None:
    answer = standing.http.get("/predict?model=switch&x=1e300").json()
    assert (answer["predictions"], answer["probabilities"]) == (["on"], [{"off": 0.0, "on": 1.0}])


@pytest.mark.parametrize("labels", [("no", "yes"), (False, True), (3, 7), (-0.5, 1.5), (True, 1), (True, "yes")])
def test_labels_come_back_as_they_were_given(local: LocalService, labels: tuple[Any, Any]) -> None:
    first, second = labels
    local.train(switch(first, first, second, second, model="m", hyperparameters={"epochs": 50}))
    answer = local.post("/predict", {"model": "m", "features": [[-5], [8]]}).json()
    assert [(type(label), label) for label in answer["predictions"]] == [(type(label), label) for label in labels]
    assert [len(row) for row in answer["probabilities"]] == [2, 2]


@pytest.mark.parametrize("labels", [(1, "1"), (True, "true"), (0.5, "0.5")])
def test_labels_that_read_alike_have_a_probability_each(local: LocalService, labels: tuple[Any, Any]) -> None:
    first, second = labels
    local.train(switch(first, first, second, second, model="m", hyperparameters={"epochs": 50}))
    (probabilities,) = local.post("/predict", {"model": "m", "features": [[1]]}).json()["probabilities"]
    assert math.isclose(sum(probabilities.values()), 1)


def test_a_model_of_several_targets_predicts_a_row_for_each_sample(local: LocalService) -> None:
    dataset = {"features": [[0, 1], [1, 0], [1, 1]], "targets": [[1, 2], [3, 4], [5, 7]]}
    local.train(line(model="m", dataset=dataset))
    learned = local.http.get("/models/m/versions/1/parameters").json()
    answer = local.post("/predict", {"model": "m", "features": [[1, 2], [3, 4]]}).json()
    expected = np.array([[1, 2], [3, 4]]) @ np.array(learned["weight"]).T + learned["bias"]
    np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-12)


def test_a_reference_names_the_version_that_answers(local: LocalService) -> None:
    for slope in (2, 3):
        dataset = {"features": [-1, 1], "targets": [-slope, slope]}
        local.train(line(model="m", dataset=dataset))

    def answer(reference: str) -> tuple[int, int]:
        found = local.http.get("/predict", params={"model": reference, "x": "10"}).json()
        return found["version"], round(found["predictions"][0])

    assert [answer("m"), answer("m@latest"), answer("m@1"), answer("m@2")] == [(2, 30), (2, 30), (1, 20), (2, 30)]
    local.train(line(model="m", dataset={"features": [-1, 1], "targets": [-4, 4]}))
    assert [answer("m"), answer("m@latest"), answer("m@2")] == [(3, 40), (3, 40), (2, 30)]
    assert local.post("/predict", {"model": "m@1", "features": [[10]]}).json()["version"] == 1


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("nowhere", "no model 'nowhere'"),
        ("nowhere@2", "no model 'nowhere'"),
        ("line@7", "model 'line' has no version 7: its newest is 1"),
        ("line@0", "no version 0"),
        ("line@-1", "no version or alias '-1'"),
        ("line@prod", "no version or alias 'prod'"),
        ("line@99999999999999999999", "no version"),
        ("@1", "no model ''"),
        ("line@", "no version or alias ''"),
        ("line@1@1", "no version or alias '1@1'"),
    ],
)
def test_a_model_that_is_not_there_is_not_found_by_its_name(standing: LocalService, reference: str, words: str) -> None:
    by_get = standing.http.get("/predict", params={"model": reference, "x": "1"})
    by_post = standing.post("/predict", {"model": reference, "features": [[1]]})
    for answer in (by_get, by_post):
        assert words in check_problem(answer, 404)["detail"]


@pytest.mark.parametrize(
    ("query", "pointer", "words"),
    [
        ("x=4", "#/query/model", "model is missing"),
        ("model=&x=4", "#/query/model", "at least 1 character"),
        (f"model={'a' * 202}&x=4", "#/query/model", "201 characters"),
        ("model=line&model=line&x=4", "#/query/model", "'model' is given twice"),
        ("model=line", "#/query/x", "feature 'x' is missing"),
        ("model=exams&quiz1=1&quiz2=2", "#/query/quiz3", "feature 'quiz3' is missing"),
        ("model=line&x=4&z=1", "#/query/z", "feature 'z' is unknown: the model takes x"),
        ("model=line&x=4&a/b=1", "#/query/a~1b", "feature 'a/b' is unknown"),
        ("model=line&x=4&x=5", "#/query/x", "feature 'x' is given 2 times"),
        ("model=line&x=four", "#/query/x", 'must be a finite number, not "four"'),
        ("model=line&x=", "#/query/x", 'not ""'),
        ("model=line&x=true", "#/query/x", 'not "true"'),
        ("model=line&x=nan", "#/query/x", 'not "nan"'),
        ("model=line&x=-Infinity", "#/query/x", 'not "-Infinity"'),
        ("model=line&x=1e400", "#/query/x", 'not "1e400"'),
        ("model=line&x=1_0", "#/query/x", 'not "1_0"'),
        ("model=line&x=0x10", "#/query/x", 'not "0x10"'),
        ("model=line&X=4&x=4", "#/query/X", "feature 'X' is unknown"),
        ("model=exams&features=1,2", "#/query/features", "2 features are given and the model takes 3 (quiz1, quiz2"),
        ("model=line&features=1,2", "#/query/features", "2 features are given and the model takes 1 (x)"),
        ("model=line&features=", "#/query/features", 'position 0 must be a finite number, not ""'),
        ("model=exams&features=1,two,3", "#/query/features", 'position 1 must be a finite number, not "two"'),
        ("model=exams&features=1,2,inf", "#/query/features", 'not "inf"'),
        ("model=line&features=1&features=2", "#/query/features", "'features' is given twice"),
        ("model=line&features=1&x=1", "#/query/features", "by position and by name ('x')"),
    ],
)
def test_a_query_that_a_model_cannot_answer_is_refused_with_the_feature(
    standing: LocalService, query: str, pointer: str, words: str
) -> None:
    check_fault(standing.http.get(f"/predict?{query}"), pointer, words)


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({"features": [[1]]}, "#/model", "model is missing"),
        ({"model": 1, "features": [[1]]}, "#/model", "valid string"),
        ({"model": "line"}, "#", "one of features, records and columns"),
        ({"model": "line", "features": None, "records": None}, "#", "one of features, records and columns"),
        ({"model": "line", "features": [[1]], "records": [{"x": 1}]}, "#", "one of features, records and columns"),
        ({"model": "line", "feature": [[1]], "features": [[1]]}, "#/feature", "feature is not known"),
        ({"model": "line", "features": [[1], 1]}, "#/features/1", "valid list"),
        ({"model": "line", "features": [["4"]]}, "#/features/0/0", 'not "4"'),
        ({"model": "line", "features": [[True]]}, "#/features/0/0", "not true"),
        ({"model": "line", "features": [[NAN]]}, "#/features/0/0", "finite number, not NaN"),
        ({"model": "line", "features": [[1], [INF]]}, "#/features/1/0", "finite number, not Infinity"),
        ({"model": "line", "features": [[HUGE]]}, "#/features/0/0", "number"),
        ({"model": "line", "features": [[1], [1, 2]]}, "#/features/1", "row 1 has 2 features and the model takes 1"),
        ({"model": "line", "features": [[]]}, "#/features/0", "row 0 has 0 features"),
        ({"model": "exams", "features": [[1, 2]]}, "#/features/0", "takes 3 (quiz1, quiz2, quiz3)"),
        ({"model": "line", "records": {"x": 1}}, "#/records", "valid list"),
        ({"model": "line", "records": [[1]]}, "#/records/0", "must be an object"),
        ({"model": "line", "records": [{}]}, "#/records/0", "feature 'x' is missing"),
        ({"model": "line", "records": [{"x": 1}, {"x": 1, "z": 2}]}, "#/records/1/z", "feature 'z' is unknown"),
        ({"model": "line", "records": [{"x": "4"}]}, "#/records/0/x", 'must be a finite number, not "4"'),
        ({"model": "line", "records": [{"x": None}]}, "#/records/0/x", "not null"),
        ({"model": "line", "records": [{"x": True}]}, "#/records/0/x", "not true"),
        ({"model": "line", "records": [{"x": NAN}]}, "#/records/0/x", "not NaN"),
        ({"model": "line", "records": [{"x": HUGE}]}, "#/records/0/x", "finite number"),
        ({"model": "line", "records": [{"x": "\ud800"}]}, "#/records/0/x", "finite number"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else None,
)
def test_a_body_that_a_model_cannot_answer_is_refused_with_the_place(
    standing: LocalService, body: dict[str, Any], pointer: str, words: str
) -> None:
    check_fault(standing.post("/predict", body), pointer, words)


def test_a_prediction_that_no_float_can_hold_is_refused_and_never_null(standing: LocalService) -> None:
    problem = check_problem(standing.post("/predict", {"model": "line", "features": [[1], [1.7e308]]}), 422)
    assert [fault["pointer"] for fault in problem["errors"]] == ["#/features/1"]


def test_a_model_named_beside_a_body_is_the_body_s(standing: LocalService) -> None:
    body = {"model": "line", "features": [[4]]}
    assert standing.post("/predict?model=line", body).json() == standing.post("/predict", body).json()
    check_fault(standing.post("/predict?model=exams", body), "#/query/model", "'exams', the model of the body 'line'")


def test_what_a_query_says_in_vain_beside_a_body_is_refused(standing: LocalService) -> None:
    body = {"model": "line", "features": [[4]]}
    check_fault(standing.post("/predict?explain=true", body), "#/query/explain", "query.explain is not known")
    check_fault(standing.post("/predict?model=line&model=exams", body), "#/query/model", "is given twice: give it once")
