import io
import math
import os
import signal
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import pytest
from sqlalchemy import select

from service.data.synthetic import MoonsSpec, synthetic_dataset
from service.store import datasets
from service.store.tables import DatasetRow, JobRow
from tests.api.conftest import EXAMS, Json, LocalService, check_fault, check_problem, line, local_service, switch
from tests.api.uploading import CSV, HOUSES, MEDIA_TYPES, kept, left_behind, upload, written
from tests.conftest import serving
from tests.processes import children_of, wait_until

TYPES = {"area": "number", "price": "number", "kind": "category", "sold": "boolean"}


def dataset_of(service: LocalService, job_id: str) -> str:
    with service.database.reading() as session:
        found: str = session.execute(select(JobRow.dataset_id).where(JobRow.id == job_id)).scalar_one()
    return found


@pytest.mark.parametrize("format_", MEDIA_TYPES)
def test_an_uploaded_dataset_is_described_as_what_it_is(local: LocalService, format_: str) -> None:
    content = written(format_)
    found = upload(local, content, MEDIA_TYPES[format_], "?name=homes").json()
    assert local.http.get(found["links"]["self"]).json() == found
    assert (found["name"], found["format"], found["origin"]) == ("homes", format_, "upload")
    assert (found["n_samples"], found["n_columns"]) == HOUSES.shape
    assert {column["name"]: column["type"] for column in found["schema"]} == TYPES
    files = (local.settings.datasets_path / found["id"]).iterdir()
    assert found["n_bytes"] == sum(file.stat().st_size for file in files)
    statistics = found["statistics"]
    assert [statistics[name]["count"] for name in HOUSES.columns] == [4, 3, 3, 4]
    assert [statistics[name]["missing"] for name in HOUSES.columns] == [0, 1, 1, 0]
    assert statistics["price"]["mean"] == pytest.approx(HOUSES["price"].mean())
    assert statistics["kind"]["top"][0] == {"value": "flat", "count": 2}


@pytest.mark.parametrize("format_", MEDIA_TYPES)
def test_a_preview_shows_the_rows_that_are_asked_for(local: LocalService, format_: str) -> None:
    path = upload(local, written(format_), MEDIA_TYPES[format_]).json()["links"]["preview"]
    for query, first, rows in (("", 0, 20), ("?rows=2", 0, 2), ("?first=1&rows=2", 1, 2), ("?first=9", 9, 20)):
        found = local.http.get(f"{path}{query}").json()
        assert found["columns"] == HOUSES.columns
        assert found["rows"] == [list(row) for row in HOUSES.slice(first, rows).rows()]
        assert (found["first"], found["n_samples"]) == (first, 4)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("rows=0", "#/query/rows"),
        ("rows=1001", "#/query/rows"),
        ("first=-1", "#/query/first"),
        ("rows=x", "#/query/rows"),
    ],
)
def test_a_preview_has_a_thousand_rows_at_most(local: LocalService, query: str, pointer: str) -> None:
    path = upload(local).json()["links"]["preview"]
    (fault,) = check_problem(local.http.get(f"{path}?{query}"), 422)["errors"]
    assert fault["pointer"] == pointer


def test_a_preview_of_dates_and_of_what_json_has_no_word_for_can_be_read(local: LocalService) -> None:
    frame = pl.DataFrame({"day": ["2024-02-29", None], "size": [math.nan, 0.5], "count": [2**60, -1]})
    stream = io.BytesIO()
    frame.with_columns(pl.col("day").str.to_date()).write_parquet(stream)
    found = upload(local, stream.getvalue(), MEDIA_TYPES["parquet"]).json()
    assert [column["type"] for column in found["schema"]] == ["date", "number", "number"]
    assert local.http.get(found["links"]["preview"]).json()["rows"] == [
        ["2024-02-29T00:00:00Z", None, 2**60],
        [None, 0.5, -1],
    ]


