import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from service.api.jobs import JobResponse
from service.hyperparameters import Hyperparameters
from service.schedules import Schedule
from tests.api.conftest import EXAMS, Json, LocalService, line

ENDPOINTS = {
    ("delete", "/datasets/{dataset_id}"): {"204", "404", "409", "422", "503", "507"},
    ("delete", "/jobs/{job_id}"): {"204", "404", "409", "422", "503", "507"},
    ("get", "/algorithms"): {"200", "422", "503"},
    ("get", "/audit"): {"200", "422", "503"},
    ("delete", "/models/{name}"): {"204", "404", "409", "422", "503", "507"},
    ("delete", "/models/{name}/aliases/{alias}"): {"204", "404", "422", "503", "507"},
    ("delete", "/models/{name}/versions/{version}"): {"204", "404", "409", "422", "503", "507"},
    ("get", "/datasets"): {"200", "404", "422", "503"},
    ("get", "/datasets/{dataset_id}"): {"200", "404", "422", "503"},
    ("get", "/datasets/{dataset_id}/preview"): {"200", "404", "422", "503"},
    ("get", "/events"): {"200", "422", "503"},
    ("get", "/healthz"): {"200"},
    ("get", "/jobs"): {"200", "404", "422", "503"},
    ("get", "/jobs/{job_id}"): {"200", "304", "404", "422", "503"},
    ("get", "/jobs/{job_id}/events"): {"200", "204", "404", "422", "503"},
    ("get", "/jobs/{job_id}/history"): {"200", "404", "422", "503"},
    ("get", "/jobs/{job_id}/parameters"): {"200", "404", "422", "503", "507"},
    ("get", "/jobs/{job_id}/trajectory"): {"200", "404", "422", "503"},
    ("get", "/metrics"): {"200"},
    ("get", "/models"): {"200", "422", "503"},
    ("get", "/models/{name}"): {"200", "404", "422", "503"},
    ("get", "/models/{name}/versions/{version}"): {"200", "404", "422", "503"},
    ("get", "/models/{name}/versions/{version}/export"): {"200", "404", "422", "503"},
    ("get", "/models/{name}/versions/{version}/onnx"): {"200", "404", "422", "501", "503"},
    ("get", "/models/{name}/versions/{version}/parameters"): {"200", "404", "422", "503"},
    ("get", "/predict"): {"200", "304", "404", "422", "503"},
    ("get", "/readyz"): {"200", "503"},
    ("patch", "/models/{name}"): {"200", "404", "413", "415", "422", "503", "507"},
    ("post", "/datasets"): {"200", "201", "413", "415", "422", "503", "507"},
    ("post", "/datasets/synthetic"): {"200", "201", "413", "415", "422", "503", "507"},
    ("post", "/jobs/{job_id}/cancel"): {"202", "404", "409", "422", "503", "507"},
    ("post", "/jobs/{job_id}/pause"): {"202", "404", "409", "422", "503", "507"},
    ("post", "/jobs/{job_id}/resume"): {"202", "404", "409", "422", "503", "507"},
    ("post", "/jobs/{job_id}/retry"): {"202", "404", "409", "413", "415", "422", "429", "503", "507"},
    ("post", "/models"): {"201", "413", "415", "422", "503", "507"},
    ("post", "/models/{name}/evaluate"): {"200", "404", "413", "415", "422", "503"},
    ("post", "/predict"): {"200", "404", "413", "415", "422", "503"},
    ("post", "/train"): {"201", "202", "413", "415", "422", "429", "503", "507"},
    ("post", "/train/check"): {"200", "413", "415", "422", "503", "507"},
    ("put", "/models/{name}/aliases/{alias}"): {"200", "404", "413", "415", "422", "503", "507"},
}
INFERENCE = {"200", "400", "404", "503", "default"}
INFER = INFERENCE | {"413", "415"}
PROTOCOLS = {
    ("get", "/models/{name}/ping"): INFERENCE,
    ("get", "/v2"): INFERENCE - {"404"},
    ("get", "/v2/health/live"): INFERENCE - {"404"},
    ("get", "/v2/health/ready"): INFERENCE - {"404"},
    ("get", "/v2/models/{name}"): INFERENCE,
    ("get", "/v2/models/{name}/ready"): INFERENCE,
    ("get", "/v2/models/{name}/versions/{version}"): INFERENCE,
    ("get", "/v2/models/{name}/versions/{version}/ready"): INFERENCE,
    ("post", "/models/{name}/invocations"): INFER,
    ("post", "/v2/models/{name}/infer"): INFER,
    ("post", "/v2/models/{name}/versions/{version}/infer"): INFER,
    ("post", "/v2/repository/index"): INFER - {"404"},
    ("post", "/v2/repository/models/{name}/load"): INFERENCE,
    ("post", "/v2/repository/models/{name}/unload"): INFERENCE,
}
"""Endpoints of others' protocols, which have errors of their own."""
CLOSED = (
    *("TrainRequest", "InlineDataset", "RecordsDataset", "SelectedDataset", "SyntheticDataset"),
    *("AliasRequest", "ModelChange", "EvaluateRequest", "InlineSamples", "RecordSamples", "StoredSamples"),
    *("RetryRequest", "PredictRequest", "Hyperparameters", "LayerValues", "StartLayers", "StartModel", "Stop"),
    *(kind.__name__ for kind in get_args(Schedule)),
    *("LinearSpec", "BlobsSpec", "MoonsSpec"),
    *("PortableModel", "PortableColumn", "PortableScaled", "PortableRanges"),
    *("InferRequest", "InferInput", "InferOutput", "IndexRequest", "InvocationRequest", "DataframeSplit"),
)
OPEN = ("/algorithms", "/healthz", "/readyz", "/v2", "/v2/health/live", "/v2/health/ready")
"""What needs no key."""


