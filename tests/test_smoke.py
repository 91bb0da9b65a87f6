from tests.conftest import LiveService


def test_a_training_over_http_gives_a_model_that_predicts(live: LiveService) -> None:
    body = {"task": "linear_regression", "model": "twice", "dataset": {"features": [1, 2, 3], "targets": [2, 4, 6]}}
    job = live.train({**body, "hyperparameters": {"momentum": 0.5}}).json()
    assert job["status"] == "succeeded"
    answer = live.http.get("/predict", params={"model": "twice", "x": 4}).json()
    assert abs(answer["predictions"][0] - 8) < 0.01
