"""Curvature of a linear model's objective on the data: of its Hessian, or of one that is nowhere below it. NumPy only.

The Hessian is second_derivative · X̃ᵀX̃ / n_samples, X̃ being the features and a column of ones for the bias, plus l2 for
each weight, all over what learns; it is the same for every output.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.hyperparameters import Hyperparameters
from service.plan import LARGEST_EIGENBASIS
from service.rules import is_frozen
from service.scaling import learn_scaling, varying
from service.training.moments import CHUNK_BYTES, LEAST_VARIANCE, Moments, moments
from service.training.quadratic import Quadratic, loss_curvature, quadratic_of
from service.training.samples import Samples
from service.training.spectrum import Spectrum, largest_eigenvalue

Array = NDArray[np.float64]

LEAST_CURVATURE = 1e-14
"""Times the size of a Hessian and λmax, what an eigenvalue has to be above not to be put down to rounding."""


@dataclass(frozen=True)
class Curvature:
    """λmax; the spectrum, and that with standardised features, where they are known and the latter would differ."""

    largest: float
    spectrum: Spectrum | None = None
    scaled: Spectrum | None = None

    @property
    def condition_number(self) -> float | None:
        """That of the Hessian; None when it is singular or not known."""
        return None if self.spectrum is None else self.spectrum.condition_number

    @property
    def scaled_condition_number(self) -> float | None:
        """That with standardised features; None where that would change nothing, too."""
        return None if self.scaled is None else self.scaled.condition_number


def linear_curvature(samples: Samples, given: Hyperparameters, quadratic: Quadratic | None = None) -> Curvature:
    """Take λmax and, with up to 1000 features, the spectrum.

    Args:
        samples: to train on, as they are scaled.
        given: which parameters learn, and the penalty.
        quadratic: of the samples, see `quadratic_of`; from their moments, which are taken, when left out.
    """
    n_outputs = samples.targets.shape[1]
    if samples.features.shape[1] > LARGEST_EIGENBASIS:
        return Curvature(_wide_curvature(samples, given, loss_curvature(given, n_outputs)))
    if quadratic is None:
        found = moments(samples.features, samples.targets, samples.weights)
        quadratic = quadratic_of(found, given, n_outputs)
    weight, bias = (not is_frozen(given, name) for name in ("weight", "bias"))
    learns = np.array([weight] * samples.features.shape[1] + [bias])
    spectrum = _spectrum(quadratic, learns)
    if spectrum is None:
        return Curvature(math.inf)
    scaled = None
    if given.scale != "standard" and weight:
        standardised = _standardised(samples, given, quadratic.found)
        scaled = None if standardised is None else _spectrum(quadratic_of(standardised, given, n_outputs), learns)
    return Curvature(spectrum.largest, spectrum, scaled)


def _standardised(samples: Samples, given: Hyperparameters, found: Moments) -> Moments | None:
    """Give the moments with `scale: standard`, or None when that would change nothing."""
    features, targets, weights, centred = samples.features, samples.targets, samples.weights, given.fit_intercept
    varies = varying(features) if samples.varies is None else samples.varies
    plain = found if weights is None else moments(features, targets)
    if (plain.feature_covariance.diagonal()[varies] < LEAST_VARIANCE).any():
        scaling = learn_scaling(features, targets, "standard", "none", centred=centred)
        assert scaling is not None
        return moments(scaling.scale_features(features, features.dtype), targets, weights)
    if plain.is_standardised(varies, centred=centred):
        return None
    return found.standardised(plain, varies, centred=centred)


def _spectrum(quadratic: Quadratic, learns: NDArray[np.bool_]) -> Spectrum | None:
    """Give the eigenvalues of the Hessian over what learns, (n_features + 1,); None when it is not finite."""
    hessian: NDArray[Any] = quadratic.among(learns)
    if not np.isfinite(hessian).all():
        return None
    curvatures = np.linalg.eigvalsh(hessian)
    return Spectrum(curvatures, max(quadratic.precision, LEAST_CURVATURE * len(hessian) * float(curvatures[-1])))


def _wide_curvature(samples: Samples, given: Hyperparameters, second_derivative: float) -> float:
    """Give λmax of the Hessian over what learns without forming it, from passes over the data."""
    features, weights = samples.features, samples.weights
    n_samples, n_features = features.shape
    rows = max(1, CHUNK_BYTES // (features.itemsize * n_features))
    learns = np.full(n_features + 1, 0.0 if is_frozen(given, "weight") else 1.0)
    learns[-1] = 0.0 if is_frozen(given, "bias") else 1.0

    def product(vector: Array) -> Array:
        vector = learns * vector
        weight, image = vector[:-1].astype(features.dtype), np.zeros(len(vector))
        for begin in range(0, n_samples, rows):
            part = slice(begin, begin + rows)
            outputs = features[part] @ weight + vector[-1]
            if weights is not None:
                outputs *= weights[part]
            image[:-1] += outputs.astype(features.dtype) @ features[part]
            image[-1] += outputs.sum()
        image *= second_derivative / n_samples
        image[:-1] += given.l2 * vector[:-1]
        return learns * image

    return largest_eigenvalue(product, n_features + 1)
