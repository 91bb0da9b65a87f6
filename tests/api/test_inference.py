import gzip
import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from httpx2 import Response
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.api.conftest import LocalService, local_service
from tests.api.protocols import FLAT, HOUSE, LABELS, NAMES, SAMPLES, array_of, columns_of, train_models
from tests.conftest import LiveService

Json = dict[str, Any]
MATRIX = np.array(SAMPLES)
FLOATS = [np.float16, bfloat16, np.float32, np.float64]
NUMBERS = [*FLOATS, *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]


@pytest.fixture(scope="session")
def served(live: LiveService) -> LiveService:
    """A real service with models of every kind, of a single version each."""
    train_models(live.http.post, lambda body: live.train(body).raise_for_status())
    return live


@pytest.fixture(scope="module")
def client(served: LiveService) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.url.removeprefix("http://")) as client:
        yield client


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """The same in this process."""
    with local_service(tmp_path_factory.mktemp("inference"), max_body_bytes=20_000) as service:
        train_models(service.http.post, service.train)
        yield service


def tensor(name: str, array: Any, *, binary: bool = True) -> Any:
    found = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    found.set_data_from_numpy(array, binary_data=binary)
    return found


def said(served: LiveService, model: str, **samples: Any) -> Json:
    answer = served.http.post("/predict", json={"model": model, **samples})
    found: Json = answer.raise_for_status().json()
    return found


def test_health_and_metadata_are_what_the_client_of_triton_reads(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "model_repository"]
    assert client.is_model_ready("exams")
    assert client.is_model_ready("exams@latest")
    assert client.is_model_ready("exams", "1")
    assert not client.is_model_ready("exams", "9")
    assert not client.is_model_ready("nowhere")
    metadata = client.get_model_metadata("exams")
    assert metadata == client.get_model_metadata("exams", "1")
    assert metadata == {
        "name": "exams",
        "versions": ["1"],
        "platform": "descent",
        "inputs": [{"name": "features", "datatype": "FP64", "shape": [-1, 3], "parameters": {"feature_names": NAMES}}],
        "outputs": [{"name": "predictions", "datatype": "FP64", "shape": [-1]}],
    }
    inputs = {one["name"]: one["datatype"] for one in client.get_model_metadata("homes")["inputs"]}
    assert inputs == {"area": "FP64", "rooms": "FP64", "kind": "BYTES", "new": "BOOL", "sold": "BYTES"}
    assert client.get_model_metadata("words")["outputs"] == [
        {"name": "predictions", "datatype": "BYTES", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 2], "parameters": {"class_names": ["b", "röt"]}},
    ]
    assert client.get_model_metadata("pair")["outputs"][0]["shape"] == [-1, 2]
    assert client.get_model_metadata("pair")["outputs"][0]["parameters"] == {"target_names": ["y1", "y2"]}


def test_the_index_lists_every_version_and_models_are_always_loaded(client: Any) -> None:
    index = client.get_model_repository_index()
    assert {"name": "exams", "version": "1", "state": "READY", "reason": ""} in index
    assert {"exams", "homes", *LABELS} <= {one["name"] for one in index}
    client.load_model("exams")
    with pytest.raises(InferenceServerException, match="no model 'nowhere'"):
        client.load_model("nowhere")
    with pytest.raises(InferenceServerException, match="DELETE /models/exams takes this one away"):
        client.unload_model("exams")


