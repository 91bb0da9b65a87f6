import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from numpy.typing import NDArray
from sklearn import datasets, metrics
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler
from torchmetrics.functional.classification import multiclass_confusion_matrix
from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error

from service.dataset import Label
from service.metrics import losses, penalty, score
from service.parameters import Layer
from service.tasks import Task

Array = NDArray[Any]
RATIOS = ("precision", "recall", "f1")
LARGEST = np.finfo(np.float64).max


def column(*numbers: float) -> Array:
    return np.array(numbers, dtype=np.float64)[:, None]


def probabilities(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def assert_is_scikit_learns_regression(found: dict[str, Any], outputs: Array, targets: Array) -> None:
    assert found["mse"] == pytest.approx(metrics.mean_squared_error(targets, outputs))
    assert found["rmse"] == pytest.approx(math.sqrt(metrics.mean_squared_error(targets, outputs)))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(targets, outputs))
    if len(targets) > 1 and np.ptp(targets, axis=0).all():
        assert found["r2"] == pytest.approx(metrics.r2_score(targets, outputs))
    else:
        assert found["r2"] is None


def assert_is_scikit_learns_classification(found: dict[str, Any], logits: Array, codes: Array) -> None:
    """Compare all but what has no oracle: areas under the curve where a class is absent."""
    n_classes, predicted = logits.shape[1], logits.argmax(axis=1)
    every = range(n_classes)
    each = metrics.precision_recall_fscore_support(codes, predicted, labels=every, zero_division=0)
    assert [tuple(row[name] for name in (*RATIOS, "support")) for row in found["per_class"]] == [
        pytest.approx(row) for row in zip(*each, strict=True)
    ]
    macro = metrics.precision_recall_fscore_support(codes, predicted, average="macro", zero_division=0)[:3]
    named = macro
    if n_classes == 2:
        named = metrics.precision_recall_fscore_support(codes, predicted, average="binary", zero_division=0)[:3]
    assert [found[f"{name}_macro"] for name in RATIOS] == pytest.approx(macro)
    assert [found[name] for name in RATIOS] == pytest.approx(named)
    assert found["accuracy"] == metrics.accuracy_score(codes, predicted)
    assert found["confusion_matrix"] == metrics.confusion_matrix(codes, predicted, labels=every).tolist()
    probable = probabilities(logits)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(codes, probable, labels=every), rel=1e-6, abs=1e-12)
    if len(set(codes)) < n_classes:
        assert found["roc_auc"] is None
    elif n_classes == 2:
        assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(codes, logits[:, 1] - logits[:, 0]))
    else:
        assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(codes, probable, multi_class="ovr"))


@settings(deadline=None)
@given(st.data(), st.integers(1, 12), st.integers(1, 3))
def test_regression_metrics_are_scikit_learns(data: st.DataObject, n_samples: int, n_targets: int) -> None:
    eighths = st.integers(-4000, 4000).map(lambda number: number / 8)
    rows = st.lists(st.lists(eighths, min_size=n_targets, max_size=n_targets), min_size=n_samples, max_size=n_samples)
    outputs, targets = np.array(data.draw(rows)), np.array(data.draw(rows))
    found = score("mlp_regressor", outputs, targets, None)
    assert_is_scikit_learns_regression(found, outputs, targets)
    if n_targets == 1:
        assert "per_target" not in found
        return
    assert len(found["per_target"]) == n_targets
    for number, its_own in enumerate(found["per_target"]):
        assert_is_scikit_learns_regression(its_own, outputs[:, [number]], targets[:, [number]])


@settings(deadline=None)
@given(st.data(), st.integers(1, 40), st.integers(2, 5), st.booleans())
def test_classification_metrics_are_scikit_learns(
    data: st.DataObject, n_samples: int, n_classes: int, ties: bool
) -> None:
    """Some classes are absent here, and in the targets only, or in the predictions only; scores are often equal."""
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    logits = draw.normal(size=(n_samples, n_classes)) * 3
    if ties:
        logits = logits[draw.integers(n_samples, size=n_samples)]
    some = data.draw(st.lists(st.integers(0, n_classes - 1), min_size=1))
    codes = draw.choice(some, size=n_samples)
    found = score("softmax_regression", logits, codes[:, None], None)
    assert_is_scikit_learns_classification(found, logits, codes)
    assert [row["label"] for row in found["per_class"]] == list(range(n_classes))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-40, 40), st.integers(0, 1)), min_size=1, max_size=40))
