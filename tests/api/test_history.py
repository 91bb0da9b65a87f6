import csv
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from service.plan import CHEAP_EPOCHS
from service.store import history as store
from service.store import queue
from tests.api.conftest import EXAMS, Json, LocalService, check_fault, check_problem, line, switch

N_EPOCHS, RATE = 40, 1e-5


@pytest.fixture(scope="module")
def job(standing: LocalService) -> Json:
    """The training of the exam scores, forty epochs in float64."""
    hyperparameters = {"epochs": N_EPOCHS, "learning_rate": RATE, "dtype": "float64"}
    return standing.train(line(dataset=EXAMS, hyperparameters=hyperparameters))


@pytest.fixture(scope="module")
def by_hand() -> dict[str, np.ndarray[Any, Any]]:
    """The same descent, written out in NumPy; parameters and gradients are rows of three weights and the bias."""
    inputs = np.hstack([np.array(EXAMS["features"], dtype=float), np.ones((5, 1))])
    targets = np.array(EXAMS["targets"], dtype=float)
    parameters = np.zeros((N_EPOCHS + 1, 4))
    gradient = np.zeros_like(parameters)
    losses = np.zeros(N_EPOCHS + 1)
    for epoch in range(N_EPOCHS + 1):
        residuals = inputs @ parameters[epoch] - targets
        losses[epoch] = np.mean(residuals**2)
        gradient[epoch] = 2 / len(targets) * inputs.T @ residuals
        if epoch < N_EPOCHS:
            parameters[epoch + 1] = parameters[epoch] - RATE * gradient[epoch]
    return {"train_loss": losses, "parameters": parameters, "gradient": gradient}


def history(standing: LocalService, job: Json, query: str = "", **headers: str) -> Json:
    answer = standing.http.get(f"{job['links']['history']}?{query}", headers=headers)
    assert answer.status_code == 200
    found: Json = answer.json()
    return found


def test_the_history_is_the_descent_as_written_out_by_hand(
    standing: LocalService, job: Json, by_hand: dict[str, np.ndarray[Any, Any]]
) -> None:
    found = history(standing, job)
    assert found.keys() >= {"epoch", "train_loss", "validation_loss", "gradient_norm", "learning_rate"}
    assert found["epoch"] == list(range(N_EPOCHS + 1))
    np.testing.assert_allclose(found["train_loss"], by_hand["train_loss"], rtol=1e-10)
    np.testing.assert_allclose(found["gradient_norm"], np.linalg.norm(by_hand["gradient"], axis=1), rtol=1e-8)
    assert found["learning_rate"] == [RATE] * (N_EPOCHS + 1)
    assert found["validation_loss"] is None


@pytest.mark.parametrize("epoch", [0, 1, 17, N_EPOCHS])
def test_the_parameters_at_an_epoch_are_those_after_so_many_updates(
    standing: LocalService, job: Json, by_hand: dict[str, np.ndarray[Any, Any]], epoch: int
) -> None:
    found = standing.http.get(f"{job['links']['parameters']}?epoch={epoch}").json()
    assert found["epoch"] == epoch
    np.testing.assert_allclose([*found["weight"], found["bias"]], by_hand["parameters"][epoch], rtol=1e-9)
    gradient = found["gradient"]
    np.testing.assert_allclose([*gradient["weight"], gradient["bias"]], by_hand["gradient"][epoch], rtol=1e-6)


def test_without_an_epoch_the_parameters_are_the_last_ones_and_those_of_the_model(
    standing: LocalService, job: Json
) -> None:
    last = standing.http.get(job["links"]["parameters"]).json()
    learned = standing.http.get(f"{job['links']['model']}/parameters").json()
    assert last["epoch"] == N_EPOCHS
    assert (last["weight"], last["bias"]) == (learned["weight"], learned["bias"])


