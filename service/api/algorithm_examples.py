"""An example of the tasks and hyperparameters that are described, for the OpenAPI document: one of each."""

from typing import Any

OF_ALGORITHMS: dict[str, dict[str, Any]] = {
    "Algorithms": {
        "tasks": [
            {
                "task": "linear_regression",
                "sentence": "predicts numbers as a weighted sum of the features",
                "classifies": False,
                "losses": ["mse", "half_mse", "mae", "huber"],
                "engines": ["exact", "analytic", "autograd"],
                "hyperparameters": {
                    "$schema": "https://json-schema.org/draft/2020-12/schema",
                    "title": "Hyperparameters of linear_regression",
                    "type": "object",
                    "properties": {
                        "epochs": {
                            "title": "Epochs",
                            "type": "integer",
                            "minimum": 1,
                            "maximum": 10_000_000,
                            "default": 1000,
                            "description": "Passes over the data; with the full batch, updates.",
                        }
                    },
                    "additionalProperties": False,
                },
                "example": {
                    "task": "linear_regression",
                    "dataset": {"synthetic": {"kind": "linear", "weights": [0.3], "bias": 0.5, "noise": 0.01}},
                },
            }
        ]
    }
}