@pytest.mark.parametrize("binary_output", [True, False])
@pytest.mark.parametrize("binary", [True, False])
def test_a_matrix_is_predicted_for_as_its_rows_are(
    client: Any, served: LiveService, binary: bool, binary_output: bool
) -> None:
    expected = said(served, "exams", features=SAMPLES)["predictions"]
    outputs = [triton.InferRequestedOutput("predictions", binary_data=binary_output)]
    answer = client.infer("exams", [tensor("any", MATRIX, binary=binary)], "1", outputs=outputs, request_id="42")
    np.testing.assert_array_equal(answer.as_numpy("predictions"), expected)
    response = answer.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("42", "exams", "1")
    assert ("data" in response["outputs"][0]) is not binary_output


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_every_numeric_datatype_is_taken(client: Any, served: LiveService, dtype: Any, binary: bool) -> None:
    if dtype in FLOATS[:2] and not binary:
        pytest.skip("the client sends FP16 and BF16 as bytes only")
    matrix = np.array([[1, 2, 3], [100, 0, 7]], dtype=dtype)
    found = client.infer("exams", [tensor("features", matrix, binary=binary)]).as_numpy("predictions")
    expected = said(served, "exams", features=matrix.astype(float).tolist())["predictions"]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_a_tensor_of_each_feature_has_raw_values_in_any_order(
    client: Any, served: LiveService, shape: tuple[int, ...], binary: bool
) -> None:
    columns = reversed(columns_of(HOUSE, FLAT).items())
    tensors = [tensor(name, array_of(values).reshape(shape), binary=binary) for name, values in columns]
    found = client.infer("homes", tensors).as_numpy("predictions")
    np.testing.assert_array_equal(found, said(served, "homes", records=[HOUSE, FLAT])["predictions"])


def test_a_matrix_of_texts_is_read_as_a_query_is(client: Any, served: LiveService) -> None:
    texts = [["120.5", "3", "house", "false", "2022-03-01"], ["60", "", "flat", "true", "2020-02-29"]]
    found = client.infer("homes", [tensor("rows", np.array(texts, dtype=object))]).as_numpy("predictions")
    np.testing.assert_array_equal(found, said(served, "homes", records=[HOUSE, FLAT])["predictions"])


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("model", "datatype"),
    [("words", "BYTES"), ("integers", "INT64"), ("fractions", "FP64"), ("truths", "BOOL"), ("mixed", "BYTES")],
)
def test_labels_come_in_the_datatype_that_holds_them_and_probabilities_with_their_names(
    client: Any, served: LiveService, model: str, datatype: str, binary: bool
) -> None:
    samples = [[0.0], [1.0], [2.0]]
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "predictions")]
    answer = client.infer(model, [tensor("x", np.array(samples))], outputs=outputs)
    expected = said(served, model, features=samples)
    probabilities, predictions = answer.get_response()["outputs"]
    assert predictions["datatype"] == datatype
    names = probabilities["parameters"]["class_names"]
    rows = [dict(zip(names, row, strict=True)) for row in answer.as_numpy("probabilities").tolist()]
    assert rows == expected["probabilities"]
    found = [one.decode() if isinstance(one, bytes) else one for one in answer.as_numpy("predictions").tolist()]
    if model == "mixed":
        assert found == [max(row, key=row.__getitem__) for row in rows]
    else:
        assert found == expected["predictions"]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_requests_may_be_packed_as_the_client_does(client: Any, served: LiveService, coding: str) -> None:
    found = client.infer("exams", [tensor("any", MATRIX)], request_compression_algorithm=coding)
    expected = said(served, "exams", features=SAMPLES)["predictions"]
    np.testing.assert_array_equal(found.as_numpy("predictions"), expected)


def test_the_client_is_told_what_is_wrong(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="'quiz3' is missing") as raised:
        client.infer("exams", [tensor(name, np.ones(2)) for name in NAMES[:2]])
    assert raised.value.status() == "400"
    with pytest.raises(InferenceServerException, match="there is no model 'nowhere'") as raised:
        client.infer("nowhere", [tensor("x", np.ones(2))])
    assert raised.value.status() == "404"


def features(**changes: Any) -> Json:
    """A tensor of two samples, with these fields changed; None takes one out."""
    given = {"name": "features", "shape": [2, 3], "datatype": "FP64", "data": [1, 2, 3, 4, 5, 6], **changes}
    return {name: value for name, value in given.items() if value is not None}


