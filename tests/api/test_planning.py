"""Going on from a trained model."""

from typing import Any

import pytest

from tests.api.conftest import EXAMS, Json, LocalService, check_fault, line, switch

STEADY = {"learning_rate": 0.05, "dtype": "float64", "seed": 0}


def perceptron(**changes: Any) -> Json:
    hyperparameters = {"hidden_layers": [3], "epochs": 5, **changes.pop("hyperparameters", {})}
    return line(task="mlp_regressor", hyperparameters=hyperparameters, **changes)


@pytest.fixture(scope="module")
def trained(standing: LocalService) -> LocalService:
    """The standing service, with perceptrons and labels of other kinds."""
    if standing.http.get("/models/bent").status_code == 404:
        standing.train(perceptron(model="bent", hyperparameters={"activation": "tanh"}))
        standing.train(switch(0, 0, 1, 1, model="digits"))
    return standing


@pytest.mark.parametrize("engine", ["exact", "analytic", "autograd"])
def test_a_training_goes_on_where_another_stopped(local: LocalService, engine: str) -> None:
    given = {**STEADY, "engine": engine}
    local.train(line(model="whole", hyperparameters={**given, "epochs": 30}))
    first = local.train(line(model="half", hyperparameters={**given, "epochs": 10}))
    job = local.train(line(model="half", hyperparameters={**given, "epochs": 20, "start": {"model": "half"}}))
    assert job["hyperparameters"]["start"] == {"model": "half@1"}
    history = local.http.get(job["links"]["history"]).json()
    assert history["train_loss"][0] == pytest.approx(first["result"]["train_loss"], rel=1e-9)
    whole, half = (
        local.http.get(f"/models/{name}/parameters").json() for name in ("whole/versions/1", "half/versions/2")
    )
    assert half["weight"] == pytest.approx(whole["weight"], rel=1e-9)
    assert half["bias"] == pytest.approx(whole["bias"], rel=1e-9)


def test_a_perceptron_goes_on_in_other_units_than_it_was_trained_in(trained: LocalService) -> None:
    first = trained.http.get("/models/bent/versions/1").json()
    hyperparameters = {"activation": "tanh", "start": {"model": "bent@1"}, "scale": "standard", "epochs": 1}
    job = trained.train(perceptron(hyperparameters=hyperparameters))
    history = trained.http.get(job["links"]["history"]).json()
    assert history["train_loss"][0] == pytest.approx(first["result"]["train_loss"], rel=1e-4)


@pytest.mark.parametrize("reference", ["line", "line@latest", "line@1"])
def test_the_version_that_a_reference_means_is_settled_at_once(standing: LocalService, reference: str) -> None:
    found = standing.post("/train/check", line(hyperparameters={"start": {"model": reference}})).json()
    assert found["hyperparameters"]["start"] == {"model": "line@1"}


@pytest.mark.parametrize(
    ("task", "start"),
    [
        ("linear_regression", [{"weight": [0.5], "bias": 0.25}]),
        ("mlp_regressor", [{"weight": [[0.5], [-1.0]], "bias": [0.25, 0.0]}, {"weight": [1.0, 2.0], "bias": -0.5}]),
    ],
)
def test_a_training_starts_at_a_bare_list_of_layers_and_so_does_its_retry(
    local: LocalService, task: str, start: list[Json]
) -> None:
    hidden = {"hidden_layers": [2]} if task.startswith("mlp") else {}
    job = local.train(line(task=task, hyperparameters={"start": start, "epochs": 3, **hidden}))
    retry = local.post(f"{job['links']['self']}/retry", {}).json()["id"]
    local.work()
    for one in (job, local.job(retry)):
        assert one["status"] == "succeeded"
        assert one["hyperparameters"]["start"] == start
        first = local.http.get(one["links"]["parameters"], params={"epoch": 0}).json()
        layers = first.get("parameters", [first])
        assert [{name: layer[name] for name in ("weight", "bias")} for layer in layers] == start


REFUSED: list[tuple[Json, str, str]] = [
    (line(), "gone", "there is no model 'gone'"),
    (line(), "line@7", "model 'line' has no version 7: its newest is 1"),
    (line(), "line@best", "model 'line' has no version or alias 'best'"),
    (line(), "switch", "switch@1 is a logistic_regression, and this training is a linear_regression"),
    (line(), "exams@1", "exams@1 takes 3 features, and this dataset has 1"),
    (
        line(dataset={**EXAMS, "feature_names": ["quiz2", "quiz1", "quiz3"]}),
        "exams",
        "exams@1 takes the features in another order than this dataset has them",
    ),
    (
        line(dataset={"features": [1, 2], "targets": [[1, 2], [3, 4]]}),
        "line",
        "line@1 has the layers 1 → 1, and this training 1 → 2",
    ),
    (switch("on", "off!"), "switch", "switch@1 tells the labels 'off', 'on' apart, and this dataset has 'off!', 'on'"),
    (switch(False, True), "digits", "digits@1 tells the labels 0, 1 apart, and this dataset has False, True"),
    (
        perceptron(hyperparameters={"hidden_layers": [4], "activation": "tanh"}),
        "bent",
        "bent@1 has the layers 1 → 3 → 1, and this training 1 → 4 → 1: give hidden_layers [3]",
    ),
    (perceptron(), "bent", "bent@1 was trained with activation tanh, and this training has relu"),
    (line(hyperparameters={"fit_intercept": False}), "line", "line@1 has a bias, and this training has none"),
]


@pytest.mark.parametrize(("body", "reference", "words"), REFUSED)
def test_a_model_that_a_training_cannot_go_on_from_is_refused_with_what_sets_the_two_apart(
    trained: LocalService, body: Json, reference: str, words: str
) -> None:
    given = {**body.get("hyperparameters", {}), "start": {"model": reference}}
    answer = trained.post("/train", {**body, "hyperparameters": given})
    check_fault(answer, "#/hyperparameters/start/model", words)


def test_features_of_other_names_are_taken_by_their_place(standing: LocalService) -> None:
    dataset = {**EXAMS, "feature_names": ["a", "b", "c"]}
    body = {"task": "linear_regression", "dataset": dataset, "hyperparameters": {"start": {"model": "exams"}}}
    assert standing.post("/train/check", body).status_code == 200