def expected_answers(method: str, path: str) -> set[str]:
    """Those of the table, and those of every endpoint that needs a key or has a body."""
    own = (ENDPOINTS | PROTOCOLS)[method, path]
    return own | (set() if path in OPEN else {"401", "403", "503"}) | ({"408"} if "413" in own else set())


each_endpoint = pytest.mark.parametrize(("method", "path"), [*ENDPOINTS, *PROTOCOLS], ids=lambda part: part)
each_of_our_endpoints = pytest.mark.parametrize(("method", "path"), ENDPOINTS, ids=lambda part: part)


@pytest.fixture(scope="module")
def document(standing: LocalService) -> Json:
    """The OpenAPI document."""
    found: Json = standing.http.get("/openapi.json").json()
    return found


def test_the_document_describes_exactly_the_endpoints_that_there_are(document: Json) -> None:
    assert {(method, path) for path, methods in document["paths"].items() for method in methods} == {
        *ENDPOINTS,
        *PROTOCOLS,
    }
    assert document["info"]["title"]
    assert document["info"]["description"]


@each_endpoint
def test_an_endpoint_has_a_sentence_and_so_has_each_of_its_parameters(document: Json, method: str, path: str) -> None:
    operation = document["paths"][path][method]
    assert operation["summary"]
    assert operation["description"]
    parameters = operation.get("parameters", [])
    assert [parameter["name"] for parameter in parameters if not parameter.get("description")] == []
    in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", path))


@each_of_our_endpoints
def test_an_endpoint_documents_its_answers_and_its_errors_as_problems(document: Json, method: str, path: str) -> None:
    answers = document["paths"][path][method]["responses"]
    assert set(answers) == expected_answers(method, path)
    for status, answer in answers.items():
        assert answer["description"] not in ("", "Successful Response", "Validation Error")
        if int(status) >= 400:
            (content,) = answer["content"].items()
            media_type, problem = content
            assert media_type == "application/problem+json"
            assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert problem["example"]["status"] == int(status)
            assert bool(problem["example"].get("errors")) is (status == "422")


@pytest.mark.parametrize(("method", "path"), PROTOCOLS, ids=lambda part: part)
def test_an_endpoint_of_a_protocol_documents_its_errors_in_the_protocols_shape(
    document: Json, method: str, path: str
) -> None:
    answers = document["paths"][path][method]["responses"]
    assert set(answers) == expected_answers(method, path)
    kind, fields = ("InferenceError", {"error"}) if "/v2" in path else ("InvocationError", {"error_code", "message"})
    for status in answers.keys() - {"200"}:
        content = answers[status]["content"]["application/json"]
        assert content["schema"] == {"$ref": f"#/components/schemas/{kind}"}
        assert content["example"].keys() == fields


@each_endpoint
def test_every_answer_has_an_example(document: Json, method: str, path: str) -> None:
    for answer in document["paths"][path][method]["responses"].values():
        for media_type, content in answer.get("content", {}).items():
            reference = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            schema = document["components"]["schemas"].get(reference, {})
            shown = content.get("example") or content.get("examples") or schema.get("examples")
            assert shown or content["schema"].get("format") == "binary", media_type