def test_a_single_logit_is_that_of_the_second_class(pairs: list[tuple[int, int]]) -> None:
    logits, codes = np.array(pairs).T
    found = score("logistic_regression", column(*logits / 4), column(*codes), ["no", "yes"])
    assert_is_scikit_learns_classification(found, np.stack([np.zeros(len(logits)), logits / 4], axis=1), codes)
    assert [row["label"] for row in found["per_class"]] == ["no", "yes"]


@pytest.mark.parametrize("load", [datasets.load_breast_cancer, datasets.load_iris, datasets.load_digits])
def test_metrics_of_real_classifiers_are_scikit_learns(load: Any) -> None:
    features, codes = load(return_X_y=True)
    features = StandardScaler().fit_transform(features)
    logits = LogisticRegression(C=0.01, max_iter=1000).fit(features, codes).decision_function(features)
    if logits.ndim == 1:
        found = score("logistic_regression", logits[:, None], codes[:, None], None)
        logits = np.stack([np.zeros_like(logits), logits], axis=1)
    else:
        found = score("mlp_classifier", logits, codes[:, None], None)
    assert found["accuracy"] > 0.8
    assert_is_scikit_learns_classification(found, logits, codes)


@pytest.mark.parametrize("load", [datasets.load_diabetes, datasets.load_linnerud])
def test_metrics_of_real_regressions_are_scikit_learns(load: Any) -> None:
    features, targets = load(return_X_y=True)
    targets = targets.reshape(len(targets), -1)
    outputs = LinearRegression().fit(features, targets).predict(features)
    assert_is_scikit_learns_regression(score("linear_regression", outputs, targets, None), outputs, targets)


@pytest.mark.parametrize("unit", [1e-200, 1e-6, 1.0, 1e200])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_r2_does_not_depend_on_units_or_on_where_they_begin(unit: float, offset: float) -> None:
    draw = np.random.default_rng(0)
    targets = draw.normal(size=(1000, 1)) + offset
    outputs = targets + draw.normal(size=targets.shape) / 10
    found = score("linear_regression", outputs * unit, targets * unit, None)
    assert found["r2"] == pytest.approx(metrics.r2_score(targets, outputs), rel=1e-9)


def test_r2_is_null_where_it_means_nothing() -> None:
    assert score("linear_regression", column(1), column(2), None)["r2"] is None
    assert score("linear_regression", column(1, 2, 3), column(0.1, 0.1, 0.1), None)["r2"] is None
    second_is_constant = score("linear_regression", np.eye(2), np.array([[1.0, 2.0], [2.0, 2.0]]), None)
    assert second_is_constant["r2"] is second_is_constant["per_target"][1]["r2"] is None
    assert second_is_constant["per_target"][0]["r2"] == pytest.approx(1 - 4 / 0.5)


def test_a_regression_metric_that_overflows_is_null() -> None:
    found = score("linear_regression", column(1, 2, 1e300), column(1, 2, 3), None)
    assert found == {"mse": None, "rmse": None, "mae": pytest.approx(1e300 / 3), "r2": None}
    found = score("linear_regression", column(np.inf, np.nan), column(1, 2), None)
    assert found == {"mse": None, "rmse": None, "mae": None, "r2": None}
    found = score("linear_regression", column(LARGEST, -LARGEST), column(-LARGEST, LARGEST), None)
    assert found["mse"] is found["mae"] is None


LOGITS = st.one_of(st.floats(-1e307, 1e307), st.floats(-800, 800))


