import csv
import gzip
import hashlib
import io
import json
import re
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import zstandard
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from service.hyperparameters import Stop
from tests.conftest import Command, LiveService

BRAILLE = re.compile("[\u2801-\u28ff]")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """scikit-learn's diabetes data as a CSV file, the features standardised, under a name with more than letters."""
    data = load_diabetes()
    path = tmp_path / "my diabetes (2).csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*data.feature_names, "progression"])
        writer.writerows(np.column_stack([data.data / data.data.std(axis=0), data.target]).tolist())
    return path


def newest_job(live: LiveService) -> dict[str, Any]:
    job: dict[str, Any] = live.http.get("/jobs?limit=1").json()["data"][0]
    return job


def test_a_followed_training_of_an_example_shows_its_progress_its_loss_and_its_result(
    live: LiveService, descent: Command
) -> None:
    outcome = descent("train", "iris-petals", "--model", "cli-petals", "--epochs", "300", "--follow", "--url", live.url)
    assert outcome.code == 0, outcome.err
    job = newest_job(live)
    assert (job["model"], job["status"], job["progress"]["epoch"]) == ("cli-petals", "succeeded", 300)
    assert "300/300 epochs" in outcome.out
    assert len(BRAILLE.findall(outcome.out)) > 30
    losses = live.http.get(job["links"]["history"]).json()["train_loss"]
    assert f"{max(losses):.4g} ┤" in outcome.out
    assert f"cli-petals@{job['version']}: train_loss {job['result']['train_loss']:.6g}" in outcome.out
    assert "r2 0.9" in outcome.out


def test_a_training_that_is_not_followed_tells_where_its_job_is(live: LiveService, descent: Command) -> None:
    outcome = descent("train", "iris-species", "--epochs", "5", "--url", f"{live.url}/")
    job = newest_job(live)
    assert (outcome.code, job["model"], job["task"]) == (0, "iris-species", "logistic_regression")
    assert outcome.out == f"{job['id']} queued; follow it at {live.url}/jobs/{job['id']}\n"


def test_a_table_of_ones_own_is_trained_on_to_scikit_learn_s_solution(
    live: LiveService, descent: Command, table: Path
) -> None:
    columns = ["--target", "progression", "--features", "bp,bmi"]
    outcome = descent("train", str(table), *columns, "--dtype", "float64", "--follow", "--url", live.url)
    assert outcome.code == 0, outcome.err
    job = newest_job(live)
    assert job["model"] == "my-diabetes-2"
    learned = live.http.get(f"{job['links']['model']}/parameters").json()
    data = load_diabetes()
    features = (data.data / data.data.std(axis=0))[:, [3, 2]]
    solution = LinearRegression().fit(features, data.target)
    assert learned["feature_names"] == ["bp", "bmi"]
    np.testing.assert_allclose(learned["weight"], solution.coef_, rtol=1e-6)
    assert learned["bias"] == pytest.approx(solution.intercept_, rel=1e-6)


def test_hyperparameters_are_sent_as_the_json_that_they_read_as(live: LiveService, descent: Command) -> None:
    values = {
        "learning_rate": 0.001,
        "epochs": 3,
        "batch_size": 10,
        "shuffle": False,
        "start": {"weight": [0.1, 0.2, 0.3], "bias": 1.0},
        "frozen": ["bias"],
        "record_every": 2,
        "loss": "half_mse",
        "device": "cpu",
        "seed": 7,
    }
    options = [(f"--{name.replace('_', '-')}", value) for name, value in values.items()]
    texts = [text for name, value in options for text in (name, value if isinstance(value, str) else json.dumps(value))]
    assert descent("train", "iris-petals", *texts, "--follow", "--url", live.url).code == 0
    sent = newest_job(live)["hyperparameters"]
    assert {name: sent[name] for name in values} == values


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (["--schedule", "cosine"], {"schedule": "cosine"}),
        (["--schedule", '{"kind":"step","gamma":0.5}'], {"schedule": {"kind": "step", "step_size": 100, "gamma": 0.5}}),
        (["--task", "mlp_regressor", "--hidden-layers", "[16,16]"], {"hidden_layers": [16, 16]}),
        (["--start", '{"model":"cli-start@1"}'], {"start": {"model": "cli-start@1"}}),
        (["--scale", "standard", "--fit-intercept", "false"], {"scale": "standard", "fit_intercept": False}),
        (["--stop", '{"patience":5}'], {"stop": {**Stop().model_dump(), "patience": 5}}),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_every_form_of_a_hyperparameter_can_be_given(
    live: LiveService, descent: Command, options: list[str], sent: dict[str, Any]
) -> None:
    if live.http.get("/models/cli-start").status_code == 404:
        descent("train", "iris-petals", "--model", "cli-start", "--epochs", "1", "--follow", "--url", live.url)
    outcome = descent("train", "iris-petals", "--epochs", "2", *options, "--url", live.url)
    assert outcome.code == 0, outcome.err
    found = newest_job(live)["hyperparameters"]
    assert {name: found[name] for name in sent} == sent


