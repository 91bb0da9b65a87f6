"""ONNX files against the forward pass of this service, in the runtime that others use."""

from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from sklearn.datasets import load_diabetes, load_digits, load_iris

from service.data.features import features_of
from service.data.labels import label_keys
from service.dataset import Dataset, Label, Schema
from service.encoding import ColumnEncoding, DatePart, Encoding, feature_names
from service.hyperparameters import ActivationName, Hyperparameters
from service.parameters import Layer, Parameters
from service.prediction.forward import forward
from service.prediction.onnx_graph import onnx_file
from service.tasks import TRAITS, Task
from service.training.fit import Training
from service.training.result import outcome_of

Array = NDArray[Any]
TOLERANCE: dict[Any, Any] = {
    np.dtype(np.float32): {"rtol": 1e-6, "atol": 1e-7},
    np.dtype(np.float64): {"rtol": 1e-12, "atol": 1e-13},
}


def session(
    task: Task, schema: Schema, parameters: Parameters, activation: ActivationName = "relu"
) -> onnxruntime.InferenceSession:
    content = onnx_file("m", 3, task, schema, parameters, activation, label_keys(schema.classes or ()))
    return onnxruntime.InferenceSession(content)


def check_alike(
    task: Task, schema: Schema, parameters: Parameters, features: Array, activation: ActivationName = "relu"
) -> None:
    """Check that the file predicts what this service predicts for features, and in the parameters' type."""
    dtype = parameters[0].weight.dtype
    features = features.astype(dtype)
    found = session(task, schema, parameters, activation).run(None, {"features": features})
    expected = forward(task, parameters, features.astype(np.float64), activation)
    if not TRAITS[task].classifies:
        assert found[0].dtype == dtype
        np.testing.assert_allclose(found[0], expected.values, **TOLERANCE[dtype])
        return
    labels, probabilities = found
    assert expected.probabilities is not None
    assert schema.classes is not None
    assert probabilities.dtype == dtype
    np.testing.assert_allclose(probabilities, expected.probabilities, **TOLERANCE[dtype])
    codes = {str(label): code for code, label in enumerate(schema.classes)}
    chosen = [codes[str(label)] for label in labels]
    # Of labels that are alike to the last bits either may come first.
    rows = np.arange(len(chosen))
    np.testing.assert_allclose(
        expected.probabilities[rows, chosen], expected.probabilities.max(axis=1, initial=0), rtol=1e-9
    )


def sizes_of(task: Task, n_features: int, n_outputs: int, hidden: list[int]) -> tuple[list[int], Schema]:
    classes = tuple(f"class {number}" for number in range(max(2, n_outputs))) if TRAITS[task].classifies else None
    if task == "logistic_regression":
        classes, n_outputs = ("class 0", "class 1"), 1
    n_outputs = max(n_outputs, len(classes)) if classes and task != "logistic_regression" else n_outputs
    targets = ("y",) if classes else tuple(f"y{number}" for number in range(n_outputs))
    sizes = [n_features, *(hidden if TRAITS[task].is_perceptron else []), n_outputs]
    return sizes, Schema(tuple(f"x{number}" for number in range(n_features)), targets, classes)


@st.composite
def models(draw: st.DrawFn) -> tuple[Task, Schema, Parameters, Array, ActivationName]:
    """A model of any task with parameters of either type, and features that it takes."""
    task, dtype = draw(st.sampled_from(get_args(Task))), draw(st.sampled_from([np.float32, np.float64]))
    hidden = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    sizes, schema = sizes_of(task, draw(st.integers(1, 5)), draw(st.integers(1, 4)), hidden)

    def numbers(*shape: int) -> Array:
        return draw(arrays.arrays(dtype, shape, elements=st.floats(-4, 4, width=32)))

    parameters = tuple(Layer(numbers(after, before), numbers(after)) for before, after in pairwise(sizes))
    return task, schema, parameters, numbers(draw(st.integers(0, 4)), sizes[0]), draw(activations)