def test_a_dataset_that_came_in_a_request_is_described_too(local: LocalService) -> None:
    for body in (line(), switch("off", "on", "off"), switch(True, False), switch(7, 3)):
        local.enqueue(body)
    found = [local.http.get(one["links"]["self"]).json() for one in local.http.get("/datasets").json()["data"]]
    assert [one["schema"][-1] for one in reversed(found)] == [
        {"name": "y", "type": type_} for type_ in ("number", "category", "boolean", "number")
    ]
    for one in found:
        assert (one["origin"], one["format"], one["reading"], one["name"]) == ("inline", None, None, None)
        assert [one["statistics"][name]["missing"] for name in ("x", "y")] == [0, 0]
        rows = local.http.get(one["links"]["preview"]).json()["rows"]
        assert len(rows) == one["n_samples"]
    assert [row[1] for row in rows] == [2, 4, 6]
    assert found[-1]["statistics"]["x"]["mean"] == 2


def test_a_request_whose_feature_has_the_name_of_its_target_has_a_preview_but_no_statistics(
    local: LocalService,
) -> None:
    identifier = dataset_of(local, local.enqueue(line(dataset={**line()["dataset"], "feature_names": ["y"]})))
    found = local.http.get(f"/datasets/{identifier}").json()
    assert (found["statistics"], found["n_columns"]) == (None, 2)
    preview = local.http.get(found["links"]["preview"]).json()
    assert (preview["columns"], preview["rows"]) == (["y", "y"], [[1, 2], [2, 4], [3, 6]])


def test_datasets_are_listed_newest_first_page_by_page(local: LocalService) -> None:
    made = [upload(local, b"a,b\n1,%d\n" % number).json()["id"] for number in range(5)]
    local.http.delete(f"/datasets/{made[2]}")
    found, query = [], "?limit=2"
    while query:
        page = local.http.get(f"/datasets{query}").json()
        found += [one["id"] for one in page["data"]]
        query = f"?limit=2&after={page['next']}" if page["has_more"] else ""
    assert found == [made[4], made[3], made[1], made[0]]
    summary = page["data"][-1]
    assert summary == {name: local.http.get(f"/datasets/{made[0]}").json()[name] for name in summary}
    check_problem(local.http.get("/datasets?after=ds_nowhere"), 404)


@pytest.mark.parametrize("path", ["/datasets/ds_nowhere", "/datasets/ds_nowhere/preview"])
def test_a_dataset_that_is_not_there_is_not_found(local: LocalService, path: str) -> None:
    assert "ds_nowhere" in check_problem(local.http.get(path), 404)["detail"]
    check_problem(local.http.delete("/datasets/ds_nowhere"), 404)


def test_a_deleted_dataset_is_gone_with_its_files_until_it_is_uploaded_again(local: LocalService) -> None:
    path = upload(local).headers["location"]
    answer = local.http.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert left_behind(local.settings.data_dir) == kept(local.settings.data_dir) == set()
    for again in (local.http.get(path), local.http.get(f"{path}/preview"), local.http.delete(path)):
        assert "was deleted" in check_problem(again, 404)["detail"]
    assert local.http.get("/datasets").json()["data"] == []
    answer = upload(local, query="?name=again")
    assert (answer.status_code, answer.headers["location"], answer.json()["name"]) == (201, path, "again")
    assert upload(local, query="?name=other").json()["name"] == "other"


def test_a_dataset_is_needed_while_its_job_is_queued_and_not_after(local: LocalService) -> None:
    job = local.enqueue(line())
    path = f"/datasets/{dataset_of(local, job)}"
    problem = check_problem(local.http.delete(path), 409)
    assert job in problem["detail"]
    assert local.http.get(path).status_code == 200
    local.work()
    assert local.job(job)["status"] == "succeeded"
    assert local.http.delete(path).status_code == 204
    assert local.http.get(local.job(job)["links"]["model"]).json()["dataset"] == path.removeprefix("/datasets/")
    again = local.post(f"/jobs/{job}/retry", {})
    assert "was deleted" in check_problem(again, again.status_code)["detail"]
    assert again.status_code in (404, 422)


