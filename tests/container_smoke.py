"""Drive a service at $BASE_URL as $PHASE asks: train where the volume is new, and find the model there ever after.

For a container that is started, restarted and made anew on the same volume; needs nothing but Python.
"""

import json
import os
import urllib.request
from typing import Any

BASE_URL, PHASE = os.environ["BASE_URL"], os.environ["PHASE"]
NEW_VOLUME = ("first", "compose")


def call(path: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Content-Type": "application/json", "Prefer": "wait=60"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(BASE_URL + path, data, headers), timeout=90) as answer:
        return json.load(answer)


if PHASE in NEW_VOLUME:
    dataset = {"features": [1, 2, 3, 4], "targets": [3, 5, 7, 9]}
    hyperparameters = {"epochs": 5000, "dtype": "float64"}
    request = {"model": "line", "task": "linear_regression", "dataset": dataset, "hyperparameters": hyperparameters}
    job = call("/train", request)
    assert job["status"] == "succeeded", job
    assert job["environment"]["sweep"] in ("avx512", "avx2", "base"), job["environment"]

versions = call("/models/line")["versions"]
assert [version["version"] for version in versions] == [1], versions
prediction = call("/predict?model=line&x=10")["predictions"][0]
assert abs(prediction - 21) < 1e-3, prediction
history = call(f"/jobs/{versions[0]['job']}/history?max_points=5")
assert history["epoch"][-1] == 5000, history
