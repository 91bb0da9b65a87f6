import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.datasets import load_iris

from service.client import Descent, ServiceRefused, UnsendableData
from service.client.predictions import AT_ONCE, EXPLAINED_AT_ONCE
from tests.client.flaky import flaky
from tests.conftest import LiveService

HOUSES: dict[str, Any] = {
    "area": [50.0, 120, 80, 200, 95],
    "rooms": [2.0, 4, None, 6, 3],
    "kind": ["flat", "house", None, "house", "flat"],
    "new": [True, False, True, False, True],
    "sold": [datetime(2020, 1, 31), datetime(2021, 6, 30, 12), None, datetime(2022, 2, 28), datetime(2022, 3, 1)],
    "price": [100.0, 240, 160, 410, 190],
}
FEATURES = [name for name in HOUSES if name != "price"]
NO_ROWS = pd.DataFrame(np.empty((0, 4)), columns=["x1", "x2", "x3", "x4"])


@pytest.fixture(scope="session")
def client(live: LiveService) -> Iterator[Descent]:
    """A client of a service with models of columns of every kind, of classes and of a perceptron."""
    with Descent(live.url) as client:
        how: dict[str, Any] = {"missing": "indicator", "dates": {"sold": ["year", "month"]}, "scale": "standard"}
        linear: dict[str, Any] = {"task": "linear_regression", "target": "price", "wait_seconds": 60}
        client.train(pl.DataFrame(HOUSES), model="told-houses", **linear, **how).wait()
        flowers, species = load_iris(return_X_y=True)
        client.train(flowers, species, task="softmax_regression", model="told-iris", epochs=50, wait_seconds=60).wait()
        for name, labels in {"truths": [True, False, True], "mixed": [1, "1", "1"]}.items():
            given = {"features": [0, 1, 2], "targets": labels}
            client.train(given, task="logistic_regression", model=f"told-{name}", wait_seconds=60).wait()
        yield client


@pytest.mark.parametrize(
    "frame", [pd.DataFrame(HOUSES), pl.DataFrame(HOUSES), pl.DataFrame(HOUSES).to_arrow()], ids=type
)
def test_a_frame_of_columns_of_every_kind_is_explained_as_it_is_predicted_for(client: Descent, frame: Any) -> None:
    samples = frame.select(FEATURES) if hasattr(frame, "select") else frame[FEATURES]
    plain, told = client.predict("told-houses", samples), client.predict("told-houses", samples, explain=True)
    assert told.values.tolist() == pytest.approx(plain.values.tolist(), rel=1e-12)
    assert [one["value"] for one in told.explanations or []] == told.values.tolist()
    assert (told.explanations or [])[0]["contributions"].keys() == set(FEATURES)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("sold", pd.to_datetime(["2022-03-01", None])),
        ("sold", pd.array([date(2022, 3, 1), None])),
        ("sold", pd.to_datetime(["2022-03-01T01:00+01:00", None])),
        ("rooms", pd.array([3, None], "Int64")),
        ("rooms", pd.array([np.float32(3), float("nan")])),
        ("rooms", pd.Series([Decimal(3), None], dtype=object)),
        ("kind", pd.Categorical(["flat", None])),
        ("kind", pd.array(["flat", pd.NA], "string")),
    ],
)
def test_however_a_frame_writes_a_value_and_that_there_is_none_it_means_the_same(
    live: LiveService, client: Descent, column: str, values: Any
) -> None:
    first = {"area": 95.0, "rooms": 3, "kind": "flat", "new": True, "sold": "2022-03-01"}
    samples = pd.DataFrame([first, {**first, column: None}], dtype=object).assign(**{column: values})
    told = client.predict("told-houses", samples, explain=True).values
    records = {"model": "told-houses", "records": [first, {**first, column: None}]}
    assert told.tolist() == live.http.post("/predict", json=records).json()["predictions"]


@pytest.mark.parametrize(
    ("value", "why"),
    [(float("inf"), "'area' has an infinite value"), (b"95", "'area' has a value .* of type bytes")],
)
def test_a_value_that_json_does_not_know_is_refused_by_its_column(client: Descent, value: Any, why: str) -> None:
    samples = pd.DataFrame({**{name: HOUSES[name][:1] for name in FEATURES}, "area": [value]})
    with pytest.raises(UnsendableData, match=why):
        client.predict("told-houses", samples, explain=True)


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("samples", [[], np.empty((0, 4)), NO_ROWS], ids=type)
def test_no_samples_have_no_predictions(client: Descent, samples: Any, explain: bool) -> None:
    found = client.predict("told-iris", samples, explain=explain)
    assert (len(found), found.classes, found.warnings, found.explanations) == (0, [0, 1, 2], [], None)
    assert found.probabilities is not None
    assert found.probabilities.shape == (0, 3)


