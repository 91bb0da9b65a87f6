"""Large datasets that are encoded into files: what they take, and how it ends."""

import shutil
import threading
from pathlib import Path

import pytest

from service.data import fitting
from service.store import queue
from service.worker.run import run_job
from tests.api.conftest import Json, LocalService, check_problem, line, local_service
from tests.api.test_training_on_datasets import HOUSES, on, upload


def test_an_answer_tells_what_the_encoded_copies_of_a_dataset_take_and_they_give_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "SMALL", 4)
    with local_service(tmp_path, max_storage_bytes=10_000) as local:
        path = f"/datasets/{upload(local, HOUSES)}"
        before = local.http.get(path).json()
        assert before["encoded_bytes"] == 0
        assert before["n_bytes"] < 5000
        sizes = []
        for features in (
            ["area"],
            ["area", "garden"],
            ["garden", "area"],
            ["kind"],
            ["kind", "area"],
            ["kind", "garden"],
        ) * 2:
            body = on(path.removeprefix("/datasets/"), target="price", features=features)
            assert local.post("/train/check", body).status_code == 200
            found = local.http.get(path).json()
            files = [file for file in (tmp_path / path[1:] / "encoded").rglob("*") if file.is_file()]
            assert found["encoded_bytes"] == sum(file.stat().st_size for file in files)
            assert found["n_bytes"] == before["n_bytes"]
            (listed,) = local.http.get("/datasets").json()["data"]
            assert listed == {name: found[name] for name in listed}
            sizes.append(found["encoded_bytes"])
        assert 0 < max(sizes) < 10_000 - before["n_bytes"]


def test_there_is_space_for_a_dataset_in_a_request_or_it_is_refused(tmp_path: Path) -> None:
    with local_service(tmp_path, max_storage_bytes=2000) as local:
        many: Json = {"features": list(range(1000)), "targets": list(range(1000))}
        assert "DESCENT_MAX_STORAGE_BYTES" in check_problem(local.post("/train", line(dataset=many)), 507)["detail"]
        recipe: Json = {"synthetic": {"kind": "moons", "n_samples": 1000}}
        check_problem(local.post("/train", {"task": "logistic_regression", "dataset": recipe}), 507)
        assert local.post("/train", line()).status_code == 202
        assert local.post("/train", line(dataset={"features": [1, 2], "targets": [1, 2]})).status_code == 202


@pytest.mark.parametrize("asked", ["to cancel", "to stop"])
def test_the_encoding_of_a_large_dataset_ends_when_the_job_is_to(
    local: LocalService, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setattr(fitting, "SMALL", 4)
    dataset_id = upload(local, HOUSES)
    job_id = local.enqueue(on(dataset_id))
    with local.database.writing() as session:
        job = queue.claim(session, "worker_of_the_test", lease_seconds=60)
        assert job is not None
    stopping = threading.Event()
    if asked == "to stop":
        stopping.set()
    else:
        assert local.post(f"/jobs/{job_id}/cancel", "").status_code in (200, 202)
    run_job(local.database, local.settings, job, stopping)
    assert local.job(job_id)["status"] == {"to stop": "queued", "to cancel": "cancelled"}[asked]
    assert list((local.settings.datasets_path / dataset_id).glob("encoded/*")) == []


def test_a_job_whose_files_are_gone_fails_with_the_reason(local: LocalService) -> None:
    dataset_id = upload(local, HOUSES)
    job_id = local.enqueue(on(dataset_id))
    shutil.rmtree(local.settings.datasets_path / dataset_id)
    local.work()
    error = local.job(job_id)["error"]
    assert error["code"] == "invalid_request"
    assert "the files of dataset" in error["detail"]
