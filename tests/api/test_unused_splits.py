"""What a job tells of a column that looks like a split."""

from tests.api.conftest import LocalService
from tests.api.test_training_on_datasets import HOUSES, on, upload


def test_a_job_tells_of_a_column_that_seems_to_be_a_split(local: LocalService) -> None:
    body = on(upload(local, HOUSES), target="price", missing="mean")
    checked = local.post("/train/check", body).json()
    queued = local.job(local.enqueue(body))
    trained = local.train(body)
    assert trained["status"] == "succeeded"
    for told in (checked, queued, trained):
        assert [warning["code"] for warning in told["warnings"]][:2] == ["columns_left_out", "unused_split_column"]
    named = {**body, "dataset": {**body["dataset"], "split": "use"}}
    assert "unused_split_column" not in str(local.post("/train/check", named).json()["warnings"])