@settings(deadline=None)
@given(st.lists(LOGITS, min_size=2, max_size=4), st.data())
def test_the_log_loss_has_all_its_digits_for_logits_of_any_size(logits: list[float], data: st.DataObject) -> None:
    code = data.draw(st.integers(0, len(logits) - 1))
    mp.dps = 60
    oracle = mp.log1p(sum(mp.exp(mpf(z) - mpf(logits[code])) for n, z in enumerate(logits) if n != code))
    found = score("softmax_regression", np.array([logits]), column(code), None)
    assert found["log_loss"] == pytest.approx(float(oracle), rel=1e-12, abs=1e-300)
    if len(logits) == 2:
        difference = logits[1] - logits[0]
        oracle = mp.log1p(mp.exp(mpf(difference) * (1 - 2 * code)))
        found = score("logistic_regression", column(difference), column(code), None)
        assert found["log_loss"] == pytest.approx(float(oracle), rel=1e-12, abs=1e-300)


def test_huge_logits_leave_every_number_finite() -> None:
    found = score("logistic_regression", column(1e300, -1e300, LARGEST, -LARGEST), column(1, 0, 0, 0), None)
    assert found["log_loss"] == pytest.approx(LARGEST / 4)
    assert found["accuracy"] == 0.75
    assert found["roc_auc"] == pytest.approx(2 / 3)
    logits = np.array([[1e300, -1e300, 0], [-1e300, 1e300, 0], [0, 1e300, -1e300]])
    found = score("mlp_classifier", logits, column(0, 1, 2), None)
    assert found["log_loss"] == pytest.approx(2e300 / 3)
    assert found["roc_auc"] == pytest.approx((1 + 0.75 + 0) / 3)  # two samples are equally sure of class 1


def test_samples_whose_probabilities_round_to_one_are_still_ranked() -> None:
    assert score("logistic_regression", column(50, 60, 70), column(0, 1, 1), None)["roc_auc"] == 1
    logits = np.array([[0.0, 0, 50], [0, 0, 60], [0, 70, 0], [80, 0, 0]])
    assert score("softmax_regression", logits, column(1, 2, 1, 0), None)["roc_auc"] == 1


def test_logits_that_are_not_finite_leave_nulls_behind() -> None:
    for bad in (np.nan, np.inf, -np.inf):
        logits = np.array([[bad, 0.0, 1.0], [0.0, 1.0, 2.0], [1.0, 0.0, 2.0]])
        found = score("softmax_regression", logits, column(0, 1, 2), None)
        assert found["log_loss"] is None
        assert "NaN" not in json.dumps(found)
        assert "Infinity" not in json.dumps(found)


def test_equal_scores_count_half_and_the_first_of_equals_is_predicted() -> None:
    found = score("logistic_regression", np.zeros((4, 1)), column(0, 1, 1, 0), None)
    assert found["roc_auc"] == 0.5
    assert found["confusion_matrix"] == [[2, 0], [2, 0]]
    found = score("softmax_regression", np.ones((3, 3)), column(0, 1, 2), None)
    assert found["roc_auc"] == 0.5
    assert found["confusion_matrix"] == [[1, 0, 0]] * 3


def test_one_sample_is_enough() -> None:
    found = score("logistic_regression", column(2), column(1), None)
    assert found["accuracy"] == found["precision"] == found["recall"] == found["f1"] == 1
    assert found["roc_auc"] is None
    found = score("logistic_regression", column(2), column(0), None)
    assert found["accuracy"] == found["precision"] == found["recall"] == found["f1"] == 0


