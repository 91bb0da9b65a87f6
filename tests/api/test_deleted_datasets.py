"""Trainings on datasets that go away meanwhile."""

import shutil
import threading

from httpx2 import Response

from tests.api.conftest import LocalService, check_fault, check_problem
from tests.api.test_training_on_datasets import HOUSES, on, succeeded, upload


def test_a_dataset_whose_files_are_gone_is_refused_and_a_training_on_it_is_not_retried(local: LocalService) -> None:
    dataset_id = upload(local, HOUSES)
    job = succeeded(local, on(dataset_id))
    shutil.rmtree(local.settings.datasets_path / dataset_id)
    for path in ("/train", "/train/check"):
        check_fault(local.post(path, on(dataset_id)), "#/dataset/id", f"files of dataset '{dataset_id}' are gone")
    check_fault(local.post(f"{job['links']['self']}/retry", {}), "#", "are gone")
    check_problem(local.http.get(f"/datasets/{dataset_id}/preview"), 404)
    assert local.http.delete(f"/datasets/{dataset_id}").status_code == 204
    assert local.post("/train", on(upload(local, HOUSES))).status_code == 202


def test_trainings_and_checks_beside_deletions_are_answered_and_never_fail(local: LocalService) -> None:
    body = on(upload(local, HOUSES), features=["area"], target="price")
    answers: list[Response] = []

    def ask(path: str) -> None:
        answers.extend(local.post(path, body) for _ in range(12))

    threads = [threading.Thread(target=ask, args=(path,)) for path in ("/train", "/train/check", "/train/check")]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        local.http.delete(f"/datasets/{body['dataset']['id']}")
        upload(local, HOUSES)
        for job in local.http.get("/jobs?status=queued").json()["data"]:
            local.http.post(f"/jobs/{job['id']}/cancel")
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {200, 202, 422}, [one.text for one in answers][:1]
