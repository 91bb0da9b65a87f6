"""Trainings on datasets that are kept, from the upload to the prediction."""

import io
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn import datasets as bundled

from service.api.planning import enqueue
from service.api.train import TrainRequest, plan_request
from service.errors import NotFound
from tests.api.conftest import EXAMS, Json, LocalService, check_fault, check_problem, line

HOUSES = """area,rooms,kind,garden,sold,note,price,use,weight
50,2,flat,false,2024-01-05,"ok,
but small",200,train,1
80,3,flat,true,2024-02-11,needs paint,310,train,2
120,,house,true,2024-03-09,none,480,train,1
95,4,house,false,2024-05-30,near the lake,400,validation,1
150,5,villa,true,2024-07-01,pool,700,train,1
60,2,flat,true,2025-01-20,bright,250,test,1
"""
CHOSEN: Json = {"target": "price", "features": ["area", "kind", "garden"]}


def upload(local: LocalService, content: str | bytes | pl.DataFrame) -> str:
    """Upload a table, a frame as Parquet; give the dataset's id."""
    media_type = "text/csv"
    if isinstance(content, pl.DataFrame):
        file, media_type = io.BytesIO(), "application/vnd.apache.parquet"
        content.write_parquet(file)
        content = file.getvalue()
    answer = local.http.post("/datasets", content=content, headers={"Content-Type": media_type})
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["id"])


def on(dataset_id: str, task: str = "linear_regression", hyperparameters: Json | None = None, **selection: Any) -> Json:
    given = {"epochs": 20, "seed": 1, "dtype": "float64", **(hyperparameters or {})}
    dataset = {"id": dataset_id, **(selection or CHOSEN)}
    return {"task": task, "model": "houses", "dataset": dataset, "hyperparameters": given}


def succeeded(local: LocalService, body: Json) -> Json:
    job = local.train(body)
    assert job["status"] == "succeeded", job["error"]
    return job


def learned(local: LocalService, job: Json) -> Json:
    path = f"/models/{job['model']}/versions/{job['version']}/parameters"
    return {**local.http.get(path).json(), "model": None, "version": None}


def dataset_of(local: LocalService, job: Json) -> str:
    return str(local.http.get(f"/models/{job['model']}/versions/{job['version']}").json()["dataset"])


SETS = {"linear_regression": "diabetes", "softmax_regression": "wine", "logistic_regression": "breast_cancer"}


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("task", SETS)
def test_a_file_trains_to_the_same_parameters_as_the_same_numbers_inside_a_request(
    local: LocalService, task: str, form: str
) -> None:
    data = getattr(bundled, f"load_{SETS[task]}")()
    names = [f"f{n}" for n in range(data.data.shape[1])]
    frame = pl.DataFrame(data.data, schema=names).with_columns(y=pl.Series(data.target))
    content = frame.write_csv() if form == "csv" else frame
    asked = {"epochs": 30, "scale": "standard", "validation_fraction": 0.2, "test_fraction": 0.1, "seed": 3}
    inline: Json = {"features": data.data.tolist(), "targets": data.target.tolist(), "feature_names": names}
    first = succeeded(local, {"task": task, "dataset": inline, "hyperparameters": asked})
    stored = {"id": upload(local, content), "target": "y"}
    second = succeeded(local, {"task": task, "dataset": stored, "hyperparameters": asked})
    assert learned(local, first) == learned(local, second)
    assert first["result"] == second["result"]
    assert local.http.get(f"/models/{second['model']}/versions/1").json()["encoding"] is None


def test_categories_booleans_and_dates_become_features_and_the_version_says_how(local: LocalService) -> None:
    selection: Json = {**CHOSEN, "features": ["area", "kind", "garden", "sold"], "dates": {"sold": ["year", "month"]}}
    job = succeeded(local, on(upload(local, HOUSES), **selection))
    version = local.http.get("/models/houses/versions/1").json()
    assert version["feature_names"] == ["area", "kind", "garden", "sold"]
    assert [(one["column"], one["type"], one["feature_names"]) for one in version["encoding"]] == [
        ("area", "number", ["area"]),
        ("kind", "category", ["kind=flat", "kind=house", "kind=villa"]),
        ("garden", "boolean", ["garden"]),
        ("sold", "date", ["sold.year", "sold.month"]),
    ]
    encoded = ["area", "kind=flat", "kind=house", "kind=villa", "garden", "sold.year", "sold.month"]
    parameters = learned(local, job)
    assert parameters["feature_names"] == encoded
    assert len(parameters["weight"]) == 7


def test_a_model_of_encoded_columns_is_that_of_the_same_numbers_encoded_by_hand(local: LocalService) -> None:
    stored = succeeded(local, on(upload(local, HOUSES)))
    kinds = ["flat", "flat", "house", "house", "villa", "flat"]
    areas, gardens = [50, 80, 120, 95, 150, 60], [0, 1, 1, 0, 1, 1]
    rows = [
        [area, *(float(kind == known) for known in ("flat", "house", "villa")), garden]
        for area, kind, garden in zip(areas, kinds, gardens, strict=True)
    ]
    names = ["area", "kind=flat", "kind=house", "kind=villa", "garden"]
    inline: Json = {"features": rows, "feature_names": names, "targets": [200, 310, 480, 400, 700, 250]}
    by_hand = succeeded(local, {**on("", hyperparameters={}), "dataset": inline})
    assert learned(local, stored) == learned(local, by_hand)


