"""An example of each request and answer, for the OpenAPI document: one training of exam scores, from end to end."""

from typing import Any

from service.api.algorithm_examples import OF_ALGORITHMS
from service.api.dataset_examples import OF_DATASETS
from service.api.export_examples import OF_EXPORTS
from service.hyperparameters import Hyperparameters

Json = dict[str, Any]

_JOB_PATH = "/jobs/job_01KAJ5Y8M4T0Q2ZJ6V3D9C7XKE"
_VERSION_PATH = "/models/exam-scores/versions/1"
_TIME = "2026-11-21T10:00:00.250000Z"
_NAMES = ["quiz1", "quiz2", "quiz3"]

TRAIN: Json = {
    "model": "exam-scores",
    "task": "linear_regression",
    "dataset": {
        "features": [[73, 80, 75], [93, 88, 93], [89, 91, 90], [96, 98, 100], [73, 66, 70]],
        "feature_names": _NAMES,
        "targets": [152, 185, 180, 196, 142],
    },
    "hyperparameters": {"learning_rate": 1e-5, "epochs": 2000},
    "metadata": {"course": "algebra"},
}

_HYPERPARAMETERS = Hyperparameters(
    learning_rate=1e-5,
    epochs=2000,
    loss="mse",
    start="zeros",
    record_every=1,
    record_parameters=True,
    engine="exact",
    device="cpu",
    seed=7,
).model_dump(mode="json")

_WARNING: Json = {
    "code": "feature_scales",
    "detail": "the features' scales make the descent slow (quiz1 varies by 9.89 around 84.8 and quiz3 varies by 11.3 "
    "around 85.6): with scale standard the learning-rate limit goes from 4.54e-05 to 0.347 and the condition number "
    "falls from 6.86e+06 to 1.28e+03",
    "evidence": {
        "limit": 4.54404e-05,
        "scaled_limit": 0.347455,
        "condition_number": 6.86042e6,
        "scaled_condition_number": 1275.73,
        "smallest_deviation": 9.88737,
        "largest_deviation": 11.2889,
        "largest_mean": 85.6,
    },
    "suggestion": {"scale": "standard", "learning_rate": 0.173},
}

_LEARNING_RATE: Json = {
    "requested": 1e-5,
    "limit": 4.54404e-05,
    "kind": "exact",
    "suggested": 2.27202e-05,
    "fastest": 4.54404e-05,
    "scaled_limit": 0.347455,
    "epochs_to_tolerance": 107671361,
    "detail": "descent on this data converges at rates below 4.54e-05 and diverges above; the limit rises from "
    "4.54e-05 to 0.347 with scale: standard",
}

CHECK: Json = {
    "task": "linear_regression",
    "engine": "exact",
    **{"n_samples": 5, "n_train": 5, "n_validation": 0, "n_test": 0},
    **{"n_features": 3, "n_targets": 1, "n_parameters": 4, "memory_bytes": 672},
    "hyperparameters": {**_HYPERPARAMETERS, "device": "auto"},
    "learning_rate": _LEARNING_RATE,
    "condition_number": 6.86042e6,
    "warnings": [_WARNING],
}

RESULT: Json = {
    "epoch": 2000,
    "train_loss": 0.7544,
    "objective": 0.7544,
    "validation_loss": None,
    "metrics": {
        "train": {"mse": 0.7544, "rmse": 0.8685, "mae": 0.7884, "r2": 0.9982},
        "validation": None,
        "test": None,
    },
    "optimum": {
        "parameters": {"weight": [0.795475, 0.408379, 0.754588], "bias": 4.40211},
        "loss": 0.104326,
        "objective": 0.104326,
        "gap": 0.65005,
    },
}

