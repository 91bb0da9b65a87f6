"""Parameters: what training learns, as layers of weight and bias, as one flat vector, and as JSON.

A layout is the shape of each layer, `((n_outputs, n_inputs), ...)`. The flat vector has each layer's weight, row by
row, then its bias. One layer is what linear and logistic regression have.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

Layout = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Layer:
    """A weight of shape (n_outputs, n_inputs) and a bias of shape (n_outputs,)."""

    weight: NDArray[Any]
    bias: NDArray[Any]


Parameters = tuple[Layer, ...]


def n_parameters(layout: Layout) -> int:
    """Count the numbers that parameters of this layout hold."""
    return sum(n_outputs * (n_inputs + 1) for n_outputs, n_inputs in layout)


def slices(layout: Layout) -> Iterator[tuple[slice, slice]]:
    """Tell where each layer's weight and bias lie in the flat vector."""
    end = 0
    for n_outputs, n_inputs in layout:
        start, middle = end, end + n_outputs * n_inputs
        end = middle + n_outputs
        yield slice(start, middle), slice(middle, end)


def unflatten(vector: NDArray[Any], layout: Layout) -> Parameters:
    """Turn a flat vector of shape (n_parameters,) into layers, as views of it."""
    return tuple(
        Layer(vector[weight].reshape(shape), vector[bias])
        for shape, (weight, bias) in zip(layout, slices(layout), strict=True)
    )


def flatten(parameters: Parameters) -> NDArray[Any]:
    """Turn layers into a flat vector of shape (n_parameters,)."""
    return np.concatenate([part.ravel() for layer in parameters for part in (layer.weight, layer.bias)])


def as_json(layer: Layer) -> dict[str, Any]:
    """Give one layer in the shapes of the wire: a flat weight and a number for one output, lists for several."""
    if len(layer.bias) == 1:
        return {"weight": layer.weight[0].tolist(), "bias": float(layer.bias[0])}
    return {"weight": layer.weight.tolist(), "bias": layer.bias.tolist()}


def to_bytes(parameters: Parameters) -> bytes:
    """Write parameters as safetensors: `weight` and `bias` for one layer, numbered by layer for several."""
    prefixes = [""] if len(parameters) == 1 else [f"{number}." for number in range(len(parameters))]
    tensors = {}
    for prefix, layer in zip(prefixes, parameters, strict=True):
        tensors[f"{prefix}weight"] = np.ascontiguousarray(layer.weight)
        tensors[f"{prefix}bias"] = np.ascontiguousarray(layer.bias)
    return bytes(safetensors.numpy.save(tensors))


def from_bytes(content: bytes) -> Parameters:
    """Read what `to_bytes` wrote."""
    tensors = safetensors.numpy.load(content)
    if "weight" in tensors:
        return (Layer(tensors["weight"], tensors["bias"]),)
    return tuple(Layer(tensors[f"{n}.weight"], tensors[f"{n}.bias"]) for n in range(len(tensors) // 2))
