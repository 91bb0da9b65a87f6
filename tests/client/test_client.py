import asyncio
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from service.client import (
    AsyncDescent,
    Descent,
    JobFailed,
    ServiceRefused,
    ServiceUnreachable,
    UnreadableFile,
    UnsendableData,
)
from service.client.tables import INLINE_NUMBERS
from tests.client.flaky import flaky
from tests.conftest import LiveService

GENERATOR = np.random.default_rng(6)
FEATURES = GENERATOR.normal(size=(40, 3))
TARGETS = FEATURES @ [1.0, -2.0, 3.0] + 0.5
LINEAR: dict[str, Any] = {"task": "linear_regression", "dtype": "float64"}
PROBLEM = {"type": "about:blank", "title": "…", "status": 503, "detail": "about to end", "instance": "/"}


@pytest.fixture
def client(live: LiveService) -> Iterator[Descent]:
    with Descent(live.url) as client:
        yield client


def test_arrays_are_trained_on_waited_for_and_predicted(client: Descent) -> None:
    job = client.train(FEATURES, TARGETS, **LINEAR, epochs=300, model="client-arrays").wait()
    assert (job["status"], job.model) == ("succeeded", "client-arrays@1")
    history = job.history
    assert history["epoch"].tolist() == list(range(301))
    assert history["train_loss"][-1] < 1e-12 < history["train_loss"][0]
    assert job.parameters["weight"] == pytest.approx([1, -2, 3])
    assert len(job.thinned_history(10)["epoch"]) == 10
    prediction = client.predict(job.model, FEATURES)
    assert np.asarray(prediction) == pytest.approx(TARGETS)
    assert (prediction.version, prediction.probabilities, prediction.warnings) == (1, None, [])
    (explained,) = client.predict(job.model, FEATURES[:1], explain=True).explanations or []
    assert explained["value"] == pytest.approx(TARGETS[0])


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_the_asynchronous_client_does_the_same_and_lets_others_go_on(live: LiveService, tmp_path: Path) -> None:
    async def trained(client: AsyncDescent, factor: float) -> float:
        job = await client.train(FEATURES, factor * TARGETS, **LINEAR, epochs=300)
        await job.wait()
        assert (await job.history)["epoch"][-1] == 300
        return float((await client.predict(job.model, FEATURES)).values[0])

    async def both() -> list[float]:
        async with AsyncDescent(live.url) as client:
            kept = await client.upload(pl.DataFrame({"x": [1, 2], "y": [2, 4]}))
            assert (await client.upload(write(tmp_path / "line.csv", b"x,y\n1,2\n")))["n_samples"] == 1
            assert (await client.dataset(kept["id"]))["n_samples"] == 2
            return list(await asyncio.gather(trained(client, 1.0), trained(client, 2.0)))

    assert asyncio.run(both()) == pytest.approx([TARGETS[0], 2 * TARGETS[0]])


TONES: dict[str, Any] = {"size": [1.5, 2.0, None, 4.0], "tone": ["red", "blue", "red", "-"], "loud": [True, False] * 2}


@pytest.mark.parametrize("frame", [pd.DataFrame(TONES), pl.DataFrame(TONES), pl.DataFrame(TONES).to_arrow()], ids=type)
def test_a_frame_is_kept_as_a_dataset_in_one_call_and_trained_on_by_its_id(client: Descent, frame: Any) -> None:
    dataset = client.upload(frame, name="client-tones", missing=["-"], types={"loud": "category"})
    kinds = {column["name"]: column["type"] for column in dataset["schema"]}
    assert kinds == {"size": "number", "tone": "category", "loud": "category"}
    assert [dataset["statistics"][name]["missing"] for name in kinds] == [1, 1, 0]
    assert (dataset["n_samples"], dataset["format"]) == (4, "arrow")
    job = client.train(dataset["id"], target="loud", task="logistic_regression", missing="indicator", epochs=3)
    assert job.wait()["dataset"] == dataset["id"]


