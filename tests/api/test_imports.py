from typing import Any

import pytest

from tests.api.conftest import Json, LocalService, check_fault, check_problem, local_service
from tests.api.keyed import keyed_service

LINE: Json = {"name": "given", "task": "linear_regression", "parameters": {"weight": [2], "bias": 1}}
TWO: Json = {"weight": [[1, 2, 3], [4, 5, 6]], "bias": [0, 1]}
KIND: Json = {"column": "kind", "type": "category", "categories": ["a", "b", "c"]}
DATE: Json = {"column": "day", "type": "date", "parts": ["year"]}


def several(**changes: Any) -> Json:
    """Two targets of three features, with these fields changed."""
    return {"name": "given", "task": "linear_regression", "parameters": TWO, **changes}


def labels(*classes: Any, **changes: Any) -> Json:
    return {**several(task="softmax_regression", classes=list(classes)), **changes}


def perceptron(*layers: Json, **changes: Any) -> Json:
    return {"name": "given", "task": "mlp_regressor", "parameters": list(layers), **changes}


def test_a_few_numbers_are_a_model(local: LocalService) -> None:
    answer = local.post("/models", LINE)
    assert (answer.status_code, answer.headers["Location"]) == (201, "/models/given/versions/1")
    version = answer.json()
    assert (version["feature_names"], version["target_names"], version["classes"]) == (["x"], ["y"], None)
    assert local.http.get("/predict?model=given&x=4").json() == {"model": "given", "version": 1, "predictions": [9.0]}
    changed = {**LINE, "parameters": {"weight": 3, "bias": [1]}, "feature_names": ["hours"]}
    assert local.post("/models", changed).headers["Location"] == "/models/given/versions/2"
    assert local.http.get("/predict?model=given&hours=4").json()["predictions"] == [13.0]
    assert local.http.get("/predict?model=given@1&x=4").json()["predictions"] == [9.0]


