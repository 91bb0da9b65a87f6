import json
import re
from pathlib import Path

import pytest

from tests.conftest import Command, LiveService


def test_a_prediction_is_the_service_s_answer(live: LiveService, descent: Command) -> None:
    live.train(
        {"task": "logistic_regression", "model": "cli-ja", "dataset": {"features": [1, 2], "targets": ["ja", "ö"]}}
    )
    outcome = descent("predict", "cli-ja@1", "x=5", "--url", live.url)
    assert outcome.code == 0
    assert json.loads(outcome.out) == live.http.get("/predict?model=cli-ja&x=5").json()
    assert "ö" in outcome.out
    refused = descent("predict", "cli-ja", "x=5", "y=1", "z=two", "--url", live.url)
    assert refused.code == 1
    assert [re.findall(" '([yz])'", line) for line in refused.err.splitlines()] == [["y"], ["z"]]
    assert "#/" not in refused.err
    assert descent("predict", "nowhere", "x=5", "--url", live.url).err == (
        "descent: there is no model 'nowhere': `descent models` lists them\n"
    )
    malformed = descent("predict", "cli-ja", "x:5", "--url", live.url)
    assert malformed.code == 2
    assert "'x:5' is not of the form name=value" in malformed.err


def test_an_alias_is_set_used_listed_and_deleted(live: LiveService, descent: Command) -> None:
    body = {"task": "linear_regression", "model": "cli-alias", "dataset": {"features": [1, 2], "targets": [2, 4]}}
    live.train(body)
    said = descent("alias", "cli-alias", "best", "1", "--url", live.url)
    assert (said.code, said.out) == (0, "cli-alias@best is version 1\n")
    assert "cli-alias  best=1, latest=1\n" in descent("models", "--url", live.url).out
    explained = json.loads(descent("predict", "cli-alias@best", "x=5", "--explain", "--url", live.url).out)
    assert explained["explanations"][0]["value"] == explained["predictions"][0]
    assert descent("alias", "cli-alias", "best", "--delete", "--url", live.url).out == "cli-alias@best is deleted\n"
    assert descent("predict", "cli-alias@best", "x=5", "--url", live.url).code == 1
    for wrong in ((), ("1", "--delete")):
        assert descent("alias", "cli-alias", "best", *wrong, "--url", live.url).code == 2


def test_a_model_is_shown_with_its_versions_which_are_deleted_one_by_one_or_all(
    live: LiveService, descent: Command
) -> None:
    body = {"task": "linear_regression", "model": "cli-gone", "dataset": {"features": [1, 2], "targets": [2, 4]}}
    jobs = [live.train(body).json() for _ in range(3)]
    descent("alias", "cli-gone", "best", "1", "--url", live.url)
    head, *versions = descent("models", "cli-gone", "--url", live.url).out.splitlines()
    assert head == "cli-gone  best=1, latest=3"
    assert [line.split()[0] for line in versions] == ["cli-gone@3", "cli-gone@2", "cli-gone@1"]
    assert [line.split()[2:] for line in versions] == [["linear_regression", job["id"]] for job in reversed(jobs)]
    assert descent("models", "cli-gone@2", "--delete", "--url", live.url).out == "cli-gone@2 is deleted\n"
    assert len(descent("models", "cli-gone", "--url", live.url).out.splitlines()) == 3
    for named in ("cli-gone", "cli-gone@best"):
        refused = descent("models", named, "--delete", "--url", live.url)
        assert (refused.code, "`descent alias cli-gone ALIAS --delete`" in refused.err) == (1, True)
    assert descent("alias", "cli-gone", "best", "--delete", "--url", live.url).code == 0
    assert descent("models", "cli-gone", "--delete", "--url", live.url).out == "cli-gone is deleted\n"
    gone = descent("models", "cli-gone", "--url", live.url)
    assert (gone.code, "there is no model 'cli-gone'" in gone.err) == (1, True)
    for nothing in ((), ("",)):
        assert descent("models", *nothing, "--delete", "--url", live.url).code == 2


def test_jobs_are_listed_newest_first_with_their_progress(live: LiveService, descent: Command) -> None:
    body = {"task": "linear_regression", "model": "cli-listed", "dataset": {"features": [1, 2], "targets": [2, 4]}}
    job = live.train({**body, "hyperparameters": {"epochs": 3}}).json()
    outcome = descent("jobs", "--limit", "1", "--status", "succeeded", "--url", live.url)
    assert (outcome.code, outcome.out) == (0, f"{job['id']}  succeeded  3/3 epochs  cli-listed\n")
    refused = descent("jobs", "--status", "done", "--url", live.url)
    assert refused.code == 1
    assert refused.err.startswith("descent: --status: ")