def test_several_outputs_have_rows_of_weights_and_a_list_of_biases(local: LocalService) -> None:
    dataset = {"features": [[1, 2], [3, 4], [5, 7]], "targets": [[1, 2], [3, 4], [4, 5]]}
    job = local.train(line(dataset=dataset, hyperparameters={"epochs": 3}))
    found = local.http.get(f"{job['links']['parameters']}?epoch=1").json()
    for values in (found, found["gradient"]):
        assert np.shape(values["weight"]) == (2, 2)
        assert np.shape(values["bias"]) == (2,)


def test_frozen_parameters_stay_and_their_gradient_reads_0(local: LocalService) -> None:
    body = line(hyperparameters={"start": {"weight": [1], "bias": 5}, "frozen": ["bias"], "epochs": 3})
    found = local.http.get(local.train(body)["links"]["parameters"]).json()
    assert (found["bias"], found["gradient"]["bias"]) == (5, 0)
    assert found["weight"] != [1]


@pytest.mark.parametrize(
    ("query", "epochs"),
    [
        ("from=3&to=6", [3, 4, 5, 6]),
        ("from=38", [38, 39, 40]),
        ("to=1", [0, 1]),
        ("from=7&to=7", [7]),
        ("from=40", [40]),
        ("from=41", []),
        ("from=6&to=3", []),
        ("max_points=2", [0, 40]),
        ("max_points=5", [0, 10, 20, 30, 40]),
        ("from=10&to=20&max_points=3", [10, 15, 20]),
        ("max_points=41", list(range(41))),
        ("max_points=1000000", list(range(41))),
        ("to=10000000", list(range(41))),
        ("from=10000000", []),
    ],
)
def test_a_part_of_the_history_is_given_with_its_ends(
    standing: LocalService, job: Json, query: str, epochs: list[int]
) -> None:
    whole, part = history(standing, job), history(standing, job, query)
    assert part["epoch"] == epochs
    for column in ("train_loss", "gradient_norm", "learning_rate"):
        assert part[column] == [whole[column][epoch] for epoch in epochs]


