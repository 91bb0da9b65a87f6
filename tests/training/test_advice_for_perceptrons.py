import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits, load_wine

from service.parameters import unflatten
from service.tasks import Task
from service.training.advice import advise_learning_rate
from service.training.curvature import perceptron_layout
from service.training.samples import Samples
from tests.training.descents import draw_samples, draw_start, losses_by_torch, settled


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize(("batch_size", "momentum"), [(None, 0.0), (None, 0.9), (32, 0.0), (32, 0.9)])
@pytest.mark.parametrize("name", ["digits", "wine", "diabetes"])
def test_the_rate_suggested_for_a_perceptron_trains_it_on_real_data(
    name: str, activation: str, batch_size: int | None, momentum: float
) -> None:
    features, targets = {"digits": load_digits, "wine": load_wine, "diabetes": load_diabetes}[name](return_X_y=True)
    deviation = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    task: Task = "mlp_regressor" if name == "diabetes" else "mlp_classifier"
    if name == "diabetes":
        targets = (targets - targets.mean()) / targets.std()
    samples = Samples(scaled, targets[:, None].astype(float))
    rule = {"momentum": momentum, "batch_size": batch_size, "activation": activation}
    given = settled(task, hidden_layers=[32], seed=1, **rule)
    start = draw_start(given, features.shape[1], int(targets.max()) + 1 if name != "diabetes" else 1)
    advice = advise_learning_rate(task, samples, given, None, start)
    assert advice.kind == ("estimate" if batch_size is None else "guidance")
    assert advice.limit is not None
    assert advice.suggested < advice.limit
    epochs = 100 if batch_size is None else 8 if name == "digits" else 20
    losses = losses_by_torch(samples, given, advice.suggested, epochs)
    assert losses[-1] < (0.62 if name == "diabetes" else 0.5) * losses[0]


def test_a_frozen_layer_does_not_curve() -> None:
    samples = draw_samples("mlp_regressor", 0)
    given = settled("mlp_regressor", hidden_layers=[4], activation="tanh")
    start = draw_start(given, 3, 1)
    layout = perceptron_layout(given, 3, len(start))
    assert layout == ((4, 3), (1, 4))
    frozen = given.model_copy(update={"frozen": ["0.weight", "0.bias"]})
    advice = advise_learning_rate("mlp_regressor", samples, frozen, None, start)
    first = unflatten(start, layout)[0]
    hidden = Samples(np.tanh(samples.features @ first.weight.T + first.bias), samples.targets)
    linear = advise_learning_rate("linear_regression", hidden, settled("linear_regression"))
    assert advice.limit == pytest.approx(linear.limit, rel=5e-3)


@pytest.mark.parametrize("batch_size", [None, 32])
def test_an_estimate_says_on_how_many_samples_it_is_based(batch_size: int | None) -> None:
    draw = np.random.default_rng(0)
    samples = Samples(draw.normal(size=(3000, 3)), draw.normal(size=(3000, 1)))
    for hidden, measured in ([4], 2000), ([300, 300], 50_000_000 // (4 * 300 + 301 * 300 + 301)):
        given = settled("mlp_regressor", hidden_layers=hidden, batch_size=batch_size)
        advice = advise_learning_rate("mlp_regressor", samples, given, None, draw_start(given, 3, 1))
        assert f"on {measured} of the 3000 samples" in advice.detail
        assert advice.kind == ("estimate" if batch_size is None else "guidance")
