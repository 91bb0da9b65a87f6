import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas
import pytest
from httpx2 import Response
from hypothesis import given, settings

from tests.api.conftest import LocalService, local_service
from tests.api.protocols import FLAT, HOUSE, NAMES, SAMPLES, columns_of, train_models
from tests.api.test_inference import JSON_VALUES

Json = dict[str, Any]
FRAME = pandas.DataFrame(SAMPLES, columns=NAMES)
HOUSES = pandas.DataFrame([HOUSE, FLAT])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service with models of every kind."""
    with local_service(tmp_path_factory.mktemp("invocations"), max_body_bytes=20_000) as service:
        train_models(service.http.post, service.train)
        yield service


def invoke(service: LocalService, body: Any, model: str = "exams") -> Response:
    return service.post(f"/models/{model}/invocations", body)


def invoke_csv(service: LocalService, text: str, model: str = "exams", media_type: str = "text/csv") -> Response:
    path = f"/models/{model}/invocations"
    return service.http.post(path, content=text.encode(), headers={"Content-Type": media_type})


def said(service: LocalService, model: str, **samples: Any) -> Json:
    answer = service.post("/predict", {"model": model, **samples})
    assert answer.status_code == 200, answer.text
    return {"predictions": answer.json()["predictions"]}


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": FRAME.to_dict(orient="split")},
        {"dataframe_split": FRAME[NAMES[::-1]].to_dict(orient="split")},
        {"dataframe_split": pandas.DataFrame(SAMPLES).to_dict(orient="split")},
        {"dataframe_split": {"data": SAMPLES}},
        {"dataframe_records": FRAME.to_dict(orient="records")},
        {"instances": SAMPLES},
        {"instances": FRAME.to_dict(orient="records")},
        {"instances": FRAME.to_dict(orient="list")},
        {"inputs": SAMPLES},
        {"inputs": FRAME.to_dict(orient="list")},
        {"inputs": {name: [[value] for value in values] for name, values in FRAME.to_dict(orient="list").items()}},
        {"inputs": {"any{}": SAMPLES}},
        {"inputs": SAMPLES, "params": {"temperature": 0.5}, "instances": None},
    ],
)
def test_every_form_is_answered_as_the_same_rows_are(service: LocalService, body: Json) -> None:
    answer = invoke(service, body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == said(service, "exams", features=SAMPLES)
    assert invoke(service, body, "exams@1").json() == invoke(service, body, "exams@latest").json() == answer.json()


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": HOUSES.to_dict(orient="split")},
        {"dataframe_records": HOUSES.to_dict(orient="records")},
        {"instances": [list(HOUSE.values()), list(FLAT.values())]},
        {"inputs": columns_of(HOUSE, FLAT)},
    ],
)
def test_columns_of_every_kind_go_through_the_models_encoding_and_nan_is_missing(
    service: LocalService, body: Json
) -> None:
    assert "NaN" in json.dumps(body) or "null" in json.dumps(body)
    assert invoke(service, body, "homes").json() == said(service, "homes", records=[HOUSE, FLAT])


def test_csv_is_read_as_pandas_writes_it(service: LocalService) -> None:
    expected = said(service, "homes", records=[HOUSE, FLAT])
    for media_type in ("text/csv", "text/csv; charset=UTF-8"):
        assert invoke_csv(service, HOUSES.to_csv(index=False), "homes", media_type).json() == expected
    assert invoke_csv(service, "\ufeffquiz3,quiz1,quiz2\r\n1,2,3\r\n\r\n").json() == said(
        service, "exams", features=[[2, 3, 1]]
    )


def test_a_model_of_one_feature_takes_bare_numbers_and_columns_of_one_sample_may_do_without_lists(
    service: LocalService,
) -> None:
    assert invoke(service, {"instances": [0, 2]}, "words").json() == {"predictions": ["röt", "b"]}
    assert invoke(service, {"inputs": {"x": [0.0, 2.0]}}, "words").json() == {"predictions": ["röt", "b"]}
    one = dict(zip(NAMES, SAMPLES[0], strict=True))
    assert invoke(service, {"inputs": one}).json() == said(service, "exams", features=SAMPLES[:1])
    assert invoke(service, {"instances": []}).json() == {"predictions": []}
    np.testing.assert_array_equal(np.shape(invoke(service, {"inputs": [[1, 2]]}, "pair").json()["predictions"]), (1, 2))


def check_error(answer: Response, status: int, code: str, words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error_code", "message"}
    assert answer.json()["error_code"] == code
    assert words in answer.json()["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "the body must be an object"),
        ({}, "give one of dataframe_split, dataframe_records, instances, inputs; there is none"),
        ({"instances": [], "inputs": []}, "there is instances and inputs"),
        ({"rows": []}, "rows is not known"),
        ({"instances": [[1, 2, 3]], "params": 1}, "params"),
        ({"instances": [[1, 2]]}, "/instances/0: row 0 has 2 values, and there are 3 columns"),
        ({"instances": [[1, 2, "3"]]}, "/instances/0/2: feature 'quiz3' must be a finite number, not \"3\""),
        ({"instances": [[1, 2, [3]]]}, "/instances/0/2: feature 'quiz3' must be a finite number, not [3]"),
        ({"instances": [[1, 2, None]]}, "/instances/0/2: feature 'quiz3' is missing"),
        ({"instances": [[1, 2, 3], {"quiz1": 1}]}, "/instances/1: give rows, or objects"),
        ({"instances": [1, 2, 3]}, "row 0 has 1 value, and there are 3 columns"),
        ({"instances": {}}, "feature 'quiz1' is missing"),
        ({"inputs": {"quiz1": [1], "quiz2": [1, 2], "quiz3": [1]}}, "/inputs/quiz2: feature 'quiz2' has 2 values"),
        ({"inputs": {"{0}": [[1, 2]]}}, "/inputs/{0}/0: row 0 has 2 values"),
        ({"inputs": {"{0}": [[1, 2, None]]}}, "/inputs/{0}/0/2: feature 'quiz3' is missing"),
        ({"dataframe_records": [{"quiz1": 1}]}, "/dataframe_records/0: feature 'quiz2' is missing"),
        ({"dataframe_split": {"columns": NAMES, "data": [[1, 2]]}}, "/dataframe_split/data/0: row 0 has 2 values"),
        ({"dataframe_split": {"columns": [*NAMES, "a"], "data": [[1, 2, 3, 4]]}}, "feature 'a' is unknown"),
        ({"dataframe_split": {"columns": ["quiz1"] * 3, "data": []}}, "column 'quiz1' is given several times"),
        (
            {"dataframe_split": {"columns": NAMES[::-1], "data": [[1, 2, True]]}},
            "/dataframe_split/data/0/2: feature 'qui",
        ),
        ({"dataframe_split": {"columns": NAMES}}, "data is missing"),
        ({"instances": [[1e308, 1e308, 1e308]]}, "beyond the largest number"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_a_sentence_in_mlflows_shape(
    service: LocalService, body: Any, words: str
) -> None:
    check_error(invoke(service, body), 400, "BAD_REQUEST", words)


@pytest.mark.parametrize("missing", ["NaN", "nan", "null", ""])
def test_csv_says_that_a_value_is_missing_as_pandas_writes_and_reads_it(service: LocalService, missing: str) -> None:
    text = pandas.DataFrame([FLAT]).to_csv(index=False, na_rep=missing)
    assert invoke_csv(service, text, "homes").json() == said(service, "homes", records=[FLAT])
    if missing:
        text = text.replace("flat", missing)
        check_error(invoke_csv(service, text, "homes"), 400, "BAD_REQUEST", "feature 'kind' is missing")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the body is empty: give the names of the columns"),
        ("\n", "the body is empty: give the names of the columns"),
        ("quiz1,quiz2,quiz3\n1,2\n", "/0: row 0 has 2 values, and there are 3 columns"),
        ("quiz1,quiz2,quiz3\n1,2,x\n", "feature 'quiz3' must be a finite number, not \"x\""),
        ("quiz1,quiz2,quiz3\n1,2,\n", "feature 'quiz3' is missing"),
        (",quiz1,quiz2,quiz3\n0,1,2,3\n", "feature '' is unknown"),
        ('quiz1,quiz2,quiz3\n1,2,"3', "cannot be read as CSV"),
    ],
)
def test_csv_that_cannot_be_taken_is_refused(service: LocalService, text: str, words: str) -> None:
    check_error(invoke_csv(service, text), 400, "BAD_REQUEST", words)


def test_every_error_at_a_path_of_the_protocol_has_its_shape(service: LocalService) -> None:
    assert service.http.get("/models/exams@1/ping").status_code == 200
    check_error(service.http.get("/models/nowhere/ping"), 404, "RESOURCE_DOES_NOT_EXIST", "no model 'nowhere'")
    check_error(invoke(service, {"inputs": []}, "nowhere"), 404, "RESOURCE_DOES_NOT_EXIST", "no model 'nowhere'")
    check_error(service.http.get("/models/exams/invocations"), 405, "BAD_REQUEST", "GET is not for")
    for media_type in ("text/plain", "", "text/csv; charset=latin-1"):
        check_error(invoke_csv(service, "", media_type=media_type), 415, "BAD_REQUEST", "the body must be")
    media_type = "application/json; format=pandas-split"
    words = "no parameter here but charset; its Content-Type is 'application/json; format=pandas-split'"
    check_error(invoke_csv(service, "{}", media_type=media_type), 415, "BAD_REQUEST", words)
    check_error(invoke(service, {"inputs": ["x" * 30_000]}), 413, "BAD_REQUEST", "larger than the 20000 bytes")
    check_error(invoke(service, b"{"), 400, "BAD_REQUEST", "cannot be read as JSON")
    answer = service.http.post("/models/exams/invocations", content=b"\xff", headers={"Content-Type": "text/csv"})
    check_error(answer, 400, "BAD_REQUEST", "not UTF-8")


@settings(deadline=None, max_examples=25)
@given(JSON_VALUES, JSON_VALUES)
def test_nothing_that_an_invocation_may_bring_is_answered_with_a_failure(
    service: LocalService, value: Any, other: Any
) -> None:
    for model in ("exams", "homes"):
        for body in (
            *({form: value} for form in ("dataframe_split", "dataframe_records", "instances", "inputs")),
            {"dataframe_split": {"columns": value, "data": other}},
            {"inputs": {"area": value, "kind": other}},
        ):
            assert invoke(service, body, model).status_code in (200, 400)