def test_columns_that_are_no_features_are_left_out_with_a_warning_before_and_after_the_training(
    local: LocalService,
) -> None:
    body = on(upload(local, HOUSES), target="price", missing="mean")
    for job in (local.job(local.enqueue(body)), local.post("/train/check", body).json(), succeeded(local, body)):
        warning = job["warnings"][0]
        assert warning["code"] == "columns_left_out"
        assert set(warning["evidence"]["columns"]) == {"sold", "note"}


def test_missing_values_are_filled_with_the_mean_of_the_training_samples_alone(local: LocalService) -> None:
    selection: Json = {"target": "price", "features": ["area", "rooms"], "missing": {"rooms": "mean"}, "split": "use"}
    job = succeeded(local, on(upload(local, HOUSES), **selection))
    encoding = local.http.get("/models/houses/versions/1").json()["encoding"]
    assert encoding[1]["fill"] == np.mean([2, 3, 5])
    rows = [[50, 2], [80, 3], [120, 10 / 3], [150, 5]]
    inline: Json = {"features": rows, "targets": [200, 310, 480, 700], "feature_names": ["area", "rooms"]}
    without = succeeded(local, {**on(""), "dataset": inline})
    assert learned(local, job)["weight"] == pytest.approx(learned(local, without)["weight"], rel=1e-9)


def test_a_split_column_says_what_each_sample_is_for(local: LocalService) -> None:
    dataset_id = upload(local, HOUSES)
    body = on(dataset_id, **CHOSEN, split="use")
    found = local.post("/train/check", body).json()
    assert (found["n_train"], found["n_validation"], found["n_test"], found["n_samples"]) == (4, 1, 1, 6)
    result = succeeded(local, body)["result"]
    assert result["validation_loss"] is not None
    assert result["metrics"]["test"]["r2"] is None  # of a single sample
    refused = local.post("/train", on(dataset_id, hyperparameters={"validation_fraction": 0.2}, **CHOSEN, split="use"))
    check_fault(refused, "#/hyperparameters/validation_fraction", "the dataset has a split column: leave it out")


def test_a_weight_column_counts_as_the_weights_inside_a_request_do(local: LocalService) -> None:
    job = succeeded(local, on(upload(local, HOUSES), target="price", features=["area"], sample_weight="weight"))
    inline: Json = {"features": [50, 80, 120, 95, 150, 60], "targets": [200, 310, 480, 400, 700, 250]}
    inline |= {"sample_weight": [1, 2, 1, 1, 1, 1], "feature_names": ["area"]}
    assert learned(local, job) == learned(local, succeeded(local, {**on(""), "dataset": inline}))


def test_a_training_on_encoded_columns_goes_on_where_another_stopped_and_from_no_other_encoding(
    local: LocalService,
) -> None:
    dataset_id = upload(local, HOUSES)
    first = succeeded(local, on(dataset_id))
    again = succeeded(local, on(dataset_id, hyperparameters={"start": {"model": "houses"}, "epochs": 1}))
    assert again["version"] == 2
    assert again["result"]["train_loss"] <= first["result"]["train_loss"]
    other = upload(local, HOUSES.replace("villa", "tower"))
    body = on(other, hyperparameters={"start": {"model": "houses@1"}})
    its = "takes 'kind' (category of 'flat', 'house', 'villa') where this dataset has"
    check_fault(local.post("/train", body), "#/hyperparameters/start/model", its)
    inline: Json = {"features": [[1, 2, 3, 4, 5]], "targets": [1]}
    check_fault(
        local.post("/train", {**body, "dataset": inline}),
        "#/hyperparameters/start/model",
        "takes 'area' (number) where this dataset has 'x1' (number)",
    )


def test_a_dataset_that_came_inside_a_request_can_be_trained_on_by_its_id(local: LocalService) -> None:
    first = succeeded(local, line(dataset=EXAMS))
    selection: Json = {"target": "y", "features": ["quiz1", "quiz3"]}
    job = succeeded(local, on(dataset_of(local, first), **selection))
    rows = [[row[0], row[2]] for row in EXAMS["features"]]
    inline: Json = {"features": rows, "feature_names": ["quiz1", "quiz3"], "targets": EXAMS["targets"]}
    assert learned(local, job) == learned(local, succeeded(local, {**on(""), "dataset": inline}))


def test_a_made_up_dataset_is_trained_on_and_found_again_by_its_id(local: LocalService) -> None:
    spec = {"kind": "linear", "weights": [2.0, -1.0], "bias": 3.0, "n_samples": 50, "seed": 4}
    job = succeeded(local, line(dataset={"synthetic": spec}, hyperparameters={"epochs": 2000}))
    assert learned(local, job)["weight"] == pytest.approx([2, -1], abs=1e-3)
    assert local.http.get(f"/datasets/{dataset_of(local, job)}").json()["origin"] == "synthetic"


