"""Estimators of scikit-learn's kind that a running service trains: in pipelines, grid searches, cross-validation.

    DescentRegressor(epochs=2000, scale="standard").fit(X, y).predict(X)

Every hyperparameter of the service is a parameter here, with the service's default. With `hidden_layers` they are
perceptrons, else linear, logistic or softmax regression. Each `fit` publishes a version on the service, which is what
`predict` asks; so a fitted estimator can be pickled, and predicts wherever the service is reached. Without `model` each
version is of a model of its own, whose name is made up: `Descent.delete_model(estimator.model_)` takes it away.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils import Tags, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from service.client.connection import DEFAULT_URL
from service.client.descent import Descent
from service.client.jobs import Job
from service.client.predictions import Prediction
from service.hyperparameters import Hyperparameters

WAIT_SECONDS = 60
_PLAIN = (str, int, float, bool, type(None))
_DEFAULTS = {
    name: value if isinstance(value, _PLAIN) else None
    for name, value in ((name, field.get_default()) for name, field in Hyperparameters.model_fields.items())
}
"""Those of hyperparameters; lists and objects, which are mutable, are None, which leaves them to the service."""


class _Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What the two have in common.

    Args:
        url: of the service.
        key: an access key; by default what DESCENT_API_KEY says.
        model: the name to publish under; one is made up when left out.
        hyperparameters: see `service.hyperparameters`.
    """

    def __init__(
        self, *, url: str = DEFAULT_URL, key: str | None = None, model: str | None = None, **hyperparameters: Any
    ) -> None:
        unknown = hyperparameters.keys() - _DEFAULTS.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no parameters {', '.join(sorted(unknown))}")
        self.url = url
        self.key = key
        self.model = model
        for name, value in (_DEFAULTS | hyperparameters).items():
            setattr(self, name, value)

    __init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            *list(inspect.signature(__init__).parameters.values())[:-1],
            *(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
                for name, default in _DEFAULTS.items()
            ),
        ]
    )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self._is_random()
        return tags

    def _is_random(self) -> bool:
        given = vars(self)
        return given["seed"] is None and (given["hidden_layers"] is not None or given["batch_size"] is not None)

    def _train(self, task: str, features: ArrayLike, targets: ArrayLike, sample_weight: Any, **changes: Any) -> None:
        """Train, and keep which version it is, and what it has learned.

        Raises:
            JobFailed: when there is no model in the end, for the descent diverged, say.
            ServiceRefused: when the service does not take the hyperparameters.
        """
        given = {name: vars(self)[name] for name in _DEFAULTS} | changes
        changed = {name: value for name, value in given.items() if value != _DEFAULTS[name]}
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, features, dtype=np.float64, ensure_non_negative=True)
        with self._service() as service:
            asked = {"task": task, "model": self.model, "sample_weight": sample_weight, "wait_seconds": WAIT_SECONDS}
            job = service.train(features, targets, **asked, **changed).wait(progress=False)
            self._keep(job)
            if given["hidden_layers"] is None:
                learned = service.parameters(job.model)
                self.coef_, self.intercept_ = np.array(learned["weight"]), np.array(learned["bias"])

    def _keep(self, job: Job) -> None:
        self.model_ = job.model
        self.job_ = job.id
        self.n_iter_ = job["progress"]["epoch"]

    def _predict(self, samples: ArrayLike) -> Prediction:
        check_is_fitted(self)
        features = validate_data(self, samples, reset=False, dtype=np.float64)
        with self._service() as service:
            return service.predict(self.model_, features)

    def _service(self) -> Descent:
        return Descent(self.url, key=self.key)


class DescentRegressor(MultiOutputMixin, RegressorMixin, _Estimator):  # type: ignore[misc]
    """A regression by gradient descent: linear, or with `hidden_layers` a perceptron.

    Attributes:
        coef_, intercept_: of a linear one, (n_features,) and a number, or (n_targets, n_features) and (n_targets,).
        model_, job_, n_iter_: which version it is, which job trained it, after how many epochs.
        n_features_in_, feature_names_in_: as scikit-learn has them.
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:  # noqa: N803
        """Train on X (n_samples, n_features) and y (n_samples,) or (n_samples, n_targets)."""
        features, targets = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        task = "linear_regression" if vars(self)["hidden_layers"] is None else "mlp_regressor"
        self._train(task, features, np.asarray(targets, dtype=np.float64), sample_weight)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Give the predictions for X, (n_samples,) or (n_samples, n_targets)."""
        return np.asarray(self._predict(X).values, dtype=np.float64)


class DescentClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A classification by gradient descent: logistic, softmax for more than two classes, or a perceptron.

    `class_weight` may also be a dict of weights by label, as in scikit-learn.

    Attributes:
        classes_: the labels, sorted.
        coef_, intercept_: of one without hidden layers, (n_classes, n_features) and (n_classes,); of two classes
            (1, n_features) and (1,), for the second.
        model_, job_, n_iter_: which version it is, which job trained it, after how many epochs.
        n_features_in_, feature_names_in_: as scikit-learn has them.
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:  # noqa: N803
        """Train on X (n_samples, n_features) and the labels y (n_samples,), of two or more classes."""
        features, labels = validate_data(self, X, y, dtype=np.float64)
        labels = column_or_1d(labels, warn=True)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            only = self.classes_[0]
            raise ValueError(f"a classifier needs two classes or more, and all samples have one class: {only!r}")
        task = "logistic_regression" if len(self.classes_) == 2 else "softmax_regression"
        task = task if vars(self)["hidden_layers"] is None else "mlp_classifier"
        changes: dict[str, Any] = {}
        if isinstance(vars(self)["class_weight"], Mapping):
            # The service knows weights of samples, which these are.
            weights = compute_sample_weight(vars(self)["class_weight"], labels)
            sample_weight = weights if sample_weight is None else weights * np.asarray(sample_weight)
            changes["class_weight"] = None
        self._train(task, features, codes, sample_weight, **changes)
        if vars(self)["hidden_layers"] is None:
            # The service has one output for two classes; scikit-learn has a row of it.
            self.coef_, self.intercept_ = np.atleast_2d(self.coef_), np.atleast_1d(self.intercept_)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Give the most probable labels for X, (n_samples,)."""
        codes = self._predict(X).values.astype(int)
        return np.asarray(self.classes_[codes])

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Give the probability of each class for X, (n_samples, n_classes), in the order of `classes_`."""
        probabilities = self._predict(X).probabilities
        assert probabilities is not None
        return probabilities
