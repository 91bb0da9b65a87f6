"""What layers make of features, in NumPy: the same numbers for predictions and for metrics."""

import numpy as np
from numpy.typing import NDArray

from service.hyperparameters import ActivationName
from service.parameters import Layer, Parameters

_Array = NDArray[np.float64]


def outputs_of(parameters: Parameters, features: NDArray[np.floating], activation: ActivationName) -> _Array:
    """Apply layers one after the other, in float64.

    Args:
        parameters: the layers, in the units of the features; several for perceptrons.
        features: finite numbers of shape (n, n_features).
        activation: what follows each hidden layer; nothing follows the last one.

    Returns:
        Outputs of shape (n, n_outputs); what overflows anywhere on the way is not a number, for what came after an
        infinite sum may be wrong and look right.
    """
    *hidden, last = parameters
    values = features.astype(np.float64, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        for layer in hidden:
            values = activate(affine(values, layer), activation)
        return affine(values, last)


def logistic(values: _Array) -> _Array:
    """Compute 1 / (1 + exp(-z)) as exp(-log(1 + exp(-z))): it neither overflows nor loses small probabilities."""
    found: _Array = np.exp(-np.logaddexp(0.0, -values))
    return found


def affine(values: _Array, layer: Layer) -> _Array:
    """Apply a layer to values of shape (n, n_inputs); what is infinite becomes not a number."""
    outputs: _Array = values @ layer.weight.T.astype(np.float64) + layer.bias
    outputs[~np.isfinite(outputs)] = np.nan
    return outputs


def activate(values: _Array, activation: ActivationName) -> _Array:
    """Apply what follows a hidden layer."""
    if activation == "relu":
        return np.maximum(values, 0.0)
    return np.tanh(values) if activation == "tanh" else logistic(values)
