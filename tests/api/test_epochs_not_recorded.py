from typing import Any

import numpy as np
import pytest

from tests.api.conftest import EXAMS, Json, LocalService, check_problem, line

EPOCHS, EVERY = 3000, 1000
HELD_OUT: Json = {"validation_fraction": 0.2}
SEVERAL: Json = {
    "features": [[1, 2], [2, 0], [3, 1], [5, 4], [4, 4]],
    "targets": [[1, 0], [2, 1], [2, 3], [4, 1], [0, 2]],
}
WEIGHED: Json = {**EXAMS, "sample_weight": [1, 2, 0.5, 1, 3]}
TRAININGS: dict[str, tuple[Json, Json]] = {
    "plain": (EXAMS, {"learning_rate": 1e-5, "l2": 0.3}),
    "scaled": (
        EXAMS,
        {"scale": "standard", "scale_targets": "center", "validation_fraction": 0.2, "learning_rate": 1e-3},
    ),
    "with momentum": (EXAMS, {"scale": "center", "momentum": 0.9, "nesterov": True, "learning_rate": 1e-4}),
    "from a random start": (WEIGHED, {"start": "torch", "learning_rate": 1e-6}),
    "of several targets, partly frozen": (SEVERAL, {"frozen": ["bias"], "start": "uniform", "learning_rate": 1e-3}),
}


def thinned(dataset: Json, **hyperparameters: Any) -> Json:
    """A training that records each thousandth of its epochs."""
    given = {"epochs": EPOCHS, "record_every": EVERY, "dtype": "float64", "seed": 3, **hyperparameters}
    return line(dataset=dataset, hyperparameters=given)


def numbers(point: Json) -> np.ndarray[Any, Any]:
    """All numbers of parameters or of a gradient."""
    return np.concatenate([np.ravel(point["weight"]), np.ravel(point["bias"])])


def at(service: LocalService, job: Json, epoch: int) -> Json:
    answer = service.http.get(f"{job['links']['parameters']}?epoch={epoch}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    assert found["epoch"] == epoch
    return found


@pytest.mark.parametrize("kind", TRAININGS)
def test_an_epoch_that_was_not_recorded_is_evaluated_as_a_training_that_records_it_has_it(
    local: LocalService, kind: str
) -> None:
    dataset, hyperparameters = TRAININGS[kind]
    job, full = (local.train(thinned(dataset, **hyperparameters, **recorded)) for recorded in ({}, {"record_every": 1}))
    for epoch in (1, 999, 1234, EPOCHS - 1):
        found, expected = at(local, job, epoch), at(local, full, epoch)
        assert (found["recorded"], expected["recorded"]) == (False, True)
        for units in ("original", "scaled"):
            if units == "scaled":
                found, expected = found["scaled"], expected["scaled"]
                if expected is None:
                    assert found is None
                    continue
            for its, other in ((found, expected), (found["gradient"], expected["gradient"])):
                np.testing.assert_allclose(numbers(its), numbers(other), rtol=1e-7, atol=1e-9)
    assert at(local, job, 2000)["recorded"]


def test_an_epoch_is_evaluated_on_the_columns_that_were_trained_on(local: LocalService) -> None:
    table = "height,colour,weight\n1.5,red,50\n1.6,blue,61\n1.7,red,66\n1.8,blue,80\n1.9,red,85\n"
    kept = local.http.post("/datasets", content=table, headers={"Content-Type": "text/csv"}).json()
    dataset = {"id": kept["id"], "target": "weight"}
    job, full = (local.train(thinned(dataset, scale="standard", **its)) for its in ({}, {"record_every": 1}))
    np.testing.assert_allclose(numbers(at(local, job, 7)), numbers(at(local, full, 7)), rtol=1e-7)


def test_what_cannot_be_evaluated_is_not_found(local: LocalService) -> None:
    iterated = local.train(thinned(EXAMS, learning_rate=1e-5, engine="analytic"))
    job = local.train(thinned(EXAMS, learning_rate=1e-5, engine="exact"))
    beyond = check_problem(local.http.get(f"{job['links']['parameters']}?epoch={EPOCHS + 1}"), 404)
    assert "the last one recorded before it is 3000" in beyond["detail"]
    between = check_problem(local.http.get(f"{iterated['links']['parameters']}?epoch=1234"), 404)
    assert "the last one recorded before it is 1000 (record_every is 1000)" in between["detail"]


def test_without_its_dataset_a_job_has_the_recorded_epochs_alone(local: LocalService) -> None:
    job = local.train(thinned(EXAMS, learning_rate=1e-5))
    assert local.http.delete(f"/datasets/{job['dataset']}").status_code == 204
    gone = check_problem(local.http.get(f"{job['links']['parameters']}?epoch=1234"), 404)
    assert "epoch 1234 was not recorded, and cannot be evaluated any more: " in gone["detail"]
    assert job["dataset"] in gone["detail"]
    assert at(local, job, 1000)["recorded"]
