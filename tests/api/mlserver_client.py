"""MLServer's codecs and types at a service: they ask for what standard input says, and write what they were told.

A program, for they take a process of their own: see tests/clients.txt. MLServer leaves it to its users to send what a
codec made, and to give the answer to its types.
"""

import json
import sys
from datetime import datetime
from typing import Any

import httpx
import numpy as np
import pandas as pd
from mlserver.codecs import DatetimeCodec, NumpyCodec, NumpyRequestCodec, PandasCodec, StringCodec
from mlserver.types import (
    InferenceErrorResponse,
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    RepositoryIndexRequest,
    RepositoryIndexResponse,
    RequestInput,
    RequestOutput,
)

Told = dict[str, Any]


class Asking:
    """Requests to a service, about models whose names begin alike."""

    def __init__(self, http: httpx.Client, prefix: str) -> None:
        self.http, self.prefix = http, prefix

    def get(self, path: str, kind: Any) -> Told:
        read: Told = kind.model_validate_json(self.http.get(f"/v2{path}").raise_for_status().content).model_dump()
        return read

    def infer(self, model: str, request: Any) -> Any:
        answer = self.http.post(f"/v2/models/{self.prefix}{model}/infer", json=request.model_dump())
        if answer.is_error:
            return InferenceErrorResponse.model_validate_json(answer.content).error
        return InferenceResponse.model_validate_json(answer.content)

    def predictions(self, model: str, request: Any) -> list[Any]:
        found: list[Any] = NumpyRequestCodec.decode_response(self.infer(model, request)).tolist()
        return found


def described(asking: Asking) -> Told:
    exams = f"{asking.prefix}exams"
    index = asking.http.post("/v2/repository/index", json=RepositoryIndexRequest(ready=True).model_dump())
    listed = RepositoryIndexResponse.model_validate_json(index.raise_for_status().content).model_dump()
    return {
        "server": asking.get("", MetadataServerResponse),
        "model": asking.get(f"/models/{exams}/versions/1", MetadataModelResponse),
        "index": [one for one in listed if one["name"] == exams],
    }


def matrices(asking: Asking, samples: list[list[float]], whole: list[list[int]], dtypes: list[str]) -> Told:
    """One tensor of all features: by each way to say its data, and of every datatype."""
    flat = NumpyRequestCodec.encode_request(np.array(samples))
    (one,) = flat.inputs
    nested = InferenceRequest(id="42", inputs=[RequestInput(**{**one.model_dump(), "data": samples})])
    numbers = {
        dtype: asking.predictions("exams", NumpyRequestCodec.encode_request(np.array(whole, dtype))) for dtype in dtypes
    }
    answer = asking.infer("exams", nested)
    exams = {"flat": asking.predictions("exams@latest", flat), "nested": answer.outputs[0].data.root}
    return {"exams": exams, "numbers": numbers, "head": [answer.id, answer.model_name, answer.model_version]}


def columns(asking: Asking, raw: dict[str, list[Any]]) -> list[Any]:
    """A tensor of each feature: as a frame, and each by the codec of its kind."""
    frame = pd.DataFrame({name: pd.Series(values, dtype=_kind(values)) for name, values in raw.items()})
    tensors = [
        NumpyCodec.encode_input("area", np.array(raw["area"])),
        NumpyCodec.encode_input("rooms", np.array(raw["rooms"], dtype=float)),
        StringCodec.encode_input("kind", raw["kind"], use_bytes=False),
        NumpyCodec.encode_input("new", np.array(raw["new"])),
        DatetimeCodec.encode_input("sold", list(map(datetime.fromisoformat, raw["sold"])), use_bytes=False),
    ]
    framed = PandasCodec.encode_request(frame, use_bytes=False)
    return [asking.predictions("homes", one) for one in (framed, InferenceRequest(inputs=tensors))]


def _kind(values: list[Any]) -> Any:
    """The dtype of a column; the codec does not know the one that pandas 3 has for texts."""
    return object if isinstance(values[0], str) else float if None in values else None


def labels(asking: Asking, models: list[str], samples: list[list[float]]) -> Told:
    request = NumpyRequestCodec.encode_request(np.array(samples))
    request.outputs = [RequestOutput(name="probabilities"), RequestOutput(name="predictions")]
    found = {}
    for model in models:
        probabilities, predictions = asking.infer(model, request).outputs
        names = probabilities.parameters.class_names
        rows = [dict(zip(names, row, strict=True)) for row in NumpyCodec.decode_output(probabilities).tolist()]
        of_texts = predictions.datatype == "BYTES"
        told = StringCodec.decode_output(predictions) if of_texts else NumpyCodec.decode_output(predictions).tolist()
        found[model] = {"predictions": told, "probabilities": rows}
    return found


def main(given: Told) -> Told:
    with httpx.Client(base_url=given["url"]) as http:
        asking = Asking(http, given["prefix"])
        matrix = NumpyRequestCodec.encode_request(np.array(given["samples"]))
        return {
            **described(asking),
            **matrices(asking, given["samples"], given["whole"], given["dtypes"]),
            "homes": columns(asking, given["columns"]),
            "labels": labels(asking, given["labels"], given["few"]),
            "refused": [asking.infer("homes", matrix), asking.infer("nowhere", matrix)],
        }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.load(sys.stdin))))
