"""Tensors of the Open Inference Protocol, in JSON and in its binary extension, as arrays and back."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.api.long_answers import in_slices
from service.data.long_lists import LongList, is_list
from service.errors import Fault, InvalidRequest, counted

Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "BF16",
    "FP32",
    "FP64",
    "BYTES",
]
"""BYTES are texts here, in UTF-8."""
_DTYPES: dict[Datatype, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "BF16": np.dtype("<f4"),  # of which it is the upper half
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
_TAKEN: dict[str, tuple[set[type], str]] = {
    "b": ({bool}, "true or false"),
    "u": ({int}, "whole numbers"),
    "i": ({int}, "whole numbers"),
    "f": ({int, float, type(None)}, "numbers"),
    "O": ({str, type(None)}, "texts"),
}
"""What JSON may have for each kind of dtype; null is a missing value."""
_LENGTH = struct.Struct("<I")
"""In binary each text has its length in bytes before it."""


@dataclass(frozen=True)
class Tensor:
    """An array with a name; texts are of dtype object."""

    name: str
    datatype: Datatype
    array: NDArray[Any]
    parameters: dict[str, Any] = field(default_factory=dict)


def array_from_json(datatype: Datatype, shape: Sequence[int], data: Any) -> NDArray[Any]:
    """Read what JSON has of a tensor: nested as its shape says, or flat.

    Raises:
        InvalidRequest: when there are more or fewer values than the shape says, or others than the datatype has.
    """
    dtype = _DTYPES[datatype]
    try:
        arrays = [_array(datatype, values) for values in _values(shape, data)]
    except InvalidRequest:
        for _ in _values(shape, data):  # what is wrong with the shape goes first
            pass
        raise
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, dtype=dtype)
    return _shaped(_rounded(array) if datatype == "BF16" else array, shape)


def _array(datatype: Datatype, values: list[Any]) -> NDArray[Any]:
    dtype = _DTYPES[datatype]
    taken, words = _TAKEN[dtype.kind]
    others = set(map(type, values)) - taken
    if others:
        wrong = next(value for value in values if type(value) in others)
        raise _refusal(f"data of {datatype} must be {words}, not {str(wrong)[:80]!r}")
    try:
        with np.errstate(over="ignore"):  # infinity is refused where the value has a name
            return np.array(values, dtype=dtype)
    except OverflowError:
        if dtype.kind not in "ui":
            raise _refusal(f"data of {datatype} must be numbers of 64 bits") from None
        lowest, highest = np.iinfo(dtype).min, np.iinfo(dtype).max
        wrong = next(value for value in values if not lowest <= value <= highest)
        detail = f"data of {datatype} must be numbers from {lowest} to {highest}, not {str(wrong)[:80]}"
        raise _refusal(detail) from None


def _rounded(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to the nearest numbers whose lower half is zero, of two as near to the even one, as IEEE 754 does."""
    bits = array.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


def _values(shape: Sequence[int], data: Any) -> Iterator[list[Any]]:
    """Give the values of data, a part of them at a time, as a flat list."""
    if not is_list(data):
        raise _refusal("data must be a list")
    is_nested, n_values = len(shape) > 1 and len(data) > 0 and is_list(data[0]), 0
    for part in data.parts() if isinstance(data, LongList) else [data]:
        values = part
        for n_inner in shape[1:] if is_nested else ():
            if not all(is_list(inner) and len(inner) == n_inner for inner in values):
                raise _refusal(f"data must be nested as the shape {list(shape)} says, or flat")
            values = list(chain.from_iterable(values))
        n_values += len(values)
        yield values
    if n_values != prod(shape):
        raise _refusal(f"the shape {list(shape)} has {counted(prod(shape), 'value')}, and data has {n_values}")


def array_from_bytes(datatype: Datatype, shape: Sequence[int], content: memoryview) -> NDArray[Any]:
    """Read the bytes of a tensor, row after row, without copying numbers.

    Raises:
        InvalidRequest: when there are more or fewer bytes than datatype and shape say, or they are no such values.
    """
    dtype = _DTYPES[datatype]
    if datatype == "BYTES":
        texts = _texts(content)
        if len(texts) != prod(shape):
            raise _refusal(
                f"the shape {list(shape)} has {counted(prod(shape), 'value')}, and the bytes have {len(texts)}"
            )
        return _shaped(np.array(texts, dtype=object), shape)
    n_bytes = prod(shape) * (2 if datatype == "BF16" else dtype.itemsize)
    if len(content) != n_bytes:
        raise _refusal(f"{datatype} of the shape {list(shape)} are {n_bytes} bytes, not {len(content)}")
    if datatype == "BF16":
        return _shaped((np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32), shape)
    if datatype == "BOOL" and np.frombuffer(content, np.uint8).max(initial=0) > 1:
        raise _refusal("the bytes of BOOL must be 0 or 1")
    return _shaped(np.frombuffer(content, dtype), shape)


def _shaped(array: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    try:
        return array.reshape(shape)
    except (ValueError, OverflowError):  # of no values, but with an axis that no array can have
        raise _refusal(f"the shape {list(shape)} is larger than any array") from None


def _texts(content: memoryview) -> list[str]:
    texts, place = [], 0
    while place < len(content):
        start = place + _LENGTH.size
        end = start + (_LENGTH.unpack(content[place:start])[0] if start <= len(content) else len(content))
        if end > len(content):
            raise _refusal("the bytes of BYTES end in the middle of a text")
        try:
            texts.append(str(content[start:end], "utf-8"))
        except UnicodeDecodeError:
            raise _refusal("BYTES must be texts in UTF-8") from None
        place = end
    return texts


def as_json(tensor: Tensor) -> dict[str, Any]:
    """Give a tensor as JSON has it, its data flat; to be written by `pieces_of`."""
    values = tensor.array.ravel()
    return {**_head(tensor, tensor.parameters), "data": in_slices(len(values), lambda some: values[some].tolist())}


def as_binary(tensor: Tensor) -> tuple[dict[str, Any], bytes]:
    """Give what stands in JSON of a tensor whose data are bytes, and the bytes."""
    if tensor.datatype == "BYTES":
        texts = [text.encode() for text in tensor.array.ravel()]
        content = b"".join(chain.from_iterable((_LENGTH.pack(len(text)), text) for text in texts))
    else:
        content = tensor.array.astype(_DTYPES[tensor.datatype], copy=False).tobytes()
    return _head(tensor, {**tensor.parameters, "binary_data_size": len(content)}), content


def _head(tensor: Tensor, parameters: dict[str, Any]) -> dict[str, Any]:
    head = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.array.shape)}
    return {**head, "parameters": parameters} if parameters else head


def _refusal(detail: str) -> InvalidRequest:
    return InvalidRequest([Fault("", detail)])