def infer(service: LocalService, body: Any, tail: bytes = b"", model: str = "exams", **headers: str) -> Response:
    content = json.dumps(body).encode()
    if tail:
        headers = {"Inference-Header-Content-Length": str(len(content)), **headers}
    return service.http.post(f"/v2/models/{model}/infer", content=content + tail, headers=headers)


def check_error(answer: Response, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}
    assert words in answer.json()["error"]


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]])
def test_data_may_be_flat_or_nested_and_an_id_comes_back(service: LocalService, data: Any) -> None:
    answer = infer(service, {"id": "7", "parameters": {"other": 1}, "inputs": [features(data=data)], "outputs": None})
    expected = service.post("/predict", {"model": "exams", "features": [[1, 2, 3], [4, 5, 6]]}).json()["predictions"]
    output = {"name": "predictions", "datatype": "FP64", "shape": [2], "data": expected}
    assert answer.json() == {"id": "7", "model_name": "exams", "model_version": "1", "outputs": [output]}
    assert infer(service, {"inputs": [features(shape=[0, 3], data=[])]}).json()["outputs"][0]["data"] == []


@example([257.0, 259.0, -257.0])  # as near to the next lower as to the next higher
@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3))
def test_numbers_of_bf16_are_rounded_to_the_nearest_ones(service: LocalService, sample: list[float]) -> None:
    answer = infer(service, {"inputs": [features(datatype="BF16", shape=[1, 3], data=sample)]})
    nearest = np.array([sample], dtype=bfloat16).astype(float).tolist()
    expected = service.post("/predict", {"model": "exams", "features": nearest}).json()["predictions"]
    assert answer.json()["outputs"][0]["data"] == expected


