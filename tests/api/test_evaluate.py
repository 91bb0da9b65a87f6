from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss

from tests.api.conftest import EXAMS, Json, LocalService, check_fault, check_problem, local_service
from tests.api.test_explain import FLATS
from tests.api.uploading import upload

DRAWS = np.random.default_rng(0)
POINTS = DRAWS.standard_normal((60, 2)).round(3)
LABELS = np.array(["a", "b", "c"])[(POINTS @ [1.0, -1.0] + DRAWS.standard_normal(60)).round().clip(0, 2).astype(int)]
CLASSES: Json = {"features": POINTS.tolist(), "targets": LABELS.tolist()}
FLAT: Json = {"missing": "median", "dates": {"sold": ["year"]}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service with a model of each kind."""
    with local_service(tmp_path_factory.mktemp("trained")) as service:
        service.train({"task": "linear_regression", "model": "exams", "dataset": EXAMS})
        for task in ("softmax_regression", "mlp_classifier"):
            hyperparameters = {"epochs": 50, "seed": 1}
            service.train({"task": task, "model": task, "dataset": CLASSES, "hyperparameters": hyperparameters})
        dataset = {"id": upload(service, FLATS.encode()).json()["id"], "target": "price", **FLAT}
        service.train({"task": "linear_regression", "model": "houses", "dataset": dataset})
        yield service


def evaluated(service: LocalService, model: str, dataset: Json, worst: int = 10) -> Json:
    answer = service.post(f"/models/{model}/evaluate", {"dataset": dataset, "worst": worst})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def of_training(service: LocalService, model: str) -> Json:
    found: Json = service.http.get(f"/models/{model}/versions/1").json()["result"]["metrics"]["train"]
    return found


@pytest.mark.parametrize("model", ["softmax_regression", "mlp_classifier"])
def test_a_classifier_is_as_good_on_its_training_samples_as_the_training_said(
    trained: LocalService, model: str
) -> None:
    found = evaluated(trained, f"{model}@1", CLASSES, worst=60)
    assert (found["model"], found["version"], found["task"], found["n_samples"]) == (model, 1, model, 60)
    assert found["metrics"] == of_training(trained, model)
    probabilities = trained.post("/predict", {"model": model, "features": CLASSES["features"]}).json()
    losses = {
        number: log_loss([label], [[shares[one] for one in "abc"]], labels=["a", "b", "c"])
        for number, (label, shares) in enumerate(zip(LABELS, probabilities["probabilities"], strict=True))
    }
    assert {one["index"]: one["loss"] for one in found["worst"]} == pytest.approx(losses)
    assert [one["loss"] for one in found["worst"]] == sorted((one["loss"] for one in found["worst"]), reverse=True)
    assert all(one["target"] == LABELS[one["index"]] for one in found["worst"])
    assert all(one["prediction"] == probabilities["predictions"][one["index"]] for one in found["worst"])


def test_every_form_of_a_dataset_gives_the_same(trained: LocalService) -> None:
    names, rows, targets = EXAMS["feature_names"], EXAMS["features"], EXAMS["targets"]
    records = [
        {**dict(zip(names, row, strict=True)), "final": target} for row, target in zip(rows, targets, strict=True)
    ]
    frame = pl.DataFrame(records).select(reversed([*names, "final"]))
    dataset_id = upload(trained, frame.write_csv().encode()).json()["id"]
    expected = evaluated(trained, "exams", EXAMS, worst=2)
    assert expected["metrics"] == of_training(trained, "exams")
    assert [one["loss"] for one in evaluated(trained, "exams", EXAMS)["worst"][:2]] == [
        one["loss"] for one in expected["worst"]
    ]
    for dataset in (
        {"features": rows, "targets": targets},
        {"features": [row[::-1] for row in rows], "feature_names": names[::-1], "targets": targets},
        {"records": records, "target": "final"},
        {"id": dataset_id, "target": "final"},
    ):
        assert evaluated(trained, "exams", dataset, worst=2) == expected
    for one in expected["worst"]:
        assert one["loss"] == pytest.approx((one["target"] - one["prediction"]) ** 2)


def test_a_dataset_is_encoded_as_the_model_was_trained_to(trained: LocalService) -> None:
    dataset_id = upload(trained, FLATS.encode()).json()["id"]
    found = evaluated(trained, "houses", {"id": dataset_id})
    assert found["metrics"] == pytest.approx(of_training(trained, "houses"))
    rows = [line.split(",") for line in FLATS.splitlines()[1:]]
    records = [
        {
            "area": float(area),
            "rooms": float(rooms) if rooms else None,
            "kind": kind,
            "sold": sold,
            "price": float(price),
        }
        for area, rooms, kind, sold, price in rows
    ]
    assert evaluated(trained, "houses", {"records": records}) == found
    some = upload(trained, b"area,rooms,kind,sold,price\n60,2,flat,2021-02-03,111\n").json()["id"]
    alone = evaluated(trained, "houses", {"id": some})
    assert (alone["n_samples"], alone["metrics"]["r2"]) == (1, None)


def test_a_dataset_is_taken_as_a_training_takes_it(trained: LocalService) -> None:
    dataset_id = upload(trained, FLATS.encode()).json()["id"]
    expected = evaluated(trained, "houses", {"id": dataset_id})
    features = {"features": ["sold", "kind", "rooms", "area"]}
    of_training = {"id": dataset_id, "target": "price", "unseen": "ignore", "types": {"rooms": "number"}, **FLAT}
    assert evaluated(trained, "houses", {**of_training, **features, "sample_weight": "area"}) == expected
    weights = [1.0] * len(EXAMS["targets"])
    expected = evaluated(trained, "exams", EXAMS)
    assert evaluated(trained, "exams", {**EXAMS, "sample_weight": weights}) == expected
    answer = trained.post("/models/houses/evaluate", {"dataset": {**of_training, "features": ["area", "rooms"]}})
    check_fault(answer, "#/dataset/features", "the model takes area, rooms, kind, sold: give these, in any order")
    check_fault(
        trained.post("/models/houses/evaluate", {"dataset": {"id": dataset_id, "target": []}}),
        "#/dataset/target",
        "at least 1 item",
    )


def test_labels_are_read_as_they_were_for_the_training(trained: LocalService) -> None:
    content = b"x,grade\n1,1\n2,1\n3,2\n4,2\n"
    dataset = {"id": upload(trained, content).json()["id"], "target": "grade", "types": {"grade": "category"}}
    trained.train({"task": "logistic_regression", "model": "grades", "dataset": dataset})
    assert evaluated(trained, "grades", dataset)["n_samples"] == 4


def test_a_synthetic_dataset_is_made_up_as_for_a_training(trained: LocalService) -> None:
    recipe = {"kind": "linear", "weights": [1.0, 2.0, 3.0], "bias": 0.0, "n_samples": 50, "noise": 0.1, "seed": 1}
    assert evaluated(trained, "exams", {"synthetic": recipe}, worst=0)["worst"] == []
    recipe["weights"] = [1.0]
    answer = trained.post("/models/exams/evaluate", {"dataset": {"synthetic": recipe}})
    check_fault(answer, "#/dataset/synthetic", "has 1 feature, and the model takes quiz1, quiz2, quiz3")


def test_a_table_of_many_parts_gives_what_one_of_a_single_part_gives(trained: LocalService) -> None:
    draws = np.random.default_rng(3)
    features = draws.uniform(60, 100, (40_000, 3)).round(2)
    targets = (features @ [0.8, 0.6, 0.7] + draws.standard_normal(40_000)).round(3)
    targets[[7, 39_999]] = 0.0, 1000.0
    names = EXAMS["feature_names"]
    frame = pl.DataFrame(dict(zip(names, features.T, strict=True))).with_columns(final=pl.Series(targets))
    dataset_id = upload(trained, frame.write_csv().encode()).json()["id"]
    stored = evaluated(trained, "exams", {"id": dataset_id, "target": "final"}, worst=3)
    assert {one["index"] for one in stored["worst"][:2]} == {7, 39_999}
    assert stored == evaluated(trained, "exams", {"features": features.tolist(), "targets": targets.tolist()}, worst=3)


@pytest.mark.parametrize(
    ("model", "dataset", "pointer", "words"),
    [
        ("exams", {"features": [[1, 2]], "targets": [1]}, "#/dataset/features/0", "has 2 features"),
        ("exams", {"features": [[1, 2, "a"]], "targets": [1]}, "#/dataset/features/0/2", "must be a finite number"),
        ("exams", {"features": [[1, 2, 3]], "targets": [1, 2]}, "#/dataset/targets", "2 targets for 1 sample"),
        (
            "exams",
            {"features": [[1, 2, 3]], "targets": ["a"]},
            "#/dataset/targets/0",
            "a target must be a finite number",
        ),
        (
            "exams",
            {"features": [[1, 2, 3]], "targets": [[1, 2]]},
            "#/dataset/targets/0",
            "has 2 targets, and the model 1",
        ),
        ("exams", {"features": [], "targets": []}, "#/dataset", "is empty"),
        ("exams", {"id": "ds_0", "target": "y"}, "#/dataset/id", "no dataset 'ds_0'"),
        ("exams", {"records": [{"quiz1": 1}], "target": "z"}, "#/dataset/records/0", "the target 'z' is missing"),
        ("softmax_regression", {"features": [[1, 2]], "targets": ["d"]}, "#/dataset/targets/0", "the label 'd'"),
        ("softmax_regression", {"features": [[1, 2]], "targets": [None]}, "#/dataset/targets/0", "does not know"),
        (
            "houses",
            {"features": [[1, 2, "hut", "2020-01-01"]], "targets": [1]},
            "#/dataset/features/0/2",
            "no category",
        ),
    ],
)
def test_what_a_model_cannot_be_evaluated_on_is_refused(
    trained: LocalService, model: str, dataset: Json, pointer: str, words: str
) -> None:
    answer = trained.post(f"/models/{model}/evaluate", {"dataset": dataset})
    check_fault(answer, pointer, words)


@pytest.mark.parametrize(
    ("csv", "pointer", "words"),
    [
        ("area,rooms,kind,sold\n1,2,flat,2020-01-01\n", "#/dataset/target", "price"),
        ("area,kind,sold,price\n1,flat,2020-01-01,5\n", "#/dataset/features/1", "rooms"),
        (
            "area,rooms,kind,sold,price\n1,2,hut,2020-01-01,5\n",
            "#/dataset/features/kind",
            "row 0: feature 'kind' has no category",
        ),
        (
            "area,rooms,kind,sold,price\n1,2,flat,2020-01-01,5\n1,2,,2020-01-01,5\n",
            "#/dataset/features/kind",
            "row 1",
        ),
        ("area,rooms,kind,sold,price\n1,2,flat,2020-01-01,\n1,2,flat,2020-01-01,5\n", "#/dataset/target", "row 0"),
    ],
)
def test_a_dataset_that_does_not_fit_the_model_is_refused(
    trained: LocalService, csv: str, pointer: str, words: str
) -> None:
    dataset_id = upload(trained, csv.encode()).json()["id"]
    answer = trained.post("/models/houses/evaluate", {"dataset": {"id": dataset_id}})
    (fault, *_) = check_problem(answer, 422)["errors"]
    assert fault["pointer"].startswith(pointer)
    assert words in fault["detail"]


def test_a_loss_beyond_the_largest_number_is_null(trained: LocalService) -> None:
    (worst,) = evaluated(trained, "exams", {"features": [[1e200, 1, 1]], "targets": [0]})["worst"]
    assert worst["loss"] is None
    assert abs(worst["prediction"]) > 1e180


def test_a_model_that_is_not_there_is_not_found(trained: LocalService) -> None:
    for reference in ("nothing", "exams@7", "exams@best"):
        check_problem(trained.post(f"/models/{reference}/evaluate", {"dataset": EXAMS}), 404)
