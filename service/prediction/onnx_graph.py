"""A model as an ONNX file: what its columns become, its layers, its labels.

Loading `onnx` takes most of a second, so that this is loaded only when a file is asked for.

The arithmetic is that of `forward`, in float64, whatever the inputs' type is: parameters in original units may be large
numbers whose difference counts.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from service import __version__
from service.dataset import Label, Schema
from service.encoding import ColumnEncoding, DatePart, Encoding
from service.hyperparameters import ActivationName
from service.parameters import Parameters
from service.prediction.onnx_dates import date_part
from service.prediction.onnx_nodes import Nodes
from service.tasks import TRAITS, Task

FEATURES = "features"
"""The input of a model without an encoding; with one, each column is an input by its name."""
VARIABLE, LABEL, PROBABILITIES = "variable", "label", "probabilities"
"""The outputs, as scikit-learn's converter names them."""

_OPSETS = (("", 17), ("ai.onnx.ml", 3))
_IR_VERSION = 8
_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}
_LARGEST_LABEL = 2**63
_EPOCH = datetime(1970, 1, 1)


def onnx_file(
    name: str,
    version: int,
    task: Task,
    schema: Schema,
    parameters: Parameters,
    activation: ActivationName,
    keys: Sequence[str],
) -> bytes:
    """Write a model as an ONNX file.

    Inputs are of the parameters' type, float32 or float64: `features` of shape (n, n_features), or with an encoding a
    column of shape (n, 1) by its name: numbers, and booleans as 1 and 0, NaN where one is missing; categories as text,
    empty where one is missing; dates as int64, microseconds since 1970 in UTC, the least int64 (NumPy's NaT) where one
    is missing. A category that the model refuses ends the run with an error.

    Outputs are `variable` (n, n_targets) for regression, and for classification `label` (n,) and `probabilities`
    (n, n_classes). Labels are int64 when all are whole numbers, else texts.

    Args:
        name: of the model.
        version: its number.
        task: what the outputs of the last layer are.
        schema: names, classes and the encoding.
        parameters: the layers, in original units.
        activation: what follows each hidden layer.
        keys: the classes as texts, for classification.
    """
    dtype = TensorProto.FLOAT if parameters[0].weight.dtype == np.float32 else TensorProto.DOUBLE
    nodes = Nodes()
    inputs = _inputs(schema, dtype)
    values = nodes.to_double(FEATURES) if schema.encoding is None else _encoded(nodes, schema.encoding)
    outputs = _layers(nodes, task, parameters, activation, values)
    if TRAITS[task].classifies:
        given = _classify(nodes, schema.classes or (), keys, outputs, dtype)
    else:
        nodes.add("Cast", outputs, to=dtype, output=VARIABLE)
        given = [helper.make_tensor_value_info(VARIABLE, dtype, ["n", len(parameters[-1].bias)])]
    graph = helper.make_graph(nodes.nodes, "model", inputs, given, nodes.constants)
    model = _model(graph, name, version, {"task": task, **schema.to_json()})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _model(graph: onnx.GraphProto, name: str, version: int, told: dict[str, Any]) -> onnx.ModelProto:
    model: onnx.ModelProto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*one) for one in _OPSETS],
        ir_version=_IR_VERSION,
        producer_name="descent",
        producer_version=__version__,
        model_version=version,
        doc_string=f"{name}@{version}: {told['task']}",
    )
    helper.set_model_props(model, {key: value if key == "task" else _written(value) for key, value in told.items()})
    return model


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _inputs(schema: Schema, dtype: int) -> list[onnx.ValueInfoProto]:
    if schema.encoding is None:
        return [helper.make_tensor_value_info(FEATURES, dtype, ["n", len(schema.feature_names)])]
    types = {"number": dtype, "boolean": dtype, "category": TensorProto.STRING, "date": TensorProto.INT64}
    names = zip(input_names(schema.encoding), schema.encoding, strict=True)
    return [helper.make_tensor_value_info(name, types[column.kind], ["n", 1]) for name, column in names]


def input_names(encoding: Encoding) -> list[str]:
    """Name the input of each column: as it, with lines below where an output is called so."""
    taken = {VARIABLE, LABEL, PROBABILITIES, *(column.column for column in encoding)}
    names = []
    for column in encoding:
        name = column.column
        if name in (VARIABLE, LABEL, PROBABILITIES):
            while name in taken:
                name += "_"
        names.append(name)
    return names


