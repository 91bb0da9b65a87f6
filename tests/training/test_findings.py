from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.dataset import Dataset, Schema
from service.encoding import ColumnEncoding, feature_names
from service.errors import Finding
from service.scaling import learn_scaling
from service.tasks import Task
from service.training.examination import examine
from tests.training.problems import hyperparameters, random_dataset

LINEAR: Task = "linear_regression"
PLAIN = random_dataset(LINEAR, 1)


def found(task: Task, dataset: Dataset, asked: dict[str, Any]) -> dict[str, Finding]:
    return {finding.code: finding for finding in examine(task, dataset, hyperparameters(**asked)).plan.warnings}


def with_features(features: NDArray[np.floating], dtype: type[np.floating] = np.float64) -> Dataset:
    return Dataset(features.astype(dtype), features.sum(axis=1))


def with_labels_of(labels: Dataset, features: NDArray[np.floating]) -> Dataset:
    names = tuple(f"x{n}" for n in range(features.shape[1]))
    return Dataset(features, labels.targets, Schema(names, ("y",), labels.schema.classes))


def with_classes(codes: list[int]) -> Dataset:
    draw = np.random.default_rng(0)
    n_classes = max(codes) + 1
    return Dataset(draw.normal(size=(len(codes), 1)), codes, Schema(("x",), ("y",), tuple("abcd"[:n_classes])))


F = PLAIN.features
ONES = np.ones((20, 1))
LABELS = random_dataset("logistic_regression", 1)
TWO, THREE = with_classes([0] * 19 + [1]), with_classes([0] * 10 + [1] * 9 + [2])
STRATIFIED_AWAY = {"test_fraction": 0.3, "stratify": False, "seed": 1}
CASES: list[tuple[str, Task, Dataset, dict[str, Any], Dataset, dict[str, Any]]] = [
    ("feature_scales", LINEAR, with_features(F * [1, 1, 1000]), {}, with_features(F * [1, 1, 3]), {}),
    ("feature_scales", LINEAR, with_features(F + 1000), {}, with_features(F + 1), {"optimizer": "adam"}),
    ("feature_scales", LINEAR, with_features(F * [1, 1, 1000]), {"batch_size": 5}, with_features(F), {"batch_size": 5}),
    ("feature_scales", LINEAR, with_features(F * [1, 1, 1000]), {}, with_features(F), {"scale": "standard"}),
    ("constant_features", LINEAR, with_features(np.hstack([F, 0.1 * ONES])), {}, PLAIN, {}),
    ("constant_features", LINEAR, with_features(np.hstack([F, 1e6 + ONES])), {"scale": "standard"}, PLAIN, {}),
    ("collinear_features", LINEAR, with_features(np.hstack([F, F[:, :1] - F[:, 1:2]])), {}, PLAIN, {}),
    ("collinear_features", LINEAR, with_features(np.hstack([F, 7 + 9 * F[:, :1]])), {"scale": "center"}, PLAIN, {}),
    ("collinear_features", "logistic_regression", with_labels_of(LABELS, np.hstack([F, F[:, :1]])), {}, LABELS, {}),
    ("single_class", "logistic_regression", TWO, STRATIFIED_AWAY, TWO, {}),
    ("missing_classes", "softmax_regression", THREE, STRATIFIED_AWAY, THREE, {}),
    ("more_parameters_than_samples", LINEAR, random_dataset(LINEAR, 1, 4, 4), {}, random_dataset(LINEAR, 1, 5, 4), {}),
    ("more_parameters_than_samples", "mlp_regressor", PLAIN, {}, PLAIN, {"hidden_layers": [3]}),
    ("learning_rate_above_limit", LINEAR, PLAIN, {"learning_rate": 10.0}, PLAIN, {"learning_rate": 1e-3}),
    (
        "learning_rate_above_limit",
        LINEAR,
        PLAIN,
        {"learning_rate": 10.0, "momentum": 0.9, "engine": "autograd"},
        PLAIN,
        {"learning_rate": 10.0, "batch_size": 5},
    ),
    ("learning_rate_above_limit", LINEAR, PLAIN, {"learning_rate": 10.0}, PLAIN, {"learning_rate": 10.0, "l1": 0.1}),
    (
        "learning_rate_above_limit",
        LINEAR,
        PLAIN,
        {"learning_rate": 10.0},
        PLAIN,
        {"learning_rate": 10.0, "clip_gradient_norm": 1.0},
    ),
    (
        "learning_rate_above_limit",
        LINEAR,
        PLAIN,
        {"learning_rate": 10.0},
        PLAIN,
        {"learning_rate": 10.0, "schedule": "exponential"},
    ),
    ("batch_size_exceeds_samples", LINEAR, PLAIN, {"batch_size": 21}, PLAIN, {"batch_size": 20}),
]


