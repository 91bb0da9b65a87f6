"""Models for the tests of the protocols that others made: numbers only, columns of every kind, labels."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.api.conftest import EXAMS

Json = dict[str, Any]

HOUSES = (
    b"area,rooms,kind,new,sold,price\n"
    b"50,2,flat,true,2020-01-31,100\n120,4,house,false,2021-06-30,240\n80,,flat,true,2021-07-15,160\n"
    b"200,6,house,false,2022-02-28,410\n95,3,flat,true,2022-03-01,190\n"
)
HOUSE: Json = {"area": 120.5, "rooms": 3, "kind": "house", "new": False, "sold": "2022-03-01"}
FLAT: Json = {"area": 60, "rooms": None, "kind": "flat", "new": True, "sold": "2020-02-29"}
SAMPLES = [[73.0, 80.0, 75.0], [93.0, 88.0, 93.0], [-1.5, 0.0, 1e6]]
NAMES = ["quiz1", "quiz2", "quiz3"]
LABELS: dict[str, list[Any]] = {
    "words": ["röt", "b", "b"],
    "integers": [3, 7, 2**40],
    "fractions": [0.5, 1.5, 2.5],
    "truths": [True, False, True],
    "mixed": [1, "1", True],
}
FEW: Json = {"epochs": 20}


def train_models(post: Callable[..., Any], train: Callable[[Json], Any], prefix: str = "") -> None:
    """Train `exams`, `homes`, `pair` of two targets, and one model for each of `LABELS`; a prefix goes before."""
    found = post("/datasets?name=houses", content=HOUSES, headers={"Content-Type": "text/csv"}).json()["id"]
    dataset: Json = {"id": found, "target": "price", "missing": "median", "dates": {"sold": ["year", "month"]}}
    linear: Json = {"task": "linear_regression", "hyperparameters": FEW}
    scaled: Json = {**linear, "hyperparameters": {**FEW, "scale": "standard"}}
    train({**linear, "model": f"{prefix}exams", "dataset": EXAMS})
    train({**scaled, "model": f"{prefix}homes", "dataset": dataset})
    train({**linear, "model": f"{prefix}pair", "dataset": {"features": [[1, 2], [3, 4]], "targets": [[1, 2], [3, 5]]}})
    for name, labels in LABELS.items():
        task = "softmax_regression" if len(set(map(repr, labels))) > 2 else "logistic_regression"
        train({"model": f"{prefix}{name}", "task": task, "dataset": {"features": [0, 1, 2], "targets": labels}})


def columns_of(*records: Json) -> dict[str, list[Any]]:
    """Records of the same fields, column by column."""
    return {name: [record[name] for record in records] for name in records[0]}


def array_of(values: list[Any]) -> Any:
    """Values as NumPy has them: texts as objects, a missing number as not a number."""
    return np.array(values, dtype=object if isinstance(values[0], str) else None if None not in values else float)
