"""Examples of the Open Inference Protocol and of MLflow's, for the document."""

from typing import Any

Json = dict[str, Any]

_PREDICTIONS: Json = {"name": "predictions", "datatype": "FP64", "shape": [-1]}

SERVER_METADATA: Json = {
    "name": "descent",
    "version": "0.1.0",
    "extensions": ["binary_tensor_data", "model_repository"],
}

MODEL_METADATA: Json = {
    "name": "exam-scores",
    "versions": ["1"],
    "platform": "descent",
    "inputs": [
        {
            "name": "features",
            "datatype": "FP64",
            "shape": [-1, 3],
            "parameters": {"feature_names": ["quiz1", "quiz2", "quiz3"]},
        }
    ],
    "outputs": [_PREDICTIONS],
}

INFER_REQUEST: Json = {
    "id": "42",
    "inputs": [{"name": "features", "datatype": "FP64", "shape": [2, 3], "data": [[73, 80, 75], [93, 88, 93]]}],
}

INFER_RESPONSE: Json = {
    "id": "42",
    "model_name": "exam-scores",
    "model_version": "1",
    "outputs": [{**_PREDICTIONS, "shape": [2], "data": [152.14, 184.13]}],
}

INDEXED: Json = {"name": "exam-scores", "version": "1", "state": "READY", "reason": ""}

INVOCATION: Json = {
    "dataframe_split": {"columns": ["quiz1", "quiz2", "quiz3"], "data": [[73, 80, 75], [93, 88, 93]]},
}

OF_PROTOCOLS: dict[str, Json] = {
    "Live": {"live": True},
    "Ready": {"name": "exam-scores", "ready": True},
    "ServerMetadata": SERVER_METADATA,
    "ModelMetadata": MODEL_METADATA,
    "InferRequest": INFER_REQUEST,
    "InferResponse": INFER_RESPONSE,
    "IndexRequest": {"ready": True},
    "IndexedModel": INDEXED,
    "InvocationRequest": INVOCATION,
    "InvocationResponse": {"predictions": [152.14, 184.13]},
}
"""Which schema of the document each is an example of."""