def test_a_check_tells_what_the_data_allows_and_queues_nothing(live: LiveService, descent: Command) -> None:
    before = [job["id"] for job in live.http.get("/jobs").json()["data"]]
    outcome = descent("train", "iris-petals", "--learning-rate", "9", "--check", "--url", live.url)
    for words in (r"limit +0\.\d+ \(exact\)", r"suggested +0\.\d+", r"condition number +\d+", "fastest +0"):
        assert re.search(words, outcome.out)
    assert re.search(
        r"warning learning_rate_above_limit: the learning rate 9 is .*\n  try --learning-rate 0\.", outcome.out
    )
    assert outcome.code == 0
    assert [job["id"] for job in live.http.get("/jobs").json()["data"]] == before


def test_a_diverging_training_that_is_followed_ends_with_1_says_why_and_is_mended_by_its_suggestion(
    live: LiveService, descent: Command
) -> None:
    outcome = descent("train", "iris-petals", "--learning-rate", "1e6", "--follow", "--url", live.url)
    job = newest_job(live)
    assert outcome.code == 1
    assert f"{job['id']} failed: {job['error']['detail']}" in outcome.out
    assert "the learning rate 1e+06 is" in outcome.out
    assert f"descent retry {job['id']} --apply-suggestion" in outcome.out
    mended = descent("retry", job["id"], "--apply-suggestion", "--epochs", "30", "--follow", "--url", live.url)
    again = newest_job(live)
    assert mended.code == 0, mended.out
    assert (again["retry_of"], again["status"], again["progress"]["epoch"]) == (job["id"], "succeeded", 30)
    assert f"iris-petals@{again['version']}: train_loss" in mended.out
    refused = descent("retry", again["id"], "--loss", "cross_entropy", "--url", live.url)
    assert (refused.code, refused.err.split(": ")[1]) == (1, "--loss")


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["--epochs", "0"], ["--epochs: .* greater than or equal to 1, not 0"]),
        (["--epochs", "ten"], ["--epochs: .* not 'ten'"]),
        (["--learning-rate", "NaN"], ["--learning-rate: .* not 'NaN'"]),
        (["--task", "ridge"], ["--task: .* not 'ridge'"]),
        (["--model", "my model"], ["--model: .* not 'my model'"]),
        (["--seed", "-1", "--momentum", "2"], ["--momentum: .*", "--seed: .*"]),
        (["--target", "petal_lenght"], ["--target: .*'petal_lenght'.*petal_length.*"]),
        (["--features", "petal_length,petal_length"], ["--features.*'petal_length'.*"]),
        (["--features", "petal_length, sepal"], ["--features.*'sepal'.*sepal_.*"]),
        (["--missing", "middle"], ["--missing: .*not 'middle'"]),
    ],
)
def test_a_training_that_is_refused_ends_with_1_and_a_line_for_each_fault(
    live: LiveService, descent: Command, arguments: list[str], lines: list[str]
) -> None:
    n_jobs = len(live.http.get("/jobs?limit=1000").json()["data"])
    outcome = descent("train", "iris-petals", *arguments, "--url", live.url)
    assert outcome.code == 1
    assert re.fullmatch("descent: " + "\n".join(lines) + "\n", outcome.err), outcome.err
    assert len(live.http.get("/jobs?limit=1000").json()["data"]) == n_jobs


def test_a_table_that_is_not_there_or_has_no_target_is_named(descent: Command, table: Path) -> None:
    missing = descent("train", "nowhere.csv", "--target", "y")
    assert (missing.code, missing.err) == (1, "descent: there is no file nowhere.csv\n")
    aimless = descent("train", str(table))
    assert aimless.code == 1
    assert "--target" in aimless.err
    strange = table.with_suffix(".xlsx")
    strange.write_bytes(b"PK")
    unknown = descent("train", str(strange), "--target", "y")
    assert unknown.code == 1
    assert "has no ending that tells its format: .csv, " in unknown.err


HOUSES = """area,rooms,kind,zip,sold,price
50,2,flat,01067,2020-01-31,100
120,4,house,01067,2021-06-30,240
80,,flat,80331,2021-07-15,160
200,6,house,80331,2022-02-28,410
95,3,flat,01067,2022-03-01,190
"""


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    path = tmp_path / "cli-houses.csv"
    path.write_text(HOUSES)
    return path