@pytest.mark.parametrize("max_points", [2, 3, 4, 7, 11, 20, 29, 39, 40, 41])
def test_thinned_points_are_as_many_as_asked_for_and_evenly_spread(
    standing: LocalService, job: Json, max_points: int
) -> None:
    epochs = history(standing, job, f"max_points={max_points}")["epoch"]
    assert len(epochs) == max_points
    assert (epochs[0], epochs[-1]) == (0, N_EPOCHS)
    gaps = np.diff(epochs)
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("accept", ["text/csv", "text/csv, application/json", "text/csv;q=0.9, */*;q=0.1"])
def test_the_history_comes_as_csv_when_that_is_accepted_first(standing: LocalService, job: Json, accept: str) -> None:
    answer = standing.http.get(f"{job['links']['history']}?max_points=7", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["vary"] == "Accept"
    header, *rows = csv.reader(io.StringIO(answer.text))
    assert header == ["epoch", "train_loss", "gradient_norm", "learning_rate"]
    columns = history(standing, job, "max_points=7")
    for name, *cells in zip(header, *rows, strict=True):
        assert [float(cell) for cell in cells] == columns[name]


@pytest.mark.parametrize(
    "accept", ["application/json", "*/*", "application/json, text/csv", "text/html", "text/csv;q=0.1, application/json"]
)
def test_the_history_comes_as_json_otherwise(standing: LocalService, job: Json, accept: str) -> None:
    answer = standing.http.get(job["links"]["history"], headers={"Accept": accept})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "Accept"


def test_record_every_thins_what_is_recorded_and_keeps_the_first_and_the_last(local: LocalService) -> None:
    job = local.train(switch("a", "b", hyperparameters={"epochs": 25, "record_every": 10}))
    assert local.http.get(job["links"]["history"]).json()["epoch"] == [0, 10, 20, 25]
    problem = check_problem(local.http.get(f"{job['links']['parameters']}?epoch=17"), 404)
    assert "epoch 17 was not recorded" in problem["detail"]
    assert "before it is 10" in problem["detail"]


def test_ten_thousand_epochs_have_ten_thousand_and_one_entries(local: LocalService) -> None:
    job = local.train(line(hyperparameters={"epochs": 10_000}))
    found = local.http.get(job["links"]["history"]).json()
    assert found["epoch"] == list(range(10_001))
    assert {len(found[column]) for column in ("train_loss", "gradient_norm", "learning_rate")} == {10_001}


def test_all_that_auto_records_is_in_the_history_that_is_given_by_default(local: LocalService) -> None:
    job_id = local.enqueue(line())
    epoch = np.arange(CHEAP_EPOCHS + 1)  # the start and so many updates
    with local.database.writing() as session:
        job = queue.claim(session, "worker", lease_seconds=60)
        assert job
        store.record(
            session,
            job,
            epoch=epoch,
            train_loss=epoch / 2,
            validation_loss=None,
            gradient_norm=epoch / 3,
            learning_rate=np.full(len(epoch), 0.1),
            parameters=np.zeros((len(epoch), 2)),
            gradient=np.zeros((len(epoch), 2)),
        )
    found = local.http.get(f"/jobs/{job_id}/history").json()
    assert len(found["epoch"]) == len(epoch)
    assert found["train_loss"][-1] == CHEAP_EPOCHS / 2


def test_the_history_of_a_queued_job_is_empty_and_it_has_no_parameters(local: LocalService) -> None:
    links = local.job(local.enqueue(line()))["links"]
    empty: dict[str, Any] = {"epoch": [], "train_loss": [], "gradient_norm": [], "learning_rate": []}
    assert local.http.get(links["history"]).json() == {**empty, "validation_loss": None}
    assert local.http.get(links["history"], headers={"Accept": "text/csv"}).text.count("\n") == 1
    assert "recorded no epoch yet" in check_problem(local.http.get(links["parameters"]), 404)["detail"]


def has_gone_beyond(epoch: int) -> Callable[[Json], bool]:
    return lambda job: job["progress"]["epoch"] > epoch


def test_the_history_grows_while_the_training_runs(local: LocalService) -> None:
    job_id = local.enqueue(line(hyperparameters={"epochs": 10_000_000, "learning_rate": 1e-6, "engine": "analytic"}))
    with local.working():
        lengths = []
        for _ in range(2):
            job = local.wait_for(job_id, has_gone_beyond(local.job(job_id)["progress"]["epoch"]))
            lengths.append(len(local.http.get(job["links"]["history"]).json()["epoch"]))
        assert local.job(job_id)["status"] == "running"
    assert 0 < lengths[0] < lengths[1]


@pytest.mark.parametrize(
    ("path", "pointer", "words"),
    [
        ("history?max_points=1", "#/query/max_points", "greater than or equal to 2, not '1'"),
        ("history?max_points=1000001", "#/query/max_points", "less than or equal to 1000000"),
        ("history?from=-1", "#/query/from", "greater than or equal to 0, not '-1'"),
        ("history?to=last", "#/query/to", "not 'last'"),
        ("parameters?epoch=-1", "#/query/epoch", "greater than or equal to 0, not '-1'"),
        ("parameters?epoch=1.5", "#/query/epoch", "not '1.5'"),
        (f"history?from={10**30}", "#/query/from", "less than or equal to"),
        (f"history?to={10**30}", "#/query/to", "less than or equal to"),
        (f"parameters?epoch={10**30}", "#/query/epoch", "less than or equal to"),
    ],
)
def test_an_epoch_that_cannot_be_is_refused(
    standing: LocalService, job: Json, path: str, pointer: str, words: str
) -> None:
    check_fault(standing.http.get(f"{job['links']['self']}/{path}"), pointer, words)


def test_an_epoch_beyond_the_last_is_not_found(standing: LocalService, job: Json) -> None:
    problem = check_problem(standing.http.get(f"{job['links']['parameters']}?epoch=41"), 404)
    assert "epoch 41 was not recorded; the last one recorded before it is 40" in problem["detail"]
