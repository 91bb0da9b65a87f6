import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.protocols import FLAT, HOUSE, LABELS, NAMES, SAMPLES, columns_of, train_models
from tests.conftest import LiveService

Json = dict[str, Any]

CLIENTS = Path(sys.prefix) / "clients"
PREFIX = "clients-"
WHOLE = [[1, 2, 3], [100, 0, 7]]
FEW = [[0.0], [1.0], [2.0]]
NUMBERS = ["float16", "float32", "float64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]
TYPED = [name for name, labels in LABELS.items() if name != "mixed"]

pytestmark = pytest.mark.skipif(
    not (CLIENTS / "installed").exists(), reason=f"KServe and MLServer are not in {CLIENTS}: `make test` installs them"
)


@pytest.fixture(scope="session")
def served(live: LiveService) -> LiveService:
    """A real service with models of every kind, of a single version each."""
    train_models(live.http.post, lambda body: live.train(body).raise_for_status(), PREFIX)
    return live


def told(served: LiveService, program: str) -> Json:
    """What a client writes that it was told, in a process of its own."""
    given = {
        "url": served.url,
        "prefix": PREFIX,
        "samples": SAMPLES,
        "whole": WHOLE,
        "dtypes": NUMBERS,
        "columns": columns_of(HOUSE, FLAT),
        "labels": TYPED,
        "few": FEW,
    }
    done = subprocess.run(
        [sys.executable, "-m", program],
        input=json.dumps(given),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(CLIENTS), os.getcwd()])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: Json = json.loads(done.stdout)
    return found


def said(served: LiveService, model: str, **samples: Any) -> Json:
    """What the service's own endpoint says."""
    answer = served.http.post("/predict", json={"model": f"{PREFIX}{model}", **samples})
    found: Json = answer.raise_for_status().json()
    return {name: found[name] for name in ("predictions", "probabilities") if name in found}


def test_the_client_of_kserve_is_told_what_the_service_says_itself(served: LiveService) -> None:
    found = told(served, "tests.api.kserve_client")
    (status, refused), (status_of_none, unknown) = found.pop("refused")
    assert (status, status_of_none) == (400, 404)
    assert "there are 3 columns, and the model takes 5" in refused
    assert "there is no model 'clients-nowhere'" in unknown
    exams = said(served, "exams", features=SAMPLES)["predictions"]
    whole = said(served, "exams", features=WHOLE)["predictions"]
    labels = {name: said(served, name, features=FEW) for name in TYPED}
    ways = (f"{way}{back}" for way in ("flat", "nested", "binary") for back in ("", " to binary"))
    assert found == {
        "live": True,
        "ready": True,
        "models": [True, True, False, False],
        "exams": dict.fromkeys(ways, exams),
        "numbers": {
            **dict.fromkeys((f"{name} in binary" for name in NUMBERS), whole),
            **dict.fromkeys(NUMBERS[1:], whole),
        },
        "head": ["42", f"{PREFIX}exams"],
        "of no samples": [],
        "homes": [said(served, "homes", records=[HOUSE, FLAT])["predictions"]] * 4,
        "labels": {**labels, **{f"{name} in binary": said for name, said in labels.items()}},
    }


def test_the_codecs_and_types_of_mlserver_read_what_the_service_says_itself(served: LiveService) -> None:
    found = told(served, "tests.api.mlserver_client")
    refused, unknown = found.pop("refused")
    assert "there are 3 columns, and the model takes 5" in refused
    assert "there is no model 'clients-nowhere'" in unknown
    assert found.pop("server").keys() == {"name", "version", "extensions"}
    exams = f"{PREFIX}exams"
    features = {"name": "features", "datatype": "FP64", "shape": [-1, 3], "parameters": {"feature_names": NAMES}}
    assert found == {
        "model": {
            "name": exams,
            "versions": ["1"],
            "platform": "descent",
            "inputs": [features],
            "outputs": [{"name": "predictions", "datatype": "FP64", "shape": [-1]}],
        },
        "index": [{"name": exams, "version": "1", "state": "READY", "reason": ""}],
        "exams": dict.fromkeys(("flat", "nested"), said(served, "exams", features=SAMPLES)["predictions"]),
        "numbers": dict.fromkeys(NUMBERS, said(served, "exams", features=WHOLE)["predictions"]),
        "head": ["42", exams, "1"],
        "homes": [said(served, "homes", records=[HOUSE, FLAT])["predictions"]] * 2,
        "labels": {name: said(served, name, features=FEW) for name in TYPED},
    }