@pytest.mark.parametrize(
    ("model", "classes"), [("iris", [0, 1, 2]), ("truths", [False, True]), ("mixed", [1, "1"])], ids=str
)
def test_classes_are_the_labels_as_they_were_given(client: Descent, model: str, classes: list[Any]) -> None:
    samples = np.zeros((1, 4 if model == "iris" else 1))
    for given in samples, pd.DataFrame(samples, columns=NO_ROWS.columns if model == "iris" else ["x"]):
        found = client.predict(f"told-{model}", given)
        assert [(type(label), label) for label in found.classes or []] == [(type(label), label) for label in classes]
        assert found.probabilities is not None
        assert found.values[0] == (found.classes or [])[int(found.probabilities[0].argmax())]


def test_as_many_samples_are_explained_as_there_are(client: Descent) -> None:
    kinds = [f"kind {number}" for number in range(100)] * 3
    frame = pl.DataFrame({"kind": kinds, "price": np.arange(300.0)})
    client.train(frame, target="price", task="linear_regression", model="told-kinds", epochs=9, wait_seconds=60).wait()
    samples = pl.concat([frame.select("kind")] * 37)
    assert len(samples) < EXPLAINED_AT_ONCE  # and they would have 1,110,000 contributions, where 1,000,000 is the limit
    found = client.predict("told-kinds", samples, explain=True)
    values = [one["value"] for one in found.explanations or []]
    assert values == pytest.approx(client.predict("told-kinds", samples).values.tolist())


def answered(model: str, n_samples: int, sample: int) -> tuple[int, dict[str, str], Any]:
    """What a service says of some samples, one of which is beyond what training saw."""
    name, _, version = model.partition("@")
    content = {"predictions": [0.0] * n_samples, "warnings": [{"sample": sample}], "explanations": [{}] * n_samples}
    return 200, {}, {"model": name, "version": int(version), **content}


@pytest.mark.parametrize("explain", [False, True])
def test_what_takes_several_requests_is_answered_by_one_version_and_samples_are_counted_on(explain: bool) -> None:
    samples = np.zeros((5, (EXPLAINED_AT_ONCE if explain else AT_ONCE) // 2))
    answers = (answered("m@3", 2, 1), answered("m@3", 2, 0), answered("m@3", 1, 0))
    with flaky(*answers) as (server, url), Descent(url) as client:
        found = client.predict("m@production", samples, explain=explain)
    assert [json.loads(body)["model"] for body, _ in server.asked] == ["m@production", "m@3", "m@3"]
    assert [len(json.loads(body)["features"]) for body, _ in server.asked] == [2, 2, 1]
    assert [warning["sample"] for warning in found.warnings] == [1, 2, 4]
    assert (len(found), found.version) == (5, 3)


def test_what_is_too_much_to_explain_at_once_is_asked_for_in_parts_and_other_refusals_are_told() -> None:
    def refused(pointer: str) -> tuple[int, dict[str, str], Any]:
        fault = {"pointer": pointer, "detail": "too much"}
        return 422, {}, {"status": 422, "detail": "too much", "errors": [fault]}

    parts = (answered("m@1", 2, 0), answered("m@1", 2, 0), answered("m@1", 2, 0), answered("m@1", 2, 0))
    with flaky(refused("#/explain"), *parts) as (server, url), Descent(url) as client:
        found = client.predict("m", [[1.0]] * 8, explain=True)
    assert [len(json.loads(body)["features"]) for body, _ in server.asked] == [8, 2, 2, 2, 2]
    assert ([warning["sample"] for warning in found.warnings], len(found.explanations or [])) == ([0, 2, 4, 6], 8)
    for pointers in (["#/features/0"], ["#/explain", "#/explain", "#/explain"]):
        wrong = pytest.raises(ServiceRefused, match="too much")
        with flaky(*map(refused, pointers)) as (server, url), Descent(url) as client, wrong:
            client.predict("m", [[1.0]] * 8, explain=True)
        assert len(server.asked) == len(pointers)


def test_dates_with_a_zone_are_told_in_it(client: Descent) -> None:
    sold = [datetime(2022, 1, 1, 0, 30, tzinfo=UTC)]
    samples = pl.DataFrame({**{name: HOUSES[name][:1] for name in FEATURES}, "sold": sold})
    told = client.predict("told-houses", samples, explain=True).values
    zoned = samples.with_columns(pl.col("sold").dt.convert_time_zone("America/New_York"))
    assert client.predict("told-houses", zoned, explain=True).values.tolist() == told.tolist()
