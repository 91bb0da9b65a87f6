import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
import pytest
import safetensors.numpy

from service.api.portable import PortableModel
from service.data.encoder import encode_records
from service.dataset import Schema
from service.encoding import encoding_from_json
from service.parameters import from_bytes
from service.prediction.forward import forward
from tests.api.conftest import EXAMS, Json, LocalService, check_problem, local_service
from tests.api.test_explain import FLATS, SAMPLE
from tests.api.uploading import upload

SAFETENSORS = "application/vnd.safetensors"
NAMES = ("exams", "several", "houses", "mlp_regressor", "switch", "digits", "mlp_classifier")
POINTS = np.random.default_rng(0).standard_normal((20, 3)).round(2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service with a model of each kind."""
    with local_service(tmp_path_factory.mktemp("trained")) as service:
        train_all(service)
        yield service


def train_all(service: LocalService) -> None:
    file = upload(service, FLATS.encode()).json()["id"]
    flats = {"id": file, "target": "price", "missing": "median", "dates": {"sold": ["year"]}, "unseen": "ignore"}
    points = {"features": POINTS.tolist()}
    labels = (np.arange(20) % 3).tolist()
    scaled = {"scale": "standard", "epochs": 20, "seed": 0}
    layers = {"hidden_layers": [4, 1], "activation": "tanh"}
    trainings: dict[str, tuple[str, Json, Json]] = {
        "exams": ("linear_regression", EXAMS, {"scale_targets": "center"}),
        "several": ("linear_regression", {**points, "targets": POINTS[:, :2].tolist()}, {"dtype": "float64"}),
        "houses": ("linear_regression", {**flats, "missing": "indicator"}, scaled),
        "mlp_regressor": ("mlp_regressor", flats, {**scaled, **layers}),
        "switch": ("logistic_regression", {**points, "targets": [label > 0 for label in labels]}, {}),
        "digits": ("softmax_regression", {**points, "targets": labels}, {"epochs": 5}),
        "mlp_classifier": ("mlp_classifier", {**points, "targets": ["a", 1, 0.5] * 6 + ["a", 1]}, {"epochs": 5}),
    }
    for name, (task, dataset, hyperparameters) in trainings.items():
        body = {"model": name, "task": task, "dataset": dataset, "metadata": {"term": "spring"}}
        job = service.train({**body, "hyperparameters": hyperparameters})
        assert job["status"] == "succeeded", job


def exported(service: LocalService, name: str) -> Json:
    answer = service.http.get(f"/models/{name}/versions/1/export")
    assert answer.status_code == 200, answer.text
    assert f'filename="{name}-1.json"' in answer.headers["content-disposition"]
    found: Json = answer.json()
    return found


def samples(name: str) -> Json:
    if name in ("houses", "mlp_regressor"):
        return {"records": [SAMPLE, {**SAMPLE, "rooms": None, "kind": "boat"}]}
    return {"features": [[1.25, -2, 0.1], [73, 80, 1e6]]}


@pytest.mark.parametrize("name", NAMES)
def test_an_imported_model_is_in_every_bit_what_was_exported(trained: LocalService, name: str) -> None:
    told = exported(trained, name)
    PortableModel.model_validate_json(json.dumps(told))
    answer = trained.post("/models", {**told, "name": f"{name}-again"})
    assert answer.status_code == 201, answer.text
    path = answer.headers["Location"]
    assert path.startswith(f"/models/{name}-again/versions/")
    version = answer.json()
    assert version == trained.http.get(path).json()
    number = version["version"]
    again = trained.http.get(f"{path}/export").json()
    assert json.dumps({**again, "name": name}) == json.dumps(told)
    explain = {"explain": True, **samples(name)}
    said = [trained.post("/predict", {"model": model, **explain}).text for model in (name, f"{name}-again")]
    assert said[1].replace(f'"{name}-again","version":{number}', f'"{name}","version":1') == said[0]
    files = [
        trained.http.get(f"{its}/parameters", headers={"Accept": SAFETENSORS}).content
        for its in (f"/models/{name}/versions/1", path)
    ]
    tensors = [safetensors.numpy.load(file) for file in files]
    assert {key: (one.dtype, one.tobytes()) for key, one in tensors[0].items()} == {
        key: (one.dtype, one.tobytes()) for key, one in tensors[1].items()
    }
    whole = trained.http.get(f"/models/{name}/versions/1/parameters").json()
    assert trained.http.get(f"{path}/parameters").json() == {**whole, "model": f"{name}-again", "version": number}


def test_an_imported_version_says_so_and_one_that_was_trained_too(trained: LocalService) -> None:
    told = {**exported(trained, "exams"), "name": "lineage", "metadata": {"from": "elsewhere"}}
    version = trained.post("/models", told).json()
    unknown = ("job", "dataset", "hyperparameters", "result")
    assert version["imported"] is True
    assert [version[name] for name in unknown] == [None] * 4
    assert (version["links"]["job"], version["links"]["dataset"]) == (None, None)
    assert (version["metadata"], version["n_parameters"]) == ({"from": "elsewhere"}, 4)
    for name in ("self", "parameters", "export", "onnx"):
        assert trained.http.get(version["links"][name]).status_code == 200
    original = trained.http.get("/models/exams/versions/1").json()
    assert original["imported"] is False
    assert None not in [original[name] for name in unknown]
    assert trained.http.get("/models/lineage").json()["versions"] == [version]


def test_files_have_names_that_tell_the_version(trained: LocalService) -> None:
    path = "/models/exams/versions/1"
    for place, ending in (("onnx", "onnx"), ("export", "json"), ("parameters", "safetensors")):
        answer = trained.http.get(f"{path}/{place}", headers={"Accept": SAFETENSORS})
        assert answer.headers["content-disposition"] == f'attachment; filename="exams-1.{ending}"'


def test_a_training_goes_on_from_an_imported_model(trained: LocalService) -> None:
    trained.post("/models", {**exported(trained, "several"), "name": "start"})
    dataset = {"features": POINTS.tolist(), "targets": POINTS[:, :2].tolist()}
    given = {"start": {"model": "start@1"}, "epochs": 1, "dtype": "float64"}
    job = trained.train({"task": "linear_regression", "model": "start", "dataset": dataset, "hyperparameters": given})
    assert (job["status"], job["version"]) == ("succeeded", 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_safetensors_file_is_enough_to_predict_with(trained: LocalService, name: str) -> None:
    path = f"/models/{name}/versions/1/parameters"
    content = trained.http.get(path, headers={"Accept": SAFETENSORS}).content
    length = int.from_bytes(content[:8], "little")
    told = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["model"])
    whole = exported(trained, name)
    assert told == {key: value for key, value in whole.items() if key not in ("parameters", "scaled")} | {
        "scaled": whole["scaled"] and {key: value for key, value in whole["scaled"].items() if key != "parameters"}
    }
    encoding = told["encoding"] and encoding_from_json(
        [{"kind" if key == "type" else key: value for key, value in column.items()} for column in told["encoding"]]
    )
    schema = Schema(tuple(told["feature_names"]), tuple(told["target_names"]), None, encoding)
    given = samples(name)
    rows = given.get("records") or [dict(zip(told["feature_names"], row, strict=True)) for row in given["features"]]
    found = forward(told["task"], from_bytes(content), encode_records(schema, rows), told["activation"])
    said = trained.post("/predict", {"model": name, **given}).json()
    if told["classes"] is None:
        values = found.values[:, 0] if found.values.shape[1] == 1 else found.values
        assert values.tolist() == said["predictions"]
    else:
        assert [told["classes"][int(code)] for code in found.values] == said["predictions"]


@pytest.mark.parametrize("name", NAMES)
def test_an_onnx_file_predicts_what_the_service_does(trained: LocalService, name: str) -> None:
    answer = trained.http.get(f"/models/{name}/versions/1/onnx")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/vnd.onnx"
    session = onnxruntime.InferenceSession(answer.content)
    given = samples(name)
    dtype = np.float32 if session.get_inputs()[-1].type == "tensor(float)" else np.float64
    if "features" in given:
        inputs: dict[str, Any] = {"features": np.array(given["features"], dtype)}
    else:
        types = {"tensor(string)": object, "tensor(float)": np.float32, "tensor(double)": np.float64}
        inputs = {}
        for one in session.get_inputs():
            values = [row[one.name] for row in given["records"]]
            if one.type == "tensor(int64)":
                column = np.array(values, "datetime64[us]").astype(np.int64)
            else:
                column = np.array([np.nan if value is None else value for value in values], types[one.type])
            inputs[one.name] = column.reshape(-1, 1)
    said = trained.post("/predict", {"model": name, **given}).json()
    found = session.run(None, inputs)
    if "probabilities" in said:
        labels, probabilities = found
        expected_labels = [json.dumps(label).strip('"') for label in said["predictions"]]
        assert [str(label) for label in labels] == expected_labels
        expected = [list(row.values()) for row in said["probabilities"]]
        np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-7)
    else:
        np.testing.assert_allclose(np.squeeze(found[0]), said["predictions"], rtol=1e-6)


def test_without_the_extra_a_file_is_refused_with_the_way_out(
    trained: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith("service.prediction.onnx")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "onnx", None)  # as if it were not there
    problem = check_problem(trained.http.get("/models/exams/versions/1/onnx"), 501)
    assert "pip install 'descent[onnx]'" in problem["detail"]
    check_problem(trained.http.get("/models/nowhere/versions/1/onnx"), 404)