@pytest.mark.parametrize("name", ["tones.csv", "tones.CSV.gz"])
def test_a_file_is_kept_as_a_dataset_and_not_sent_when_it_is_there(client: Descent, tmp_path: Path, name: str) -> None:
    content = f"size;colour\n1,5;{name}\nNA;blue\n".encode()
    path = write(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    first = client.upload(path)
    assert (first["name"], first["schema"][0]["type"]) == ("tones", "category")
    assert client.upload(str(path), progress=False)["id"] == first["id"]
    read = client.upload(path, name="other", decimal=",", delimiter=";", header=True, missing=["NA"], encoding=None)
    assert (read["name"], read["schema"][0]["type"]) == ("other", "number")
    with pytest.raises(ServiceRefused, match="headers"):
        client.upload(path, headers=True)


@pytest.mark.parametrize(
    ("data", "error", "why"),
    [
        ("nowhere.csv", UnreadableFile, "there is no file nowhere.csv"),
        (__file__, UnreadableFile, r"has no ending that tells its format: \.csv, .* with \.gz or \.zst behind"),
        (FEATURES, UnsendableData, "give a frame or the path of a file, not ndarray"),
    ],
)
def test_what_is_neither_a_frame_nor_a_file_is_not_uploaded(data: Any, error: type[Exception], why: str) -> None:
    with Descent("http://127.0.0.1:9") as client, pytest.raises(error, match=why):
        client.upload(data)


@pytest.mark.parametrize("size", [40, INLINE_NUMBERS // 2])
@pytest.mark.parametrize("form", ["array", "pandas", "polars", "arrow", "target"])
def test_numbers_arrive_in_every_bit_however_they_go(client: Descent, form: str, size: int) -> None:
    features = np.random.default_rng(size).normal(size=(size, 2)) * 10.0 ** np.arange(-3, 4, 6)
    targets = features @ [0.1, 1 / 3]
    frame = pd.DataFrame(features, columns=["a", "b"], index=np.arange(size)[::-1])
    given: dict[str, Any] = {
        "array": (features, targets),
        "pandas": (frame, pd.Series(targets, frame.index, name="t")),
        "polars": (pl.DataFrame({"a": features[:, 0], "b": features[:, 1]}), pl.Series(targets)),
        "arrow": (pl.DataFrame({"a": features[:, 0], "b": features[:, 1]}).to_arrow(), list(targets)),
        "target": (frame.assign(t=targets), None),
    }
    data, answers = given[form]
    target = None if answers is not None else "t"
    first = client.train(data, answers, target=target, **LINEAR, seed=1, epochs=5, wait_seconds=60)
    again = client.submit(
        {
            "task": "linear_regression",
            "dataset": {"features": features.tolist(), "targets": targets.tolist()},
            "hyperparameters": {"seed": 1, "dtype": "float64", "epochs": 5},
        }
    ).wait()
    assert first.history["train_loss"].tolist() == again.history["train_loss"].tolist()


@pytest.mark.parametrize("library", [pd, pl])
def test_a_frame_with_categories_holes_and_labels_goes_as_it_is(client: Descent, library: Any) -> None:
    columns = {"area": [50.0, 120, None, 200] * 3, "kind": ["flat", "house"] * 6, "big": ["no", "yes"] * 6}
    frame = library.DataFrame(columns)
    how: dict[str, Any] = {"task": "logistic_regression", "missing": "mean", "scale": "standard"}
    job = client.train(frame, target="big", **how, wait_seconds=60).wait()
    prediction = client.predict(job.model, frame[["area", "kind"]].head(2))
    assert prediction.values.tolist() == ["no", "yes"]
    assert prediction.classes == ["no", "yes"]
    assert prediction.probabilities is not None
    assert prediction.probabilities.sum(axis=1) == pytest.approx([1, 1])
    beside = client.train(frame[["area", "kind"]], frame["big"], **how, wait_seconds=60).wait()
    assert beside["result"]["train_loss"] == pytest.approx(job["result"]["train_loss"], rel=1e-6)


def test_where_neither_polars_nor_pyarrow_is_there_arrays_go_as_text_in_every_bit(live: LiveService) -> None:
    program = f"""
import sys, json, numpy as np
from service.client import Descent
features = np.random.default_rng(0).normal(size=({INLINE_NUMBERS}, 2))
targets = np.where(features[:, 0] > 0, "1", "0")
with Descent({live.url!r}) as client:
    job = client.train(features, targets, task="logistic_regression", epochs=50, wait_seconds=60).wait()
    dataset = client.dataset(job["dataset"])
    found = client.predict(job.model, features[:2])
    hidden = [name for name in ("torch", "polars", "pandas", "sklearn", "pyarrow") if name in sys.modules]
    print(json.dumps([hidden, dataset["statistics"]["x1"]["min"], features[:, 0].min(), found.values.tolist()]))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    hidden, least, smallest, labels = json.loads(found.stdout)
    assert hidden == []
    assert least == smallest
    assert set(labels) <= {"0", "1"}


def test_errors_carry_the_problem_and_a_failed_job_its_diagnosis(client: Descent) -> None:
    with pytest.raises(ServiceRefused, match="less than 1, not 2") as refused:
        client.train(FEATURES, TARGETS, **LINEAR, momentum=2)
    assert refused.value.problem["status"] == 422
    assert refused.value.problem["errors"][0]["pointer"] == "#/hyperparameters/momentum"
    job = client.train(FEATURES, TARGETS, **LINEAR, learning_rate=1e6)
    with pytest.raises(JobFailed, match="learning rate") as failed:
        job.wait()
    assert failed.value.job["diagnosis"]["suggestion"]
    assert job["status"] == "failed"
    assert job.retry(apply_suggestion=True).wait()["status"] == "succeeded"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((np.array([["a"]]), [1]), "texts go as a DataFrame"),
        (([[1, 2], [3]], [1, 2]), "are no table"),
        ((FEATURES, None), "either targets"),
        ((pd.DataFrame([[1, 2]], columns=["a", "a"]), [1]), "two columns of one name"),
        ((pd.DataFrame({"a": [1, "x"], "t": [1, 2]}), [1, 2]), "cannot be written as a table"),
    ],
)
def test_data_that_is_no_table_is_refused_before_anything_is_sent(given: Any, why: str) -> None:
    with Descent("http://127.0.0.1:9") as client, pytest.raises(UnsendableData, match=why):
        client.train(*given, task="linear_regression")


def test_what_fails_in_passing_is_sent_again_under_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESCENT_API_KEY", "secret")
    soon = {"Retry-After": "0"}
    answers = ((503, soon, PROBLEM), (429, soon, PROBLEM), (202, dict[str, str](), {"id": "job_1"}))
    with flaky(*answers) as (server, url), Descent(url) as client:
        assert client.train([[1.0], [2.0]], [1, 2], task="linear_regression").id == "job_1"
    assert len(server.asked) == 3
    assert len({headers["Idempotency-Key"] for _, headers in server.asked}) == 1
    assert len({body for body, _ in server.asked}) == 1
    assert server.asked[0][1]["Authorization"] == "Bearer secret"


def test_a_service_that_says_to_come_back_much_later_is_believed() -> None:
    with flaky((429, {"Retry-After": "3600"}, PROBLEM)) as (server, url):
        with Descent(url) as client, pytest.raises(ServiceRefused, match="about to end"):
            client.jobs()
        assert len(server.asked) == 1


def test_deleting_again_what_an_earlier_try_has_deleted_is_no_error() -> None:
    gone = {**PROBLEM, "status": 404}
    with flaky((502, {}, PROBLEM), (404, {}, gone), (404, {}, gone)) as (_, url), Descent(url) as client:
        client.delete_dataset("ds_1")
        with pytest.raises(ServiceRefused):
            client.delete_dataset("ds_1")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://[", "nonsense"])
def test_an_address_where_nothing_answers_is_told(url: str) -> None:
    with pytest.raises(ServiceUnreachable, match=r"no service answers|is no URL"), Descent(url) as client:
        client.jobs()
