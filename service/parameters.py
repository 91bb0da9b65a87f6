"""Parameters: what training learns, as layers of weight and bias, as one flat vector, as JSON and as bytes.

A layout is the shape of each layer, `((n_outputs, n_inputs), ...)`, the one that takes the features first. The flat
vector has each layer's weight, row by row, then its bias. Models without hidden layers have one layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

Layout = tuple[tuple[int, int], ...]

_SCALED = "scaled."


@dataclass(frozen=True)
class Layer:
    """A weight of shape (n_outputs, n_inputs) and a bias of shape (n_outputs,); many of them with more axes before."""

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


def names(layout: Layout) -> tuple[tuple[str, str], ...]:
    """Name each layer's weight and bias: `weight` and `bias` for one layer, `0.weight`, `0.bias` … for several."""
    prefixes = [""] if len(layout) == 1 else [f"{number}." for number in range(len(layout))]
    return tuple((f"{prefix}weight", f"{prefix}bias") for prefix in prefixes)


def unflatten(vectors: NDArray[Any], layout: Layout) -> Parameters:
    """Turn a flat vector of shape (n_parameters,) into layers, as views of it.

    Many vectors at once, (..., n_parameters), give weights of shape (..., n_outputs, n_inputs) and biases of shape
    (..., n_outputs).
    """
    many = vectors.shape[:-1]
    return tuple(
        Layer(vectors[..., weight].reshape(*many, *shape), vectors[..., bias])
        for shape, (weight, bias) in zip(layout, slices(layout), strict=True)
    )


def flatten(parameters: Parameters) -> NDArray[Any]:
    """Turn layers into a flat vector of shape (n_parameters,)."""
    return np.concatenate([part.ravel() for layer in parameters for part in (layer.weight, layer.bias)])


def as_json(layer: Layer) -> dict[str, Any]:
    """Give one layer in the shapes of the wire: a flat weight and a number for one output, lists for several."""
    if layer.bias.shape[-1] == 1:
        return {"weight": layer.weight[..., 0, :].tolist(), "bias": layer.bias[..., 0].tolist()}
    return {"weight": layer.weight.tolist(), "bias": layer.bias.tolist()}


def parameters_as_json(parameters: Parameters) -> dict[str, Any]:
    """Give all layers in the shapes of the wire: a single layer by itself, several as the list `parameters`."""
    if len(parameters) == 1:
        return as_json(parameters[0])
    return {"parameters": [as_json(layer) for layer in parameters]}


def trajectory_as_json(vectors: NDArray[Any], layout: Layout) -> dict[str, Any]:
    """Give n flat vectors, (n, n_parameters), as columns: `weight` and `bias` are lists of n, each as `as_json` has it.

    Several layers are the list `parameters` of such columns.
    """
    return parameters_as_json(unflatten(vectors, layout))


def to_bytes(parameters: Parameters, scaled: Parameters | None = None) -> bytes:
    """Write parameters as safetensors, each tensor by its name in `names`.

    Args:
        parameters: in original units.
        scaled: the same model in scaled units, where it was trained in such; its names begin with `scaled.`.
    """
    tensors = _tensors(parameters, "")
    if scaled is not None:
        tensors |= _tensors(scaled, _SCALED)
    return bytes(safetensors.numpy.save(tensors))


def from_bytes(content: bytes) -> Parameters:
    """Read the parameters in original units that `to_bytes` wrote."""
    return _layers(safetensors.numpy.load(content), "")


def scaled_from_bytes(content: bytes) -> Parameters | None:
    """Read the parameters in scaled units that `to_bytes` wrote; None when it was given none."""
    return _layers(safetensors.numpy.load(content), _SCALED) or None


def with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """Give what `to_bytes` wrote with metadata in it, which the readers of parameters leave out."""
    return bytes(safetensors.numpy.save(safetensors.numpy.load(content), metadata))


def _tensors(parameters: Parameters, prefix: str) -> dict[str, NDArray[Any]]:
    layout = tuple(layer.weight.shape for layer in parameters)
    parts = {}
    for layer, (weight, bias) in zip(parameters, names(layout), strict=True):
        parts[prefix + weight] = np.ascontiguousarray(layer.weight)
        parts[prefix + bias] = np.ascontiguousarray(layer.bias)
    return parts


def _layers(tensors: dict[str, NDArray[Any]], prefix: str) -> Parameters:
    if f"{prefix}weight" in tensors:
        return (Layer(tensors[f"{prefix}weight"], tensors[f"{prefix}bias"]),)
    layers: list[Layer] = []
    while f"{prefix}{len(layers)}.weight" in tensors:
        numbered = f"{prefix}{len(layers)}."
        layers.append(Layer(tensors[f"{numbered}weight"], tensors[f"{numbered}bias"]))
    return tuple(layers)
