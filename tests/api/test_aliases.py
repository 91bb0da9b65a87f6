from datetime import datetime

import pytest

from tests.api.conftest import Json, LocalService, check_fault, check_problem, line

ONCE = {"epochs": 1}


@pytest.fixture
def twice(local: LocalService) -> LocalService:
    """A service with two versions of the model `line`."""
    for _ in range(2):
        local.enqueue(line(model="line", hyperparameters=ONCE))
    local.work()
    return local


def put(service: LocalService, alias: str, version: object, model: str = "line") -> Json:
    answer = service.http.put(f"/models/{model}/aliases/{alias}", json={"version": version})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


@pytest.mark.both_systems
def test_an_alias_is_seen_by_the_next_request_of_every_process(twice: LocalService, beside: LocalService) -> None:
    for version in (1, 2, 1):
        alias = put(twice, "production", version)
        assert (alias["model"], alias["alias"], alias["version"]) == ("line", "production", version)
        assert datetime.fromisoformat(alias["updated_at"]).tzinfo is not None
        for service in (beside, twice):
            for answer in (
                service.http.get("/predict?model=line@production&x=1"),
                service.post("/predict", {"model": "line@production", "features": [[1]]}),
            ):
                assert (answer.status_code, answer.json()["version"]) == (200, version)
            model = service.http.get("/models/line").json()
            assert model["aliases"] == {"production": version, "latest": 2}
    assert twice.http.delete("/models/line/aliases/production").status_code == 204
    for service in (beside, twice):
        problem = check_problem(service.http.get("/predict?model=line@production&x=1"), 404)
        assert "no version or alias 'production': its aliases are latest" in problem["detail"]
    assert twice.http.get("/models").json()["data"][0]["aliases"] == {"latest": 2}


def test_an_alias_that_moved_is_seen_whatever_was_asked_for_meanwhile(
    twice: LocalService, beside: LocalService
) -> None:
    put(twice, "production", 1)
    for service in (twice, beside):
        assert service.http.get("/predict?model=line@production&x=1").json()["version"] == 1
    put(twice, "production", 2)
    for service in (twice, beside):
        for reference in ("line", "line@production"):  # the first is read again, and all that has changed is known then
            assert service.http.get(f"/predict?model={reference}&x=1").json()["version"] == 2


def test_a_name_and_an_alias_may_be_as_long_as_they_can_be_everywhere(local: LocalService) -> None:
    name, alias = "n" * 100, "a" * 100
    local.train(line(model=name, hyperparameters=ONCE))
    put(local, alias, 1, name)
    reference = f"{name}@{alias}"
    for answer in (
        local.http.get(f"/predict?model={reference}&x=1"),
        local.post("/predict", {"model": reference, "features": [[1]]}),
        local.http.post(f"/predict?model={reference}", content=b"x\n1\n", headers={"Content-Type": "text/csv"}),
        local.post(f"/models/{reference}/evaluate", {"dataset": {"features": [1], "targets": [1]}}),
        local.post(f"/models/{reference}/invocations", {"instances": [1]}),
        local.http.get(f"/v2/models/{reference}"),
    ):
        assert answer.status_code == 200, answer.text


def test_a_new_version_is_the_latest_in_every_process_and_leaves_aliases_alone(
    twice: LocalService, beside: LocalService
) -> None:
    put(twice, "production", 1)
    for reference in ("line", "line@latest"):
        assert beside.http.get(f"/predict?model={reference}&x=1").json()["version"] == 2
    twice.train(line(model="line", hyperparameters=ONCE))
    for reference, version in (("line", 3), ("line@latest", 3), ("line@production", 1), ("line@2", 2)):
        assert beside.http.get(f"/predict?model={reference}&x=1").json()["version"] == version


def test_a_training_starts_from_what_an_alias_names_when_it_is_asked_for(twice: LocalService) -> None:
    put(twice, "best", 1)
    job_id = twice.enqueue(line(hyperparameters={**ONCE, "start": {"model": "line@best"}}))
    assert twice.job(job_id)["hyperparameters"]["start"] == {"model": "line@1"}
    put(twice, "best", 2)
    detail = check_problem(twice.http.delete("/models/line/versions/1"), 409)["detail"]
    assert f"1 queued or running jobs start from it, as {job_id}" in detail
    twice.work()
    assert twice.job(job_id)["status"] == "succeeded"
    assert twice.http.delete("/models/line/versions/1").status_code == 204