@pytest.mark.parametrize(("code", "task", "dataset", "asked", "healthy", "asked_of_it"), CASES)
def test_a_finding_is_told_where_it_is_true_and_not_beside_it_and_its_suggestion_ends_it(
    code: str, task: Task, dataset: Dataset, asked: dict[str, Any], healthy: Dataset, asked_of_it: dict[str, Any]
) -> None:
    findings = found(task, dataset, asked)
    assert code in findings
    assert findings[code].detail[0].islower()
    assert findings[code].evidence
    assert code not in found(task, healthy, asked_of_it)
    again = found(task, dataset, asked | findings[code].suggestion)
    assert code not in again or not again[code].suggestion
    assert findings[code].suggestion or code == "batch_size_exceeds_samples" or asked.get("scale") == "standard"


@pytest.mark.parametrize("task", ["linear_regression", "logistic_regression", "softmax_regression"])
@pytest.mark.parametrize("scale", ["none", "center", "standard"])
def test_of_ordinary_data_nothing_is_said(task: Task, scale: str) -> None:
    for seed in range(10):
        dataset = random_dataset(task, seed, n_samples=50, weighted=bool(seed % 2))
        assert found(task, dataset, {"scale": scale, "validation_fraction": 0.2, "seed": seed}) == {}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_collinear_features_are_named_and_those_beside_them_are_not(dtype: type[np.floating]) -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(60, 5))
    features[:, 3] = 2 * features[:, 0] - features[:, 2]
    finding = found(LINEAR, with_features(features, dtype), {})["collinear_features"]
    assert finding.evidence["features"] == ["x1", "x3", "x4"]
    for name in ("x1", "x3", "x4"):
        assert name in finding.detail


def test_the_features_of_one_category_are_not_called_collinear_but_two_alike_are() -> None:
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 3, size=60)
    one_hot = (codes[:, None] == np.arange(4)).astype(float)  # the last category occurs in held-out samples only
    colour = ColumnEncoding("colour", "category", ("a", "b", "c", "d"))
    size, again = ColumnEncoding("size", "number"), ColumnEncoding("tone", "category", ("a", "b", "c"))

    def warnings(features: NDArray[np.floating], *encoding: ColumnEncoding) -> dict[str, Finding]:
        schema = Schema(feature_names(encoding), ("y",), encoding=encoding)
        return found(LINEAR, Dataset(features, draw.normal(size=60), schema), {"scale": "standard"})

    numbers = draw.normal(size=(60, 1))
    assert warnings(np.hstack([numbers, one_hot]), size, colour).keys() == {"constant_features"}
    alike = warnings(np.hstack([one_hot, one_hot[:, :3]]), colour, again)["collinear_features"]
    assert {name.partition("=")[0] for name in alike.evidence["features"]} == {"colour", "tone"}


def test_constant_features_are_named_with_their_values() -> None:
    features = np.hstack([F, np.full((20, 1), 3.0), np.full((20, 1), -1e6)])
    evidence = found(LINEAR, with_features(features), {"validation_fraction": 0.2})["constant_features"].evidence
    assert evidence == {"features": ["x4", "x5"], "values": [3.0, -1e6]}


@pytest.mark.parametrize("asked", [{}, {"learning_rate": 0.3}, {"learning_rate": 0.9}, {"learning_rate": "auto"}])
@pytest.mark.parametrize("weights", [None, [1e-3] * 18 + [1.0] * 2])
def test_with_constant_features_centred_the_learning_rate_is_within_the_limit_still(
    asked: dict[str, Any], weights: list[float] | None
) -> None:
    features = np.hstack([random_dataset(LINEAR, 3, 20, 2).features, np.full((20, 1), 5.0)])
    features[18:, :2] -= 10
    plain = Dataset(features, features.sum(axis=1), sample_weight=weights)
    limit = examine(LINEAR, plain, hyperparameters()).advice.limit
    assert limit is not None
    asked = {name: value if value == "auto" else value * limit for name, value in asked.items()}
    suggestion = found(LINEAR, plain, asked)["constant_features"].suggestion
    assert suggestion["scale"] == "center"
    retried = examine(LINEAR, plain, hyperparameters(**asked | suggestion))
    assert retried.advice.limit is not None
    assert float(retried.plan.hyperparameters.learning_rate) <= retried.advice.limit


@pytest.mark.parametrize("asked", [{"scale": "center"}, {"scale": "standard"}, {"frozen": ["bias"]}])
def test_constant_features_that_no_scaling_helps_with_come_without_a_suggestion(asked: dict[str, Any]) -> None:
    assert found(LINEAR, with_features(np.hstack([F, ONES, ONES])), asked)["constant_features"].suggestion == {}


