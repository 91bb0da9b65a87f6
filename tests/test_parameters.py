from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from service.hyperparameters import StartValues
from service.parameters import (
    Layer,
    Layout,
    Parameters,
    as_json,
    flatten,
    from_bytes,
    n_parameters,
    slices,
    to_bytes,
    unflatten,
)
from service.plan import start_layers

LAYOUTS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=12).map(tuple)


@st.composite
def vectors(draw: st.DrawFn) -> tuple[Layout, NDArray[Any]]:
    """A layout, and a flat vector of its size."""
    layout = draw(LAYOUTS)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    elements = st.floats(width=32, allow_nan=False, allow_infinity=False)
    return layout, draw(arrays.arrays(dtype, n_parameters(layout), elements=elements))


@given(vectors())
def test_a_flat_vector_comes_back_from_its_layers(given_vector: tuple[Layout, NDArray[Any]]) -> None:
    layout, vector = given_vector
    parameters = unflatten(vector, layout)
    assert [layer.weight.shape for layer in parameters] == list(layout)
    assert [layer.bias.shape for layer in parameters] == [(n_outputs,) for n_outputs, _ in layout]
    np.testing.assert_array_equal(flatten(parameters), vector)
    assert flatten(parameters).dtype == vector.dtype


@given(vectors())
def test_parameters_come_back_from_their_bytes_to_the_last_bit(given_vector: tuple[Layout, NDArray[Any]]) -> None:
    layout, vector = given_vector
    again = from_bytes(to_bytes(unflatten(vector, layout)))
    assert [layer.weight.shape for layer in again] == list(layout)
    np.testing.assert_array_equal(flatten(again), vector)
    assert flatten(again).dtype == vector.dtype


@given(vectors())
def test_the_slices_cover_the_flat_vector_once_and_in_order(given_vector: tuple[Layout, NDArray[Any]]) -> None:
    layout, vector = given_vector
    positions = np.arange(n_parameters(layout))
    parts = [positions[part] for pair in slices(layout) for part in pair]
    np.testing.assert_array_equal(np.concatenate(parts), positions)
    assert len(vector) == len(positions)


@given(vectors())
def test_what_is_given_as_json_starts_a_training_at_the_same_parameters(
    given_vector: tuple[Layout, NDArray[Any]],
) -> None:
    (shape, *_), vector = given_vector
    (layer,) = unflatten(vector[: n_parameters((shape,))], (shape,))
    (again,) = start_layers(StartValues.model_validate(as_json(layer)), (shape,))
    np.testing.assert_array_equal(again.weight, layer.weight)
    np.testing.assert_array_equal(again.bias, layer.bias)


def test_one_output_is_a_flat_weight_and_a_number() -> None:
    assert as_json(Layer(np.array([[1.0, 2.0]]), np.array([3.0]))) == {"weight": [1, 2], "bias": 3}


def test_several_outputs_are_rows_of_weights_and_a_list_of_biases() -> None:
    layer = Layer(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0]))
    assert as_json(layer) == {"weight": [[1, 2], [3, 4]], "bias": [5, 6]}


def test_the_flat_vector_has_the_weight_row_by_row_and_then_the_bias_layer_after_layer() -> None:
    first, second = unflatten(np.arange(11.0), ((2, 3), (1, 2)))
    assert first.weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert first.bias.tolist() == [6, 7]
    assert second.weight.tolist() == [[8, 9]]
    assert second.bias.tolist() == [10]


def test_layers_are_views_of_the_flat_vector() -> None:
    vector = np.zeros(3)
    (layer,) = unflatten(vector, ((1, 2),))
    vector[:] = [1, 2, 3]
    assert layer.weight.tolist() == [[1, 2]]
    assert layer.bias.tolist() == [3]


@pytest.mark.parametrize(
    ("layout", "names"),
    [(((1, 2),), {"weight", "bias"}), (((2, 2), (1, 2)), {"0.weight", "0.bias", "1.weight", "1.bias"})],
)
def test_the_bytes_are_a_safetensors_file_with_plain_names(layout: Layout, names: set[str]) -> None:
    parameters: Parameters = unflatten(np.arange(float(n_parameters(layout))), layout)
    tensors = safetensors.numpy.load(to_bytes(parameters))
    assert set(tensors) == names
    np.testing.assert_array_equal(tensors[sorted(names)[1]], parameters[0].weight)


def test_a_slice_of_recorded_parameters_is_written_as_it_reads() -> None:
    recorded = np.arange(24.0).reshape(4, 6)[:, ::2]
    parameters = unflatten(recorded[2], ((1, 2),))
    np.testing.assert_array_equal(flatten(from_bytes(to_bytes(parameters))), recorded[2])
