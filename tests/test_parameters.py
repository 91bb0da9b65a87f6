import json
from typing import Any

import numpy as np
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from service.hyperparameters import LayerValues, StartLayers
from service.parameters import (
    Layer,
    Layout,
    as_json,
    flatten,
    from_bytes,
    n_parameters,
    names,
    parameters_as_json,
    scaled_from_bytes,
    slices,
    to_bytes,
    trajectory_as_json,
    unflatten,
)
from service.rules import start_layers

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
    layout, vector = given_vector
    shown = json.loads(json.dumps(parameters_as_json(unflatten(vector, layout))))
    start = LayerValues.model_validate(shown) if len(layout) == 1 else StartLayers.model_validate(shown)
    np.testing.assert_array_equal(flatten(start_layers(start, layout)), vector)


@given(vectors())
def test_scaled_parameters_come_back_beside_the_original_ones(given_vector: tuple[Layout, NDArray[Any]]) -> None:
    layout, vector = given_vector
    content = to_bytes(unflatten(vector, layout), scaled=unflatten(vector[::-1].copy(), layout))
    scaled = scaled_from_bytes(content)
    assert scaled is not None
    assert [layer.weight.shape for layer in scaled] == list(layout)
    np.testing.assert_array_equal(flatten(from_bytes(content)), vector)
    np.testing.assert_array_equal(flatten(scaled), vector[::-1])


@given(vectors())
def test_without_scaled_parameters_there_are_none_to_read(given_vector: tuple[Layout, NDArray[Any]]) -> None:
    layout, vector = given_vector
    assert scaled_from_bytes(to_bytes(unflatten(vector, layout))) is None


@given(vectors(), st.integers(0, 4))
def test_a_trajectory_as_json_is_each_of_its_epochs_as_json(
    given_vector: tuple[Layout, NDArray[Any]], n_epochs: int
) -> None:
    layout, vector = given_vector
    trajectory = np.array([np.roll(vector, epoch) for epoch in range(n_epochs)]).reshape(n_epochs, len(vector))
    shown = trajectory_as_json(trajectory, layout)
    columns = [shown] if len(layout) == 1 else shown["parameters"]
    for epoch, passed in enumerate(trajectory):
        expected = [as_json(layer) for layer in unflatten(passed, layout)]
        assert [{name: column[name][epoch] for name in ("weight", "bias")} for column in columns] == expected
    assert all(len(column["weight"]) == len(column["bias"]) == n_epochs for column in columns)


@given(vectors())
def test_the_names_are_those_of_the_tensors_in_order(given_vector: tuple[Layout, NDArray[Any]]) -> None:
    layout, vector = given_vector
    parameters = unflatten(vector, layout)
    tensors = safetensors.numpy.load(to_bytes(parameters))
    assert set(tensors) == {name for pair in names(layout) for name in pair}
    for layer, (weight, bias) in zip(parameters, names(layout), strict=True):
        np.testing.assert_array_equal(tensors[weight], layer.weight)
        np.testing.assert_array_equal(tensors[bias], layer.bias)


def test_one_layer_has_plain_names_and_several_are_numbered_from_0() -> None:
    assert names(((2, 3),)) == (("weight", "bias"),)
    assert names(((2, 3), (1, 2))) == (("0.weight", "0.bias"), ("1.weight", "1.bias"))


def test_one_output_is_a_flat_weight_and_a_number() -> None:
    assert as_json(Layer(np.array([[1.0, 2.0]]), np.array([3.0]))) == {"weight": [1, 2], "bias": 3}


def test_several_outputs_are_rows_of_weights_and_a_list_of_biases() -> None:
    layer = Layer(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0]))
    assert as_json(layer) == {"weight": [[1, 2], [3, 4]], "bias": [5, 6]}


def test_several_layers_are_a_list_each_by_the_rule_for_its_outputs() -> None:
    assert parameters_as_json(unflatten(np.arange(11.0), ((2, 3), (1, 2)))) == {
        "parameters": [{"weight": [[0, 1, 2], [3, 4, 5]], "bias": [6, 7]}, {"weight": [8, 9], "bias": 10}]
    }


def test_a_trajectory_is_columns_with_the_epochs_first() -> None:
    assert trajectory_as_json(np.arange(6.0).reshape(2, 3), ((1, 2),)) == {"weight": [[0, 1], [3, 4]], "bias": [2, 5]}


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


def test_the_scaled_tensors_have_a_prefix() -> None:
    (layer,) = unflatten(np.arange(3.0), ((1, 2),))
    tensors = safetensors.numpy.load(to_bytes((layer,), (layer,)))
    assert set(tensors) == {"weight", "bias", "scaled.weight", "scaled.bias"}


def test_a_slice_of_recorded_parameters_is_written_as_it_reads() -> None:
    recorded = np.arange(24.0).reshape(4, 6)[:, ::2]
    parameters = unflatten(recorded[2], ((1, 2),))
    np.testing.assert_array_equal(flatten(from_bytes(to_bytes(parameters))), recorded[2])
