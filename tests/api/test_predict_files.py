import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from service.api.predict_files import MOST_BYTES_IN_MEMORY
from service.files import MEDIA_TYPES as UPLOADED
from service.files import CellReading
from tests.api.conftest import EXAMS, Json, LocalService, check_fault, check_problem, line, local_service, switch
from tests.api.test_explain import FLATS, train
from tests.api.uploading import MEDIA_TYPES, PACK, kept, left_behind, written

READERS: dict[str, Callable[[io.BytesIO], pl.DataFrame]] = {
    "csv": pl.read_csv,
    "jsonl": pl.read_ndjson,
    "arrow": pl.read_ipc,
}
NAMES = EXAMS["feature_names"]


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service with models of a dataset whose columns are encoded, and others; no file of a request is left in it."""
    data_dir = tmp_path_factory.mktemp("files")
    with local_service(data_dir) as service:
        train(service)
        service.train(switch(False, False, True, True, model="switch"))
        service.train(switch(0, 0, 7, 7, model="codes"))
        targets = [[1, 2], [2, 1], [3, 5]]
        dataset = {"features": [1, 2, 3], "targets": targets}
        service.train({"task": "linear_regression", "model": "two", "dataset": dataset})
        yield service
        assert [path.name for path in (data_dir / "uploads").iterdir()] == ["lock"]


def sent(
    service: LocalService, model: str, content: bytes, form: str, accept: str | None = None, **headers: str
) -> bytes:
    named = {"Content-Type": MEDIA_TYPES[form], **({} if accept is None else {"Accept": accept}), **headers}
    answer = service.http.post(f"/predict?model={model}", content=content, headers=named)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].partition(";")[0] == (accept or "application/json")
    return answer.content


def exams(n: int) -> pl.DataFrame:
    return pl.DataFrame(dict(zip(NAMES, np.random.default_rng(0).uniform(70, 95, (3, n)), strict=True)))


@pytest.mark.parametrize("form", MEDIA_TYPES)
def test_a_file_of_any_format_is_answered_as_its_rows_are(houses: LocalService, form: str) -> None:
    frame = pl.read_csv(FLATS.encode(), try_parse_dates=form in ("parquet", "arrow")).drop("price")
    records = pl.read_csv(FLATS.encode()).drop("price").to_dicts()
    expected = houses.post("/predict", {"model": "linear_regression", "records": records})
    assert (
        sent(houses, "linear_regression", written(form, frame.select(reversed(frame.columns))), form)
        == expected.content
    )


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_file_may_be_packed(houses: LocalService, coding: str) -> None:
    content = written("csv", exams(3))
    packed = sent(houses, "exams", PACK[coding](content), "csv", **{"Content-Encoding": coding})
    assert packed == sent(houses, "exams", content, "csv")


@pytest.mark.parametrize("form", READERS)
def test_the_answer_is_a_table_where_one_is_asked_for(houses: LocalService, form: str) -> None:
    for model, frame in (
        ("exams", exams(4)),
        ("switch", pl.DataFrame({"x": [0.0, 1.4, 3.0]})),
        ("codes", pl.DataFrame({"x": [0.0, 1.4, 3.0]})),
        ("two", pl.DataFrame({"x": [1, 2]})),
    ):
        content = written("arrow", frame)
        plain = pl.DataFrame(columns_of(sent(houses, model, content, "arrow")))
        table = READERS[form](io.BytesIO(sent(houses, model, content, "arrow", MEDIA_TYPES[form])))
        assert_frame_equal(table, plain)


def columns_of(content: bytes) -> Json:
    """Give an answer in JSON as the columns of a table."""
    answer = json.loads(content)
    predictions = answer["predictions"]
    if isinstance(predictions[0], list):
        return {
            f"prediction_y{number + 1}": list(column) for number, column in enumerate(zip(*predictions, strict=True))
        }
    if "probabilities" not in answer:
        return {"prediction": predictions}
    labels = answer["probabilities"][0]
    shares = {f"probability_{label}": [row[label] for row in answer["probabilities"]] for label in labels}
    return {"prediction": predictions, **shares}


@pytest.mark.parametrize("form", [*READERS, None])
def test_the_headers_tell_who_answers_how_many_warnings_there_are_and_that_the_answer_goes_by_accept(
    houses: LocalService, form: str | None
) -> None:
    headers = {"Content-Type": "text/csv", **({} if form is None else {"Accept": MEDIA_TYPES[form]})}
    for content, n_warnings in ((b"quiz1,quiz2,quiz3\n80,80,80\n", "0"), (b"quiz1,quiz2,quiz3\n1e6,80,-1e6\n", "2")):
        answer = houses.http.post("/predict?model=exams", content=content, headers=headers)
        assert (answer.headers["Prediction-Warnings"], answer.headers["Vary"]) == (n_warnings, "Accept")
        assert answer.headers["Prediction-Model"] == "exams@1"
        if form is None:
            assert len(answer.json().get("warnings", [])) == int(n_warnings)


def test_the_document_tells_of_files(houses: LocalService) -> None:
    operation = houses.http.get("/openapi.json").json()["paths"]["/predict"]["post"]
    assert set(operation["requestBody"]["content"]) == {"application/json", *UPLOADED}
    assert set(operation["responses"]["200"]["content"]) == {"application/json", *map(MEDIA_TYPES.get, READERS)}
    assert {one["name"] for one in operation["parameters"]} == {"model", *CellReading.model_fields}


def test_many_parts_are_answered_as_one(houses: LocalService) -> None:
    frame = exams(40_000)
    by_file = sent(houses, "exams", written("parquet", frame), "parquet")
    assert by_file == houses.post("/predict", {"model": "exams", "features": frame.rows()}).content
    far = frame.with_columns(quiz1=pl.when(pl.int_range(pl.len()) == 39_000).then(1e6).otherwise("quiz1"))
    by_file = sent(houses, "exams", written("parquet", far), "parquet")
    assert b'"sample":39000' in by_file
    assert by_file == houses.post("/predict", {"model": "exams", "features": far.rows()}).content


def test_what_is_too_large_for_memory_is_answered_as_its_halves_are(houses: LocalService) -> None:
    numbers = np.random.default_rng(0).uniform(0, 3, 200_000)
    large_file, large_answer = exams(200_000), pl.DataFrame({"x": numbers})
    assert large_file.estimated_size() > MOST_BYTES_IN_MEMORY > large_answer.estimated_size()
    for model, frame in (("exams", large_file), ("switch", large_answer)):
        contents = [written("arrow", part) for part in (frame, frame[:100_000], frame[100_000:])]
        for form, reader in READERS.items():
            answers = [sent(houses, model, content, "arrow", MEDIA_TYPES[form]) for content in contents]
            whole, *halves = [reader(io.BytesIO(answer)) for answer in answers]
            assert_frame_equal(whole, pl.concat(halves))
        whole, *halves = [json.loads(sent(houses, model, content, "arrow")) for content in contents]
        assert whole["predictions"] == [one for half in halves for one in half["predictions"]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"quiz1,quiz2\n1,2\n", "quiz3"),
        (b"quiz1,quiz2,quiz3,final\n1,2,3,4\n", "feature 'final' is unknown: the model takes quiz1, quiz2, quiz3"),
        (b"quiz1,quiz2,quiz3\n1,2,3\n1,many,3\n", "'many'"),
        (
            b"quiz1,quiz2,quiz3\n1,2,3\n1,,3\n",
            "row 1: feature 'quiz2' is missing, and the model was trained to refuse that",
        ),
        (b"quiz1,quiz2,quiz3\n1,2\n", "line 2"),
        (b"", "is empty"),
        (b"quiz1,quiz2,quiz3\n1,2,NA\n", "if it stands for a missing value, leave it empty, or upload"),
    ],
)
def test_a_file_that_the_model_does_not_take_is_refused(houses: LocalService, content: bytes, words: str) -> None:
    answer = houses.http.post("/predict?model=exams", content=content, headers={"Content-Type": "text/csv"})
    assert words in check_problem(answer, 422)["detail"]


def test_a_row_whose_prediction_no_float_can_hold_is_told(houses: LocalService) -> None:
    content = b"quiz1,quiz2,quiz3\n1,2,3\n1e308,1e308,1e308\n"
    answer = houses.http.post("/predict?model=exams", content=content, headers={"Content-Type": "text/csv"})
    check_fault(answer, "#/rows/1", "too large")


@pytest.mark.parametrize(
    ("model", "content", "media_type", "query"),
    [
        ("exams", "quiz1,quiz2,quiz3\n1,2,3", "text/csv; header=present", ""),
        ("exams", "quiz1|quiz2|quiz3\n1,0|2,0|3,0", "text/csv", "&delimiter=|&decimal=,"),
        ("names", "NAME\nélan\n?\nNA", "text/csv; charset=latin-1", "&missing=NA&missing=%3F"),
        ("names", 'NAME\nélan\n""\nNA', "text/csv", "&missing=NA&encoding=latin-1"),
        ("names", '{"NAME":"élan"}\n{"NAME":"NA"}\n{"NAME":null}', "application/jsonl", "&missing=NA&encoding=cp1252"),
    ],
)
def test_a_file_is_read_as_its_sender_says_as_uploads_are(
    houses: LocalService, model: str, content: str, media_type: str, query: str
) -> None:
    name = {"column": "NAME", "type": "category", "categories": ["élan"], "has_indicator": True}
    given = {"name": "names", "task": "linear_regression", "parameters": {"weight": [2, 3]}, "encoding": [name]}
    assert houses.post("/models", given).status_code == 201
    rows = [[1, 2, 3]] if model == "exams" else [["élan"], [None], [None]]
    answer = houses.http.post(
        f"/predict?model={model}{query}", content=content.encode("latin-1"), headers={"Content-Type": media_type}
    )
    assert answer.json() == houses.post("/predict", {"model": model, "features": rows}).json()


@pytest.mark.parametrize(
    ("query", "media_type", "pointer", "words"),
    [
        ("&delimiter=;", "application/jsonl", "#/query/delimiter", "is for CSV, and this is jsonl: leave it out"),
        ("&encoding=klingon", "text/csv", "#/query/encoding", "'klingon' is not known"),
        ("", "text/csv; charset=klingon", "#/header/Content-Type", "'klingon' is not known"),
        ("", "text/csv; header=perhaps", "#/header/Content-Type", "header=perhaps"),
        ("&decimal=.&decimal=,", "text/csv", "#/query/decimal", "is given twice"),
        ('&types={"quiz1":"text"}', "text/csv", "#/query/types", "query.types is not known"),
        ("&decimal=.", "text/csv", "#/columns/quiz1", "there is no column 'quiz1'"),
    ],
)
def test_what_is_said_wrongly_of_a_file_is_refused_where_it_stands(
    houses: LocalService, query: str, media_type: str, pointer: str, words: str
) -> None:
    headers = {"Content-Type": media_type}
    answer = houses.http.post(f"/predict?model=exams{query}", content=b"decimal,quiz2,quiz3\n1,2,3\n", headers=headers)
    check_fault(answer, pointer, words)


def test_each_category_that_is_not_known_is_told_with_its_row_as_in_a_body_of_json(houses: LocalService) -> None:
    frame = (
        pl.read_csv(FLATS.encode()).drop("price").with_columns(kind=pl.Series(["hut", "flat", None, "tent", "flat"]))
    )
    headers = {"Content-Type": "text/csv"}
    answer = houses.http.post("/predict?model=linear_regression", content=frame.write_csv(), headers=headers)
    by_file = check_problem(answer, 422)["errors"]
    by_json = houses.post("/predict", {"model": "linear_regression", "records": frame.to_dicts()}).json()["errors"]
    assert [one["pointer"] for one in by_file] == [f"#/rows/{row}/kind" for row in (0, 2, 3)]
    assert by_file == [
        {
            "pointer": one["pointer"].replace("records", "rows"),
            "detail": f"row {one['pointer'].split('/')[2]}: {one['detail']}",
        }
        for one in by_json
    ]


@pytest.mark.parametrize("accept", [None, *READERS])
@pytest.mark.parametrize("form", ["csv", "parquet", "arrow"])
def test_a_file_of_no_samples_has_no_predictions(houses: LocalService, form: str, accept: str | None) -> None:
    for model, frame in (("exams", exams(0)), ("switch", pl.DataFrame({"x": [1.0]}).head(0))):
        content = sent(houses, model, written(form, frame), form, None if accept is None else MEDIA_TYPES[accept])
        if accept is None:
            assert json.loads(content)["predictions"] == []
        elif accept != "jsonl":
            assert READERS[accept](io.BytesIO(content)).height == 0
        else:
            assert content == b""
    answer = houses.http.post("/datasets", content=b"a,b\n\n", headers={"Content-Type": "text/csv"})
    assert "the table has no rows: give at least one sample" in check_problem(answer, 422)["detail"]


def test_a_file_for_no_model_is_refused(houses: LocalService) -> None:
    headers = {"Content-Type": "text/csv"}
    check_problem(houses.http.post("/predict?model=nothing", content=b"x\n1\n", headers=headers), 404)
    check_problem(houses.http.post("/predict", content=b"x\n1\n", headers=headers), 422)
    check_problem(houses.http.post("/predict?model=exams&explain=1", content=b"x\n1\n", headers=headers), 422)


def test_a_file_may_be_larger_than_a_body_of_json(tmp_path_factory: pytest.TempPathFactory) -> None:
    data_dir = tmp_path_factory.mktemp("small")
    with local_service(data_dir, max_body_bytes=2_000, max_upload_bytes=50_000) as service:
        service.train({"task": "linear_regression", "model": "exams", "dataset": EXAMS})
        assert len(sent(service, "exams", written("csv", exams(500)), "csv")) > 2_000
        answer = service.http.post(
            "/predict?model=exams", content=written("csv", exams(5000)), headers={"Content-Type": "text/csv"}
        )
        assert "DESCENT_MAX_UPLOAD_BYTES" in check_problem(answer, 413)["detail"]


@pytest.mark.parametrize("format_", ["parquet", "arrow"])
def test_a_table_larger_than_its_file_is_refused_by_what_it_takes_unpacked(tmp_path: Path, format_: str) -> None:
    n_rows, file = 100_000, io.BytesIO()
    frame = pl.DataFrame({"x": [0.5] * n_rows, "y": [1.5] * n_rows})
    if format_ == "parquet":
        frame.write_parquet(file)
    else:
        frame.write_ipc(file, compression="zstd")
    content = file.getvalue()
    headers = {"Content-Type": MEDIA_TYPES[format_]}
    with local_service(tmp_path, max_upload_bytes=16 * n_rows - 1) as service:
        assert len(content) < 100_000
        for path in ("/datasets", "/predict?model=lines"):
            if path != "/datasets":
                service.train({**line(), "model": "lines"})
            answer = service.http.post(path, content=content, headers=headers)
            assert "(setting DESCENT_MAX_UPLOAD_BYTES)" in check_problem(answer, 413)["detail"]
        assert left_behind(tmp_path) == kept(tmp_path) == set()