def test_many_classes_are_counted_but_not_listed() -> None:
    draw = np.random.default_rng(0)
    codes = draw.permutation(np.arange(600) % 101)
    logits = draw.normal(size=(600, 101)) + 2 * np.eye(101)[codes]
    found = score("softmax_regression", logits, codes[:, None], None)
    assert found["confusion_matrix"] is found["per_class"] is None
    assert found["f1_macro"] == pytest.approx(metrics.f1_score(codes, logits.argmax(axis=1), average="macro"))
    oracle = metrics.roc_auc_score(codes, probabilities(logits), multi_class="ovr")
    assert found["roc_auc"] == pytest.approx(oracle)
    kept = codes < 100
    assert len(score("softmax_regression", logits[kept, :100], codes[kept, None], None)["per_class"]) == 100


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize(
    ("task", "n_outputs"), [("linear_regression", 1), ("logistic_regression", 1), ("mlp_classifier", 2)]
)
def test_targets_of_any_type_that_only_allow_reading_give_the_same_json(
    task: Task, n_outputs: int, dtype: type
) -> None:
    draw = np.random.default_rng(0)
    outputs, targets = draw.normal(size=(2, 50, 2))[:, :, :n_outputs]
    codes = (targets[:, :1] > 0).astype(dtype)
    outputs.flags.writeable = codes.flags.writeable = False
    labels: list[Label] | None = None if task == "linear_regression" else [False, "yes"]
    found = score(task, outputs, codes, labels)
    assert found == score(task, outputs, codes.astype(np.float64), labels)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_penalty_is_on_the_weights_of_all_layers() -> None:
    parameters = (
        Layer(np.array([[1.0, -2.0], [0.0, 3.0]]), np.array([10.0, 10.0])),
        Layer(np.array([[-4.0, 0.5]]), np.array([10.0])),
    )
    assert penalty(parameters, l2=0.1) == pytest.approx(0.05 * 30.25)
    assert penalty(parameters, l2=0.1, l1=2.0) == pytest.approx(0.05 * 30.25 + 2 * 10.5)
    assert penalty(parameters, l2=0.0) == 0


def test_a_penalty_that_overflows_is_infinite() -> None:
    layer = Layer(np.array([[1e200, LARGEST, LARGEST]]), np.array([0.0]))
    assert penalty((layer,), l2=0.1) == math.inf
    assert penalty((layer,), l2=0.0, l1=0.1) == math.inf
    assert penalty((layer,), l2=0.0) == 0
    single = Layer(np.full((1, 2), 3e38, dtype=np.float32), np.zeros(1, dtype=np.float32))
    assert penalty((single,), l2=2.0, l1=1.0) == pytest.approx(2 * 9e76)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_more_samples_than_are_looked_at_at_once_are_classified_like_few(n_classes: int) -> None:
    draw = np.random.default_rng(n_classes)
    codes = draw.integers(n_classes, size=150_001)
    logits = np.round(draw.normal(size=(len(codes), n_classes)) + np.eye(n_classes)[codes], 1)  # with ties
    found = score("softmax_regression", logits, codes[:, None], None)
    assert_is_scikit_learns_classification(found, logits, codes)


def test_more_samples_than_are_looked_at_at_once_are_measured_like_few() -> None:
    draw = np.random.default_rng(1)
    targets = draw.normal(size=(150_001, 2)) * 1e-6 + [1e3, -1]
    outputs = targets + draw.normal(size=targets.shape) * 1e-6
    found = score("linear_regression", outputs, targets, None)
    assert_is_scikit_learns_regression(found, outputs, targets)
    late = np.zeros((150_001, 1))
    late[-1] = 1
    assert score("linear_regression", late, late, None)["r2"] == 1


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_errors_and_the_confusion_matrix_are_those_of_torchmetrics(n_classes: int) -> None:
    draws = np.random.default_rng(n_classes)
    outputs, targets = draws.standard_normal((2, 200, n_classes)) * 1e3
    found = score("linear_regression", outputs, targets, None)
    pair = torch.from_numpy(outputs), torch.from_numpy(targets)
    assert found["mse"] == pytest.approx(float(mean_squared_error(*pair)), rel=1e-12)
    assert found["mae"] == pytest.approx(float(mean_absolute_error(*pair)), rel=1e-12)
    codes = draws.integers(0, n_classes, (200, 1))
    found = score("softmax_regression", outputs, codes, None)
    expected = multiclass_confusion_matrix(pair[0], torch.from_numpy(codes[:, 0]), n_classes)
    assert found["confusion_matrix"] == expected.tolist()


@pytest.mark.parametrize("task", ["linear_regression", "logistic_regression", "softmax_regression"])
def test_the_losses_of_samples_have_the_mean_that_the_score_tells(task: Task) -> None:
    draws = np.random.default_rng(1)
    outputs = draws.standard_normal((50, 1 if task == "logistic_regression" else 3))
    targets = draws.standard_normal((50, 3)) if task == "linear_regression" else draws.integers(0, 2, (50, 1))
    found = score(task, outputs, targets, None)
    mean = float(losses(task, outputs, targets).mean())
    assert mean == pytest.approx(found["mse" if task == "linear_regression" else "log_loss"], rel=1e-12)
