import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from tests.api.conftest import EXAMS
from tests.api.protocols import FLAT, HOUSE, HOUSES, NAMES, SAMPLES
from tests.conftest import LiveService

# In a process of its own: MLflow warns when it is imported, and takes seconds.
PROGRAM = """
import json, sys, numpy, pandas
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

address, names, samples, records = json.load(sys.stdin)

def told(model, data, **more):
    client = ScoringServerClient(*f"{address}/models/mlflow-{model}".split(":"))
    return client.invoke(data, **more).get_predictions().iloc[:, 0].tolist()

frame, houses = pandas.DataFrame(samples, columns=names), pandas.DataFrame(records)
typed = {"rooms": houses["rooms"].astype(float), "sold": pandas.to_datetime(houses["sold"])}
found = {
    "a frame": told("exams", frame),
    "in another order": told("exams", frame[names[::-1]], params={"temperature": 0.5}),
    "an array": told("exams@1", numpy.array(samples)),
    "columns of every kind": told("houses@latest", houses.assign(**typed)),
    "labels": told("words", numpy.array([[0.0], [2.0]])),
}
try:
    told("exams", frame.rename(columns={names[0]: "other"}))
except Exception as refused:
    found["refused"] = str(refused)
print(json.dumps(found))
"""


@pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow's client is not installed")
def test_mlflow_s_own_client_predicts_for_all_that_it_can_send(live: LiveService) -> None:
    def trained(model: str, dataset: dict[str, Any], **more: Any) -> None:
        body = {"model": f"mlflow-{model}", "task": "linear_regression", "dataset": dataset, **more}
        assert live.train(body).raise_for_status().json()["status"] == "succeeded"

    def said(model: str, **samples: Any) -> list[Any]:
        body = {"model": f"mlflow-{model}", **samples}
        predictions: list[Any] = live.http.post("/predict", json=body).raise_for_status().json()["predictions"]
        return predictions

    houses = live.http.post("/datasets", content=HOUSES, headers={"Content-Type": "text/csv"}).json()["id"]
    reading = {"missing": "median", "dates": {"sold": ["year", "month"]}}
    trained("exams", EXAMS)
    trained("houses", {"id": houses, "target": "price", **reading}, hyperparameters={"scale": "standard"})
    trained("words", {"features": [0, 1, 2], "targets": ["röt", "b", "b"]}, task="logistic_regression")
    given = json.dumps([live.url.removeprefix("http://"), NAMES, SAMPLES, [HOUSE, FLAT]])
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], input=given, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "feature 'other' is unknown" in found.pop("refused")
    exams = said("exams", features=SAMPLES)
    assert found == {
        **dict.fromkeys(("a frame", "in another order", "an array"), exams),
        "columns of every kind": said("houses", records=[HOUSE, FLAT]),
        "labels": said("words", features=[[0], [2]]),
    }
