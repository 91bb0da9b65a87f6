"""Requests of the Open Inference Protocol: JSON, with the bytes of tensors behind it or not, as features of a model."""

from collections import Counter
from functools import partial
from math import prod
from operator import add
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from service.api.bodies import validated
from service.api.tensors import Datatype, Tensor, array_from_bytes, array_from_json
from service.data.columnar import encode_columns, encode_matrix
from service.data.long_lists import is_list
from service.dataset import Schema
from service.errors import Fault, InvalidRequest, escape
from service.hyperparameters import FROZEN_VALUES

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The header that tells how long the JSON is before the bytes of tensors."""

Parameters = Annotated[
    dict[str, Any] | None,
    Field(default=None, description="Of the protocol's extensions; unknown ones are passed over."),
]


class InferInput(BaseModel):
    """A tensor: all features as `[n_samples, n_inputs]` under any name, or one feature under its own."""

    model_config = FROZEN_VALUES

    name: str = Field(description="Of the feature; of all features together any.", examples=["features"])
    shape: list[Annotated[int, Field(ge=0)]] = Field(
        min_length=1, description="`[n_samples, n_inputs]`; for one feature `[n_samples]` or `[n_samples, 1]`."
    )
    datatype: Datatype = Field(description="What its values are; BYTES are texts in UTF-8.", examples=["FP64"])
    data: Annotated[Any, WithJsonSchema({"type": "array", "items": {}})] = Field(
        default=None, description="The values, flat or nested as the shape; left out where they are behind the JSON."
    )
    parameters: Parameters = Field(
        default=None, description="`binary_data_size`: so many bytes behind the JSON are its values."
    )


class InferOutput(BaseModel):
    """A tensor that is asked for."""

    model_config = FROZEN_VALUES

    name: str = Field(description="`predictions`, or of a classifier `probabilities`.", examples=["predictions"])
    parameters: Parameters = Field(
        default=None, description="`binary_data`: whether its values are to be bytes behind the JSON."
    )


class InferRequest(BaseModel):
    """Samples to predict for, as tensors."""

    model_config = ConfigDict(**FROZEN_VALUES, protected_namespaces=())

    id: str | None = Field(default=None, max_length=1000, description="Comes back with the answer.", examples=["42"])
    parameters: Parameters = Field(
        default=None, description="`binary_data_output`: whether values are to be bytes where an output does not say."
    )
    model_name: str | None = Field(default=None, description="KServe's clients repeat it; the path's is taken.")
    model_version: str | None = Field(default=None, description="As `model_name`.")
    inputs: list[InferInput] = Field(min_length=1, description="One tensor, or one of each feature.")
    outputs: list[InferOutput] | None = Field(default=None, description="What is asked for; all there is without it.")


def read(content: bytes, header_length: str | None) -> tuple[InferRequest, list[Tensor]]:
    """Read a request and its tensors.

    Args:
        content: the whole body.
        header_length: how many of its bytes are JSON, as the header of this name has it; None for all.

    Raises:
        RequestValidationError: when the JSON is no request.
        InvalidRequest: when its tensors are not what it says, or bytes are missing or left over.
    """
    length = len(content) if header_length is None else _length(header_length, len(content))
    request = validated(InferRequest, content[:length])
    binary, tensors = memoryview(content)[length:], []
    for position, one in enumerate(request.inputs):
        try:
            n_bytes = _binary_size(one, len(binary))
            if n_bytes is None:
                array = array_from_json(one.datatype, one.shape, one.data)
            else:
                array, binary = array_from_bytes(one.datatype, one.shape, binary[:n_bytes]), binary[n_bytes:]
        except InvalidRequest as invalid:
            raise invalid.moved(partial(add, f"/inputs/{position}")) from None
        tensors.append(Tensor(one.name, one.datatype, array))
    if len(binary):
        detail = f"{len(binary)} bytes are left over: every input in bytes needs its parameter binary_data_size"
        raise InvalidRequest([Fault("", f"{detail}, and {HEADER_LENGTH} tells how long the JSON is")])
    return request, tensors


def _length(text: str, n_bytes: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= n_bytes):
        detail = f"{HEADER_LENGTH} must tell how many of the {n_bytes} bytes of the body are JSON, not {text[:80]!r}"
        raise InvalidRequest([Fault("", detail)])
    return int(text)


def _binary_size(one: InferInput, n_left: int) -> int | None:
    size = (one.parameters or {}).get("binary_data_size")
    if size is None:
        if one.data is None:
            detail = f"give data, or the parameter binary_data_size and the bytes behind the JSON, and {HEADER_LENGTH}"
            raise InvalidRequest([Fault("", detail)])
        return None
    if one.data is not None:
        raise InvalidRequest([Fault("", "give either data or the parameter binary_data_size")])
    if type(size) is not int or not 0 <= size <= n_left:
        detail = f"binary_data_size must be a whole number up to {n_left}, what is left of the body, not {size!r:.80}"
        raise InvalidRequest([Fault("", detail)])
    return size


def features_of(schema: Schema, inputs: list[InferInput], tensors: list[Tensor]) -> NDArray[np.float64]:
    """Encode tensors as the model's features: one of them all, or one of each.

    Args:
        schema: of the model.
        inputs: where the tensors came from, for faults point there.
        tensors: one for each of the inputs.

    Returns:
        Numbers of shape (n_samples, n_features).

    Raises:
        InvalidRequest: when they have other shapes; `InvalidFeatures` when they are not what the model takes.
    """
    names = schema.input_names
    (first, *others) = tensors
    if not others and first.array.ndim == 2 and (first.name not in names or first.array.shape[1] == len(names)):
        try:
            return encode_matrix(schema, first.array)
        except InvalidRequest as invalid:
            raise invalid.moved(partial(_in_matrix, inputs[0])) from None
    counts = Counter(tensor.name for tensor in tensors)
    is_all = not others and first.name not in names
    faults = [
        Fault(f"/inputs/{position}", f"tensor {tensor.name!r} {wrong}")
        for position, tensor in enumerate(tensors)
        for wrong in _wrongs(tensor, counts[tensor.name], len(names), is_all)
    ]
    if faults:
        raise InvalidRequest(faults)
    places = {f"/{escape(tensor.name)}": f"/inputs/{position}" for position, tensor in enumerate(tensors)}
    try:
        columns = {tensor.name: tensor.array.reshape(-1) for tensor in tensors}
        return encode_columns(schema, columns, "/{position}/{row}")
    except InvalidRequest as invalid:
        raise invalid.moved(partial(_in_columns, inputs, places)) from None


def _in_matrix(one: InferInput, pointer: str) -> str:
    """Point to a value in a tensor of all features, by `/row/position`."""
    if not pointer:
        return "/inputs/0"
    row, position = map(int, pointer[1:].split("/"))
    return f"/inputs/0{_in_data(one, row, position)}"


def _in_columns(inputs: list[InferInput], places: dict[str, str], pointer: str) -> str:
    """Point to a value in a tensor of one feature, by `/tensor/row`; or to a tensor, by `/name`."""
    if pointer.count("/") < 2:
        return places.get(pointer, "/inputs")  # one that is missing is nowhere else
    number, row = map(int, pointer[1:].split("/"))
    return f"/inputs/{number}{_in_data(inputs[number], row, 0)}"


def _in_data(one: InferInput, row: int, position: int) -> str:
    """Point to a value as data has it: nested or flat; bytes behind the JSON are nowhere in it."""
    if one.data is None:
        return ""
    if is_list(one.data[0]):
        return f"/data/{row}/{position}"
    return f"/data/{row * prod(one.shape[1:]) + position}"


def _wrongs(tensor: Tensor, count: int, n_inputs: int, is_all: bool) -> list[str]:
    shape = tensor.array.shape
    wrong = [f"is given {count} times: give it once"] if count > 1 else []
    if is_all or shape[1:] not in ((), (1,)):
        ways = f"[n_samples] or [n_samples, 1] for one feature, or [n_samples, {n_inputs}] alone for all"
        wrong.append(f"has the shape {list(shape)}: give {ways}")
    return wrong
