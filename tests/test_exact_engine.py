from tests.conftest import LiveService


def test_ten_million_epochs_over_http_are_evaluated_at_once_and_agree_with_the_iteration(live: LiveService) -> None:
    dataset = {"features": list(range(1, 31)), "targets": [0.9 * x - 0.4 + (x % 3) for x in range(1, 31)]}
    body = {"task": "linear_regression", "dataset": dataset}
    common = {"learning_rate": 0.001, "dtype": "float64"}
    iterated = live.train({**body, "hyperparameters": {**common, "epochs": 3000, "engine": "analytic"}}).json()
    exact = live.train({**body, "hyperparameters": {**common, "epochs": 10_000_000}}).json()
    assert (iterated["engine"], exact["engine"]) == ("analytic", "exact")
    assert exact["status"] == "succeeded"
    history = live.http.get(exact["links"]["history"]).json()
    assert (history["epoch"][0], history["epoch"][-1]) == (0, 10_000_000)
    for epoch in (0, 100, 3000):
        slow, fast = (
            live.http.get(job["links"]["parameters"], params={"epoch": epoch}).json() for job in (iterated, exact)
        )
        assert abs(slow["weight"][0] - fast["weight"][0]) < 1e-12
        assert abs(slow["gradient"]["bias"] - fast["gradient"]["bias"]) < 1e-12
