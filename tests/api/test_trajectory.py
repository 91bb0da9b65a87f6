"""What GET /jobs/{id}/trajectory and …/parameters give of histories that are written straight into the store."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.api.history import EpochParametersResponse, TrajectoryResponse
from service.dataset import Dataset, Schema
from service.parameters import n_parameters
from service.scaling import Scaling
from service.store.jobs import Job
from service.tasks import Task
from tests.api.conftest import Json, LocalService, check_fault, check_problem, line
from tests.store.recording import publish, random_vectors, record, start

N_EPOCHS = 31
RANDOM = np.random.default_rng(0)
FEATURES = 30 + RANDOM.standard_normal((8, 3)) * [0.1, 1, 100]
ONE = Dataset(FEATURES, RANDOM.standard_normal(8) * 7)
TWO = Dataset(FEATURES, 5 + RANDOM.standard_normal((8, 2)))
LABELS = Dataset(FEATURES, np.arange(8) % 3, Schema(("a", "b", "c"), ("kind",), ("x", "y", "z")))
SCALED = {"scale": "standard", "scale_targets": "standard"}
KINDS: dict[str, tuple[Task, Dataset, Json]] = {
    "one output": ("linear_regression", ONE, {}),
    "several outputs": ("linear_regression", TWO, {}),
    "one output, scaled": ("linear_regression", ONE, SCALED),
    "several outputs, scaled": ("linear_regression", TWO, SCALED),
    "classes, scaled": ("softmax_regression", LABELS, {"scale": "standard"}),
    "perceptron": ("mlp_regressor", ONE, {"hidden_layers": [4, 2]}),
    "perceptron, scaled": ("mlp_regressor", TWO, {"hidden_layers": [4], **SCALED}),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


class Recorded:
    """A running job with a history of random parameters and gradients, in the units of the descent."""

    def __init__(self, local: LocalService, kind: str, n_epochs: int = N_EPOCHS, **more: Any) -> None:
        self.local = local
        task, self.dataset, hyperparameters = KINDS[kind]
        with local.database.writing() as session:
            self.job: Job = start(session, task, self.dataset, **hyperparameters, **more)
            self.vectors = random_vectors(self.job, n_epochs)
            self.gradients = random_vectors(self.job, n_epochs, seed=1)
            record(session, self.job, self.vectors, self.gradients)
        self.scaling = None if self.job.scaling is None else Scaling.from_json(self.job.scaling)

    def get(self, path: str) -> Json:
        answer = self.local.http.get(f"/jobs/{self.job.id}/{path}")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def original(self) -> NDArray[Any]:
        return self.vectors if self.scaling is None else self.scaling.to_original(self.vectors, self.job.layout)

    def original_gradients(self) -> NDArray[Any]:
        if self.scaling is None:
            return self.gradients
        return self.scaling.gradient_to_original(self.gradients, self.job.layout)


def vector(content: Json) -> NDArray[Any]:
    """Read a flat vector out of `weight` and `bias`, or of `parameters`; one of them only is there."""
    assert ("parameters" in content) != ("weight" in content)
    layers = content.get("parameters", [content])
    return np.concatenate([np.ravel(part) for layer in layers for part in (layer["weight"], layer["bias"])])


@each_kind
def test_parameters_and_gradient_are_in_original_units_with_the_scaled_ones_beside(
    local: LocalService, kind: str
) -> None:
    recorded = Recorded(local, kind)
    for epoch in (0, 17, N_EPOCHS - 1):
        found = recorded.get(f"parameters?epoch={epoch}")
        EpochParametersResponse.model_validate(found)
        assert found["epoch"] == epoch
        assert np.array_equal(vector(found), recorded.original()[epoch])
        assert np.array_equal(vector(found["gradient"]), recorded.original_gradients()[epoch])
        if recorded.scaling is None:
            assert found["scaled"] is None
        else:
            assert np.array_equal(vector(found["scaled"]), recorded.vectors[epoch])
            assert np.array_equal(vector(found["scaled"]["gradient"]), recorded.gradients[epoch])
            assert not np.allclose(vector(found), vector(found["scaled"]))


@each_kind
def test_a_trajectory_has_the_parameters_that_each_of_its_epochs_has(local: LocalService, kind: str) -> None:
    recorded = Recorded(local, kind)
    of_epochs = [recorded.get(f"parameters?epoch={epoch}") for epoch in range(N_EPOCHS)]
    at = [one.get("parameters", [one]) for one in of_epochs]
    assert {len(layers) for layers in at} == {len(recorded.job.layout)}
    asked: dict[str, Sequence[int]] = {
        "": range(31),
        "from=14&to=17": range(14, 18),
        "max_points=4": range(0, 31, 10),
        "from=31": [],
        "from=9&to=3": [],
        "from=10&to=20&max_points=2": [10, 20],
        "max_points=1000000": range(31),
    }
    for query, epochs in asked.items():
        found = recorded.get(f"trajectory?{query}")
        TrajectoryResponse.model_validate(found)
        assert found["epoch"] == list(epochs), query
        layers = found.get("parameters", [found])
        assert len(layers) == len(recorded.job.layout)
        for number, columns in enumerate(layers):
            of_layer = [at[epoch][number] for epoch in epochs]
            assert columns["weight"] == [layer["weight"] for layer in of_layer], query
            assert columns["bias"] == [layer["bias"] for layer in of_layer], query


def test_the_gradient_in_original_units_is_the_slope_of_the_loss_along_them(local: LocalService) -> None:
    with local.database.writing() as session:
        job = start(session, "linear_regression", ONE, **SCALED)
        assert job.scaling is not None
        scaling = Scaling.from_json(job.scaling)
        features = np.hstack([scaling.scale_features(ONE.features, np.float64), np.ones((8, 1))])
        targets = scaling.scale_targets(ONE.targets, np.float64)[:, 0]
        vectors = random_vectors(job, 2)
        record(session, job, vectors, 2 / 8 * (vectors @ features.T - targets) @ features)

    def loss(original: NDArray[Any]) -> Any:
        return np.mean((features @ scaling.to_scaled(original, job.layout) - targets) ** 2)

    found = local.http.get(f"/jobs/{job.id}/parameters?epoch=1").json()
    point = vector(found)
    for index, slope in enumerate(vector(found["gradient"])):
        step = np.zeros(4)
        step[index] = 1e-4 * abs(point[index])
        assert (loss(point + step) - loss(point - step)) / (2 * step[index]) == pytest.approx(slope, rel=1e-6)


def test_a_running_trajectory_grows_and_a_queued_one_is_empty(local: LocalService) -> None:
    queued = local.job(local.enqueue(line()))["links"]["self"]
    assert local.http.get(f"{queued}/trajectory").json() == {"epoch": [], "weight": [], "bias": []}
    body = {**line(hyperparameters={"hidden_layers": [2]}), "task": "mlp_regressor"}
    queued = local.job(local.enqueue(body))["links"]["self"]
    none: Json = {"weight": [], "bias": []}
    assert local.http.get(f"{queued}/trajectory").json() == {"epoch": [], "parameters": [none, none]}
    assert "recorded no epoch yet" in check_problem(local.http.get(f"{queued}/parameters"), 404)["detail"]


@pytest.mark.parametrize(
    ("kind", "n_epochs", "query"),
    [
        ("one output", 210_000, ""),
        ("several outputs, scaled", 115_000, "?max_points=1000000"),
        ("perceptron", 36_000, ""),
    ],
)
def test_a_long_trajectory_is_thinned_to_a_million_numbers(
    local: LocalService, kind: str, n_epochs: int, query: str
) -> None:
    recorded = Recorded(local, kind, n_epochs, epochs=n_epochs, record_every=1)
    found = recorded.get(f"trajectory{query}")
    n_numbers = len(found["epoch"]) * (1 + n_parameters(recorded.job.layout))
    assert 0.99e6 < n_numbers <= 1e6
    assert (found["epoch"][0], found["epoch"][-1]) == (0, n_epochs - 1)
    assert np.ptp(np.diff(found["epoch"])) <= 1


@each_kind
def test_parameters_that_are_not_recorded_are_not_found_and_the_answer_says_where_the_last_are(
    local: LocalService, kind: str
) -> None:
    recorded = Recorded(local, kind, record_parameters=False)
    for path in ("parameters", "trajectory", "parameters?epoch=3"):
        detail = check_problem(local.http.get(f"/jobs/{recorded.job.id}/{path}"), 404)["detail"]
        assert "record_parameters is false" in detail
        assert "the model that it publishes" in detail
    assert recorded.get("history")["epoch"] == list(range(N_EPOCHS))
    with local.database.writing() as session:
        last = recorded.vectors[-1]
        publish(session, recorded.job, recorded.dataset, recorded.original()[-1], last if recorded.scaling else None)
    detail = check_problem(local.http.get(f"/jobs/{recorded.job.id}/parameters"), 404)["detail"]
    where = detail[detail.index("/models") :].split()[0]
    assert np.array_equal(vector(local.http.get(where).json()), recorded.original()[-1])


def test_the_validation_loss_is_a_column_where_there_is_one(local: LocalService) -> None:
    recorded = Recorded(local, "one output", validation_fraction=0.25)
    found = recorded.get("history")
    assert found["validation_loss"] == [2 / (1 + epoch) for epoch in range(N_EPOCHS)]
    assert found["learning_rate"] == [0.1 / (1 + epoch) for epoch in range(N_EPOCHS)]
    csv = local.http.get(f"/jobs/{recorded.job.id}/history?from=1&to=1", headers={"Accept": "text/csv"}).text
    header, row = (text.split(",") for text in csv.splitlines())
    assert header == ["epoch", "train_loss", "validation_loss", "gradient_norm", "learning_rate"]
    assert [float(cell) for cell in row] == [1, 1 / 2, 2 / 2, 1 / 3, 0.1 / 2]


@pytest.mark.parametrize(
    ("query", "pointer", "words"),
    [
        ("max_points=1", "#/query/max_points", "greater than or equal to 2, not '1'"),
        ("max_points=1000001", "#/query/max_points", "less than or equal to 1000000"),
        ("from=-1", "#/query/from", "greater than or equal to 0, not '-1'"),
        ("to=last", "#/query/to", "not 'last'"),
    ],
)
def test_a_trajectory_that_cannot_be_is_refused(local: LocalService, query: str, pointer: str, words: str) -> None:
    recorded = Recorded(local, "one output", n_epochs=2)
    check_fault(local.http.get(f"/jobs/{recorded.job.id}/trajectory?{query}"), pointer, words)


def test_an_unknown_job_has_no_trajectory(local: LocalService) -> None:
    check_problem(local.http.get("/jobs/job_unknown/trajectory"), 404)


def test_a_trained_trajectory_is_the_same_descent_in_original_units(local: LocalService) -> None:
    dataset = {"features": FEATURES.tolist(), "targets": (FEATURES @ [1, 2, 3]).tolist()}
    given = {"epochs": 20, "learning_rate": 0.1, "scale": "standard", "engine": "analytic", "dtype": "float64"}
    job = local.train(line(dataset=dataset, model="m", hyperparameters=given))
    assert job["status"] == "succeeded", job
    found = local.http.get(f"{job['links']['self']}/trajectory").json()
    losses = local.http.get(job["links"]["history"]).json()["train_loss"]
    predicted = FEATURES @ np.array(found["weight"]).T + found["bias"]
    np.testing.assert_allclose(np.mean((predicted - (FEATURES @ [1, 2, 3])[:, None]) ** 2, axis=0), losses, rtol=1e-9)
    learned = local.http.get("/models/m/versions/1/parameters").json()
    assert (found["weight"][-1], found["bias"][-1]) == (learned["weight"], learned["bias"])
    assert np.array_equal(vector(local.http.get(job["links"]["parameters"]).json()), vector(learned))
