"""KServe's client at a service: it asks for what standard input says, and writes what it was told.

A program, for it takes a process of its own: see tests/clients.txt.
"""

import asyncio
import json
import sys
from itertools import product
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

DATATYPES = {"f2": "FP16", "f4": "FP32", "f8": "FP64", "O8": "BYTES", "b1": "BOOL"}
Told = dict[str, Any]


def tensor(name: str, array: Any, binary: bool) -> Any:
    kind, size = array.dtype.kind, array.dtype.itemsize
    datatype = DATATYPES.get(f"{kind}{size}", f"{'U' if kind == 'u' else ''}INT{8 * size}")
    given = InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def array_of(values: list[Any]) -> Any:
    """Values as NumPy has them: texts as objects, a missing number as not a number."""
    return np.array(values, dtype=object if isinstance(values[0], str) else None if None not in values else float)


class Asking:
    """The client, and the models that it asks for."""

    def __init__(self, client: Any, url: str, prefix: str) -> None:
        self.client, self.url, self.prefix = client, url, prefix

    async def infer(self, model: str, *tensors: Any, **more: Any) -> Any:
        request = InferRequest(self.prefix + model, list(tensors), **more)
        return await self.client.infer(self.url, request, model_name=self.prefix + model)

    async def predictions(self, model: str, *tensors: Any, **more: Any) -> list[Any]:
        found = (await self.infer(model, *tensors, **more)).outputs[0].as_numpy()
        return [one.decode() if isinstance(one, bytes) else one for one in found.tolist()]

    async def refusal(self, model: str, *tensors: Any) -> list[Any]:
        try:
            await self.infer(model, *tensors)
        except httpx.HTTPStatusError as refused:
            return [refused.response.status_code, str(refused)]
        raise AssertionError("it is not refused")


async def readiness(asking: Asking) -> Told:
    client, url, exams = asking.client, asking.url, f"{asking.prefix}exams"
    return {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "models": [await client.is_model_ready(url, name) for name in (exams, f"{exams}@1", f"{exams}@9", "nowhere")],
    }


async def matrices(asking: Asking, samples: list[list[float]], whole: list[list[int]], dtypes: list[str]) -> Told:
    """One tensor of all features: by each way to send its data, and of every datatype."""
    matrix = np.array(samples)
    given = {
        "flat": InferInput("any", [len(samples), 3], "FP64", matrix.ravel().tolist()),
        "nested": InferInput("any", [len(samples), 3], "FP64", samples),
        "binary": tensor("any", matrix, binary=True),
    }
    outputs = {"": None, " to binary": [RequestedOutput("predictions", {"binary_data": True})]}
    exams = {
        f"{way}{back}": await asking.predictions("exams@1", one, request_outputs=asked)
        for (way, one), (back, asked) in product(given.items(), outputs.items())
    }
    numbers = {
        f"{dtype}{' in binary' * binary}": await asking.predictions(
            "exams", tensor("any", np.array(whole, dtype=dtype), binary)
        )
        for dtype, binary in product(dtypes, (True, False))
        if binary or dtype != "float16"  # which the client sends in binary only
    }
    identified = await asking.infer("exams", given["flat"], request_id="42")
    head = [identified.id, identified.model_name]
    empty = await asking.predictions("exams", tensor("any", matrix[:0], binary=True))
    return {"exams": exams, "numbers": numbers, "head": head, "of no samples": empty}


async def columns(asking: Asking, raw: dict[str, list[Any]]) -> list[Any]:
    """A tensor of each feature, in another order than the model has."""
    found = []
    for shape, binary in product([(-1,), (-1, 1)], (True, False)):
        tensors = [tensor(name, array_of(values).reshape(shape), binary) for name, values in reversed(raw.items())]
        found.append(await asking.predictions("homes", *tensors))
    return found


async def labels(asking: Asking, models: list[str], samples: list[list[float]]) -> Told:
    found = {}
    for model, binary in product(models, (True, False)):
        outputs = [RequestedOutput(name, {"binary_data": binary}) for name in ("probabilities", "predictions")]
        given = tensor("x", np.array(samples), binary)
        probabilities, predictions = (await asking.infer(model, given, request_outputs=outputs)).outputs
        names = probabilities.parameters["class_names"]
        rows = [dict(zip(names, row, strict=True)) for row in probabilities.as_numpy().tolist()]
        told = [one.decode() if isinstance(one, bytes) else one for one in predictions.as_numpy().tolist()]
        found[f"{model}{' in binary' * binary}"] = {"predictions": told, "probabilities": rows}
    return found


async def main(given: Told) -> Told:
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        asking = Asking(client, given["url"], given["prefix"])
        matrix = tensor("any", np.array(given["samples"]), binary=False)
        return {
            **await readiness(asking),
            **await matrices(asking, given["samples"], given["whole"], given["dtypes"]),
            "homes": await columns(asking, given["columns"]),
            "labels": await labels(asking, given["labels"], given["few"]),
            "refused": [await asking.refusal("homes", matrix), await asking.refusal("nowhere", matrix)],
        }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(json.load(sys.stdin)))))