def fields(name: str, schema: Any) -> Iterator[tuple[str, Json]]:
    """Every field of a schema and of the schemas inside it."""
    if isinstance(schema, list):
        for inner in schema:
            yield from fields(name, inner)
    elif isinstance(schema, dict):
        for field, inner in schema.get("properties", {}).items():
            yield f"{name}.{field}", inner
            yield from fields(f"{name}.{field}", inner)
        for key in ("items", "additionalProperties", "anyOf", "oneOf", "allOf"):
            yield from fields(name, schema.get(key))


def test_every_field_has_a_sentence(document: Json) -> None:
    schemas = document["components"]["schemas"]
    found = [field for name, schema in schemas.items() for field in fields(name, schema)]
    assert len(found) > 80
    # pydantic leaves out a sentence that the schema of the field's own value has word for word.
    described = {f"#/components/schemas/{name}" for name, schema in schemas.items() if schema.get("description")}
    assert [name for name, field in found if not field.get("description") and field.get("$ref") not in described] == []


def test_every_schema_has_a_sentence_and_none_is_missing(document: Json) -> None:
    schemas = document["components"]["schemas"]
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []
    assert set(re.findall(r"#/components/schemas/(\w+)", str(document))) == set(schemas)


def test_every_hyperparameter_is_documented_with_its_default(document: Json) -> None:
    properties = document["components"]["schemas"]["Hyperparameters"]["properties"]
    assert properties.keys() == Hyperparameters.model_fields.keys()
    for name, field in Hyperparameters.model_fields.items():
        documented = Hyperparameters.model_validate({name: properties[name].get("default")})
        assert getattr(documented, name) == field.get_default()


def test_a_start_may_be_a_bare_list_of_layers(document: Json) -> None:
    forms = document["components"]["schemas"]["Hyperparameters"]["properties"]["start"]["oneOf"]
    lists = [form for form in forms if form.get("type") == "array"]
    assert lists == [{"type": "array", "items": {"$ref": "#/components/schemas/LayerValues"}, "minItems": 1}]


def request_examples(document: Json, path: str) -> list[Any]:
    """The examples of a request's body, those of its schema included."""
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    named = [example["value"] for example in content.get("examples", {}).values()]
    return [*named, *schema.get("examples", [])]


def test_every_example_of_a_request_is_accepted(local: LocalService, document: Json) -> None:
    paths = ("/train", "/train/check", "/jobs/{job_id}/retry", "/predict", "/models/{name}/evaluate", "/models")
    trainings, checks, retries, predictions, evaluations, models = (request_examples(document, path) for path in paths)
    assert all([trainings, checks, retries, predictions, evaluations, models])
    for recipe in ("LinearSpec", "BlobsSpec", "MoonsSpec"):
        (example,) = document["components"]["schemas"][recipe]["examples"]
        assert local.post("/datasets/synthetic", example).status_code == 201
    for example in trainings:
        job = local.train(example)
        assert job["status"] == "succeeded"
    for path, examples, status in (
        ("/train/check", checks, 200),
        (f"{job['links']['self']}/retry", retries, 202),
        ("/predict", predictions, 200),
        ("/models/exam-scores@1/evaluate", evaluations, 200),
        ("/models", models, 201),
    ):
        for example in examples:
            assert local.post(path, example).status_code == status


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers and words of a JSON value with their paths."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(inner, f"{path}/{key}")
    else:
        yield path, value


def check_alike(example: Json, answer: Json, passing: str) -> None:
    """Check that an example shows what was answered, but for paths that differ each time; nulls may be left out."""
    shown, found = dict(flat(example)), dict(flat(answer))
    differing = [path for path in shown.keys() | found.keys() if re.fullmatch(passing, path)]
    for path in (shown.keys() | found.keys()) - set(differing):
        expected = pytest.approx(found.get(path), rel=1e-3) if isinstance(found.get(path), float) else found.get(path)
        assert shown.get(path) == expected, path


def test_the_example_of_a_job_is_what_its_example_training_gives(local: LocalService, document: Json) -> None:
    (example,) = document["components"]["schemas"]["JobResponse"]["examples"]
    (request,) = request_examples(document, "/train")
    passing = r"/id|/.*_at|/links/.*|/environment/.*|/seed|/device|/hyperparameters/(seed|device)"
    check_alike(example, local.train(request), passing)


