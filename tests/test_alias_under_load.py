from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx

from tests.conftest import LiveService


def test_an_alias_that_moves_under_load_fails_no_request_and_mixes_no_versions(live: LiveService) -> None:
    dataset = {"features": [1, 2, 3], "targets": [2, 4, 6]}
    expected = {}
    for version, epochs in ((1, 1), (2, 50)):
        body = {
            "model": "moved",
            "task": "linear_regression",
            "dataset": dataset,
            "hyperparameters": {"epochs": epochs},
        }
        assert live.train(body).json()["version"] == version
        expected[version] = live.http.get(f"/predict?model=moved@{version}&x=5").json()["predictions"]
    assert expected[1] != expected[2]
    path = "/models/moved/aliases/production"
    assert live.http.put(path, json={"version": 1}).status_code == 200
    ended = Event()

    def ask() -> set[int]:
        """Ask until the alias has come to rest; give the versions that answered."""
        seen = set()
        with httpx.Client(base_url=live.url, timeout=60) as http:
            while not ended.is_set():
                answer = http.get("/predict?model=moved@production&x=5")
                assert answer.status_code == 200, answer.text
                found = answer.json()
                assert found["predictions"] == expected[found["version"]]
                seen.add(found["version"])
        return seen

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask) for _ in range(4)]
        for number in range(60):
            assert live.http.put(path, json={"version": 1 + number % 2}).status_code == 200
            answer = live.http.get("/predict?model=moved@production&x=5")
            assert answer.json()["version"] == 1 + number % 2
        ended.set()
        assert set().union(*(one.result() for one in asking)) == {1, 2}