JOB: Json = {
    "id": _JOB_PATH.removeprefix("/jobs/"),
    "owner": "local",
    "status": "succeeded",
    "terminal": True,
    "paused": False,
    "priority": 0,
    "model": "exam-scores",
    "version": 1,
    "task": "linear_regression",
    "dataset": "ds_7ed376156e8b04e92b735160af743709",
    "selection": None,
    "metadata": TRAIN["metadata"],
    "created_at": "2026-11-21T10:00:00Z",
    "started_at": "2026-11-21T10:00:00.020000Z",
    "finished_at": _TIME,
    "queue_position": None,
    "attempt": 1,
    "retry_of": None,
    "progress": {"epoch": 2000, "epochs": 2000, "fraction": 1.0, "eta_seconds": 0.0},
    "engine": "exact",
    "device": "cpu",
    "seed": 7,
    "hyperparameters": _HYPERPARAMETERS,
    "learning_rate": _LEARNING_RATE,
    "condition_number": 6.86042e6,
    "environment": {
        "dataset_sha256": "7ed376156e8b04e92b735160af743709c129f0f84b8d9c39697698fd13fcc952",
        "seed": 7,
        "dtype": "float32",
        "device": "cpu",
        "processor": "x86_64",
        "instruction_set": "AVX512",
        "sweep": "avx512",
        "n_threads": 1,
        "versions": {"descent": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6"},
        "begun_in_attempt": 1,
    },
    "stop_reason": "epochs_completed",
    "result": RESULT,
    "warnings": [_WARNING],
    "diagnosis": None,
    "error": None,
    "links": {
        "self": _JOB_PATH,
        "history": f"{_JOB_PATH}/history",
        "parameters": f"{_JOB_PATH}/parameters",
        "trajectory": f"{_JOB_PATH}/trajectory",
        "events": f"{_JOB_PATH}/events",
        "model": _VERSION_PATH,
    },
}

RETRY: Json = {"apply": "suggestion"}

JOB_PAGE: Json = {"data": [JOB], "has_more": False, "next": None}

HISTORY: Json = {
    "epoch": [0, 1000, 2000],
    "train_loss": [29661.8, 1.0794, 0.7544],
    "validation_loss": None,
    "gradient_norm": [51097.02, 6.4727, 4.9643],
    "learning_rate": [1e-5, 1e-5, 1e-5],
}

EPOCH_PARAMETERS: Json = {
    "epoch": 1000,
    "recorded": True,
    "weight": [0.71788, 0.61259, 0.68013],
    "bias": 0.00923,
    "gradient": {"weight": [-4.40799, 4.72747, -0.309528], "bias": -0.141055},
    "scaled": None,
}

TRAJECTORY: Json = {
    "epoch": [0, 1000, 2000],
    "weight": [[0.0, 0.0, 0.0], [0.71788, 0.61259, 0.68013], [0.75701, 0.57143, 0.68208]],
    "bias": [0.0, 0.00923, 0.0106],
}

VERSION: Json = {
    "model": "exam-scores",
    "version": 1,
    "task": "linear_regression",
    "feature_names": _NAMES,
    "encoding": None,
    "target_names": ["y"],
    "classes": None,
    "n_parameters": 4,
    "imported": False,
    "hyperparameters": _HYPERPARAMETERS,
    "metadata": TRAIN["metadata"],
    "result": RESULT,
    "created_at": _TIME,
    "job": JOB["id"],
    "dataset": "ds_7ed376156e8b04e92b735160af743709",
    "links": {
        "self": _VERSION_PATH,
        "job": _JOB_PATH,
        "dataset": "/datasets/ds_7ed376156e8b04e92b735160af743709",
        **{name: f"{_VERSION_PATH}/{name}" for name in ("parameters", "export", "onnx")},
    },
}

ALIAS: Json = {"model": "exam-scores", "alias": "production", "version": 1, "updated_at": _TIME}

MODEL_CHANGE: Json = {"description": "Final from quizzes.", "metadata": {"owner": "algebra"}}

MODEL: Json = {
    "name": "exam-scores",
    "owner": "local",
    "latest_version": 1,
    "aliases": {"production": 1, "latest": 1},
    **MODEL_CHANGE,
    "created_at": _TIME,
    "updated_at": _TIME,
}

MODEL_PAGE: Json = {"data": [MODEL], "has_more": False, "next": None}

MODEL_WITH_VERSIONS: Json = {**MODEL, "versions": [VERSION]}

PREDICT: Json = {"model": "exam-scores", "features": [[73, 80, 75], [93, 88, 93]]}

PREDICTION: Json = {"model": "exam-scores", "version": 1, "predictions": [152.14, 184.13]}

EVALUATE: Json = {
    "dataset": {"features": [[73, 80, 75], [93, 88, 93]], "feature_names": _NAMES, "targets": [152, 185]},
    "worst": 1,
}

EVALUATION: Json = {
    "model": "exam-scores",
    "version": 1,
    **{"task": "linear_regression", "n_samples": 2},
    "metrics": {"mse": 0.389, "rmse": 0.6237, "mae": 0.505, "r2": 0.99857},
    "worst": [{"index": 1, "target": 185, "prediction": 184.13, "loss": 0.757}],
}

AUDIT_PAGE: Json = {
    "data": [
        {
            "sequence": 7,
            "at": "2026-11-21T10:00:00Z",
            "key": "key_01KAJ5Y8M4T0Q2ZJ6V3D9C7XKE",
            "owner": "vision",
            "action": "POST /train",
            "objects": ["ds_5b1f0c9e4d7a8236", "job_01KAJ5Y8M4T0Q2ZJ6V3D9C7XKE"],
            "request_id": "req_01KAJ5Y8M4T0Q2ZJ6V3D9C7XKE",
        }
    ],
    "has_more": False,
    "next": None,
}

HEALTH: Json = {"status": "ok"}

PROBLEM: Json = {
    "type": "about:blank",
    "title": "Unprocessable Entity",
    "status": 422,
    "detail": "hyperparameters.learning_rate: input should be greater than 0, not -1",
    "instance": "/train",
    "errors": [
        {
            "pointer": "#/hyperparameters/learning_rate",
            "detail": "hyperparameters.learning_rate: input should be greater than 0, not -1",
        }
    ],
}

OF_SCHEMA: dict[str, Json] = {
    **OF_ALGORITHMS,
    **OF_DATASETS,
    **OF_EXPORTS,
    "TrainRequest": TRAIN,
    "CheckResponse": CHECK,
    "RetryRequest": RETRY,
    "JobResponse": JOB,
    "JobPage": JOB_PAGE,
    "Result": RESULT,
    "HistoryResponse": HISTORY,
    "EpochParametersResponse": EPOCH_PARAMETERS,
    "TrajectoryResponse": TRAJECTORY,
    "VersionResponse": VERSION,
    "ModelResponse": MODEL,
    "ModelChange": MODEL_CHANGE,
    "AliasRequest": {"version": 1},
    "AliasResponse": ALIAS,
    "ModelPage": MODEL_PAGE,
    "ModelWithVersions": MODEL_WITH_VERSIONS,
    "PredictRequest": PREDICT,
    "EvaluateRequest": EVALUATE,
    "Evaluation": EVALUATION,
    "Prediction": PREDICTION,
    "AuditPage": AUDIT_PAGE,
    "Health": HEALTH,
    "Problem": PROBLEM,
}
"""Which schema of the document each is an example of."""
