from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from service.api.exports import ModelParametersResponse
from service.dataset import Dataset, Schema
from service.parameters import parameters_as_json, unflatten
from service.scaling import Scaling
from service.store.jobs import Job
from service.tasks import Task
from tests.api.conftest import EXAMS, LocalService, check_fault, check_problem, line, switch
from tests.store.recording import publish, random_vectors, start

SAFETENSORS = "application/vnd.safetensors"


def test_without_a_training_there_are_no_models(local: LocalService) -> None:
    assert local.http.get("/models").json() == {"data": [], "has_more": False, "next": None}


def test_models_are_listed_by_name_and_page_by_page(local: LocalService) -> None:
    for name in ("b", "a", "c", "B", "a"):
        local.enqueue(line(model=name, hyperparameters={"epochs": 1}))
    local.work()
    whole = local.http.get("/models").json()
    assert [(model["name"], model["latest_version"]) for model in whole["data"]] == [
        ("B", 1),
        ("a", 2),
        ("b", 1),
        ("c", 1),
    ]
    first = local.http.get("/models?limit=3").json()
    assert (first["has_more"], first["next"]) == (True, "b")
    second = local.http.get("/models?limit=3&after=b").json()
    assert (second["has_more"], second["next"]) == (False, None)
    assert first["data"] + second["data"] == whole["data"]


def test_a_model_has_its_versions_newest_first(local: LocalService) -> None:
    first, second = (
        local.train(line(model="line", hyperparameters={"epochs": epochs}, metadata={"n": str(epochs)}))
        for epochs in (1, 2)
    )
    model = local.http.get("/models/line").json()
    assert (model["name"], model["latest_version"]) == ("line", 2)
    assert [(version["version"], version["job"]) for version in model["versions"]] == [
        (2, second["id"]),
        (1, first["id"]),
    ]
    created, updated = (datetime.fromisoformat(model[f"{moment}_at"]) for moment in ("created", "updated"))
    assert created < updated
    assert created.utcoffset() == timedelta(0)
    assert model["versions"][0]["created_at"] == model["updated_at"]
    assert model["versions"][1]["created_at"] == model["created_at"]


def test_a_failed_training_makes_no_version(local: LocalService) -> None:
    local.train(line(model="line"))
    local.train(line(model="line", hyperparameters={"learning_rate": 1e6}))
    assert local.http.get("/models/line").json()["latest_version"] == 1


def test_a_version_tells_how_it_came_about(local: LocalService) -> None:
    request = {"model": "exams", "task": "linear_regression", "dataset": EXAMS, "metadata": {"term": "spring"}}
    job = local.train({**request, "hyperparameters": {"epochs": 5}})
    version = local.http.get("/models/exams/versions/1").json()
    expected = {"model": "exams", "version": 1, "task": "linear_regression", "job": job["id"], "n_parameters": 4}
    expected |= {"feature_names": EXAMS["feature_names"], "target_names": ["y"], "classes": None}
    expected |= {"metadata": {"term": "spring"}, "hyperparameters": job["hyperparameters"], "result": job["result"]}
    assert {name: version[name] for name in expected} == expected
    assert version["dataset"].startswith("ds_")
    assert version == local.http.get("/models/exams").json()["versions"][0]
    for name in ("self", "job", "parameters"):
        assert local.http.get(version["links"][name]).status_code == 200


def test_the_same_dataset_has_the_same_id_in_every_version(local: LocalService) -> None:
    for body in (line(), line(), switch("a", "b", "a")):
        local.enqueue({**body, "model": "m", "hyperparameters": {"epochs": 1}})
    local.work()
    third, second, first = (version["dataset"] for version in local.http.get("/models/m").json()["versions"])
    assert first == second != third