def test_without_an_intercept_one_constant_feature_stands_for_it() -> None:
    asked = {"fit_intercept": False}
    assert "constant_features" not in found(LINEAR, with_features(np.hstack([F, ONES])), asked)
    two = found(LINEAR, with_features(np.hstack([F, ONES, 0 * ONES])), asked)["constant_features"]
    assert two.evidence == {"features": ["x5"], "values": [0.0]}


def with_weights(dataset: Dataset, weights: Any) -> Dataset:
    return Dataset(dataset.features, dataset.targets, dataset.schema, weights)


@pytest.mark.parametrize(
    ("task", "dataset", "code"),
    [
        ("logistic_regression", with_classes([0] * 10 + [1] * 10), "single_class"),
        ("softmax_regression", with_classes([0] * 10 + [1] * 6 + [2] * 4), "missing_classes"),
        ("mlp_classifier", with_classes([0] * 10 + [1] * 6 + [2] * 4), "missing_classes"),
    ],
)
def test_a_class_whose_samples_all_weigh_nothing_is_missing(task: Task, dataset: Dataset, code: str) -> None:
    last = dataset.schema.classes[-1] if dataset.schema.classes else None
    weights = np.where(dataset.targets[:, 0] == dataset.targets.max(), 0.0, 1.0)
    for asked in ({}, {"class_weight": "balanced"}, {"test_fraction": 0.3}):
        finding = found(task, with_weights(dataset, weights), asked)[code]
        assert finding.evidence["classes_without_samples"] == [last]
        assert finding.suggestion == {}


def test_a_class_whose_samples_that_count_are_held_out_is_told_and_holding_out_fewer_ends_it() -> None:
    dataset = with_classes([0] * 20 + [1] * 20)
    for seed in range(20):
        weights = np.where(np.arange(40) < 21, 1.0, 0.0)  # one sample of the second class counts
        asked = {"test_fraction": 0.5, "seed": seed}
        finding = found("logistic_regression", with_weights(dataset, weights), asked).get("single_class")
        if finding is not None:
            again = asked | finding.suggestion
            assert "single_class" not in found("logistic_regression", with_weights(dataset, weights), again)
            return
    raise AssertionError("no seed held it out")


def test_what_does_not_learn_is_not_counted_among_the_parameters() -> None:
    five = random_dataset(LINEAR, 1, 4, 4)
    assert "more_parameters_than_samples" in found(LINEAR, five, {})
    assert "more_parameters_than_samples" not in found(LINEAR, five, {"fit_intercept": False})


def test_a_dataset_with_a_split_column_is_not_to_hold_out_more() -> None:
    parts = np.zeros(20, dtype=np.int8)
    dataset = Dataset(PLAIN.features, PLAIN.targets, PLAIN.schema, parts=parts)
    assert found("mlp_regressor", dataset, {})["more_parameters_than_samples"].suggestion == {}


def test_features_that_only_nearly_depend_on_each_other_are_not_called_collinear() -> None:
    nearly = F[:, :1] + 1e-3 * np.random.default_rng(0).normal(size=(20, 1))
    assert "collinear_features" not in found(LINEAR, with_features(np.hstack([F, nearly])), {})


STEPS = np.arange(20.0)
TELLING = {
    np.float64: [STEPS, 1.7e9 + 5 * STEPS, 1e-200 * STEPS, 1e15 + STEPS, 1e120 * STEPS],
    np.float32: [STEPS, 1.7e9 + 500 * STEPS, 1e-30 * STEPS],
}
TELLING_NOTHING = [np.zeros(20), np.full(20, 0.1), np.array([0.1 + 0.2] + [0.3] * 19), np.full(20, -1e30)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("asked", [{}, {"scale": "center"}, {"scale": "standard"}, {"fit_intercept": False}])
@pytest.mark.parametrize("task", ["linear_regression", "mlp_regressor"])
def test_what_is_called_constant_is_what_scaling_does_not_divide(
    task: Task, asked: dict[str, Any], dtype: type[np.floating]
) -> None:
    telling = TELLING[dtype]
    dataset = Dataset(np.stack([*telling, *TELLING_NOTHING], axis=1).astype(dtype), STEPS)
    learned = learn_scaling(dataset.features, dataset.targets, "standard", "none")
    assert learned is not None
    constant = list(range(len(telling), len(telling) + len(TELLING_NOTHING)))
    assert np.flatnonzero(learned.feature_scale == 1).tolist() == constant
    findings = found(task, dataset, asked)
    if not asked.get("fit_intercept", True):
        constant.remove(len(telling) + 1)  # the first that is not 0 stands for the intercept
    assert findings["constant_features"].evidence["features"] == [f"x{number + 1}" for number in constant]