def test_null_is_a_missing_value_of_any_kind(service: LocalService) -> None:
    texts = [None if value is None else str(value) for value in FLAT.values()]
    matrix = {"name": "rows", "shape": [1, 5], "datatype": "BYTES", "data": texts}
    expected = service.post("/predict", {"model": "homes", "records": [FLAT]}).json()["predictions"]
    assert infer(service, {"inputs": [matrix]}, model="homes").json()["outputs"][0]["data"] == expected
    check_error(
        infer(service, {"inputs": [{**matrix, "data": [*texts[:2], None, *texts[3:]]}]}, model="homes"),
        400,
        "/inputs/0/data/2: feature 'kind' is missing, and the model was trained to refuse that: give a category",
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datatype": "FP128"}, "datatype"),
        ({"shape": [2, 2]}, "the shape [2, 2] has 4 values, and data has 6"),
        ({"shape": [3, 2]}, "there are 2 columns, and the model takes 3 (quiz1, quiz2, quiz3)"),
        ({"shape": [6]}, "give [n_samples] or [n_samples, 1] for one feature, or [n_samples, 3] alone for all"),
        ({"shape": [1, 2, 3]}, "has the shape [1, 2, 3]"),
        ({"shape": [-2, 3]}, "shape"),
        ({"shape": []}, "shape"),
        ({"shape": [10**30, 0], "data": []}, "is larger than any array"),
        ({"shape": [2**62, 2**62, 0], "data": []}, "shape"),
        ({"data": [[1, 2], [3, 4], [5, 6]]}, "data must be nested as the shape [2, 3] says, or flat"),
        ({"data": [1, 2, 3, 4, 5, "6"]}, "data of FP64 must be numbers, not '6'"),
        ({"data": [1, 2, 3, 4, 5, True]}, "data of FP64 must be numbers, not 'True'"),
        ({"data": [1, 2, 3, 4, 5, None]}, "feature 'quiz3' is missing"),
        ({"data": [1, 2, 3, 4, 5, float("nan")]}, "feature 'quiz3' is missing"),
        ({"data": [1, 2, 3, 4, 5, float("inf")]}, "feature 'quiz3' must be a finite number, not Infinity"),
        ({"data": [1, 2, 3, 4, 5, 10**400]}, "/inputs/0: data of FP64 must be numbers of 64 bits"),
        ({"datatype": "FP16", "data": [1, 2, 3, 4, 5, 70000]}, "feature 'quiz3' must be a finite number, not Infinity"),
        ({"datatype": "UINT8", "data": [1, 2, 3, 4, 5, 256]}, "data of UINT8 must be numbers from 0 to 255"),
        ({"datatype": "INT64", "data": [1, 2, 3, 4, 5, 6.5]}, "data of INT64 must be whole numbers, not '6.5'"),
        ({"datatype": "BOOL", "data": [True] * 6}, "feature 'quiz1' must be a finite number, not true"),
        ({"datatype": "BYTES", "data": ["1"] * 5 + ["six"]}, "feature 'quiz3' must be a finite number, not \"six\""),
        ({"data": [1e308] * 6}, "beyond the largest number"),
        ({"data": {"a": 1}}, "data must be a list"),
        ({"data": None}, "give data, or the parameter binary_data_size"),
        ({"name": "quiz1", "shape": [6]}, "feature 'quiz2' is missing"),
        ({"parameters": {"binary_data_size": 8}}, "give either data or the parameter binary_data_size"),
        ({"parameters": {"binary_data_size": 8}, "data": None}, "binary_data_size must be a whole number up to 0"),
        ({"other": 1}, "other is not known"),
    ],
)
def test_a_tensor_that_cannot_be_taken_is_refused_with_a_sentence(
    service: LocalService, changes: Json, words: str
) -> None:
    check_error(infer(service, {"inputs": [features(**changes)]}), 400, words)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "the body must be an object"),
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [features()], "outputs": [{"name": "loss"}]}, "no output 'loss': there is predictions"),
        ({"inputs": [features()], "outputs": [{"name": "predictions"}] * 2}, "asked for twice"),
        (
            {"inputs": [features()], "outputs": [{"name": "predictions", "parameters": {"classification": 2}}]},
            "classification is not supported",
        ),
        ({"inputs": [features()], "parameters": {"binary_data_output": 1}}, "must be true or false"),
        ({"inputs": [features(name="quiz1", shape=[6])] * 2}, "is given 2 times: give it once"),
    ],
)
def test_a_request_that_cannot_be_carried_out_is_refused_with_a_sentence(
    service: LocalService, body: Any, words: str
) -> None:
    check_error(infer(service, body), 400, words)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([features(data=[[1, 2, 3], [4, 5, None]], shape=[2, 3])], "/inputs/0/data/1/2: feature 'quiz3' is missing"),
        ([features(data=[1, 2, 3, 4, None, 6], shape=[2, 3])], "/inputs/0/data/4: feature 'quiz2' is missing"),
        ([features(data=[1, 2], shape=[1, 2])], "/inputs/0: there are 2 columns"),
        (
            [features(name=name, shape=[2], data=[1, None if name == "quiz2" else 2]) for name in NAMES],
            "/inputs/1/data/1: feature 'quiz2' is missing",
        ),
        (
            [features(name=name, shape=[1, 1], data=[[None if name == "quiz3" else 2]]) for name in NAMES],
            "/inputs/2/data/0/0: feature 'quiz3' is missing",
        ),
        ([features(name=name, shape=[1], data=[1]) for name in NAMES[:2]], "/inputs: feature 'quiz3' is missing"),
        (
            [features(name=name, shape=[1], data=[1]) for name in (*NAMES, "a/b")],
            "/inputs/3: feature 'a/b' is unknown",
        ),
        (
            [features(datatype="INT8", data=[1, 2, 300], shape=[1, 3])],
            "/inputs/0: data of INT8 must be numbers from -128 to 127, not 300",
        ),
    ],
)
def test_a_fault_points_to_where_it_stands_in_the_request(
    service: LocalService, inputs: list[Json], words: str
) -> None:
    answer = infer(service, {"inputs": inputs})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(words)


