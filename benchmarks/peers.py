"""MLServer and `mlflow models serve`, which serve a linear model of scikit-learn's, in processes of their own.

Optional, and in an environment of their own, for they take other versions than Descent does: BENCH_PEERS names its
Python (`pip install mlserver mlserver-sklearn 'uvloop<0.22' mlflow`; MLServer 1.7 does not start with a newer uvloop).
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

PYTHON = os.environ.get("BENCH_PEERS")
MISSING = "MLServer and MLflow are left out; to have them, set BENCH_PEERS to a Python that has both"
START_SECONDS = 60
_FIT = """
import joblib, json, mlflow.sklearn, sys
from sklearn.linear_model import LinearRegression
given = json.loads(sys.argv[1])
model = LinearRegression().fit(given["features"], given["targets"])
joblib.dump(model, "model.joblib")
mlflow.sklearn.save_model(model, "mlflow", serialization_format="cloudpickle")
"""


class Peer:
    """A server that answers POST requests of one sample, on the first core, until this process ends."""

    def __init__(self, name: str, command: Sequence[str], url: str, path: str, body: Any, folder: Path) -> None:
        self.name, self.url, self.path, self.body = name, url, path, json.dumps(body).encode()
        places = os.pathsep.join(
            [str(Path(command[0]).parent), os.environ["PATH"]]
        )  # MLflow runs the uvicorn of its own
        with (folder / f"{name}.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PATH": places},
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_take_the_first_core,
            )
        atexit.register(os.killpg, self._process.pid, signal.SIGKILL)  # MLServer takes its time with less
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            has_failed = self._process.poll() is not None or time.monotonic() > deadline
            assert not has_failed, (folder / f"{name}.log").read_text()
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            return (
                httpx.post(self.url + self.path, content=self.body, headers=_JSON, trust_env=False).status_code == 200
            )
        except httpx.TransportError:
            return False


_JSON = {"Content-Type": "application/json"}


def start(dataset: dict[str, Any]) -> list[Peer]:
    """Fit a model, and start the servers; none where no Python was named that has them."""
    if PYTHON is None:
        return []
    kept = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    atexit.register(kept.cleanup)
    folder, sample = Path(kept.name), dataset["features"][:1]
    subprocess.run([PYTHON, "-c", _FIT, json.dumps(dataset)], cwd=folder, check=True, capture_output=True)
    ports = _free_ports(4)
    of_model = {"uri": str(folder / "model.joblib")}
    settings = {"http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2], "host": "127.0.0.1"}
    model = {"name": "exams", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": of_model}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    tensor = {"name": "features", "shape": [1, len(sample[0])], "datatype": "FP64", "data": sample[0]}
    serve = [
        PYTHON,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        "mlflow",
        "--port",
        f"{ports[3]}",
        "--env-manager",
        "local",
    ]
    mlserver = [str(Path(PYTHON).with_name("mlserver")), "start", str(folder)]
    url, mlflow_url = (f"http://127.0.0.1:{port}" for port in (ports[0], ports[3]))
    return [
        Peer("MLServer", mlserver, url, "/v2/models/exams/infer", {"inputs": [tensor]}, folder),
        Peer("MLflow's models serve", serve, mlflow_url, "/invocations", {"inputs": sample}, folder),
    ]


def _take_the_first_core() -> None:
    os.sched_setaffinity(0, {0})


def _free_ports(n: int) -> list[int]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [one.getsockname()[1] for one in listening]
    for one in listening:
        one.close()
    return ports
