"""Published training runs, reproduced by every engine, and over HTTP."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.data.inline import dataset_from_rows
from service.hyperparameters import Hyperparameters
from service.parameters import as_json, unflatten
from service.training.epochs import EpochColumns, join
from service.training.fit import Training
from tests.conftest import LiveService
from tests.threads import one_thread

EXAMPLES = {
    example["name"]: example
    for example in json.loads((Path(__file__).parent / "worked_examples.json").read_text())["examples"]
}
LOSSES = {"mean squared error": "mse", "binary cross entropy": "binary_cross_entropy"}


def request_of(example: dict[str, Any], dtype: str = "float64") -> dict[str, Any]:
    """Put an example into the words of POST /train."""
    given = example["hyperparameters"]
    loss = LOSSES[given["loss"]]
    if "update" in given:  # derived by hand without the constant 2
        loss = "half_mse"
    hyperparameters = {
        "learning_rate": given["learning_rate"],
        "epochs": given["epochs"],
        "loss": loss,
        "dtype": dtype,
        "frozen": example.get("frozen", []),
        "seed": example.get("seed", 0),
        "start": "torch" if "seed" in example else example["start"],
    }
    return {
        "model": example["name"],
        "task": example["task"].replace(" ", "_"),
        "dataset": {"features": example["features"], "targets": example["targets"]},
        "hyperparameters": hyperparameters,
    }


class Run:
    """An example's training: what each point of the example says is at hand by epoch."""

    def __init__(self, live: LiveService, body: dict[str, Any]) -> None:
        answer = live.train(body)
        assert answer.status_code == 201, answer.text
        self.job = answer.json()
        assert self.job["status"] == "succeeded"
        self._http = live.http
        self.history = live.http.get(self.job["links"]["history"]).json()
        # Which loss is printed: the tutorials print the plain mean of squares whatever they derive.
        self._factor = 2.0 if body["hyperparameters"]["loss"] == "half_mse" else 1.0

    def loss(self, epoch: int) -> float:
        assert self.history["epoch"][epoch] == epoch
        loss: float = self.history["train_loss"][epoch]
        return self._factor * loss

    def parameters(self, epoch: int) -> dict[str, Any]:
        answer: dict[str, Any] = self._http.get(self.job["links"]["parameters"], params={"epoch": epoch}).json()
        return answer


class Direct:
    """An example's training without the service around it."""

    def __init__(self, body: dict[str, Any], engine: str) -> None:
        dataset = dataset_from_rows(body["task"], body["dataset"]["features"], body["dataset"]["targets"])
        asked = body["hyperparameters"] | {"engine": engine, "record_every": 1, "device": "cpu"}
        self._training = Training(body["task"], dataset, Hyperparameters.model_validate(asked))
        assert self._training.plan.engine == engine
        with one_thread():
            self._columns: EpochColumns = join([block.columns for block in self._training.blocks()])
        self._factor = 2.0 if asked["loss"] == "half_mse" else 1.0

    def loss(self, epoch: int) -> float:
        return self._factor * float(self._columns.train_loss[epoch])

    def parameters(self, epoch: int) -> dict[str, Any]:
        parts = (self._columns.parameters, self._columns.gradient)
        values, gradient = (
            as_json(unflatten(rows[epoch], self._training.plan.layout)[0]) for rows in parts if rows is not None
        )
        return {**values, "gradient": gradient}


PUBLISHED = [
    "simple-linear-hand-derived-gradient",
    "simple-linear-autograd-sgd",
    "simple-linear-nn-module",
    "three-points-linear",
    "quiz-scores-zero-start",
    "quiz-scores-nn-module-predict",
    "binary-logistic",
    "height-weight-first-step",
    "frozen-bias",
]


def compare(run: Run | Direct, example: dict[str, Any]) -> None:
    """Hold a training against all that an example says of it."""
    near = {"rel": example.get("relative_tolerance", 0), "abs": example.get("tolerance", 0)}
    points = example.get("published", example.get("computed"))
    assert points
    for point in points:
        epoch = point["epoch"]
        found = run.parameters(epoch)
        if "loss" in point:
            assert run.loss(epoch) == pytest.approx(point["loss"], **near)
        if "loss_before_update" in point:
            assert run.loss(epoch - 1) == pytest.approx(point["loss_before_update"], **near)
        weight = point.get("weights", point.get("weight"))
        if weight is not None:
            assert found["weight"] == pytest.approx(np.atleast_1d(weight).tolist(), **near)
        if "bias" in point:
            assert found["bias"] == pytest.approx(point["bias"], **near)
        if "gradient" in point:
            assert found["gradient"]["weight"] == pytest.approx([point["gradient"]["weight"]], **near)
            assert found["gradient"]["bias"] == pytest.approx(point["gradient"]["bias"], **near)