def test_a_retry_takes_the_same_columns_of_the_same_dataset(local: LocalService) -> None:
    job = succeeded(local, on(upload(local, HOUSES), **CHOSEN, split="use"))
    again = local.post(f"/jobs/{job['id']}/retry", "").json()
    local.work()
    again = local.job(again["id"])
    assert (again["status"], dataset_of(local, again)) == ("succeeded", dataset_of(local, job))
    assert learned(local, again) == learned(local, job)


def test_a_retry_without_its_dataset_is_refused_and_possible_when_it_is_back(local: LocalService) -> None:
    dataset_id = upload(local, HOUSES)
    job = succeeded(local, on(dataset_id))
    assert local.http.delete(f"/datasets/{dataset_id}").status_code == 204
    refused = local.post(f"/jobs/{job['id']}/retry", "")
    check_fault(refused, "#", "cannot be retried without what it was trained on: there is no dataset")
    assert upload(local, HOUSES) == dataset_id
    assert local.post(f"/jobs/{job['id']}/retry", "").status_code == 202


@pytest.mark.parametrize("path", ["/train", "/train/check"])
def test_a_dataset_that_is_not_there_is_a_fault_of_the_request(local: LocalService, path: str) -> None:
    check_fault(local.post(path, on("ds_nowhere")), "#/dataset/id", "there is no dataset 'ds_nowhere'")


@pytest.mark.parametrize("path", ["/train", "/train/check"])
@pytest.mark.parametrize(
    ("task", "changes", "pointer", "words"),
    [
        ("linear_regression", {"target": "prize"}, "#/dataset/target", "did you mean 'price'?"),
        ("linear_regression", {"features": ["area", "note"]}, "#/dataset/features/1", "is text"),
        ("linear_regression", {"features": ["rooms"]}, "#/dataset/missing", "1 missing value"),
        ("logistic_regression", {"target": "kind"}, "#/dataset/target", "exactly 2 classes, and these have 3"),
        ("linear_regression", {"featurs": ["area"]}, "#/dataset/featurs", "did you mean features?"),
        ("linear_regression", {"target": 3}, "#/dataset/target", "string"),
    ],
)
def test_a_selection_that_does_not_fit_is_refused_with_the_place_and_the_way_out(
    local: LocalService, path: str, task: str, changes: Json, pointer: str, words: str
) -> None:
    body = on(upload(local, HOUSES), task, **{**CHOSEN, "features": ["area", "garden"], **changes})
    check_fault(local.post(path, body), pointer, words)


def test_a_check_of_a_stored_dataset_tells_what_the_job_will_settle_on(local: LocalService) -> None:
    body = on(upload(local, HOUSES), hyperparameters={"scale": "standard", "validation_fraction": 0.3})
    found = local.post("/train/check", body).json()
    job = succeeded(local, body)
    assert found["hyperparameters"]["learning_rate"] == job["hyperparameters"]["learning_rate"]
    assert found["n_features"] == 5


def test_a_fault_that_only_the_numbers_show_fails_the_job_with_its_sentence(local: LocalService) -> None:
    """Which samples are drawn for training is not known before they are read."""
    rows = "".join(f"{n},{n},{int(n == 2)}\n" for n in range(4))
    selection: Json = {"target": "y", "features": ["x"], "sample_weight": "w"}
    body = on(upload(local, f"x,y,w\n{rows}"), hyperparameters={"validation_fraction": 0.5}, **selection)
    refused, job = local.post("/train/check", body), local.train(body)
    check_fault(refused, "#/dataset/sample_weight", "all have the weight 0")
    assert job["error"]["code"] == "invalid_request"
    assert job["error"]["detail"] == refused.json()["errors"][0]["detail"]


def test_a_dataset_that_is_deleted_between_the_plan_and_the_queue_gets_no_job(local: LocalService) -> None:
    body = TrainRequest.model_validate(on(upload(local, HOUSES)))
    planned = plan_request(local.database, local.settings, body)
    assert planned.kept is not None
    dataset_id = planned.kept.dataset_id
    assert local.http.delete(f"/datasets/{dataset_id}").status_code == 204
    with pytest.raises(NotFound, match="it was deleted"), local.database.writing() as session:
        enqueue(session, planned, dataset_id=dataset_id, model=None, metadata={}, priority=0)
    assert local.http.get("/jobs").json()["data"] == []


def test_a_dataset_is_not_deleted_while_a_job_waits_for_it(local: LocalService) -> None:
    dataset_id = upload(local, HOUSES)
    job_id = local.enqueue(on(dataset_id))
    problem = check_problem(local.http.delete(f"/datasets/{dataset_id}"), 409)
    assert job_id in problem["detail"]
    local.work()
    assert local.http.delete(f"/datasets/{dataset_id}").status_code == 204
    assert local.http.get("/predict?model=houses&area=70&kind=flat&garden=true").status_code == 200