@pytest.mark.parametrize("labels", [("off", "on"), (False, True), (1, 2), (0.5, 1.5), (True, "true"), (1, "1")])
def test_a_classifier_names_its_classes_with_their_types(local: LocalService, labels: tuple[object, object]) -> None:
    local.train(switch(*labels, *labels, model="m", hyperparameters={"epochs": 1}))
    classes = local.http.get("/models/m/versions/1").json()["classes"]
    assert [(type(label), label) for label in classes] == [(type(label), label) for label in labels]


@pytest.mark.parametrize(("dtype", "expected"), [("float32", np.float32), ("float64", np.float64)])
@pytest.mark.parametrize("targets", [[1, 2, 4, 5], [[1, 5], [2, 6], [4, 1], [5, 2]]], ids=["one target", "two"])
def test_parameters_are_the_same_as_json_and_as_safetensors(
    local: LocalService, dtype: str, expected: type, targets: list[Any]
) -> None:
    dataset = {"features": [[1, 2, 3], [4, 5, 6], [7, 8, 10], [1, 0, 1]], "targets": targets}
    local.train(line(model="m", dataset=dataset, hyperparameters={"epochs": 20, "dtype": dtype}))
    path = "/models/m/versions/1/parameters"
    answer = local.http.get(path, headers={"Accept": SAFETENSORS})
    assert answer.headers["content-type"] == SAFETENSORS
    assert answer.headers["vary"] == "Accept"
    assert 'filename="m-1.safetensors"' in answer.headers["content-disposition"]
    tensors = safetensors.numpy.load(answer.content)
    assert {name: tensor.dtype for name, tensor in tensors.items()} == {"weight": expected, "bias": expected}
    found = local.http.get(path).json()
    assert (found["model"], found["version"], found["feature_names"]) == ("m", 1, ["x1", "x2", "x3"])
    np.testing.assert_array_equal(np.atleast_2d(found["weight"]), tensors["weight"])
    np.testing.assert_array_equal(np.atleast_1d(found["bias"]), tensors["bias"])
    assert np.ndim(found["weight"]) == np.ndim(targets)
    assert np.ndim(found["bias"]) == np.ndim(targets) - 1


def published(local: LocalService, task: Task, dataset: Dataset, **hyperparameters: Any) -> tuple[Job, NDArray[Any]]:
    """Publish a model of random parameters as `m`; give its job, and the parameters in the units of the descent."""
    with local.database.writing() as session:
        job = start(session, task, dataset, model="m", **hyperparameters)
        (vector,) = random_vectors(job, 1)
        scaling = None if job.scaling is None else Scaling.from_json(job.scaling)
        original = vector if scaling is None else scaling.to_original(vector, job.layout)
        publish(session, job, dataset, original, None if scaling is None else vector)
    return job, vector


def test_what_was_learned_in_scaled_units_is_given_in_original_ones_with_the_scaling(local: LocalService) -> None:
    features = np.array([[1.0, 200.0], [3.0, 400.0], [8.0, 0.0]])
    dataset = Dataset(features, [1.0, 2.0, 6.0], Schema(("age", "height"), ("weight",)))
    job, vector = published(local, "linear_regression", dataset, scale="standard", scale_targets="center")
    found = local.http.get("/models/m/versions/1/parameters").json()
    ModelParametersResponse.model_validate(found)
    assert found["scaled"] == parameters_as_json(unflatten(vector, job.layout))
    assert found["scaling"] == {
        "features": {
            "age": pytest.approx({"mean": 4.0, "scale": features[:, 0].std()}),
            "height": pytest.approx({"mean": 200.0, "scale": features[:, 1].std()}),
        },
        "targets": {"weight": {"mean": 3.0, "scale": 1.0}},
    }
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    expected = scaled @ vector[:2] + vector[2] + 3
    np.testing.assert_allclose(features @ found["weight"] + found["bias"], expected)
    file = local.http.get("/models/m/versions/1/parameters", headers={"Accept": SAFETENSORS}).content
    tensors = safetensors.numpy.load(file)
    assert tensors.keys() == {"weight", "bias", "scaled.weight", "scaled.bias"}
    assert tensors["weight"].ravel().tolist() == found["weight"]
    assert tensors["scaled.weight"].ravel().tolist() == found["scaled"]["weight"]


