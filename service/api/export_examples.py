"""Examples of what a version leaves with, for the OpenAPI document: that of the exam scores."""

from typing import Any

Json = dict[str, Any]

_NAMES = ["quiz1", "quiz2", "quiz3"]
_PARAMETERS: Json = {"weight": [0.75701, 0.57143, 0.68208], "bias": 0.0106}

MODEL_PARAMETERS: Json = {
    "model": "exam-scores",
    "version": 1,
    "feature_names": _NAMES,
    **_PARAMETERS,
    "scaled": None,
    "scaling": None,
}

PORTABLE: Json = {
    "format_version": 1,
    "name": "exam-scores",
    "task": "linear_regression",
    "feature_names": _NAMES,
    "encoding": None,
    "target_names": ["y"],
    "classes": None,
    "activation": "relu",
    "dtype": "float32",
    "parameters": _PARAMETERS,
    "scaled": None,
    "ranges": {"lowest": [73, 66, 70], "highest": [96, 98, 100], "mean": [84.8, 84.6, 85.6], "known": []},
    "metadata": {"course": "algebra"},
}

OF_EXPORTS: dict[str, Json] = {"ModelParametersResponse": MODEL_PARAMETERS, "PortableModel": PORTABLE}