def _layers(nodes: Nodes, task: Task, parameters: Parameters, activation: ActivationName, values: str) -> str:
    *hidden, last = parameters
    for layer in hidden:
        values = nodes.add(_ACTIVATIONS[activation], nodes.affine(values, layer.weight, layer.bias))
    weight, bias = last.weight, last.bias
    if task == "logistic_regression":  # the logit of the first label beside that of the second is 0
        weight, bias = np.vstack([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
    return nodes.affine(values, weight, bias)


def _classify(
    nodes: Nodes, classes: Sequence[Label], keys: Sequence[str], logits: str, dtype: int
) -> list[onnx.ValueInfoProto]:
    are_whole = all(type(label) is int and -_LARGEST_LABEL <= label < _LARGEST_LABEL for label in classes)
    labels = np.array(classes, np.int64) if are_whole else np.array(keys, object)
    codes = nodes.add("ArgMax", logits, axis=1, keepdims=0)
    nodes.add("Gather", nodes.constant(labels), codes, axis=0, output=LABEL)
    nodes.add("Cast", nodes.add("Softmax", logits, axis=1), to=dtype, output=PROBABILITIES)
    return [
        helper.make_tensor_value_info(LABEL, TensorProto.INT64 if are_whole else TensorProto.STRING, ["n"]),
        helper.make_tensor_value_info(PROBABILITIES, dtype, ["n", len(classes)]),
    ]


def _encoded(nodes: Nodes, encoding: Encoding) -> str:
    names = input_names(encoding)
    parts = [part for column, name in zip(encoding, names, strict=True) for part in _column(nodes, column, name)]
    return nodes.add("Concat", *parts, axis=1)


def _column(nodes: Nodes, column: ColumnEncoding, values: str) -> list[str]:
    """Give the features of a column, each of shape (n, some)."""
    if column.kind == "category":
        return _category(nodes, column, values)
    if column.kind == "date":
        is_missing = nodes.add("Equal", values, nodes.constant(np.int64(np.iinfo(np.int64).min)))
        fill: np.generic | None = None if column.fill is None else np.int64(_microseconds(str(column.fill)))
    else:
        values = nodes.to_double(values)
        is_missing = nodes.add("IsNaN", values)
        fill = None if column.fill is None else np.float64(column.fill)
    if fill is not None:
        values = nodes.add("Where", is_missing, nodes.constant(fill), values)
    parts: tuple[DatePart | None, ...] = column.parts if column.kind == "date" else (None,)
    features = [values if part is None else nodes.to_double(date_part(nodes, values, part)) for part in parts]
    return [*features, nodes.to_double(is_missing)] if column.has_indicator else features


def _microseconds(date: str) -> int:
    moment = datetime.fromisoformat(date) - _EPOCH
    return (moment.days * 86_400 + moment.seconds) * 1_000_000 + moment.microseconds


def _category(nodes: Nodes, column: ColumnEncoding, values: str) -> list[str]:
    """Give a feature for each category: the text's code, compared with all; missing has a code of its own."""
    n_known = len(column.categories)
    codes = {category: code for code, category in enumerate(column.categories)}
    may_be_missing = column.takes_missing and "" not in codes
    missing = {"": codes.get(str(column.fill), n_known)} if may_be_missing else {}
    known: NDArray[np.int64] = np.arange(n_known + (1 if n_known in missing.values() else 0))
    indicator = []
    if column.has_indicator:
        indicator = [nodes.to_double(nodes.looked_up(values, {"": int(may_be_missing)}, otherwise=0))]
    if not n_known:
        return indicator
    values = nodes.looked_up(values, {**codes, **missing})
    if column.unseen == "refuse":  # which this operator does of what is not among its numbers
        hot = nodes.add("OneHotEncoder", values, domain="ai.onnx.ml", cats_int64s=known.tolist(), zeros=0)
        found = nodes.add("Reshape", hot, nodes.constant(np.array([-1, len(known)])))
    else:
        found = nodes.add("Equal", values, nodes.constant(known.reshape(1, -1)))
    features = nodes.to_double(found)
    if len(known) > n_known:
        start, stop, axis = (nodes.constant(np.array([number])) for number in (0, n_known, 1))
        features = nodes.add("Slice", features, start, stop, axis)
    return [features, *indicator]
