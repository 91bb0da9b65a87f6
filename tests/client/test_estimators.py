import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_class_weight_classifiers, parametrize_with_checks

from service.client.estimators import DescentClassifier, DescentRegressor
from service.hyperparameters import Hyperparameters
from tests.conftest import LiveService

CHECKED: dict[str, Any] = {"dtype": "float64", "epochs": 100}
NOT_AS_IT_STANDS = {
    "check_class_weight_classifiers": "its features have a standard deviation of 20 and more, on which a hundred "
    "epochs do not arrive without scaling; with it they do, see below"
}
"""Scikit-learn's own checks that do not hold, each with the reason.

All others do, those of sample weights among them; with `scale` these would not, for the scaling is that of the samples
however much each counts. Checks of the array API skip themselves where SCIPY_ARRAY_API is not set.
"""


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [DescentRegressor(**CHECKED), DescentClassifier(**CHECKED)], expected_failed_checks=lambda _: NOT_AS_IT_STANDS
)
def test_scikit_learn_takes_it_for_its_own(live: LiveService, estimator: Any, check: Callable[[Any], None]) -> None:
    check(clone(estimator).set_params(url=live.url))


def test_classes_weigh_as_scikit_learn_checks_it(live: LiveService) -> None:
    check_class_weight_classifiers("DescentClassifier", DescentClassifier(url=live.url, **CHECKED, scale="standard"))


def test_a_linear_regression_arrives_where_scikit_learn_s_does(live: LiveService) -> None:
    features, targets = load_diabetes(return_X_y=True, as_frame=True)
    theirs = LinearRegression().fit(features, targets)
    ours = DescentRegressor(url=live.url, dtype="float64", scale="standard", epochs=30_000).fit(features, targets)
    assert ours.coef_ == pytest.approx(theirs.coef_, rel=1e-6)
    assert ours.intercept_ == pytest.approx(theirs.intercept_)
    assert ours.predict(features) == pytest.approx(theirs.predict(features))
    assert ours.score(features, targets) == pytest.approx(theirs.score(features, targets))
    assert list(ours.feature_names_in_) == list(features.columns)


@pytest.mark.parametrize("load", [load_breast_cancer, load_iris])
def test_a_classifier_arrives_where_scikit_learn_s_does(live: LiveService, load: Callable[..., Any]) -> None:
    bunch = load()
    features, labels = StandardScaler().fit_transform(bunch.data), bunch.target_names[bunch.target]
    theirs = LogisticRegression(tol=1e-10, max_iter=1000).fit(features, labels)
    ours = DescentClassifier(url=live.url, dtype="float64", optimizer="lbfgs", l2=1 / len(labels), epochs=200)
    ours.fit(features, labels)
    assert list(ours.classes_) == list(theirs.classes_)
    assert ours.predict_proba(features) == pytest.approx(theirs.predict_proba(features), abs=1e-5)
    assert (ours.coef_.shape, ours.intercept_.shape) == (theirs.coef_.shape, theirs.intercept_.shape)
    if len(theirs.classes_) == 2:
        assert ours.coef_ == pytest.approx(theirs.coef_, abs=1e-3)
        assert ours.intercept_ == pytest.approx(theirs.intercept_, abs=1e-3)
    assert list(ours.predict(features)) == list(theirs.predict(features))
    assert ours.score(features, labels) == theirs.score(features, labels)


def test_it_works_in_a_pipeline_and_a_grid_search_and_comes_back_from_a_pickle(live: LiveService) -> None:
    features, targets = load_diabetes(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), DescentRegressor(url=live.url, epochs=200))
    search = GridSearchCV(pipeline, {"descentregressor__l2": [1000.0, 0.0]}, cv=2, error_score="raise")
    search.fit(features, targets)
    assert search.best_params_ == {"descentregressor__l2": 0.0}
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert again.predict(features).tolist() == search.predict(features).tolist()


def test_hidden_layers_make_a_perceptron(live: LiveService) -> None:
    features, labels = load_iris(return_X_y=True)
    perceptron = DescentClassifier(url=live.url, hidden_layers=[8], scale="standard", epochs=300, seed=0)
    assert perceptron.fit(features, labels).score(features, labels) > 0.95
    targets = np.column_stack([labels, -labels])
    both = DescentRegressor(url=live.url, hidden_layers=[8], scale="standard", epochs=300, seed=0)
    assert both.fit(pd.DataFrame(features), targets).predict(pd.DataFrame(features)).shape == targets.shape


def test_every_hyperparameter_is_a_parameter_and_no_other_name_is() -> None:
    parameters = DescentClassifier().get_params()
    assert parameters.keys() == {"url", "key", "model", *Hyperparameters.model_fields}
    assert parameters["learning_rate"] == "auto"
    with pytest.raises(TypeError, match="no parameters lr"):
        DescentClassifier(lr=0.1)