def test_categories_holes_and_dates_are_trained_on_as_the_options_say(
    live: LiveService, descent: Command, houses: Path
) -> None:
    reading = ["--types", '{"zip":"category"}', "--missing", "median", "--dates", '{"sold":["year"]}']
    arguments = ["--target", "price", "--scale", "standard", "--epochs", "50", "--follow", "--url", live.url]
    outcome = descent("train", str(houses), *reading, *arguments)
    assert outcome.code == 0, outcome.err
    version = live.http.get(newest_job(live)["links"]["model"]).json()
    assert version["feature_names"] == ["area", "rooms", "kind", "zip", "sold"]
    learned = live.http.get(f"{version['links']['parameters']}").json()
    assert learned["feature_names"] == [
        "area", "rooms", "kind=flat", "kind=house", "zip=01067", "zip=80331", "sold.year",
    ]  # fmt: skip
    sample = ["area=100", "rooms=", "kind=flat", "zip=01067", "sold=2022-03-01"]
    predicted = descent("predict", "cli-houses", *sample, "--url", live.url)
    assert predicted.code == 0, predicted.err
    assert 100 < json.loads(predicted.out)["predictions"][0] < 300


def test_a_file_is_uploaded_once_and_a_dataset_that_is_there_is_named_by_its_id(
    live: LiveService, descent: Command, table: Path
) -> None:
    arguments = ["--target", "progression", "--epochs", "1", "--follow", "--url", live.url]
    assert descent("train", str(table), *arguments).code == 0
    content = hashlib.sha256(table.read_bytes()).hexdigest()
    first = live.http.get(f"/datasets/ds_{content[:32]}").json()
    n_datasets = len(live.http.get("/datasets?limit=1000").json()["data"])
    assert (first["sha256"], first["name"]) == (content, "my diabetes (2)")
    assert descent("train", str(table), *arguments).code == 0
    assert len(live.http.get("/datasets?limit=1000").json()["data"]) == n_datasets
    assert descent("train", first["id"], "--features", "bmi", "--model", "cli-again", *arguments).code == 0
    assert live.http.get("/models/cli-again/versions/1").json()["dataset"] == first["id"]


@pytest.mark.parametrize("coding", ["", ".GZ", ".zst"])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet", ".arrow"])
def test_a_file_of_every_format_and_coding_can_be_trained_on(
    live: LiveService, descent: Command, tmp_path: Path, ending: str, coding: str
) -> None:
    frame = pl.DataFrame({"x": [1, 2, 3, 4], "y": [2.5, 4.5, 6.5, 8.5]})
    content = io.BytesIO()
    write: dict[str, Callable[[], None]] = {
        ".csv": lambda: frame.write_csv(content),
        ".tsv": lambda: frame.write_csv(content, separator="\t"),
        ".jsonl": lambda: frame.write_ndjson(content),
        ".parquet": lambda: frame.write_parquet(content),
        ".arrow": lambda: frame.write_ipc(content),
    }
    write[ending]()
    codings: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".GZ": gzip.compress, ".zst": zstandard.compress}
    path = tmp_path / f"line{ending}{coding}"
    path.write_bytes(codings[coding](content.getvalue()))
    options = ["--epochs", "500", "--dtype", "float64", "--follow", "--url", live.url]
    outcome = descent("train", str(path), "--target", "y", *options)
    assert outcome.code == 0, outcome.err
    predicted = json.loads(descent("predict", "line", "x=5", "--url", live.url).out)["predictions"]
    assert predicted == pytest.approx([10.5], abs=0.01)