def test_datasets_are_listed_shown_with_their_columns_and_deleted(live: LiveService, descent: Command) -> None:
    content = "size,colour,comment\n1,red,\n2,blue,\n2,red,\n"
    uploaded = live.http.post("/datasets?name=cli-tones", content=content, headers={"Content-Type": "text/csv"}).json()
    listed = descent("datasets", "--limit", "1", "--url", live.url)
    assert listed.code == 0
    assert re.fullmatch(rf"{uploaded['id']} +3 x 3 .* cli-tones\n", listed.out)
    shown = descent("datasets", uploaded["id"], "--url", live.url).out.splitlines()
    assert shown[0] == listed.out.rstrip()
    assert [line.split()[:4] for line in shown[2:]] == [
        ["size", "number", "0", "2"],
        ["colour", "category", "0", "2"],
        ["comment", "text", "3", "0"],
    ]
    assert "1.667 ± 0.4714, 1 to 2" in shown[2]
    assert "red (2), blue (1)" in shown[3]
    assert descent("datasets", uploaded["id"], "--delete", "--url", live.url).out == f"{uploaded['id']} is deleted\n"
    gone = descent("datasets", uploaded["id"], "--url", live.url)
    assert (gone.code, "it was deleted" in gone.err) == (1, True)
    assert descent("datasets", "--delete", "--url", live.url).code == 2


def test_a_dataset_whose_feature_has_the_name_of_its_target_is_shown_and_refused_with_the_reason(
    live: LiveService, descent: Command
) -> None:
    inline = {"features": [1, 2], "feature_names": ["y"], "targets": ["cli", "twice"]}
    dataset = live.train({"task": "logistic_regression", "dataset": inline}).json()["dataset"]
    shown = descent("datasets", dataset, "--url", live.url)
    assert (shown.code, [line.split() for line in shown.out.splitlines()[2:]]) == (
        0,
        [["y", "number"], ["y", "category"]],
    )
    refused = descent("train", dataset, "--target", "y", "--url", live.url)
    assert (refused.code, "'y' names a feature and a target" in refused.err) == (1, True)


@pytest.mark.parametrize("command", ["jobs", "datasets"])
def test_a_list_that_goes_on_says_so_beside_it(live: LiveService, descent: Command, command: str) -> None:
    for number in range(2):
        dataset = {"features": [1, 2], "targets": [number, 4]}
        live.train({"task": "linear_regression", "model": "cli-many", "dataset": dataset})
    outcome = descent(command, "--limit", "1", "--url", live.url)
    assert (outcome.code, len(outcome.out.splitlines())) == (0, 1)
    assert outcome.err == "these are the newest 1, and there are more: see --limit\n"
    assert descent(command, "--limit", "1000", "--url", live.url).err == ""


def test_a_dataset_that_is_not_there_is_refused_with_where_they_are_listed(live: LiveService, descent: Command) -> None:
    assert "`descent datasets` lists them" in descent("datasets", "ds_nowhere", "--url", live.url).err


def test_a_model_goes_into_a_file_and_comes_back(live: LiveService, descent: Command, tmp_path: Path) -> None:
    body = {"task": "linear_regression", "model": "cli-file", "dataset": {"features": [1, 2], "targets": [2, 4]}}
    live.train(body)
    for ending in ("json", "safetensors", "onnx"):
        file = tmp_path / f"model.{ending}"
        said = descent("export", "cli-file@latest", str(file), "--url", live.url)
        assert (said.code, said.out) == (0, f"{file} has cli-file@latest, {file.stat().st_size:,} bytes\n")
    json_file = str(tmp_path / "model.json")
    said = descent("import", json_file, "--name", "cli-back", "--url", live.url)
    assert (said.code, said.out) == (0, "cli-back@1 is ready to predict\n")
    mine, theirs = (live.http.get(f"/predict?model={name}&x=5").json() for name in ("cli-file", "cli-back"))
    assert mine["predictions"] == theirs["predictions"]
    assert descent("import", json_file, "--url", live.url).out == "cli-file@2 is ready to predict\n"
    for arguments, words in (
        (("export", "cli-file@best", json_file), "has no version or alias 'best': there are latest"),
        (("export", "cli-file@9", json_file), "has no version 9"),
        (("export", "cli-file", str(tmp_path / "nowhere" / "m.json")), "cannot be written: No such file"),
        (("import", str(tmp_path / "model.onnx")), "is not JSON: give what `descent export` wrote"),
        (("import", str(tmp_path / "nothing.json")), "cannot be read: No such file"),
        (("import", json_file, "--name", "a/b"), "#/name: name must be up to 100 letters"),
    ):
        refused = descent(*arguments, "--url", live.url)
        assert refused.code == 1
        assert words in refused.err
    assert descent("export", "cli-file", "model.pt", "--url", live.url).code == 2