def test_a_dataset_that_came_in_a_request_comes_back_with_the_same_request(local: LocalService) -> None:
    first = local.train(line())
    path = f"/datasets/{dataset_of(local, first['id'])}"
    local.http.delete(path)
    again = local.train(line())
    assert again["status"] == "succeeded"
    assert local.http.get(path).json()["n_samples"] == 3


def test_jobs_and_deletions_at_once_never_leave_a_job_without_its_dataset(local: LocalService) -> None:
    body = {"task": "linear_regression", "hyperparameters": {"epochs": 1}}
    identifier = upload(local, b"x,y\n1,2\n2,4\n3,6\n").json()["id"]
    answers: list[int] = []

    def train() -> None:
        for _ in range(30):
            answer = local.post("/train", {**body, "dataset": {"id": identifier, "target": "y"}})
            answers.append(answer.status_code)

    threads = [threading.Thread(target=train) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        deleted = local.http.delete(f"/datasets/{identifier}").status_code
        assert deleted in (204, 404, 409)
        upload(local, b"x,y\n1,2\n2,4\n3,6\n")
        with local.database.reading() as session:
            needed = set(session.scalars(select(JobRow.dataset_id).where(JobRow.status == "queued")))
            assert needed <= datasets.kept_among(session, needed)
        for job in local.http.get("/jobs?status=queued").json()["data"]:
            local.http.post(f"/jobs/{job['id']}/cancel")
    for thread in threads:
        thread.join()
    assert set(answers) <= {202, 404, 422}
    assert left_behind(local.settings.data_dir) == set()


@pytest.mark.parametrize("trained_first", [True, False])
@pytest.mark.parametrize(
    ("task", "spec"),
    [("linear_regression", {"kind": "linear", "weights": [2, -1]}), ("softmax_regression", {"kind": "blobs"})],
)
def test_a_recipe_is_one_dataset_whether_it_is_trained_on_or_kept_first(
    local: LocalService, task: str, spec: Json, *, trained_first: bool
) -> None:
    request = {"task": task, "dataset": {"synthetic": spec}, "hyperparameters": {"epochs": 5, "seed": 0}}
    job = local.train(request) if trained_first else None
    answer = local.post("/datasets/synthetic?name=made", spec)
    found = answer.json()
    assert answer.status_code == (200 if trained_first else 201)
    job = job or local.train(request)
    assert dataset_of(local, job["id"]) == found["id"]
    assert local.http.get(found["links"]["self"]).json() == found
    assert (found["name"], found["origin"]) == ("made", "synthetic")
    assert found["reading"].items() >= spec.items()
    assert len(local.http.get("/datasets").json()["data"]) == 1
    by_id = local.train({**request, "dataset": {"id": found["id"], "target": "y"}})
    assert by_id["result"] == job["result"]


@pytest.mark.parametrize("spec", [{"kind": "linear", "weights": [2, -1]}, {"kind": "blobs"}, {"kind": "moons"}])
def test_a_recipe_makes_a_dataset_that_is_kept_like_an_uploaded_one(local: LocalService, spec: Json) -> None:
    answer = local.post("/datasets/synthetic?name=made", spec)
    found = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/datasets/{found['id']}")
    assert (found["name"], found["origin"], found["n_samples"]) == ("made", "synthetic", 100)
    assert found["reading"].items() >= spec.items()
    assert [column["name"] for column in found["schema"]] == ["x1", "x2", "y"]
    assert found["statistics"]["x1"]["count"] == 100
    again = local.post("/datasets/synthetic", spec)
    assert (again.status_code, again.json()) == (200, found)
    assert local.post("/datasets/synthetic", {**spec, "seed": 1}).status_code == 201
    assert local.http.get(found["links"]["self"]).json() == found
    assert local.http.delete(found["links"]["self"]).status_code == 204
    assert left_behind(local.settings.data_dir) == set()


def test_a_made_dataset_has_the_numbers_of_its_recipe(local: LocalService) -> None:
    expected = synthetic_dataset(MoonsSpec(kind="moons", seed=3))
    found = local.post("/datasets/synthetic", {"kind": "moons", "seed": 3}).json()
    rows = np.array(local.http.get(f"{found['links']['preview']}?rows=1000").json()["rows"])
    assert np.array_equal(rows, np.column_stack([expected.features, expected.targets]))


@pytest.mark.parametrize(
    ("spec", "pointer", "words"),
    [
        ({"kind": "blobs", "n_sample": 4}, "#/n_sample", "did you mean n_samples?"),
        ({"kind": "blobs", "n_samples": 4, "n_classes": 5}, "#/n_samples", "4 samples for 5 classes"),
        ({"kind": "circles"}, "#/kind", "kind must be one of 'linear', 'blobs', 'moons', not 'circles'"),
        ({"kind": "x" * 1000}, "#/kind", "must be one of 'linear', 'blobs', 'moons'"),
        ({"n_samples": 3}, "#/kind", "kind is missing: there are linear, blobs, moons"),
        ({"synthetic": {"kind": "moons"}}, "#/kind", "what stands in synthetic is to be the body itself"),
        ({"kind": "linear", "weights": []}, "#/weights", "weights must have at least 1 item, and has 0"),
        ([], "#", "the body must be an object"),
        ({"kind": "linear"}, "#/weights", "weights is missing"),
    ],
)
def test_a_recipe_that_makes_nothing_is_refused(local: LocalService, spec: object, pointer: str, words: str) -> None:
    check_fault(local.post("/datasets/synthetic", spec), pointer, words)
    assert left_behind(local.settings.data_dir) == kept(local.settings.data_dir) == set()


def test_what_dead_processes_left_is_swept_at_start_and_datasets_stay(tmp_path: Path) -> None:
    with local_service(tmp_path) as service:
        found = upload(service).json()
        service.train({"task": "linear_regression", "dataset": EXAMS})
    (tmp_path / "uploads" / "tmpdead").mkdir()
    (tmp_path / "uploads" / "tmpdead" / "upload").write_bytes(CSV)
    (tmp_path / "datasets" / "ds_orphan").mkdir()
    with local_service(tmp_path) as service:
        assert left_behind(tmp_path) == set()
        assert kept(tmp_path) == {found["id"]}
        assert service.http.get(found["links"]["self"]).json() == found
        assert len(service.http.get(found["links"]["preview"]).json()["rows"]) == 4
        assert len(service.http.get("/datasets").json()["data"]) == 2


def test_what_a_killed_process_leaves_is_swept_by_the_one_that_takes_its_place(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with serving(data_dir, "--no-worker") as live:
        address = urlsplit(live.url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            head = f"POST /datasets HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: text/csv"
            connection.sendall(f"{head}\r\nContent-Length: 99999999\r\n\r\n".encode() + CSV * 30_000)
            wait_until(lambda: any(name.endswith("/upload") for name in left_behind(data_dir)))
            (api,) = [pid for pid, command in children_of(live.process.pid).items() if "service.server" in command]
            os.kill(api, signal.SIGKILL)
            wait_until(lambda: left_behind(data_dir) == set())
        wait_until(lambda: live.http.get("/healthz").status_code == 200)
    assert left_behind(data_dir) == set()


def test_a_damaged_row_is_our_fault_and_shows_nothing_of_the_inside(local: LocalService) -> None:
    identifier = upload(local).json()["id"]
    with local.database.writing() as session:
        session.get_one(DatasetRow, identifier).columns = [{"name": "area"}]
    check_problem(local.http.get(f"/datasets/{identifier}"), 500)