def raw(datatype: str, shape: list[int], content: bytes) -> tuple[Json, bytes]:
    parameters = {"binary_data_size": len(content)}
    return {"inputs": [features(datatype=datatype, shape=shape, data=None, parameters=parameters)]}, content


@pytest.mark.parametrize(
    ("datatype", "shape", "content", "words"),
    [
        ("FP64", [1, 3], bytes(16), "FP64 of the shape [1, 3] are 24 bytes, not 16"),
        ("BYTES", [1, 3], struct.pack("<I", 1) + b"1", "has 3 values, and the bytes have 1"),
        ("BYTES", [1, 3], struct.pack("<I", 9) + b"1", "end in the middle of a text"),
        ("BYTES", [1, 3], b"1", "end in the middle of a text"),
        ("BYTES", [1, 1], struct.pack("<I", 1) + b"\xff", "texts in UTF-8"),
        ("BOOL", [1, 3], b"\0\1\2", "the bytes of BOOL must be 0 or 1"),
    ],
)
def test_bytes_that_are_no_such_tensor_are_refused(
    service: LocalService, datatype: str, shape: list[int], content: bytes, words: str
) -> None:
    check_error(infer(service, *raw(datatype, shape, content)), 400, words)


def test_the_length_of_the_header_has_to_fit_the_body(service: LocalService) -> None:
    body, content = raw("FP64", [1, 3], np.ones(3).tobytes())
    assert infer(service, body, content).status_code == 200
    check_error(infer(service, body, content + b"more"), 400, "4 bytes are left over")
    for length in ("-1", "9999", "x", "٣", "9" * 400):
        header = {b"Inference-Header-Content-Length": length.encode()}
        answer = service.http.post("/v2/models/exams/infer", content=b"{}", headers=header)
        check_error(answer, 400, "must tell how many of the 2 bytes of the body are JSON")


def test_every_error_below_v2_has_the_protocols_shape(service: LocalService) -> None:
    http = service.http
    check_error(http.get("/v2/nothing"), 404, "there is nothing at /v2/nothing")
    check_error(http.delete("/v2/models/exams"), 405, "DELETE is not for /v2/models/exams: GET is")
    check_error(http.get("/v2/models/nowhere/ready"), 404, "no model 'nowhere'")
    check_error(http.get("/v2/models/exams/versions/x/ready"), 404, "no version or alias 'x'")
    check_error(http.get("/v2/models/exams?no=1"), 400, "query.no is not known")
    check_error(infer(service, "x" * 30_000), 413, "larger than the 20000 bytes")
    check_error(infer(service, {}, b"", "exams", **{"Content-Encoding": "br"}), 415, "'br' is not understood")
    packed = gzip.compress(bytes(100_000))
    gzipped = {"Content-Encoding": "gzip"}
    check_error(http.post("/v2/models/exams/infer", content=packed, headers=gzipped), 413, "unpacked, is larger than")
    check_error(
        http.post("/v2/models/exams/infer", content=b"{" * 30, headers=gzipped), 400, "is not what its Content-Enc"
    )
    for content in (b"{", b"\xff", b"[" * 10_000, b"1" * 10_000, b""):
        check_error(http.post("/v2/models/exams/infer", content=content), 400, "")
    check_error(http.post("/v2/repository/index", content=b'{"ready": 1}'), 400, "ready")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(["exams", "homes", "words"]),
    st.sampled_from(["name", "shape", "datatype", "data", "parameters"]),
    JSON_VALUES,
    st.binary(max_size=40),
)
def test_nothing_that_a_request_may_bring_is_answered_with_a_failure(
    service: LocalService, model: str, field: str, value: Any, tail: bytes
) -> None:
    answer = infer(service, {"inputs": [{**features(), field: value}]}, tail, model)
    assert answer.status_code in (200, 400), answer.text
