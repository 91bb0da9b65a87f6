import json

from service.training.environment import environment_of
from service.training.fit import Training
from tests.training.problems import hyperparameters, random_dataset


def test_the_environment_of_a_training_is_json_and_the_same_for_the_same_request() -> None:
    dataset = random_dataset("linear_regression", seed=1)
    given = Training("linear_regression", dataset, hyperparameters(seed=4)).plan.hyperparameters
    found = environment_of("a1", 6, given)
    assert json.loads(json.dumps(found)) == found == environment_of("a1", 6, given)
    assert (found["seed"], found["dtype"], found["device"]) == (4, "float64", "cpu")
    assert found["dataset_sha256"] == "a1"
    assert found["sweep"] in ("avx512", "avx2", "base", "numpy")
    assert all(found["versions"][name] for name in ("descent", "python", "torch", "numpy"))


def test_other_data_make_another_environment() -> None:
    training = Training("linear_regression", random_dataset("linear_regression", 1), hyperparameters())
    given = training.plan.hyperparameters
    first, second = (environment_of(sha256, 6, given) for sha256 in ("a1", "b2"))
    assert first != second
