"""Clients that go on whatever happens to the service: they send again, under the same key, until they are answered."""

import queue
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.faults.trainings import Asked, body_with

PATIENCE_SECONDS = 60
RETRY_SECONDS = 0.1
BUSY = (429, 503)
"""Answers that say: ask again."""


class Clients:
    """Some threads that ask for trainings as these come in.

    Args:
        url: gives where the service is now.
        n_clients: how many ask at once.
        seed: of when a client loses its answer, and asks again.
    """

    def __init__(self, url: Callable[[], str], n_clients: int, seed: int) -> None:
        self._url = url
        self._asked: queue.Queue[Asked | None] = queue.Queue()
        self._chances = [random.Random(f"{seed} {number}") for number in range(n_clients)]
        self._threads = [threading.Thread(target=self._work, args=(chance,)) for chance in self._chances]
        self.job_ids: dict[str, str] = {}
        self.n_repeated = 0
        self.faults: list[BaseException] = []
        for thread in self._threads:
            thread.start()

    def ask(self, asked: Asked) -> None:
        """Have a training asked for by whoever is free."""
        self._asked.put(asked)

    def join(self) -> None:
        """Come back when everything was asked for and answered."""
        for _ in self._threads:
            self._asked.put(None)
        for thread in self._threads:
            thread.join()
        if self.faults:
            raise self.faults[0]

    def statuses(self) -> dict[str, str]:
        """Give the status of each job by its name, and check that there are no others."""
        found = call(self._url, "GET", "/jobs", params={"limit": 1000}).json()["data"]
        return {job["model"]: job["status"] for job in found}

    def _work(self, chance: random.Random) -> None:
        while (asked := self._asked.get()) is not None:
            try:
                self.job_ids[asked.name] = self._submit(asked, chance)
            except BaseException as fault:
                self.faults.append(fault)
                return

    def _submit(self, asked: Asked, chance: random.Random) -> str:
        dataset_id = None
        if asked.file is not None:
            headers = {"Content-Type": "text/csv"}
            dataset_id = call(self._url, "POST", "/datasets", content=asked.file, headers=headers).json()["id"]
        given: dict[str, Any] = {"json": body_with(asked, dataset_id), "headers": {"Idempotency-Key": asked.name}}
        job_id = str(call(self._url, "POST", "/train", **given).json()["id"])
        if chance.random() < 0.3:  # as one whose answer was lost
            self.n_repeated += 1
            assert call(self._url, "POST", "/train", **given).json()["id"] == job_id
        return job_id


def call(url: Callable[[], str], method: str, path: str, **given: Any) -> httpx.Response:
    """Ask until there is an answer that is one; fail for an error that is not the service's being away or busy."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            answer = httpx.request(method, f"{url()}{path}", timeout=20, trust_env=False, **given)
        except httpx.TransportError:
            assert time.monotonic() < deadline, f"nobody answers at {url()}"
        else:
            if answer.status_code not in BUSY:
                assert answer.is_success, (path, answer.status_code, answer.text)
                return answer
            assert time.monotonic() < deadline, answer.text
        time.sleep(RETRY_SECONDS)
