import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from service.api import invocations, predict
from service.api.tensors import array_from_json
from service.api.train import InlineDataset, TrainRequest, dataset_of
from service.api.validating import LONG, read_long
from service.api.wording import fault_of
from service.data.json_pieces import read_json
from service.dataset import Schema
from service.encoding import ColumnEncoding
from service.errors import MAX_FAULTS, Fault, InvalidRequest
from service.hyperparameters import Hyperparameters
from tests.api.conftest import Json, LocalService, check_fault, line

PIECES = st.integers(4, 60)
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -0.0, 1e300, 2**53 + 1, 10**400, float("nan"), float("inf")])
SCALARS = st.none() | st.booleans() | st.sampled_from(["", "a", "1", "ä"]) | NUMBERS
GOOD = st.integers(-3, 3) | st.floats(-9, 9)


def lists_of(n: int, some: st.SearchStrategy[Any], strange: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Lists of n values of a kind, most of which have no others."""
    good = st.lists(some, min_size=n, max_size=n)
    return good | good | st.lists(some | strange, max_size=n)


N = 12
ROWS = lists_of(2, GOOD, SCALARS)
FEATURES = lists_of(N, GOOD, SCALARS) | lists_of(N, ROWS, SCALARS | st.just({}))
LABELS = st.sampled_from(["a", "b", True, 1, 2]) | st.sampled_from([1, 2]) | st.sampled_from([0.5, 1.0, 2])
TARGETS = FEATURES | lists_of(N, LABELS, SCALARS | st.just([]))
RECORDS = lists_of(N, st.fixed_dictionaries({"a": GOOD, "b": GOOD}), st.dictionaries(st.sampled_from("abc"), SCALARS))
TASKS = st.sampled_from(["linear_regression", "softmax_regression"])

PLAIN = Schema(("a", "b"), ("y",))
ENCODED = Schema(
    ("a", "b=1", "b=a"), ("y",), encoding=(ColumnEncoding("a", "number"), ColumnEncoding("b", "category", ("1", "a")))
)
SCHEMAS = st.sampled_from([PLAIN, ENCODED])


def outcome_of(work: Callable[[], Any], body: Json, kind: Any) -> tuple[Any, list[Fault]]:
    """Give what comes of a body, or its faults."""
    try:
        return work(), []
    except InvalidRequest as invalid:
        return None, list(invalid.faults)
    except RequestValidationError as refusal:
        return None, [fault_of(error, body, kind) for error in refusal.errors()]
    except ValidationError as refusal:
        return None, [fault_of({**error, "loc": ("body", *error["loc"])}, body, kind) for error in refusal.errors()]


def check_alike(
    kind: type[BaseModel], body: Json, piece_bytes: int, take: Callable[[Any], Any], *, in_parts: bool = False
) -> None:
    """Check that a body in pieces comes to the same as a whole, or has the first of its faults.

    Where it is encoded in parts they are those of the first part that has some.
    """
    content = json.dumps(body).encode()
    found, faults = outcome_of(lambda: take(read_long(kind, content, piece_bytes)), body, kind)
    expected, all_faults = outcome_of(lambda: take(kind.model_validate(json.loads(content))), body, kind)
    assert found == expected
    assert bool(faults) == bool(all_faults)
    assert in_parts or faults[:1] == all_faults[:1]
    assert set(faults) <= set(all_faults)


@settings(deadline=None, max_examples=150)
@given(TASKS, FEATURES, TARGETS, st.none() | lists_of(N, GOOD.map(abs), SCALARS), PIECES)
def test_a_dataset_in_pieces_is_the_same_or_refused_for_the_same(
    task: str, features: Any, targets: Any, weights: Any, piece_bytes: int
) -> None:
    dataset = {"features": features, "targets": targets, "sample_weight": weights}
    body = {"task": task, "dataset": dataset}
    check_alike(TrainRequest, body, piece_bytes, lambda it: dataset_of(it.task, it.dataset).content)


@settings(deadline=None)
@given(TASKS, RECORDS, PIECES)
def test_records_in_pieces_are_the_same_dataset_or_refused_for_the_same(
    task: str, records: Any, piece_bytes: int
) -> None:
    body = {"task": task, "dataset": {"records": records, "target": "a"}}
    check_alike(TrainRequest, body, piece_bytes, lambda it: dataset_of(it.task, it.dataset).content)


@settings(deadline=None)
@given(SCHEMAS, st.sampled_from(["features", "records", "columns"]), st.data(), PIECES)
def test_samples_in_pieces_are_the_same_or_refused_for_the_same(
    schema: Schema, form: str, data: st.DataObject, piece_bytes: int
) -> None:
    columns = st.dictionaries(st.sampled_from(["a", "b"]), lists_of(N, GOOD, SCALARS), min_size=1)
    forms = {"features": FEATURES, "records": RECORDS, "columns": columns}
    body = {"model": "m", form: data.draw(forms[form])}
    check_alike(
        predict.PredictRequest,
        body,
        piece_bytes,
        lambda it: predict.samples_of(schema, it).tobytes(),
        in_parts=schema is ENCODED,
    )


@settings(deadline=None)
@given(SCHEMAS, st.sampled_from(invocations.FORMS), st.data(), PIECES)
def test_invocations_in_pieces_are_the_same_or_refused_for_the_same(
    schema: Schema, form: str, data: st.DataObject, piece_bytes: int
) -> None:
    columns = st.dictionaries(st.sampled_from(["a", "b"]), lists_of(N, GOOD, SCALARS), min_size=1)
    lists = FEATURES | RECORDS
    split = st.fixed_dictionaries({"data": lists_of(N, ROWS, st.just([]))}, optional={"columns": st.just(["b", "a"])})
    forms = {"dataframe_split": split, "dataframe_records": RECORDS}
    body = {form: data.draw(forms.get(form, lists | columns))}
    check_alike(
        invocations.InvocationRequest,
        body,
        piece_bytes,
        lambda it: invocations.samples_of(schema, it).tobytes(),
        in_parts=True,
    )


@settings(deadline=None)
@given(FEATURES, st.sampled_from(["FP64", "INT64", "UINT8", "BYTES", "BOOL", "BF16"]), PIECES)
def test_tensors_in_pieces_are_the_same_or_refused_alike(values: Any, datatype: Any, piece_bytes: int) -> None:
    shape = [N, 2] if values and isinstance(values[0], list) else [N]

    def outcome(data: Any) -> Any:
        try:
            array = array_from_json(datatype, shape, data)
        except InvalidRequest:
            return "refused"  # of several kinds of faults the first part's is told
        return array.shape, array.dtype, array.tolist() if array.dtype == object else array.tobytes()

    content = json.dumps(values).encode()
    with np.errstate(invalid="ignore"):
        assert outcome(read_json(content, piece_bytes)) == outcome(json.loads(content))


def long_line(n_samples: int = LONG, **changes: Any) -> Json:
    return line(dataset={"features": [*range(n_samples)], "targets": [2 * x for x in range(n_samples)]}, **changes)


def test_a_long_body_is_kept_and_answered_as_its_rows_are(local: LocalService) -> None:
    body = long_line(hyperparameters={"epochs": 1, "seed": 1})
    job = local.post("/train", body, {"Idempotency-Key": "long"}).json()
    rows = {**body["dataset"], "features": [[x] for x in body["dataset"]["features"]]}
    assert local.post("/train", {**body, "dataset": rows}).json()["dataset"] == job["dataset"]
    again = local.post("/train", json.dumps(body, indent=1), {"Idempotency-Key": "long"})
    assert again.json()["id"] == job["id"]
    other = {**body["dataset"], "targets": [*body["dataset"]["targets"][:-1], 0]}
    refused = local.post("/train", {**body, "dataset": other}, {"Idempotency-Key": "long"})
    check_fault(refused, "#/header/Idempotency-Key", "another request")


def test_numbers_too_large_for_an_array_are_labels_as_they_are_written_and_tell_bodies_apart(
    local: LocalService,
) -> None:
    labels = [2**53, 2**53 + 1] * 8
    content = json.dumps({"features": [[x] for x in range(16)], "targets": labels}).encode()
    found = read_long(InlineDataset, content, 20)
    assert dataset_of("softmax_regression", found).schema.classes == (2**53, 2**53 + 1)
    body = long_line(hyperparameters={"epochs": 1})
    features = body["dataset"]["features"]
    for key, targets, same, is_same in (
        ("large", [2**53 + 1] * LONG, [2**53] * LONG, False),
        ("mixed", [1, 1.0] * (LONG // 2), [1.0, 1] * (LONG // 2), False),
        ("features", [2] * LONG, [2] * LONG, True),
    ):
        its = {"features": features, "targets": targets}
        other = {"features": [float(x) for x in features], "targets": same}
        first, second = (
            local.post(
                "/train", {**body, "dataset": dataset, "hyperparameters": {"epochs": 1}}, {"Idempotency-Key": key}
            )
            for dataset in (its, other)
        )
        assert (first.status_code, second.status_code) == (202, 202 if is_same else 422), key


def test_parameters_with_rows_longer_than_a_piece_are_taken() -> None:
    weight = [[float(x) for x in range(30)] for _ in range(3)]
    for start in (
        {"weight": weight, "bias": [0, 0, 0]},
        {"parameters": [{"weight": weight, "bias": [0, 0, 0]}, {"weight": weight, "bias": [0, 0, 0]}]},
        [{"weight": weight, "bias": [0, 0, 0]}],
    ):
        content = json.dumps({"start": start}).encode()
        try:
            expected = Hyperparameters.model_validate_json(content)
        except ValidationError:
            with pytest.raises(RequestValidationError):
                read_long(Hyperparameters, content, 20)
        else:
            assert read_long(Hyperparameters, content, 20) == expected


def test_a_long_column_of_lists_is_refused_as_a_short_one_is(standing: LocalService) -> None:
    columns: tuple[list[Any], ...] = ([[1]] * (LONG + 2), [[]] * (LONG + 2), [[1, 2]] * LONG)
    for column in columns:
        long, short = (
            standing.post("/predict", {"model": "line", "columns": {"x": its}}) for its in (column, column[:3])
        )
        assert (long.status_code, short.status_code) == (422, 422)
        assert long.json()["errors"][0] == short.json()["errors"][0]


def test_of_names_that_stand_twice_some_are_told_and_no_more_are_looked_for() -> None:
    content = b"[" + b",".join([b'{"x":1,"x":2}'] * 200_000) + b"]"
    with pytest.raises(InvalidRequest) as refused:
        read_json(content)
    assert refused.value.faults[0].pointer == "/0/x"
    assert MAX_FAULTS < refused.value.n_faults < 100_000


def test_a_body_nested_beyond_measure_is_refused_under_a_key_as_without_one(local: LocalService) -> None:
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    body = line(dataset={"features": [1, 2, 3], "targets": [deep, deep, deep]})
    assert local.post("/train", body).status_code == 422
    check_fault(local.post("/train", body, {"Idempotency-Key": "deep"}), "#", "nested too deeply")


def test_predictions_for_a_long_body_are_those_for_its_parts(standing: LocalService) -> None:
    for model in ("line", "switch"):
        values = np.linspace(-1, 5, LONG + 2).tolist()
        found = standing.post("/predict", {"model": model, "features": values}).json()
        parts = [
            standing.post("/predict", {"model": model, "features": values[first : first + 20_000]}).json()
            for first in range(0, len(values), 20_000)
        ]
        for name in ("predictions", *(("probabilities",) if model == "switch" else ())):
            assert found[name] == [one for part in parts for one in part[name]]


def test_while_a_long_body_is_in_work_others_are_answered_and_other_long_ones_wait(standing: LocalService) -> None:
    portal, turn = standing.http.portal, standing.http.app.state.long_bodies  # type: ignore[attr-defined]
    assert portal is not None
    answers: list[int] = []
    waiting = threading.Thread(
        target=lambda: answers.append(standing.post("/train/check", long_line()).status_code), daemon=True
    )
    portal.call(turn.acquire)
    try:
        waiting.start()
        for path in ("/healthz", "/jobs", "/predict?model=line&x=1"):
            assert standing.http.get(path).status_code == 200
        assert standing.post("/train/check", line()).status_code == 200
        assert not answers
    finally:
        portal.call(turn.release)
    waiting.join()
    assert answers == [200]


def test_a_long_body_whose_answer_waits_for_its_job_keeps_no_other_waiting(local: LocalService) -> None:
    answers: list[int] = []
    body = long_line(hyperparameters={"epochs": 1})
    waiting = threading.Thread(
        target=lambda: answers.append(local.post("/train", body, {"Prefer": "wait=60"}).status_code), daemon=True
    )
    waiting.start()
    while not local.http.get("/jobs").json()["data"]:
        pass
    assert local.post("/train/check", long_line()).status_code == 200
    assert not answers  # it waits still
    local.work()
    waiting.join()
    assert answers == [201]
