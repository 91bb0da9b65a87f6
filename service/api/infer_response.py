"""Answers of the Open Inference Protocol: what a model says, as tensors in JSON or in bytes behind it."""

from typing import Any

import numpy as np
from fastapi.responses import Response as AnyResponse
from pydantic import Field

from service.api.dependencies import Response
from service.api.infer_request import HEADER_LENGTH, InferOutput, InferRequest
from service.api.long_answers import answer_json, pieces_of
from service.api.tensors import Datatype, Tensor, as_binary, as_json
from service.data.labels import label_array, label_keys
from service.errors import Fault, InvalidRequest
from service.prediction.forward import Forward
from service.store.models import TrainedModel

PREDICTIONS, PROBABILITIES = "predictions", "probabilities"
_DATATYPES: dict[str, Datatype] = {"b": "BOOL", "i": "INT64", "f": "FP64", "O": "BYTES"}
"""Of labels, by the kind of their dtype."""


class OutputTensor(Response):
    """A tensor of the answer."""

    name: str = Field(description="`predictions` or `probabilities`.", examples=[PREDICTIONS])
    datatype: Datatype = Field(description="FP64, or of labels what they are.", examples=["FP64"])
    shape: list[int] = Field(description="`[n_samples]`, or `[n_samples, n]` for several targets or classes.")
    parameters: dict[str, Any] | None = Field(
        default=None,
        description="`class_names`: the label of each column of `probabilities`; `target_names` of several targets; "
        "`binary_data_size`: so many bytes behind the JSON are its values.",
    )
    data: list[float | int | bool | str] | None = Field(default=None, description="The values, row after row.")


class InferResponse(Response):
    """What a model says of samples."""

    id: str | None = Field(default=None, description="That of the request, if it had one.")
    model_name: str = Field(description="The model that answered.", examples=["exam-scores"])
    model_version: str = Field(description="The version that answered.", examples=["1"])
    outputs: list[OutputTensor] = Field(description="What was asked for, in that order.")


def output_names(model: TrainedModel) -> list[str]:
    """Name the tensors that a model gives."""
    return [PREDICTIONS] if model.schema.classes is None else [PREDICTIONS, PROBABILITIES]


def outputs_of(model: TrainedModel, found: Forward) -> dict[str, Tensor]:
    """Give what a model says as tensors, by their names."""
    classes, targets = model.schema.classes, model.schema.target_names
    if classes is None or found.probabilities is None:
        if len(targets) == 1:
            return {PREDICTIONS: Tensor(PREDICTIONS, "FP64", found.values[:, 0])}
        return {PREDICTIONS: Tensor(PREDICTIONS, "FP64", found.values, {"target_names": list(targets)})}
    labels = label_array(classes)
    return {
        PREDICTIONS: Tensor(PREDICTIONS, _DATATYPES[labels.dtype.kind], labels[found.values.astype(np.int64)]),
        PROBABILITIES: Tensor(PROBABILITIES, "FP64", found.probabilities, {"class_names": label_keys(classes)}),
    }


def requested(request: InferRequest, model: TrainedModel) -> list[tuple[str, bool]]:
    """Tell which tensors are asked for, and of each whether its values are to be bytes behind the JSON.

    Raises:
        InvalidRequest: when one is asked for that the model does not give, or twice, or in a form that there is not.
    """
    there = output_names(model)
    asked = request.outputs or [InferOutput(name=name) for name in there]
    names = [one.name for one in asked]
    faults = []
    for position, one in enumerate(asked):
        if one.name not in there:
            detail = f"the model gives no output {one.name[:200]!r}: there is {' and '.join(there)}"
            faults.append(Fault(f"/outputs/{position}", detail))
        elif names.index(one.name) < position:
            faults.append(Fault(f"/outputs/{position}", f"output {one.name!r} is asked for twice: ask once"))
        if (one.parameters or {}).get("classification"):
            detail = "classification is not supported: ask for probabilities, whose class_names tell the order"
            faults.append(Fault(f"/outputs/{position}/parameters/classification", detail))
    if faults:
        raise InvalidRequest(faults)
    default = (request.parameters or {}).get("binary_data_output")
    binary = [(one.parameters or {}).get("binary_data", default) for one in asked]
    if not all(one is None or isinstance(one, bool) for one in binary):
        raise InvalidRequest([Fault("", "binary_data and binary_data_output must be true or false")])
    return [(name, bool(one)) for name, one in zip(names, binary, strict=True)]


def answer(request_id: str | None, model: TrainedModel, asked: list[tuple[str, bool]], found: Forward) -> AnyResponse:
    """Write the answer: the tensors that are asked for, as `requested` tells them."""
    tensors = outputs_of(model, found)
    heads, parts = list[dict[str, Any]](), list[bytes]()
    for name, is_binary in asked:
        if is_binary:
            head, content = as_binary(tensors[name])
            heads.append(head)
            parts.append(content)
        else:
            heads.append(as_json(tensors[name]))
    body: dict[str, Any] = {} if request_id is None else {"id": request_id}
    body |= {"model_name": model.model, "model_version": str(model.version), "outputs": tuple(heads)}
    if not any(is_binary for _, is_binary in asked):
        return answer_json(body)
    written = b"".join(pieces_of(body))
    headers = {HEADER_LENGTH: str(len(written))}
    return AnyResponse(b"".join([written, *parts]), media_type="application/octet-stream", headers=headers)


def describe_inputs(model: TrainedModel) -> list[dict[str, Any]]:
    """Give the metadata of what a model takes: one tensor of numbers, or with an encoding one of each column."""
    encoding = model.schema.encoding
    if encoding is None:
        names = list(model.schema.input_names)
        parameters = {"feature_names": names}
        return [{"name": "features", "datatype": "FP64", "shape": [-1, len(names)], "parameters": parameters}]
    datatypes: dict[str, Datatype] = {"number": "FP64", "boolean": "BOOL"}
    return [
        {
            "name": one.column,
            "datatype": datatypes.get(one.kind, "BYTES"),
            "shape": [-1],
            "parameters": {
                "type": one.kind,
                **({"categories": list(one.categories)} if one.kind == "category" else {}),
            },
        }
        for one in encoding
    ]


def describe_outputs(model: TrainedModel) -> list[dict[str, Any]]:
    """Give the metadata of what a model says."""
    classes, n_targets = model.schema.classes, len(model.schema.target_names)
    nothing = np.zeros((0, n_targets)) if classes is None else np.zeros(0)
    found = Forward(nothing, None if classes is None else np.zeros((0, len(classes))))
    heads = [as_json(tensor) for tensor in outputs_of(model, found).values()]
    return [{**{key: head[key] for key in head if key != "data"}, "shape": [-1, *head["shape"][1:]]} for head in heads]