activations: st.SearchStrategy[ActivationName] = st.sampled_from(get_args(ActivationName))


@settings(deadline=None)  # the first of them loads what runs it
@given(models())
def test_any_model_predicts_the_same_in_onnx(model: tuple[Task, Schema, Parameters, Array, ActivationName]) -> None:
    task, schema, parameters, features, activation = model
    check_alike(task, schema, parameters, features, activation)


REAL: dict[str, Callable[[], Any]] = {"iris": load_iris, "digits": load_digits, "diabetes": load_diabetes}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("data", "task", "activation"),
    [
        ("diabetes", "linear_regression", "relu"),
        ("diabetes", "mlp_regressor", "tanh"),
        ("iris", "softmax_regression", "relu"),
        ("iris", "mlp_classifier", "sigmoid"),
        ("digits", "mlp_classifier", "relu"),
        ("digits", "logistic_regression", "relu"),
    ],
)
def test_what_was_learned_from_real_data_predicts_the_same_in_onnx(
    data: str, task: Task, activation: ActivationName, dtype: Any
) -> None:
    bunch = REAL[data]()
    targets = bunch.target % 2 if task == "logistic_regression" else bunch.target
    classes = tuple(range(int(targets.max()) + 1)) if TRAITS[task].classifies else None
    names = tuple(f"x{number}" for number in range(bunch.data.shape[1]))
    dataset = Dataset(bunch.data, targets.astype(np.float64), Schema(names, ("y",), classes))
    perceptron: dict[str, Any] = {"hidden_layers": [8], "activation": activation, "optimizer": "adam"}
    others: dict[str, Any] = perceptron if TRAITS[task].is_perceptron else {}
    given = Hyperparameters(epochs=5, learning_rate=0.01, seed=1, scale="standard", dtype=dtype, **others)
    training = Training(task, dataset, given, None)
    *_, last = training.blocks()
    assert last.learned is not None
    parameters = outcome_of(training, last.learned).parameters
    check_alike(task, dataset.schema, parameters, bunch.data, activation)
    as_trained = tuple(Layer(layer.weight.astype(dtype), layer.bias.astype(dtype)) for layer in parameters)
    check_alike(task, dataset.schema, as_trained, bunch.data, activation)


@pytest.mark.parametrize("size", [0.0, 1e-17, 40.0, 700.0, 1e4])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_extreme_logits_lose_no_small_probabilities(size: float, sign: float) -> None:
    schema = Schema(("x",), ("y",), (0, 1))
    parameters = (Layer(np.array([[sign]]), np.zeros(1)),)
    _, found = session("logistic_regression", schema, parameters).run(None, {"features": np.array([[size]])})
    expected = forward("logistic_regression", parameters, np.array([[size]]), "relu").probabilities
    assert expected is not None
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ((3, 7), np.array([7, 3])),
        (("no", "yes"), np.array(["yes", "no"], object)),
        ((False, True), np.array(["true", "false"], object)),
        ((0.5, 1.5), np.array(["1.5", "0.5"], object)),
        ((1, "1"), np.array(['"1"', "1"], object)),
        ((1, 2**70), np.array([str(2**70), "1"], object)),
    ],
)
def test_labels_are_whole_numbers_or_texts(classes: tuple[Label, ...], expected: Array) -> None:
    parameters = (Layer(np.ones((1, 1)), np.zeros(1)),)
    found = session("logistic_regression", Schema(("x",), ("y",), classes), parameters)
    assert [one.name for one in found.get_outputs()] == ["label", "probabilities"]
    labels, _ = found.run(None, {"features": np.array([[1.0], [-1.0]])})
    assert labels.dtype == expected.dtype
    assert labels.tolist() == expected.tolist()