def test_every_worked_example_is_tested_here() -> None:
    assert {*PUBLISHED, "three-features-stop-at-target-loss"} == set(EXAMPLES)


@pytest.mark.parametrize(
    ("engine", "dtype"),
    [
        ("exact", "float64"),
        ("exact", "float32"),
        ("analytic", "float64"),
        ("analytic", "float32"),
        ("autograd", "float64"),
    ],
)
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_engine_that_can_run_a_published_training_reproduces_it(name: str, engine: str, dtype: str) -> None:
    body = request_of(EXAMPLES[name], dtype)
    if engine == "exact" and body["task"] != "linear_regression":
        return
    compare(Direct(body, engine), EXAMPLES[name])


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_training_is_reproduced_over_http_at_every_epoch_it_prints(live: LiveService, name: str) -> None:
    example = EXAMPLES[name]
    run = Run(live, request_of(example))
    assert run.history["epoch"] == list(range(example["hyperparameters"]["epochs"] + 1))
    compare(run, example)


def test_the_quiz_scores_model_predicts_the_published_score(live: LiveService) -> None:
    example = EXAMPLES["quiz-scores-nn-module-predict"]
    Run(live, request_of(example) | {"model": "quiz-predicts"})
    features = ",".join(map(str, example["predict"]["features"]))
    answer = live.http.get("/predict", params={"model": "quiz-predicts", "features": features}).json()
    near = example["relative_tolerance"]
    assert answer["predictions"] == pytest.approx([example["predict"]["prediction"]], rel=near)


def test_torchs_own_start_under_the_seed_is_the_published_start_of_the_quiz_scores(live: LiveService) -> None:
    example = EXAMPLES["quiz-scores-nn-module-predict"]
    body = request_of(example) | {"model": "quiz-start"}
    body["hyperparameters"] |= {"start": "torch", "seed": 1, "epochs": 1}
    found = Run(live, body).parameters(0)
    assert found["weight"] == pytest.approx(example["start"]["weight"], abs=1e-7)
    assert found["bias"] == pytest.approx(example["start"]["bias"], abs=1e-7)


def test_the_binary_logistic_example_classifies_as_well_as_published(live: LiveService) -> None:
    example = EXAMPLES["binary-logistic"]
    run = Run(live, request_of(example) | {"model": "binary-accuracy"})
    assert run.job["result"]["metrics"]["train"]["accuracy"] == 1.0
    answer = live.http.post("/predict", json={"model": "binary-accuracy", "features": example["features"]}).json()
    assert answer["predictions"] == example["targets"]


@pytest.mark.parametrize(
    ("weights", "bias", "noise", "n_outliers", "target_loss"),
    [([0.3, 0.5, 0.7], 0.5, 0.0, 0, 1e-5), ([0.3], 0.5, 0.01, 2, 5e-4)],
)
def test_training_stops_at_the_target_loss_well_before_the_last_epoch(
    live: LiveService, weights: list[float], bias: float, noise: float, n_outliers: int, target_loss: float
) -> None:
    expected = EXAMPLES["three-features-stop-at-target-loss"]
    draw = np.random.default_rng(0)
    features = draw.uniform(size=(100, len(weights)))
    targets = features @ weights + bias + noise * draw.normal(size=100)
    targets[:n_outliers] = 0.75
    given = expected["hyperparameters"]
    hyperparameters = {
        "learning_rate": given["learning_rate"],
        "epochs": given["epochs"],
        "loss": "half_mse",
        "start": "uniform",
        "seed": 1,
        "stop": {"target_loss": target_loss / 2},  # half_mse is half of the printed mean of squares
    }
    dataset = {"features": features.tolist(), "targets": targets.tolist()}
    body = {"task": "linear_regression", "dataset": dataset, "hyperparameters": hyperparameters}
    job = live.train(body).json()
    assert job["stop_reason"] == "target_loss_reached"
    assert job["progress"]["epoch"] < 1000
    assert job["progress"]["fraction"] == 1.0
    history = live.http.get(job["links"]["history"]).json()
    assert 2 * history["train_loss"][-1] <= target_loss < 2 * history["train_loss"][-2]
    learned = live.http.get(job["links"]["model"] + "/parameters").json()
    assert np.round(learned["weight"], 1).tolist() == weights