def test_labels_layers_and_columns_are_taken_as_they_are_given(local: LocalService) -> None:
    given = labels("yes", 0, parameters={**TWO, "weight": [[1, 0], [0, 1]]})
    assert local.post("/models", given).status_code == 201
    found = local.http.get("/predict?model=given&x1=1&x2=0").json()
    assert list(found["probabilities"][0]) == ["yes", "0"]
    layers = ({"weight": [[1], [-1]], "bias": [0, 0]}, {"weight": [1, 1]})
    assert local.post("/models", perceptron(*layers)).status_code == 201
    assert local.http.get("/predict?model=given&x=-3").json()["predictions"] == [3.0]
    given = several(encoding=[KIND], target_names=["low", "high"])
    assert local.post("/models", given).status_code == 201
    assert local.http.get("/predict?model=given&kind=b").json()["predictions"] == [[2.0, 6.0]]


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({"name": "x", "parameters": TWO}, "#/task", "missing"),
        ({**LINE, "name": "a/b"}, "#/name", "letters, digits"),
        ({**LINE, "task": "forest"}, "#/task", "linear_regression"),
        ({**LINE, "weights": []}, "#/weights", "not known"),
        ({**LINE, "format_version": 2}, "#/format_version", "1"),
        ({**LINE, "format_version": True}, "#/format_version", "integer"),
        ({**LINE, "classes": [0, 1]}, "#/classes", "leave the classes out"),
        ({**LINE, "feature_names": ["a", "b"]}, "#/feature_names", "2 feature names, and the parameters are of 1"),
        ({**LINE, "feature_names": ["\ud800"]}, "#/feature_names", "not valid Unicode"),
        ({**LINE, "parameters": {"weight": []}}, "#/parameters/weight", "at least one"),
        ({**LINE, "parameters": {"weight": ["1"]}}, "#/parameters/weight/0", "number"),
        ({**LINE, "parameters": []}, "#/parameters", "at least 1 item"),
        ({**LINE, "parameters": [{"weight": [1]}] * 2}, "#/parameters", "has one layer"),
        ({**LINE, "parameters": {"weight": [1e39]}, "dtype": "float32"}, "#/parameters/weight", "give dtype float64"),
        ({**LINE, "parameters": {"weight": [[1, 2], [3]], "bias": 0}}, "#/parameters/weight", "equally long"),
        (several(parameters={**TWO, "bias": [1, 2, 3]}), "#/parameters/bias", "3 numbers, and the weight 2 rows"),
        (several(feature_names=["a", "b", "a"]), "#/feature_names", "'a' stands twice"),
        (several(target_names=["a"]), "#/target_names", "1 target name, and the parameters are of 2"),
        (labels("a"), "#/classes", "at least 2 labels apart, not 1"),
        (labels("a", "a"), "#/classes", "must differ"),
        (labels(1, 1.0), "#/classes", "must differ"),
        (labels("a", None), "#/classes/1", "not null"),
        (labels("a", "b", "c"), "#/parameters", "has 3 outputs, and these parameters have 2"),
        (labels("a", "b", classes=None), "#/classes", "needs the labels"),
        (labels("a", "b", task="logistic_regression"), "#/parameters", "has 1 output,"),
        (labels("a", "b", "c", task="logistic_regression"), "#/classes", "exactly 2"),
        (perceptron({"weight": [1]}), "#/parameters", "1 to 20 hidden layers"),
        (perceptron(*[{"weight": [1]}] * 22), "#/parameters", "1 to 20 hidden layers"),
        (
            perceptron(TWO, {"weight": [1, 2, 3]}),
            "#/parameters/1/weight",
            "takes 3 numbers, and the one before gives 2",
        ),
        (
            perceptron({"weight": [[1]] * 10_001, "bias": 0}, {"weight": [1] * 10_001}),
            "#/parameters/0",
            "at most 10000 units, and this one 10001",
        ),
        (several(encoding=[]), "#/encoding", "at least one column"),
        (several(encoding=[{**KIND, "categories": ["a"]}]), "#/encoding", "1 feature name"),
        (several(encoding=[KIND, KIND], parameters=LINE["parameters"]), "#/encoding/1", "are both named 'kind'"),
        (several(encoding=[{**KIND, "column": " "}]), "#/encoding/0", "the name of column 1 is empty"),
        (several(encoding=[{**KIND, "column": "\x1f0"}]), "#/encoding/0", "control character: leave it out"),
        (several(encoding=[KIND], feature_names=["a", "b", "c"]), "#/feature_names", "leave them out"),
        (several(encoding=[{**KIND, "fill": "d"}]), "#/encoding/0/fill", "one of the categories, not 'd'"),
        (several(encoding=[{**KIND, "type": "number"}]), "#/encoding/0/categories", "a number has no categories"),
        (several(encoding=[{**KIND, "type": "text"}]), "#/encoding/0/type", "'category'"),
        (several(encoding=[{**KIND, "categories": ["a", "a", "b"]}]), "#/encoding/0/categories", "must differ"),
        (several(encoding=[{**DATE, "fill": "soon"}]), "#/encoding/0/fill", "a date or date-time"),
        (several(encoding=[{**DATE, "fill": "2026-01-01T00:00:00Z"}]), "#/encoding/0/fill", "without a zone"),
        (several(encoding=[{**DATE, "parts": []}]), "#/encoding/0/parts", "needs the parts"),
        ({**LINE, "ranges": {"lowest": [2], "highest": [1], "mean": [1]}}, "#/ranges/lowest/0", "above the highest"),
        ({**LINE, "ranges": {"lowest": [], "highest": [1], "mean": [1]}}, "#/ranges/lowest", "1 are needed"),
        (
            {**LINE, "ranges": {"lowest": [1], "highest": [1], "mean": [1], "known": ["x"]}},
            "#/ranges/known/0",
            "no column of categories",
        ),
    ],
)
def test_what_is_no_model_is_refused_with_the_place(
    service: LocalService, body: Json, pointer: str, words: str
) -> None:
    check_fault(service.post("/models", body), pointer, words)
    assert service.http.get("/models").json()["data"] == []


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"target_mean": []}, "#/scaled/target_mean"),
        ({"feature_scale": [0]}, "#/scaled/feature_scale"),
        ({"parameters": {"weight": [1, 2]}}, "#/scaled/parameters"),
    ],
)
def test_scaled_units_must_fit_too(service: LocalService, changes: Json, pointer: str) -> None:
    of_one = {f"{what}_{name}": [1] for what in ("feature", "target") for name in ("mean", "scale")}
    scaled = {"parameters": {"weight": [2]}, **of_one, **changes}
    check_fault(service.post("/models", {**LINE, "scaled": scaled}), pointer, "")


def test_the_limits_of_trainings_are_those_of_given_models(tmp_path_factory: pytest.TempPathFactory) -> None:
    limits: Json = {"max_features": 2, "max_parameters": 7, "max_body_bytes": 1024}
    with local_service(tmp_path_factory.mktemp("limited"), **limits) as service:
        problem = check_problem(service.post("/models", several()), 422)
        said = [fault["detail"] for fault in problem["errors"]]
        assert "3 features, and 2 is the limit here (setting DESCENT_MAX_FEATURES)" in said[0]
        assert "8 parameters, and 7 is the limit here (setting DESCENT_MAX_PARAMETERS)" in said[1]
        check_problem(service.post("/models", {**LINE, "feature_names": ["x" * 1024]}), 413)
        assert service.post("/models", LINE).status_code == 201


def test_a_given_model_is_its_owner_s(tmp_path_factory: pytest.TempPathFactory) -> None:
    with keyed_service(tmp_path_factory.mktemp("keyed")) as keyed:
        assert keyed.ask("alice", "POST", "/models", json=LINE).status_code == 201
        refused = keyed.ask("bob", "POST", "/models", json=LINE)
        check_fault(refused, "#/name", "the name 'given' is taken: choose another")
        check_problem(keyed.ask("bob", "GET", "/models/given/versions/1/export"), 404)
        check_problem(keyed.ask("rita", "POST", "/models", json=LINE), 403)
        assert keyed.get("alice", "/models/given")["owner"] == "alice"
        (entry,) = keyed.get("ada", "/audit")["data"]
        assert (entry["action"], entry["objects"]) == ("POST /models", ["given@1"])
