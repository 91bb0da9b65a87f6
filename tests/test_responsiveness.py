import time

from tests.conftest import LiveService

THIRTY_POINTS = {
    "task": "linear_regression",
    "dataset": {"features": list(range(1, 31)), "targets": [0.9 * x - 0.4 for x in range(1, 31)]},
    "hyperparameters": {"learning_rate": 0.001, "epochs": 10_000},
}


def test_waiting_for_thirty_points_and_ten_thousand_epochs_answers_with_the_whole_job(live: LiveService) -> None:
    answer = live.train(THIRTY_POINTS, wait_seconds=60)
    assert answer.status_code == 201
    assert answer.headers["Preference-Applied"] == "wait=60"
    job = answer.json()
    assert job["terminal"]
    history = live.http.get(job["links"]["history"]).json()
    assert history["epoch"] == list(range(10_001))
    assert len(history["train_loss"]) == len(history["gradient_norm"]) == len(history["learning_rate"]) == 10_001


def test_a_long_training_does_not_keep_others_waiting(live: LiveService) -> None:
    live.train({**THIRTY_POINTS, "model": "quick"})
    long = {**THIRTY_POINTS, "hyperparameters": {"learning_rate": 1e-6, "epochs": 10_000_000, "engine": "analytic"}}
    job = live.http.post("/train", json=long).json()
    path = f"/jobs/{job['id']}"
    while live.http.get(path).json()["progress"]["epoch"] == 0:
        time.sleep(0.05)
    for url in ("/predict?model=quick&x=3", "/jobs"):
        assert live.http.get(url).status_code == 200
    while_running = live.http.get(f"{path}/history", params={"max_points": 10}).json()
    assert 2 <= len(while_running["epoch"]) <= 10
    assert live.http.get(path).json()["status"] == "running"  # so they were answered meanwhile
    assert live.http.post(f"{path}/cancel").status_code == 202
    while not live.http.get(path).json()["terminal"]:
        time.sleep(0.02)
    ended = live.http.get(path).json()
    assert (ended["status"], ended["stop_reason"], ended["version"]) == ("cancelled", "cancelled", None)
