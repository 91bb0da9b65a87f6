from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from service.client import Descent, ServiceRefused, UnreadableFile, UnsendableData
from service.client.tables import INLINE_NUMBERS
from tests.conftest import LiveService

GENERATOR = np.random.default_rng(3)
FEATURES = GENERATOR.normal(size=(60, 2))
TARGETS = FEATURES @ [2.0, -1.0] + GENERATOR.normal(size=60)
TABLE = {"b": FEATURES[:, 0], "a": FEATURES[:, 1], "tone": ["red", "blue"] * 30, "sum": TARGETS}


@pytest.fixture(scope="session")
def client(live: LiveService) -> Iterator[Descent]:
    """A client of a service with models of arrays, of a frame, of several targets and of labels."""
    with Descent(live.url) as client:
        how: dict[str, Any] = {"task": "linear_regression", "epochs": 200, "wait_seconds": 60}
        frame = pd.DataFrame(TABLE)
        client.train(frame.drop(columns="tone"), target="sum", model="kept-plain", **how).wait()
        client.train(frame, target="sum", model="kept-tones", **how).wait()
        both = np.column_stack([TARGETS, -TARGETS])
        client.train(FEATURES, both, model="kept-both", **how).wait()
        labels = np.where(TARGETS > 0, "up", "down")
        client.train(FEATURES, labels, model="kept-labels", **{**how, "task": "logistic_regression"}).wait()
        yield client


@pytest.mark.parametrize("library", [pd, pl])
@pytest.mark.parametrize("model", ["kept-plain", "kept-tones"])
def test_a_model_is_evaluated_on_a_frame_with_its_target(client: Descent, library: Any, model: str) -> None:
    columns = ["b", "a", "sum"] if model == "kept-plain" else list(TABLE)
    frame = library.DataFrame(TABLE)[columns]
    found = client.evaluate(model, frame, worst=2)
    errors = np.asarray(client.predict(model, frame[columns[:-1]])) - TARGETS
    assert found["metrics"]["mse"] == pytest.approx(np.mean(errors**2))
    assert [one["index"] for one in found["worst"]] == np.argsort(-(errors**2))[:2].tolist()
    renamed = frame.rename(columns={"sum": "other"}) if library is pd else frame.rename({"sum": "other"})
    assert client.evaluate(model, renamed, target="other", worst=2) == found
    assert client.evaluate(model, frame[columns[:-1]], frame["sum"], worst=2) == found
    kept = client.upload(frame)
    assert client.evaluate(model, kept["id"], worst=2) == found
    assert client.evaluate(f"{model}@1", {"id": kept["id"]}, worst=2) == found


@pytest.mark.parametrize("model", ["kept-plain", "kept-both", "kept-labels"])
@pytest.mark.parametrize("times", [1, 1 + INLINE_NUMBERS // FEATURES.size])
def test_a_model_is_evaluated_on_arrays_in_the_order_of_its_features(client: Descent, model: str, times: int) -> None:
    answers = {"kept-both": np.column_stack([TARGETS, -TARGETS]), "kept-labels": np.where(TARGETS > 0, "up", "down")}
    targets = answers.get(model, TARGETS)
    found = client.evaluate(model, np.tile(FEATURES, (times, 1)), np.concatenate([targets] * times), worst=0)
    assert (found["n_samples"], found["worst"]) == (60 * times, [])
    values = np.asarray(client.predict(model, FEATURES))
    if model == "kept-labels":
        assert found["metrics"]["accuracy"] == pytest.approx(np.mean(values == targets))
    else:
        assert found["metrics"]["mse"] == pytest.approx(np.mean((values - targets) ** 2))


def test_several_targets_of_a_frame_are_trained_on_and_evaluated_by_their_columns(client: Descent) -> None:
    frame = pl.DataFrame({**TABLE, "other": -TARGETS}).drop("tone")
    job = client.train(frame, target=["sum", "other"], task="linear_regression", epochs=200, wait_seconds=60).wait()
    found = client.evaluate(job.model, frame)
    beside = client.evaluate("kept-both", FEATURES, frame[["sum", "other"]])
    errors = [one["mse"] for one in found["metrics"]["per_target"]]
    assert errors == pytest.approx([one["mse"] for one in beside["metrics"]["per_target"]])


def test_data_that_does_not_fit_a_model_is_refused(client: Descent) -> None:
    with pytest.raises(UnsendableData, match="no columns with names"):
        client.evaluate("kept-plain", FEATURES)
    with pytest.raises(UnsendableData, match="the array has 1 columns, and there are 2 names for them"):
        client.evaluate("kept-plain", FEATURES[:, :1], TARGETS)
    with pytest.raises(ServiceRefused, match="no model 'nowhere'"):
        client.evaluate("nowhere", FEATURES, TARGETS)


def test_parameters_and_exports_are_asked_for_by_whatever_names_a_version(client: Descent) -> None:
    client.set_alias("kept-plain", "best", 1)
    names = ["kept-plain", "kept-plain@1", "kept-plain@latest", "kept-plain@best"]
    assert len({str(client.parameters(name)) for name in names}) == 1
    assert len({client.export(name, "json") for name in names}) == 1
    client.delete_alias("kept-plain", "best")
    for call in (client.parameters, lambda name: client.export(name, "json")):
        with pytest.raises(ServiceRefused, match="has no version or alias 'best': there are latest"):
            call("kept-plain@best")
        with pytest.raises(ServiceRefused, match="2"):
            call("kept-plain@2")
    with pytest.raises(UnreadableFile, match="is not exported as 'pkl': there are json, safetensors, onnx"):
        client.export("kept-plain", "pkl")


def test_versions_and_models_are_deleted_and_no_other_by_a_mistyped_name(client: Descent) -> None:
    for _ in range(3):
        client.train([[1.0], [2.0]], [1, 2], task="linear_regression", model="kept-gone", wait_seconds=60).wait()
    client.delete_model("kept-gone@2")
    assert [version["version"] for version in client.model("kept-gone")["versions"]] == [3, 1]
    client.delete_model("kept-gone@latest")
    assert client.model("kept-gone")["aliases"] == {"latest": 1}
    client.set_alias("kept-gone", "best", 1)
    for name in ("kept-gone", "kept-gone@best", "kept-gone?", "kept-gone#", "kept-gone@2", "kept-gone@"):
        with pytest.raises(ServiceRefused):
            client.delete_model(name)
    with pytest.raises(ServiceRefused):
        client.delete_alias("kept-gone", "best?")
    client.delete_alias("kept-gone", "best")
    client.delete_model("kept-gone")
    with pytest.raises(ServiceRefused, match="no model 'kept-gone'"):
        client.model("kept-gone")