def test_the_example_of_a_check_is_what_checking_the_example_training_gives(
    standing: LocalService, document: Json
) -> None:
    (example,) = document["components"]["schemas"]["CheckResponse"]["examples"]
    (request,) = request_examples(document, "/train/check")
    check_alike(example, standing.post("/train/check", request).json(), "/hyperparameters/seed")


def test_the_examples_of_what_a_training_leaves_are_what_the_example_training_leaves(
    local: LocalService, document: Json
) -> None:
    (request,) = request_examples(document, "/train")
    links = local.train(request)["links"]
    for name, path in {
        "HistoryResponse": f"{links['history']}?max_points=3",
        "EpochParametersResponse": f"{links['parameters']}?epoch=1000",
        "TrajectoryResponse": f"{links['trajectory']}?max_points=3",
        "ModelParametersResponse": f"{links['model']}/parameters",
        "PortableModel": f"{links['model']}/export",
        "Prediction": "/predict?model=exam-scores&features=73,80,75",
    }.items():
        (example,) = document["components"]["schemas"][name]["examples"]
        passing = "/predictions/1" if name == "Prediction" else "nothing"
        check_alike(example, local.http.get(path).json(), passing)


def test_the_examples_of_other_protocols_are_what_the_example_model_answers(
    local: LocalService, document: Json
) -> None:
    (request,) = request_examples(document, "/train")
    local.train(request)
    schemas = document["components"]["schemas"]
    for name, path in {
        "Live": "/v2/health/live",
        "Ready": "/v2/models/exam-scores/ready",
        "ServerMetadata": "/v2",
        "ModelMetadata": "/v2/models/exam-scores",
    }.items():
        check_alike(schemas[name]["examples"][0], local.http.get(path).json(), "nothing")
    for name, template in {
        "InferResponse": "/v2/models/{name}/infer",
        "InvocationResponse": "/models/{name}/invocations",
        "IndexedModel": "/v2/repository/index",
    }.items():
        (example,) = request_examples(document, template)
        answer = local.post(template.format(name="exam-scores"), example).json()
        check_alike(schemas[name]["examples"][0], answer[0] if name == "IndexedModel" else answer, "nothing")


def test_every_example_of_an_answer_fits_its_own_schema(document: Json) -> None:
    (example,) = document["components"]["schemas"]["JobResponse"]["examples"]
    assert JobResponse.model_validate_json(TypeAdapter(Any).dump_json(example)).id == example["id"]
    for name, schema in document["components"]["schemas"].items():
        for shown in schema.get("examples", []):
            assert shown.keys() <= schema["properties"].keys(), name
            assert set(schema.get("required", [])) <= shown.keys(), name


def test_the_examples_of_a_dataset_are_what_its_example_upload_gives(local: LocalService, document: Json) -> None:
    content = document["paths"]["/datasets"]["post"]["requestBody"]["content"]["text/csv"]["example"]
    local.http.post("/datasets", content=content, headers={"Content-Type": "text/csv"}, params={"name": "flats.csv"})
    (dataset,) = document["components"]["schemas"]["DatasetResponse"]["examples"]
    for name, path in {
        "DatasetResponse": dataset["links"]["self"],
        "DatasetPage": "/datasets",
        "Preview": dataset["links"]["preview"],
    }.items():
        (example,) = document["components"]["schemas"][name]["examples"]
        check_alike(example, local.http.get(path).json(), r"/(data/0/)?(created_at|n_bytes)")


class References(HTMLParser):
    """Collects what a page loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value and tag != "a"]


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_docs_load_nothing_from_another_host(standing: LocalService, page: str) -> None:
    answer = standing.http.get(page)
    assert answer.status_code == 200
    assert not re.search(r"(https?:)?//\w", re.sub(r"<a [^>]*>", "", answer.text))
    references = References(answer.text).found
    assert any(reference.endswith(".js") for reference in references)
    for reference in references:
        asset = standing.http.get(reference)
        assert asset.status_code == 200
        assert asset.content
        if reference.endswith(".css"):
            assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", asset.text)


@pytest.mark.parametrize("module", ["service.app", "service.cli", "service.server", "service.client"])
def test_what_serves_and_what_asks_imports_nothing_heavy(module: str) -> None:
    heavy = ("torch", "torchmetrics", "ray", "onnx")
    program = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_a_field_that_the_document_does_not_name_is_refused(standing: LocalService, document: Json) -> None:
    for schema in CLOSED:
        assert document["components"]["schemas"][schema]["additionalProperties"] is False
    assert standing.post("/train", line(dataset={**EXAMS, "weights": []})).status_code == 422