def columns(n: int) -> tuple[Encoding, pl.DataFrame]:
    """An encoding of every kind, and samples of it: all that may be missing is, sometimes."""
    draws = np.random.default_rng(0)
    encoding = (
        ColumnEncoding("area", "number", fill=2.5, has_indicator=True),
        ColumnEncoding("rooms", "number"),
        ColumnEncoding("label", "category", ("a", "b", "c"), fill="b"),
        ColumnEncoding("kind", "category", ("p", "", "ä"), has_indicator=True, unseen="ignore"),
        ColumnEncoding("place", "category", ("s", "t"), has_indicator=True),
        ColumnEncoding("new", "boolean", fill=1.0),
        ColumnEncoding("sold", "date", parts=get_args(DatePart), fill="1969-12-31T23:59:59.000001", has_indicator=True),
    )
    first, last = (
        round((datetime(*day) - datetime(1970, 1, 1)).total_seconds() * 1e6) for day in ((1, 1, 1), (9999, 12, 31))
    )
    moments = [None if number % 7 == 0 else int(draws.integers(first, last)) for number in range(n)]

    def some(*values: Any) -> list[Any]:
        return [values[number] for number in draws.integers(len(values), size=n)]

    frame = pl.DataFrame(
        {
            "area": pl.Series(some(None, 1.0, -3.5), dtype=pl.Float64),
            "rooms": pl.Series(some(1.0, 2.0), dtype=pl.Float64),
            "label": some(None, "a", "b", "c"),
            "kind": some("p", "", "ä", "unknown"),
            "place": some(None, "s", "t"),
            "new": some(None, True, False),
            "sold": pl.Series(moments, dtype=pl.Int64).cast(pl.Datetime("us")),
        }
    )
    return encoding, frame


def inputs_of(frame: pl.DataFrame) -> dict[str, Array]:
    """The columns as the file takes them."""
    missing = {pl.String: "", pl.Float64: np.nan}
    found = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype == pl.Boolean:
            column = column.cast(pl.Float64)
        values = (
            column.to_numpy()
            if column.dtype.is_temporal()
            else column.fill_null(missing[type(column.dtype)]).to_numpy()
        )
        values = values.astype("datetime64[us]").astype(np.int64) if column.dtype.is_temporal() else values
        values = values.astype(object) if column.dtype == pl.String else values
        found["label_" if name == "label" else name] = values.reshape(-1, 1)
    return found


def test_columns_become_the_same_features_in_every_bit() -> None:
    encoding, frame = columns(3000)
    names = feature_names(encoding)
    parameters = (Layer(np.eye(len(names)), np.zeros(len(names))),)
    found = session("linear_regression", Schema(names, names, None, encoding), parameters)
    (features,) = found.run(None, inputs_of(frame))
    np.testing.assert_array_equal(features, features_of(encoding, frame))


def test_a_category_that_is_refused_ends_the_run() -> None:
    encoding = (ColumnEncoding("kind", "category", ("a", "b")),)
    schema = Schema(feature_names(encoding), ("y",), None, encoding)
    found = session("linear_regression", schema, (Layer(np.array([[1.0, 2.0]]), np.zeros(1)),))
    np.testing.assert_array_equal(found.run(None, {"kind": np.array([["b"], ["a"]], object)})[0], [[2.0], [1.0]])
    for refused in ("c", ""):
        with pytest.raises(Fail, match="Unknown Category"):
            found.run(None, {"kind": np.array([[refused]], object)})


def test_a_file_tells_what_it_is() -> None:
    encoding, _ = columns(1)
    names = feature_names(encoding)
    schema = Schema(names, ("y",), ("no", "yes"), encoding)
    parameters = (Layer(np.zeros((1, len(names)), np.float32), np.zeros(1, np.float32)),)
    content = onnx_file("houses", 3, "logistic_regression", schema, parameters, "relu", ["no", "yes"])
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert (model.producer_name, model.model_version) == ("descent", 3)
    told = {one.key: one.value for one in model.metadata_props}
    assert told["classes"] == '["no", "yes"]'
    assert told.keys() == {"task", "feature_names", "target_names", "classes", "encoding"}