@pytest.mark.parametrize("scale", ["none", "standard"])
def test_a_perceptron_has_a_list_of_layers(local: LocalService, scale: str) -> None:
    dataset = Dataset(np.arange(12.0).reshape(6, 2), np.arange(6.0))
    job, vector = published(local, "mlp_regressor", dataset, hidden_layers=[3, 2], scale=scale)
    found = local.http.get("/models/m/versions/1/parameters").json()
    ModelParametersResponse.model_validate(found)
    assert not {"weight", "bias"} & found.keys()
    assert [np.shape(layer["weight"]) for layer in found["parameters"]] == [(3, 2), (2, 3), (2,)]
    in_descent = found if scale == "none" else found["scaled"]
    assert in_descent["parameters"] == parameters_as_json(unflatten(vector, job.layout))["parameters"]
    assert (found["scaled"] is None) == (found["scaling"] is None) == (scale == "none")
    assert found["parameters"] == in_descent["parameters"] or scale == "standard"
    file = local.http.get("/models/m/versions/1/parameters", headers={"Accept": SAFETENSORS}).content
    names = {f"{number}.{name}" for number in range(3) for name in ("weight", "bias")}
    scaled_names = set() if scale == "none" else {f"scaled.{name}" for name in names}
    assert safetensors.numpy.load(file).keys() == names | scaled_names


def test_a_training_started_from_a_version_s_parameters_goes_on_from_there(local: LocalService) -> None:
    given = {"learning_rate": 0.1, "dtype": "float64", "engine": "analytic"}
    local.train(line(model="half", hyperparameters={**given, "epochs": 10}))
    learned = local.http.get("/models/half/versions/1/parameters").json()
    start = {"weight": learned["weight"], "bias": learned["bias"]}
    local.train(line(model="rest", hyperparameters={**given, "epochs": 10, "start": start}))
    local.train(line(model="whole", hyperparameters={**given, "epochs": 20}))
    rest_, whole = (local.http.get(f"/models/{name}/versions/1/parameters").json() for name in ("rest", "whole"))
    assert (rest_["weight"], rest_["bias"]) == (whole["weight"], whole["bias"])


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/models/nowhere", "no model 'nowhere'"),
        ("/models/nowhere/versions/1", "no model 'nowhere'"),
        ("/models/nowhere/versions/1/parameters", "no model 'nowhere'"),
        ("/models/line/versions/7", "model 'line' has no version 7: its newest is 1"),
        ("/models/line/versions/7/parameters", "model 'line' has no version 7"),
        ("/models/LINE", "no model 'LINE'"),
    ],
)
def test_a_model_or_version_that_is_not_there_is_not_found_by_its_name(
    standing: LocalService, path: str, words: str
) -> None:
    assert words in check_problem(standing.http.get(path), 404)["detail"]


@pytest.mark.parametrize(
    ("path", "pointer", "words"),
    [
        ("/models?limit=0", "#/query/limit", "greater than or equal to 1, not '0'"),
        ("/models?limit=many", "#/query/limit", "not 'many'"),
        ("/models/line/versions/0", "#/path/version", "greater than or equal to 1, not '0'"),
        ("/models/line/versions/latest", "#/path/version", "not 'latest'"),
        (f"/models/line/versions/{10**30}", "#/path/version", "less than or equal to"),
        ("/models/line/versions/1.5/parameters", "#/path/version", "not '1.5'"),
        ("/models/" + "a" * 201, "#/path/name", "200 characters"),
    ],
)
def test_a_version_that_cannot_be_is_refused(standing: LocalService, path: str, pointer: str, words: str) -> None:
    check_fault(standing.http.get(path), pointer, words)