@pytest.mark.parametrize(
    ("content", "options"),
    [
        pytest.param("2019,2020,2021\n1,2,3\n2,3,5\n", ["--header", "true"], id="a header of years"),
        pytest.param("2018|2,5|NA\n2019|3|1\n2020|-|2\n2021|4|7", ["--header", "false", "--delimiter", "|",
            "--decimal", ",", "--missing-text", "NA", "--missing-text", "-"], id="without a header"),
        pytest.param("2021,größe\n1,2\n2,3\n".encode("latin-1"), ["--encoding", "latin-1", "--header", "true"],
            id="an encoding"),
    ],
)  # fmt: skip
def test_a_file_is_read_as_the_options_say(
    live: LiveService, descent: Command, tmp_path: Path, content: str | bytes, options: list[str]
) -> None:
    path = tmp_path / "years.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    target = ["--target", "column_1" if "false" in options else "2021", "--missing", "mean", "--epochs", "1"]
    outcome = descent("train", str(path), *target, *options, "--url", live.url)
    assert outcome.code == 0, outcome.err
    dataset = live.http.get(f"/datasets/{newest_job(live)['dataset']}").json()
    assert {column["type"] for column in dataset["schema"]} == {"number"}
    refused = descent("train", dataset["id"], *target, *options, "--url", live.url)
    assert refused.code == 2
    said = " ".join(re.sub("[│╭╮╰╯─]", " ", refused.err).split())
    (named,) = re.findall("has been read already: leave (.*) out", said)
    assert set(named.split(", ")) == {option for option in options if option.startswith("--")}


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["1.5", "2", "7"], "linear_regression"),
        (["yes", "no", "yes"], "logistic_regression"),
        (["true", "false", "true"], "logistic_regression"),
        (["red", "green", "blue"], "softmax_regression"),
    ],
)
def test_the_task_follows_from_the_target_when_it_is_not_given(
    live: LiveService, descent: Command, tmp_path: Path, values: list[str], task: str
) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("x,y\n" + "".join(f"{number},{value}\n" for number, value in enumerate(values)))
    outcome = descent("train", str(path), "--target", "y", "--epochs", "1", "--url", live.url)
    assert outcome.code == 0, outcome.err
    assert newest_job(live)["task"] == task


def test_every_fault_of_a_file_is_told_with_its_place(live: LiveService, descent: Command, tmp_path: Path) -> None:
    path = tmp_path / "faulty.csv"
    path.write_text("x,y\n1,2\n2,two\n3,\n4,8,9\n5,10\n6,12\n")
    outcome = descent("train", str(path), "--target", "y", "--url", live.url)
    assert outcome.code == 1
    assert outcome.err.startswith("descent: line 3, column 'y': 'two'")
    assert "line 5" in outcome.err


@pytest.mark.parametrize("name", ["数据.csv", "_.csv", "a" * 150 + ".csv"])
def test_a_table_of_any_name_can_be_trained_on(live: LiveService, descent: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x,y\n1,2\n2,4\n")
    outcome = descent("train", str(tmp_path / name), "--target", "y", "--epochs", "1", "--url", live.url)
    assert outcome.code == 0, outcome.err


def test_a_model_has_the_name_of_its_file_also_where_the_content_is_there_by_another(
    live: LiveService, descent: Command, tmp_path: Path
) -> None:
    content = "x,y\n1,2\n2,4\n3,77\n"
    url = ["--target", "y", "--epochs", "1", "--url", live.url]
    headers = {"Content-Type": "text/csv"}
    dataset = live.http.post("/datasets?name=someone's", content=content, headers=headers).json()["id"]
    for name in ("mine.v1.csv", "mine.v2.csv.gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
        assert descent("train", str(path), *url).code == 0
        assert newest_job(live)["model"] == name[:7]
    assert descent("train", dataset, *url).code == 0
    assert newest_job(live)["model"] == "mine.v2"


@pytest.mark.parametrize("name", ["ds_houses.csv", "ds_houses.csv.gz"])
def test_a_file_that_is_called_like_a_dataset_s_id_is_a_file(
    live: LiveService, descent: Command, tmp_path: Path, name: str
) -> None:
    path, arguments = tmp_path / name, ["--target", "y", "--epochs", "1", "--url", live.url]
    content = b"x,y\n1,2\n2,4\n3,78\n"
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with chdir(tmp_path):
        outcome = descent("train", name, *arguments)
    assert outcome.code == 0, outcome.err
    assert newest_job(live)["model"] == "ds_houses"
    assert descent("train", name, *arguments).err == f"descent: there is no file {name}\n"
    assert "there is no dataset 'ds_houses'" in descent("train", "ds_houses", *arguments).err


@pytest.mark.parametrize(
    ("option", "text", "example"),
    [
        ("--dates", "d1=year", '{"sold": ["year", "month"]}'),
        ("--types", "zip=number", '{"zip": "category"}'),
        ("--missing", "color=most_frequent", '{"rooms": "median", "kind": "indicator"}'),
        ("--missing", "{color: mean}", '{"rooms": "median", "kind": "indicator"}'),
        ("--stop", "patience=5", '{"patience": 20}'),
    ],
)
def test_an_object_in_another_form_than_json_is_refused_with_an_example_which_the_help_has_too(
    descent: Command, option: str, text: str, example: str
) -> None:
    outcome = descent("train", "iris-petals", option, text)
    assert outcome.code == 2
    said = " ".join(re.sub("[│╭╮╰╯─]", " ", outcome.err).split())
    assert f"{text!r} is no JSON: an object is given as {option} '{example}'" in said
    assert example in " ".join(re.sub("[│╭╮╰╯─]", " ", descent("train", "--help").out).split())
