import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from service.store import queue
from service.store.database import Database
from service.worker.run import run_job
from tests.databases import migrated_database, settings_of

Json = dict[str, Any]
LOOPBACK = "http://127.0.0.1"

EXAMS: Json = {
    "features": [[73, 80, 75], [93, 88, 93], [89, 91, 90], [96, 98, 100], [73, 66, 70]],
    "feature_names": ["quiz1", "quiz2", "quiz3"],
    "targets": [152, 185, 180, 196, 142],
}


def line(**changes: Any) -> Json:
    """A request to train y = 2x, with these fields changed."""
    return {"task": "linear_regression", "dataset": {"features": [1, 2, 3], "targets": [2, 4, 6]}, **changes}


def switch(*labels: Any, **changes: Any) -> Json:
    """A request to tell labels apart, given to the samples at x = 0, 1, 2 …"""
    dataset = {"features": list(range(len(labels))), "targets": list(labels)}
    return {"task": "logistic_regression", "dataset": dataset, **changes}


class LocalService:
    """The API in this process, with a worker that works when it is told to."""

    def __init__(self, client: TestClient, database: Database, settings: Settings) -> None:
        self.http = client
        self.database = database
        self.settings = settings

    def post(self, path: str, body: object, headers: dict[str, str] | None = None) -> Response:
        """Send a body as JSON as Python writes it, NaN included; text and bytes as they are."""
        content = body if isinstance(body, str | bytes) else json.dumps(body)
        return self.http.post(path, content=content, headers={"Content-Type": "application/json", **(headers or {})})

    def work(self, stopping: threading.Event | None = None) -> int:
        """Run every queued job to its end; tell how many there were."""
        stopping = stopping or threading.Event()
        n_jobs = 0
        while not stopping.is_set():
            with self.database.writing() as session:
                job = queue.claim(session, "worker_of_the_test", lease_seconds=60)
            if job is None:
                break
            run_job(self.database, self.settings, job, stopping)
            n_jobs += 1
        return n_jobs

    @contextmanager
    def working(self) -> Iterator[None]:
        """Have a worker at work in a thread until the block ends."""
        stopping = threading.Event()

        def work() -> None:
            while not stopping.wait(0.01):
                self.work(stopping)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()

    def job(self, job_id: str) -> Json:
        found: Json = self.http.get(f"/jobs/{job_id}").json()
        return found

    def enqueue(self, body: Json) -> str:
        """Ask for a training; give the job's id."""
        answer = self.post("/train", body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def train(self, body: Json) -> Json:
        """Train, and give the job as it ended."""
        job_id = self.enqueue(body)
        self.work()
        return self.job(job_id)

    def wait_for(self, job_id: str, condition: Callable[[Json], bool]) -> Json:
        """Ask for a job until it is as it should be."""
        deadline = time.monotonic() + 30
        while not condition(job := self.job(job_id)):
            assert time.monotonic() < deadline, job
            time.sleep(0.01)
        return job


@contextmanager
def local_service(data_dir: Path, **settings: Any) -> Iterator[LocalService]:
    asked = settings_of(data_dir, **settings)
    migrated_database(asked.database_place).close()
    app = create_app(asked)
    # An unforeseen error shall be seen as clients see it: as an answer with status 500.
    with TestClient(app, LOOPBACK, raise_server_exceptions=False, client=("127.0.0.1", 50000)) as client:
        yield LocalService(client, app.state.database, app.state.settings)


@pytest.fixture
def local(tmp_path: Path, system: str) -> Iterator[LocalService]:  # noqa: ARG001  it says where its database is
    """A service of the test's own, with nothing in it."""
    with local_service(tmp_path) as service:
        yield service


@pytest.fixture
def beside(local: LocalService) -> Iterator[LocalService]:
    """The same service as another API process answers for it."""
    with local_service(local.settings.data_dir) as other:
        yield other


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service for tests that ask for what is refused, or delete what they upload: no file of theirs is left."""
    data_dir = tmp_path_factory.mktemp("service")
    with local_service(data_dir) as service:
        yield service
        folders = (data_dir / "uploads", data_dir / "datasets")
        assert [path for folder in folders for path in folder.glob("*") if path.name != "lock"] == []


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service with three models, for tests that leave them as they are."""
    with local_service(tmp_path_factory.mktemp("standing")) as service:
        service.train(line(model="line", hyperparameters={"momentum": 0.5, "dtype": "float64"}))
        service.train({"task": "linear_regression", "model": "exams", "dataset": EXAMS})
        service.train(switch("off", "off", "on", "on", model="switch"))
        yield service


def check_problem(answer: Response, status: int) -> Json:
    """Check that an answer is a problem as RFC 9457 has it, with nothing of the inside; give it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: Json = answer.json()
    assert problem.keys() - {"errors"} == {"type", "title", "status", "detail", "instance"}
    assert problem["type"] == "about:blank"
    assert problem["title"] == HTTPStatus(status).phrase
    assert problem["status"] == status
    assert problem["instance"] == answer.request.url.path
    assert problem["detail"]
    assert "Traceback" not in answer.text
    if status == 422:
        assert problem["errors"]
        for fault in problem["errors"]:
            assert fault.keys() == {"pointer", "detail"}
            assert fault["pointer"].startswith("#")
            assert fault["detail"]
    return problem


def check_fault(answer: Response, pointer: str, words: str) -> None:
    """Check that a request is refused for one fault, there and with these words."""
    (fault,) = check_problem(answer, 422)["errors"]
    assert fault["pointer"] == pointer
    assert words in fault["detail"]
