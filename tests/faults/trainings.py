"""The trainings of the fault test: of every task, optimizer and schedule, some seconds long each, drawn from a seed."""

import json
import random
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

N_SAMPLES = 120
TASKS = (
    "linear_regression",
    "logistic_regression",
    "softmax_regression",
    "mlp_regressor",
    "mlp_classifier",
)
OPTIMIZERS: tuple[Json, ...] = (
    {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    {"optimizer": "adam"},
    {"optimizer": "adamw"},
    {"optimizer": "rmsprop"},
    {"optimizer": "adagrad"},
)
SCHEDULES: tuple[Any, ...] = (
    "constant",
    {"kind": "step", "step_size": 50, "gamma": 0.9},
    {"kind": "exponential", "gamma": 0.999},
    "cosine",
    "one_cycle",
    "inverse_scaling",
    {"kind": "plateau", "factor": 0.5, "patience": 20},
)
WHOLE: tuple[Json, ...] = (
    {"task": "linear_regression", "epochs": 1_500_000, "learning_rate": 1e-4, "momentum": 0.5, "record_every": 50},
    {"task": "linear_regression", "epochs": 1500, "optimizer": "lbfgs", "loss": "huber", "validation_fraction": 0.3},
    {"task": "logistic_regression", "epochs": 20_000, "learning_rate": 0.01, "l2": 0.01, "record_every": 3},
)
"""Trainings of the full batch: by the closed form, by line searches, by many short steps."""
STEPS = {"linear_regression": 24_000, "logistic_regression": 24_000, "softmax_regression": 20_000}
PERCEPTRON_STEPS = 4000


@dataclass(frozen=True)
class Asked:
    """A training that is asked for.

    Args:
        name: of the model, by which it is found again; and the idempotency key.
        body: of `POST /train`; its dataset lacks the `id` where there is a file.
        file: a table that is uploaded first, as CSV.
    """

    name: str
    body: Json
    file: bytes | None


def trainings(n_jobs: int, seed: int, effort: float = 1) -> list[Asked]:
    """Draw so many trainings, of this part of the epochs."""
    chance = random.Random(seed)
    return [_drawn(chance, number, effort) for number in range(n_jobs)]


def _drawn(chance: random.Random, number: int, effort: float) -> Asked:
    given: Json = dict(chance.choice(WHOLE)) if number % 4 == 3 else _mini_batches(chance, TASKS[number % len(TASKS)])
    task = given.pop("task")
    given["epochs"] = round(effort * given["epochs"])
    given |= {"seed": chance.randrange(1000), "device": "cpu", "record_parameters": True}
    rows = _rows(chance, task)
    name = f"fault-{number:03}"
    body = {"model": name, "task": task, "hyperparameters": given}
    if number % 2:
        given |= {"scale": "standard"}
        dataset: Json = {"target": "y", "missing": "median"}
        return Asked(name, body | {"dataset": dataset}, _csv(chance, rows))
    dataset = {"features": [row[:3] for row in rows], "targets": [row[3] for row in rows]}
    return Asked(name, body | {"dataset": dataset}, None)


def _mini_batches(chance: random.Random, task: str) -> Json:
    batch_size = chance.choice((8, 20, 64))
    steps = STEPS.get(task, PERCEPTRON_STEPS)
    given: Json = {
        "task": task,
        "batch_size": batch_size,
        "epochs": steps // -(-N_SAMPLES // batch_size),
        "learning_rate": 0.003,
        "schedule": chance.choice(SCHEDULES),
        **chance.choice(OPTIMIZERS),
    }
    if task.startswith("mlp"):
        given |= {"hidden_layers": [8], "dropout": 0.2, "activation": chance.choice(("relu", "tanh"))}
    elif chance.random() < 0.3:
        given |= {"validation_fraction": 0.25, "stop": {"patience": 1_000_000}}
    return given


def _rows(chance: random.Random, task: str) -> list[list[Any]]:
    """Draw samples of three features and a target."""
    rows: list[list[Any]] = []
    for _ in range(N_SAMPLES):
        features = [round(chance.gauss(0, 1), 6) for _ in range(3)]
        output = features[0] - 2 * features[1] + chance.gauss(0, 1)
        if task in ("linear_regression", "mlp_regressor"):
            target: Any = round(output, 6)
        elif task == "logistic_regression":
            target = "yes" if output > 0 else "no"
        else:
            target = "abc"[(output > -1) + (output > 1)]
        rows.append([*features, target])
    return rows


def _csv(chance: random.Random, rows: list[list[Any]]) -> bytes:
    """Write the samples with a category more, and with holes."""
    lines = ["a,b,c,kind,y"]
    for first, *rest, target in rows:
        cells = ["" if chance.random() < 0.1 else str(first), *map(str, rest), chance.choice(("flat", "house"))]
        lines.append(",".join([*cells, str(target)]))
    return ("\n".join(lines) + "\n").encode()


def body_with(asked: Asked, dataset_id: str | None) -> Json:
    """Give the body to send, with the id of the dataset that was uploaded for it."""
    body: Json = json.loads(json.dumps(asked.body))
    if dataset_id is not None:
        body["dataset"]["id"] = dataset_id
    return body
