"""Trainings that cannot be: what is said of them, and where it points."""

import json
from typing import Any

import pytest

from tests.api.conftest import EXAMS, Json, LocalService, check_fault, check_problem, line, switch


def dataset(**fields: Any) -> Json:
    return line(dataset=fields)


def rows(features: Any, targets: Any = (1, 2), **fields: Any) -> Json:
    return dataset(features=features, targets=list(targets), **fields)


def records(*records: Any, target: str = "y") -> Json:
    return dataset(records=list(records), target=target)


def tuned(**hyperparameters: Any) -> Json:
    return line(dataset=EXAMS, hyperparameters=hyperparameters)


NAN, INF, HUGE = float("nan"), float("inf"), 10**400
DEEP = "[" * 100_000 + "]" * 100_000

REFUSED: dict[str, tuple[Any, str, str]] = {
    "empty body": ("", "#", "the body is missing"),
    "no JSON": ("task=linear_regression", "#", "not JSON"),
    "broken JSON": ('{"task": "linear_regression",', "#", "not JSON"),
    "not UTF-8": (b'{"task": "\xff"}', "#", "UTF-8"),
    "deeply nested JSON": (DEEP, "#", "nested too deeply"),
    "deeply nested target": (f'{{"task": "linear_regression", "dataset": {DEEP}}}', "#", "nested too deeply"),
    "list": ([], "#", "the body must be an object"),
    "text": ('"train"', "#", "the body must be an object, not 'train'"),
    "no task": ({"dataset": EXAMS}, "#/task", "task is missing"),
    "no dataset": ({"task": "linear_regression"}, "#/dataset", "dataset is missing"),
    "unknown task": (line(task="ridge"), "#/task", "not 'ridge'"),
    "task of another case": (line(task="Linear_Regression"), "#/task", "or 'mlp_classifier', not"),
    "misspelt field": (line(metdata={}), "#/metdata", "metdata is not known"),
    "hyperparameter outside": (line(epochs=5), "#/epochs", "hyperparameters"),
    "misspelt hyperparameter": (tuned(learnin_rate=1), "#/hyperparameters/learnin_rate", "did you mean learning_rate?"),
    "misspelt dataset field": (
        dataset(features=[1], targets=[1], target_names=["a"]),
        "#/dataset/target_names",
        "not known",
    ),
    "dataset of both forms": (
        dataset(records=[], target="y", features=[]),
        "#/dataset/features",
        "features does not go with records: a dataset is given by one of",
    ),
    "dataset by its id and as records": (
        dataset(id="ds_1", records=[], target="y"),
        "#/dataset/records",
        "records does not go with id",
    ),
    "dataset of no form": (dataset(), "#/dataset", "or the id of a dataset that is kept and a target, or synthetic"),
    "dataset of an unknown form": (dataset(url="x", target="y"), "#/dataset", "give features and targets, or records"),
    "no targets named": (dataset(id="ds_1", target=[]), "#/dataset/target", "must have at least 1 item, and has 0"),
    "no features named": (
        dataset(id="ds_1", target="y", features=[]),
        "#/dataset/features",
        "dataset.features must have at least 1 item, and has 0",
    ),
    "types as text": (
        dataset(id="ds_1", target="y", types="zip=category"),
        "#/dataset/types",
        """dataset.types must be an object, as {"zip": "category"}, not 'zip=category'""",
    ),
    "dates as text": (dataset(id="ds_1", target="y", dates="sold"), "#/dataset/dates", '{"sold": ["year", "month"]}'),
    "missing as text": (
        dataset(id="ds_1", target="y", missing="a=mean"),
        "#/dataset/missing",
        """or an object by column, as {"rooms": "median", "kind": "indicator"}, not 'a=mean'""",
    ),
    "recipe without kind": (
        dataset(synthetic={}),
        "#/dataset/synthetic/kind",
        "dataset.synthetic.kind is missing: there are linear, blobs, moons",
    ),
    "recipe of no kind": (
        dataset(synthetic={"kind": "circles"}),
        "#/dataset/synthetic/kind",
        "must be one of 'linear', 'blobs', 'moons', not 'circles'",
    ),
    "dataset as list": (line(dataset=[1, 2]), "#/dataset", "dataset must be an object"),
    "null as dataset": (line(dataset=None), "#/dataset", "dataset must be an object"),
    "null as hyperparameters": (line(hyperparameters=None), "#/hyperparameters", "hyperparameters must be an object"),
    "number as metadata": (line(metadata=1), "#/metadata", "metadata must be an object, not 1"),
    "no targets": (dataset(features=[1, 2]), "#/dataset/targets", "dataset.targets is missing"),
    "no target": (dataset(records=[{"x": 1, "y": 1}]), "#/dataset/target", "dataset.target is missing"),
    "NaN": (rows([1, NAN]), "#/dataset/features/1", "dataset.features[1]: input should be a finite number, not nan"),
    "Infinity": (rows([[1], [INF]]), "#/dataset/features/1/0", "not inf"),
    "minus Infinity": (rows([[-INF], [1]]), "#/dataset/features/0/0", "not -inf"),
    "1e400": (json.dumps(rows([1, "?"])).replace('"?"', "1e400"), "#/dataset/features/1", "finite number"),
    "integer too large": (rows([1, HUGE]), "#/dataset/features/1", "number"),
    "text for a number": (rows([1, "2"]), "#/dataset/features/1", "not '2'; texts, booleans and missing values can be"),
    "true for a number": (rows([True, 2]), "#/dataset/features/0", "not True"),
    "null for a number": (rows([[1], [None]]), "#/dataset/features/1/0", "valid number"),
    "features as text": (rows("1,2"), "#/dataset/features", "valid list"),
    "rows and numbers": (rows([[1], 2]), "#/dataset/features/1", "valid list"),
    "ragged rows": (rows([[1, 2], [3]]), "#/dataset/features/1", "row 1 has 1 feature and row 0 has 2"),
    "empty rows": (rows([[], []]), "#/dataset/features/0", "at least one number"),
    "empty dataset": (rows([], []), "#/dataset/features", "the dataset is empty"),
    "3 targets for 5 rows": (rows([1, 2, 3, 4, 5], [1, 2, 3]), "#/dataset/targets", "3 targets for 5 rows"),
    "targets as number": (dataset(features=[1], targets=1), "#/dataset/targets", "valid list"),
    "NaN target": (rows([1, 2], [1, NAN]), "#/dataset/targets/1", "not NaN"),
    "infinite target": (rows([1, 2], [-INF, 1]), "#/dataset/targets/0", "not -Infinity"),
    "target too large": (rows([1, 2], [1, HUGE]), "#/dataset/targets/1", "finite number"),
    "text target": (rows([1, 2], [1, "2"]), "#/dataset/targets/1", 'not "2"'),
    "true target": (rows([1, 2], [1, True]), "#/dataset/targets/1", "not true"),
    "null target": (rows([1, 2], [1, None]), "#/dataset/targets/1", "not null"),
    "ragged targets": (rows([1, 2], [[1, 2], [3]]), "#/dataset/targets/1", "row 1 has 1 target "),
    "duplicate names": (rows([[1, 2]], [1], feature_names=["a", "a"]), "#/dataset/feature_names", "'a' stands twice"),
    "too few names": (rows([[1, 2]], [1], feature_names=["a"]), "#/dataset/feature_names", "1 feature name for 2"),
    "no names": (rows([[1, 2]], [1], feature_names=[]), "#/dataset/feature_names", "0 feature names for 2"),
    "empty name": (rows([1], [1], feature_names=[""]), "#/dataset/feature_names/0", "at least 1 character"),
    "number as name": (rows([1], [1], feature_names=[1]), "#/dataset/feature_names/0", "valid string"),
    "no records": (records(), "#/dataset/records", "the dataset is empty"),
    "unknown target": (records({"x": 1}), "#/dataset/target", "no field 'y' to be the target: x"),
    "record with missing field": (records({"x": 1, "y": 1}, {"y": 1}), "#/dataset/records/1", "has no field 'x'"),
    "record with extra field": (
        records({"x": 1, "y": 1}, {"x": 1, "y": 1, "a/b": 1}),
        "#/dataset/records/1/a~1b",
        "record 1 has a field 'a/b', which record 0 has not",
    ),
    "text feature": (
        records({"x": "tall", "y": 1}),
        "#/dataset/records/0/x",
        'must be a finite number, not "tall"; texts, booleans and missing values can be trained on as a file: POST',
    ),
    "null feature": (records({"x": None, "y": 1}), "#/dataset/records/0/x", "not null; texts, booleans and missing"),
    "record with NaN": (records({"x": NAN, "y": 1}), "#/dataset/records/0/x", "not NaN"),
    "record too large": (records({"x": HUGE, "y": 1}), "#/dataset/records/0/x", "finite number"),
    "record's text target": (records({"x": 1, "y": "b"}), "#/dataset/records/0/y", 'not "b"'),
    "list as record": (records([1, 2]), "#/dataset/records/0", "records[0] must be an object"),
    "sample weight too short": (rows([1, 2], sample_weight=[1]), "#/dataset/sample_weight", "1 sample weight for 2"),
    "sample weight below 0": (rows([1, 2], sample_weight=[1, -1]), "#/dataset/sample_weight/1", "not -1"),
    "sample weight NaN": (rows([1, 2], sample_weight=[1, NAN]), "#/dataset/sample_weight/1", "not nan"),
    "sample weight text": (rows([1, 2], sample_weight="x"), "#/dataset/sample_weight", "valid list"),
    "sample weights all 0": (rows([1, 2], sample_weight=[0, 0]), "#/dataset/sample_weight", "must count"),
    "sample weights all 0 in one part": (
        {
            **rows([1, 2, 3, 4], [1, 2, 3, 4], sample_weight=[0, 0, 1, 0]),
            "hyperparameters": {"validation_fraction": 0.5},
        },
        "#/dataset/sample_weight",
        "all have the weight 0",
    ),
    "records' weights too long": (
        dataset(records=[{"x": 1, "y": 1}], target="y", sample_weight=[1, 2]),
        "#/dataset/sample_weight",
        "2 sample weights for 1 sample",
    ),
    "half a character": (records({"x": "\ud800", "y": 1}), "#/dataset/records/0/x", "finite number"),
    "one class": (switch("on", "on"), "#/dataset/targets", "exactly 2 classes, and these have 1: 'on'"),
    "three classes": (switch("a", "b", "c"), "#/dataset/targets", "these have 3: 'a', 'b', 'c'"),
    "null label": (switch("on", None), "#/dataset/targets/1", "not null"),
    "list as label": (switch("on", ["off"]), "#/dataset/targets/1", 'not ["off"]'),
    "NaN label": (switch(1, NAN), "#/dataset/targets/1", "not NaN"),
    "infinite label": (switch(1, INF), "#/dataset/targets/1", "not Infinity"),
    "half a character as label": (switch("on", "\ud800"), "#/dataset/targets/1", "label"),
    "classes too many": (switch(*range(10_001)), "#/dataset/targets", "is this a regression?"),
    "wrong loss": (tuned(loss="binary_cross_entropy"), "#/hyperparameters/loss", "it has mse, half_mse, mae, huber"),
    "one class for softmax": (
        {**switch("on", "on"), "task": "softmax_regression"},
        "#/dataset/targets",
        "at least 2 classes, and these have 1: 'on'",
    ),
    "labels for a perceptron that regresses": (
        {**switch("on", 1), "task": "mlp_regressor"},
        "#/dataset/targets/0",
        'not "on"; for labels',
    ),
    "wrong loss for labels": (
        switch("a", "b", hyperparameters={"loss": "mse"}),
        "#/hyperparameters/loss",
        "logistic_regression cannot minimise mse",
    ),
    "unknown loss": (tuned(loss="rmse"), "#/hyperparameters/loss", "not 'rmse'"),
    "start too short": (tuned(start={"weight": [1]}), "#/hyperparameters/start/weight", "must have 3 numbers"),
    "start's bias too long": (tuned(start={"weight": [1, 2, 3], "bias": [1, 2]}), "#/hyperparameters/start/bias", "1"),
    "start with text": (tuned(start={"weight": [1, "2", 3]}), "#/hyperparameters/start/weight/1", "not '2'"),
    "start with NaN": (tuned(start={"weight": [[1, NAN, 3]]}), "#/hyperparameters/start/weight/0/1", "finite"),
    "start unknown": (tuned(start="ones"), "#/hyperparameters/start", "not 'ones'"),
    "start of layers": (
        tuned(start={"parameters": [{"weight": [1, 2, 3]}, {"weight": 1}]}),
        "#/hyperparameters/start",
        "the start has 2 layers and the model 1",
    ),
    "start as number": (tuned(start=5), "#/hyperparameters/start", "hyperparameters.start must be an object, not 5"),
    "start of numbers": (tuned(start=[5]), "#/hyperparameters/start/0", "start[0] must be an object, not 5"),
    "start of no layers": (tuned(start=[]), "#/hyperparameters/start", "at least 1 item"),
    "start as a list too short": (
        tuned(start=[{"weight": [1]}]),
        "#/hyperparameters/start/0/weight",
        "must have 3 numbers",
    ),
    "misspelt layer of a list": (
        tuned(start=[{"weight": 1, "biass": 1}]),
        "#/hyperparameters/start/0/biass",
        "did you mean bias?",
    ),
    "misspelt start": (tuned(start={"wieght": 1, "weight": 1}), "#/hyperparameters/start/wieght", "mean weight?"),
    "misspelt layer": (
        tuned(start={"parameters": [{"weight": 1, "biass": 1}]}),
        "#/hyperparameters/start/parameters/0/biass",
        "did you mean bias?",
    ),
    "start from a number": (tuned(start={"model": 1}), "#/hyperparameters/start/model", "valid string"),
    "unknown schedule": (tuned(schedule="linear"), "#/hyperparameters/schedule", "not 'linear'"),
    "schedule without kind": (tuned(schedule={"gamma": 0.5}), "#/hyperparameters/schedule", "whose kind is one of"),
    "misspelt schedule": (
        tuned(schedule={"kind": "step", "stepsize": 5}),
        "#/hyperparameters/schedule/stepsize",
        "did you mean step_size?",
    ),
    "field of another schedule": (
        tuned(schedule={"kind": "cosine", "power_t": 1}),
        "#/hyperparameters/schedule/power_t",
        "not known: there are kind, eta_min",
    ),
    "schedule out of bounds": (
        tuned(schedule={"kind": "exponential", "gamma": 2}),
        "#/hyperparameters/schedule/gamma",
        "less than or equal to 1, not 2",
    ),
    "misspelt patience": (tuned(stop={"patients": 5}), "#/hyperparameters/stop/patients", "did you mean patience?"),
    "no such layer": (tuned(hidden_layers=[0]), "#/hyperparameters/hidden_layers/0", "not 0"),
    "layers without a perceptron": (tuned(hidden_layers=[4]), "#/hyperparameters/hidden_layers", "train an mlp_regr"),
    "nothing left to train on": (tuned(test_fraction=0.95), "#/hyperparameters/test_fraction", "hold out less"),
    "exact without a closed form": (tuned(engine="exact", l1=1), "#/hyperparameters/engine", "without l1"),
    "both frozen": (tuned(frozen=["weight", "bias"]), "#/hyperparameters/frozen", "nothing to train"),
    "unknown frozen": (tuned(frozen=["weights"]), "#/hyperparameters/frozen/0", "not 'weights'"),
    "learning rate zero": (tuned(learning_rate=0), "#/hyperparameters/learning_rate", "greater than 0, not 0"),
    "learning rate as text": (
        tuned(learning_rate="0.1"),
        "#/hyperparameters/learning_rate",
        "must be a number above 0, or 'auto', not '0.1'",
    ),
    "learning rate null": (tuned(learning_rate=None), "#/hyperparameters/learning_rate", "a number above 0, or 'auto'"),
    "record_every as text": (tuned(record_every="x"), "#/hyperparameters/record_every", "a whole number from 1, or"),
    "record_parameters as text": (
        tuned(record_parameters="yes"),
        "#/hyperparameters/record_parameters",
        "true, false or",
    ),
    "learning rate true": (tuned(learning_rate=True), "#/hyperparameters/learning_rate", "not True"),
    "epochs zero": (tuned(epochs=0), "#/hyperparameters/epochs", "greater than or equal to 1, not 0"),
    "epochs too many": (tuned(epochs=10_000_001), "#/hyperparameters/epochs", "less than or equal to 10000000"),
    "epochs as float": (tuned(epochs=10.0), "#/hyperparameters/epochs", "integer"),
    "momentum one": (tuned(momentum=1), "#/hyperparameters/momentum", "less than 1, not 1"),
    "target loss below 0": (tuned(stop={"target_loss": -1}), "#/hyperparameters/stop/target_loss", "not -1"),
    "null as stop": (tuned(stop=None), "#/hyperparameters/stop", "hyperparameters.stop must be an object"),
    "misspelt stop": (tuned(stop={"target": 1}), "#/hyperparameters/stop/target", "not known"),
    "recording too much": (
        {**rows([[1] * 9], [1]), "hyperparameters": {"epochs": 10_000_000, "record_every": 1}},
        "#/hyperparameters/record_every",
        "use a larger record_every or auto",
    ),
    "seed below 0": (tuned(seed=-1), "#/hyperparameters/seed", "not -1"),
    "unknown device": (tuned(device="gpu"), "#/hyperparameters/device", "not 'gpu'"),
    "model name with space": (line(model="my model"), "#/model", "not 'my model'"),
    "model name with @": (line(model="line@2"), "#/model", "not 'line@2'"),
    "model name with newline": (line(model="line\n"), "#/model", "letters, digits"),
    "model name empty": (line(model=""), "#/model", "up to 100 letters"),
    "model name too long": (line(model="a" * 101), "#/model", "up to 100 letters"),
    "metadata too many": (line(metadata={str(n): "" for n in range(17)}), "#/metadata", "at most 16 items, and has 17"),
    "metadata number": (line(metadata={"run": 1}), "#/metadata/run", "valid string"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_training_that_cannot_be_is_refused_with_the_place_and_the_reason(standing: LocalService, case: str) -> None:
    body, pointer, words = REFUSED[case]
    check_fault(standing.post("/train", body), pointer, words)


def test_every_fault_of_a_request_is_told_of_at_once(standing: LocalService) -> None:
    body = {"dataset": {"features": [NAN, "2"], "target": []}, "model": "?", "hyperparameters": {"epochs": 0}}
    pointers = [fault["pointer"] for fault in check_problem(standing.post("/train", body), 422)["errors"]]
    assert sorted(pointers) == [
        "#/dataset/features/0",
        "#/dataset/features/1",
        "#/dataset/target",
        "#/dataset/targets",
        "#/hyperparameters/epochs",
        "#/model",
        "#/task",
    ]


def test_a_refused_training_leaves_no_job(local: LocalService) -> None:
    check_problem(local.post("/train", line(model="?")), 422)
    check_problem(local.post("/train", rows([1, 2, 3])), 422)
    assert local.http.get("/jobs").json()["data"] == []
