import csv
import http.server
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from service.hyperparameters import Hyperparameters, Stop
from tests.conftest import Command, LiveService

COMMANDS = ("serve", "worker", "demo", "train", "retry", "predict", "jobs")
BRAILLE = re.compile("[\u2801-\u28ff]")
SCRIPT = str(Path(sys.executable).with_name("descent"))


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
    learned = live.http.get("/models/my-diabetes-2/versions/1/parameters").json()
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
    before = live.http.get("/jobs").json()
    outcome = descent("train", "iris-petals", "--learning-rate", "9", "--check", "--url", live.url)
    for words in (r"limit +0\.\d+ \(exact\)", r"suggested +0\.\d+", r"condition number +\d+", "fastest +0"):
        assert re.search(words, outcome.out)
    assert re.search(
        r"warning learning_rate_above_limit: the learning rate 9 is .*\n  try --learning-rate 0\.", outcome.out
    )
    assert (outcome.code, live.http.get("/jobs").json()) == (0, before)


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
    assert (refused.code, refused.err.split(": ")[1]) == (1, "#/hyperparameters/loss")


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["--epochs", "0"], ["#/hyperparameters/epochs: .* greater than or equal to 1, not 0"]),
        (["--epochs", "ten"], ["#/hyperparameters/epochs: .* not 'ten'"]),
        (["--learning-rate", "NaN"], [".*learning_rate.*"]),
        (["--task", "ridge"], ["#/task: .* not 'ridge'"]),
        (["--model", "my model"], ["#/model: .* not 'my model'"]),
        (["--seed", "-1", "--momentum", "2"], ["#/hyperparameters/momentum: .*", "#/hyperparameters/seed: .*"]),
        (["--target", "petal_lenght"], [".*iris-petals.csv has no column 'petal_lenght': it has sepal_length, .*"]),
        (["--features", "petal_length,petal_length"], [".*'petal_length'.*"]),
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


@pytest.mark.parametrize("name", ["数据.csv", "_.csv", "a" * 150 + ".csv"])
def test_a_table_of_any_name_can_be_trained_on(live: LiveService, descent: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x,y\n1,2\n2,4\n")
    outcome = descent("train", str(tmp_path / name), "--target", "y", "--epochs", "1", "--url", live.url)
    assert outcome.code == 0, outcome.err


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
    assert [line.partition(" ")[0] for line in refused.err.removeprefix("descent: ").splitlines()] == [
        "#/query/y:",
        "#/query/z:",
    ]
    assert descent("predict", "nowhere", "x=5", "--url", live.url).err == (
        "descent: there is no model 'nowhere': GET /models lists them\n"
    )
    malformed = descent("predict", "cli-ja", "x:5", "--url", live.url)
    assert malformed.code == 2
    assert "'x:5' is not of the form name=value" in malformed.err


def test_jobs_are_listed_newest_first_with_their_progress(live: LiveService, descent: Command) -> None:
    body = {"task": "linear_regression", "model": "cli-listed", "dataset": {"features": [1, 2], "targets": [2, 4]}}
    job = live.train({**body, "hyperparameters": {"epochs": 3}}).json()
    outcome = descent("jobs", "--limit", "1", "--status", "succeeded", "--url", live.url)
    assert (outcome.code, outcome.out) == (0, f"{job['id']}  succeeded  3/3 epochs  cli-listed\n")
    refused = descent("jobs", "--status", "done", "--url", live.url)
    assert refused.code == 1
    assert refused.err.startswith("descent: #/query/status: ")


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a port that nobody listens on, though it is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("arguments", [["jobs"], ["predict", "m", "x=1"], ["train", "iris-petals"]])
def test_without_a_service_a_command_ends_with_1_and_a_hint(
    descent: Command, nobody: str, arguments: list[str]
) -> None:
    outcome = descent(*arguments, "--url", nobody)
    assert outcome.code == 1
    assert f"no service answers at {nobody}" in outcome.err
    assert "is `descent serve` running there?" in outcome.err


@contextmanager
def stranger(status: int) -> Iterator[str]:
    """A web server that is no Descent service, at this URL."""

    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>Welcome</html>")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the inherited signature
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [200, 404, 500])
def test_another_service_at_the_address_is_told_from_descent(descent: Command, status: int) -> None:
    with stranger(status) as url:
        outcome = descent("jobs", "--url", url)
    assert outcome.code == 1
    assert f"{url} is no Descent service" in outcome.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_its_options(descent: Command, command: str) -> None:
    outcome = descent(command, "--help")
    assert outcome.code == 0
    listed = descent("--help").out
    assert re.search(rf"{command} +[A-Z]", listed)
    options = re.findall(r"^│ +(--[a-z0-9-]+) (.*)│$", outcome.out, re.MULTILINE)
    assert options
    assert [name for name, rest in options if not re.search(r" [A-Z]?[a-z]+ .*[.:]", rest)] == []


def test_the_help_of_train_names_each_hyperparameter_with_its_sentence_and_default(descent: Command) -> None:
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", descent("train", "--help").out).split())
    for name, field in Hyperparameters.model_fields.items():
        assert f"--{name.replace('_', '-')} " in text
        assert field.description
        first_words = " ".join(field.description.replace("`", "").split()[:4])
        assert first_words in text.replace("`", "")
    assert text.count("default: (auto)") == 5
    assert "default: (1000)" in text


def test_a_port_that_is_taken_ends_serve_with_1_and_the_option_to_choose_another(nobody: str, tmp_path: Path) -> None:
    port = nobody.rpartition(":")[2]
    command = [SCRIPT, "serve", "--port", port, "--data-dir", str(tmp_path / "data")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1
    assert found.stderr.startswith(f"descent: cannot listen on 127.0.0.1:{port}: ")
    assert "--port" in found.stderr
