from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest

from tests.conftest import LiveService, serving

N_CONNECTIONS = 4
"""Each is to one of the processes, by chance."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LiveService]:
    with serving(tmp_path / "data", "--api-processes", "2") as service:
        yield service


def test_an_alias_that_moves_under_load_fails_no_request_and_mixes_no_versions(service: LiveService) -> None:
    dataset = {"features": [1, 2, 3], "targets": [2, 4, 6]}
    expected = {}
    for version, epochs in ((1, 1), (2, 50)):
        body = {
            "model": "moved",
            "task": "linear_regression",
            "dataset": dataset,
            "hyperparameters": {"epochs": epochs},
        }
        assert service.train(body).json()["version"] == version
        expected[version] = service.http.get(f"/predict?model=moved@{version}&x=5").json()["predictions"]
    assert expected[1] != expected[2]
    path = "/models/moved/aliases/production"
    assert service.http.put(path, json={"version": 1}).status_code == 200
    connections = [httpx.Client(base_url=service.url, timeout=60) for _ in range(N_CONNECTIONS)]
    ended = Event()

    def ask(connection: httpx.Client) -> int:
        """Ask over a connection; give the version that answered."""
        answer = connection.get("/predict?model=moved@production&x=5")
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["predictions"] == expected[found["version"]]
        return int(found["version"])

    def ask_on() -> set[int]:
        """Ask until the alias has come to rest; give the versions that answered."""
        seen = set()
        with httpx.Client(base_url=service.url, timeout=60) as connection:
            while not ended.is_set():
                seen.add(ask(connection))
        return seen

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask_on) for _ in range(4)]
        for number in range(40):
            version = 1 + number % 2
            assert service.http.put(path, json={"version": version}).status_code == 200
            assert {ask(connection) for connection in connections} == {version}
        ended.set()
        assert set().union(*(one.result() for one in asking)) == {1, 2}
    for connection in connections:
        connection.close()
