"""An example of each request and answer about datasets, for the OpenAPI document: one file of flats, and recipes."""

from typing import Any

Json = dict[str, Any]

UPLOADED = "area,kind\n50,flat\n80,house\n120,\n"
"""A CSV file."""

_DATASET_PATH = "/datasets/ds_ff1e3df2fa5e6d0eec82f4005cd11339"

_DATASET_SUMMARY: Json = {
    "id": _DATASET_PATH.removeprefix("/datasets/"),
    "name": "flats.csv",
    "origin": "upload",
    "format": "csv",
    "sha256": "ff1e3df2fa5e6d0eec82f4005cd1133918539eeb546d3cee86c65381560afaf3",
    "n_samples": 3,
    "n_columns": 2,
    "n_bytes": 815,
    "encoded_bytes": 0,
    "created_at": "2026-11-21T10:00:00.250000Z",
    "links": {"self": _DATASET_PATH, "preview": f"{_DATASET_PATH}/preview"},
}

DATASET: Json = {
    **_DATASET_SUMMARY,
    "schema": [{"name": "area", "type": "number"}, {"name": "kind", "type": "category"}],
    "statistics": {
        "area": {
            "count": 3,
            "missing": 0,
            "distinct": 3,
            "mean": 83.3333,
            "standard_deviation": 28.6744,
            "quantiles": {"0.05": 53.0, "0.25": 65.0, "0.5": 80.0, "0.75": 100.0, "0.95": 116.0},
            "min": 50,
            "max": 120,
        },
        "kind": {
            "count": 2,
            "missing": 1,
            "distinct": 2,
            "top": [{"value": "flat", "count": 1}, {"value": "house", "count": 1}],
        },
    },
    "reading": {"delimiter": ",", "header": True, "decimal": ".", "encoding": "utf-8", "missing": []},
}

DATASET_PAGE: Json = {"data": [_DATASET_SUMMARY], "has_more": False, "next": None}

PREVIEW: Json = {
    "first": 0,
    "n_samples": 3,
    "columns": ["area", "kind"],
    "rows": [[50, "flat"], [80, "house"], [120, None]],
}

LINEAR: Json = {"kind": "linear", "weights": [0.9, -2.0], "bias": -0.4, "n_samples": 300, "noise": 0.3, "seed": 7}

BLOBS: Json = {"kind": "blobs", "n_samples": 300, "n_classes": 3, "n_features": 2, "spread": 1.5, "seed": 7}

MOONS: Json = {"kind": "moons", "n_samples": 500, "noise": 0.2, "seed": 7}

OF_DATASETS: dict[str, Json] = {
    "DatasetResponse": DATASET,
    "DatasetSummary": _DATASET_SUMMARY,
    "DatasetPage": DATASET_PAGE,
    "Preview": PREVIEW,
    "LinearSpec": LINEAR,
    "BlobsSpec": BLOBS,
    "MoonsSpec": MOONS,
}
"""Which schema of the document each is an example of."""