def test_a_model_is_deleted_when_no_alias_names_it_any_more(twice: LocalService, beside: LocalService) -> None:
    put(twice, "production", 1)
    for path in ("/models/line", "/models/line/versions/1"):
        assert "'production' (line@1)" in check_problem(twice.http.delete(path), 409)["detail"]
    assert twice.http.delete("/models/line/versions/2").status_code == 204
    assert beside.http.get("/predict?model=line&x=1").json()["version"] == 1
    twice.http.delete("/models/line/aliases/production")
    assert twice.http.delete("/models/line").status_code == 204
    for service in (twice, beside):
        check_problem(service.http.get("/predict?model=line@1&x=1"), 404)
        check_problem(service.http.get("/models/line"), 404)
        assert service.http.get("/models").json()["data"] == []
    assert twice.train(line(model="line", hyperparameters=ONCE))["version"] == 3


def test_what_is_told_of_a_model_can_be_changed(twice: LocalService) -> None:
    def patch(change: Json) -> tuple[str | None, Json]:
        answer = twice.http.patch("/models/line", json=change)
        assert answer.status_code == 200, answer.text
        model = twice.http.get("/models/line").json()
        assert {name: model[name] for name in answer.json()} == answer.json()
        return model["description"], model["metadata"]

    assert patch({}) == (None, {})
    assert patch({"description": "Twice x.", "metadata": {"owner": "us", "trial": "1"}}) == (
        "Twice x.",
        {"owner": "us", "trial": "1"},
    )
    assert patch({"metadata": {"trial": None, "team": "b"}}) == ("Twice x.", {"owner": "us", "team": "b"})
    assert patch({"description": None}) == (None, {"owner": "us", "team": "b"})
    answer = twice.http.patch("/models/line", json={"metadata": {str(number): "" for number in range(15)}})
    check_fault(answer, "#/metadata", "would have 17 pairs, and 16 is the limit")
    assert patch({})[1] == {"owner": "us", "team": "b"}


def test_the_lineage_leads_from_the_model_to_its_job_and_its_dataset(standing: LocalService) -> None:
    version = standing.http.get("/models/line/versions/1").json()
    job = standing.http.get(version["links"]["job"]).json()
    dataset = standing.http.get(version["links"]["dataset"]).json()
    assert (job["id"], job["dataset"], job["links"]["model"]) == (
        version["job"],
        version["dataset"],
        version["links"]["self"],
    )
    assert dataset["id"] == version["dataset"]


@pytest.mark.parametrize("alias", ["2", "007", "a" * 101, "a b", "ä", ".hidden", "-", "_", "a@b", "1,5"])
def test_a_name_that_no_alias_may_have_is_refused(standing: LocalService, alias: str) -> None:
    for answer in (
        standing.http.put(f"/models/line/aliases/{alias}", json={"version": 1}),
        standing.http.delete(f"/models/line/aliases/{alias}"),
    ):
        (fault,) = check_problem(answer, 422)["errors"]
        assert fault["pointer"] == "#/path/alias"


@pytest.mark.parametrize("alias", ["a", "2026-11", "1.0", "v2", "Production_EU", "a" * 100])
def test_a_name_that_an_alias_may_have_is_told_from_a_number(twice: LocalService, alias: str) -> None:
    put(twice, alias, 1)
    assert twice.http.get("/predict", params={"model": f"line@{alias}", "x": 1}).json()["version"] == 1


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({"version": 7}, "#/version", "model 'line' has no version 7: its newest is 1"),
        ({"version": 0}, "#/version", "greater than or equal to 1"),
        ({"version": "1"}, "#/version", "valid integer"),
        ({"version": 1.5}, "#/version", "valid integer"),
        ({}, "#/version", "is missing"),
        ({"version": 1, "name": "a"}, "#/name", "is not known"),
    ],
)
def test_an_alias_of_what_is_no_version_is_refused(
    standing: LocalService, body: Json, pointer: str, words: str
) -> None:
    check_fault(standing.http.put("/models/line/aliases/a", json=body), pointer, words)
    check_problem(standing.http.delete("/models/line/aliases/a"), 404)


def test_latest_cannot_be_set_or_deleted(standing: LocalService) -> None:
    path = "/models/line/aliases/latest"
    for answer in (standing.http.put(path, json={"version": 1}), standing.http.delete(path)):
        check_fault(answer, "#/path/alias", "latest moves by itself to the newest version")


def test_an_alias_of_no_model_is_not_found(standing: LocalService) -> None:
    path = "/models/nowhere/aliases/a"
    for answer in (standing.http.put(path, json={"version": 1}), standing.http.delete(path)):
        assert "no model 'nowhere'" in check_problem(answer, 404)["detail"]
