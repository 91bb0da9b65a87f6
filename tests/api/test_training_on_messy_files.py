"""Files as they are found, trained on like the same numbers inside a request, bit for bit."""

import io
from typing import Any

import pandas
import polars as pl
import pytest

from tests.api.conftest import Json, LocalService
from tests.api.test_training_on_datasets import learned, succeeded
from tests.api.uploading import MEDIA_TYPES, upload

AREAS = [50.5, 80.25, 120.0, 95.75, 150.125, 60.5, 77.1, 133.3]
PRICES = [200.1, 310.0, 480.75, 400.3, 700.0, 250.25, 299.99, 512.5]
NOTES = ["ok,\nbut small", 'needs "paint"', "", "near the lake; quiet", "pool\r\nand sauna", "bright", "ünïcode ☃", "x"]
KINDS = ["flat", "flat", None, "house", "villa", None, "flat", "house"]
ROOMS = [2, 3, None, 4, 5, 2, None, 6]


def german() -> tuple[bytes, pl.DataFrame, str]:
    rows = [f"{area};{price}".replace(".", ",") for area, price in zip(AREAS, PRICES, strict=True)]
    text = "\r\n".join(["Größe;y", *rows, ""])
    frame = pl.DataFrame({"Größe": AREAS, "y": PRICES})
    return text.encode("cp1252"), frame, "?decimal=,&encoding=cp1252"


def quoted() -> tuple[bytes, pl.DataFrame, str]:
    frame = pl.DataFrame({"note": NOTES, "area": AREAS, "y": PRICES})
    return b"\xef\xbb\xbf" + frame.write_csv(quote_style="always").encode(), frame, ""


def holes() -> tuple[bytes, pl.DataFrame, str]:
    frame = pl.DataFrame({"kind": KINDS, "area": AREAS, "rooms": ROOMS, "y": PRICES})
    return frame.write_csv(null_value="NA").encode(), frame, "?missing=NA"


def rows_of_holes() -> list[list[float]]:
    """The numbers that kinds and rooms become: a feature each, none where it is missing, and whether it is missing."""
    median = 3.5
    return [
        [*(float(kind == known) for known in ("flat", "house", "villa")), float(kind is None), area, rooms or median]
        for kind, area, rooms in zip(KINDS, AREAS, ROOMS, strict=True)
    ]


HOLES = ["kind=flat", "kind=house", "kind=villa", "kind is missing", "area", "rooms"]
MESSY: dict[str, tuple[Any, Json, list[Any], list[str]]] = {
    "semicolons and decimal commas": (german, {"target": "y"}, [[area] for area in AREAS], ["Größe"]),
    "quoted texts of several lines behind a byte order mark": (
        quoted,
        {"target": "y", "features": ["area"]},
        [[area] for area in AREAS],
        ["area"],
    ),
    "categories and numbers with holes": (
        holes,
        {"target": "y", "missing": {"kind": "indicator", "rooms": "median"}},
        rows_of_holes(),
        HOLES,
    ),
}


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("name", MESSY)
def test_a_messy_file_trains_to_the_same_parameters_as_its_numbers_inside_a_request(
    local: LocalService, name: str, form: str
) -> None:
    written, selection, rows, names = MESSY[name]
    content, frame, query = written()
    if form == "parquet":
        file, query = io.BytesIO(), ""
        frame.write_parquet(file)
        content = file.getvalue()
    answer = upload(local, content, MEDIA_TYPES[form], query)
    assert answer.status_code == 201, answer.text
    asked = {"epochs": 40, "scale": "standard", "seed": 3, "dtype": "float64"}
    body = {"task": "linear_regression", "hyperparameters": asked}
    inline: Json = {"features": rows, "feature_names": names, "targets": PRICES}
    first = succeeded(local, {**body, "dataset": inline})
    second = succeeded(local, {**body, "dataset": {"id": answer.json()["id"], **selection}})
    assert learned(local, first) == learned(local, second)
    assert first["result"] == second["result"]


def test_the_index_of_a_frame_of_pandas_is_no_feature_and_the_answer_says_so(local: LocalService) -> None:
    """Sorted by the target, its numbers would tell it."""
    frame = pandas.DataFrame({"area": AREAS, "y": PRICES}).sort_values("y")
    answer = upload(local, frame.to_parquet(), MEDIA_TYPES["parquet"])
    assert answer.json()["reading"]["left_out"] == ["__index_level_0__"]
    dataset = {"id": answer.json()["id"], "target": "y"}
    job = succeeded(local, {"task": "linear_regression", "dataset": dataset, "hyperparameters": {"epochs": 5}})
    assert learned(local, job)["feature_names"] == ["area"]
    types = {"types": {"__index_level_0__": "category"}}
    refused = local.post("/train", {"task": "linear_regression", "dataset": {**dataset, **types}})
    assert refused.status_code == 422


@pytest.mark.parametrize("date", ["0000-01-01", "0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-23:00"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_date_outside_of_the_calendar_is_refused_in_a_file_and_at_a_prediction(
    local: LocalService, date: str, form: str
) -> None:
    days = ["2024-01-05", "2024-02-11", "2025-03-09", "1999-05-30"]
    frame = pl.DataFrame({"day": days, "y": [1.0, 2.0, 3.0, 4.0]})
    content = (frame.write_csv() if form == "csv" else frame.write_ndjson()).encode()
    fine = upload(local, content, MEDIA_TYPES[form])
    refused = upload(local, content.replace(b"1999-05-30", date.encode()), MEDIA_TYPES[form])
    assert refused.status_code == 422, refused.text
    assert f"'{date}' is no date" in refused.text
    dataset = {"id": fine.json()["id"], "target": "y", "dates": {"day": ["year", "timestamp"]}}
    succeeded(local, {"task": "linear_regression", "model": "days", "dataset": dataset})
    assert local.http.get("/predict", params={"model": "days", "day": "2024-01-05"}).status_code == 200
    for refused in (
        local.http.get("/predict", params={"model": "days", "day": date}),
        local.post("/predict", {"model": "days", "records": [{"day": date}]}),
        local.post("/predict", {"model": "days", "features": [[date]]}),
    ):
        assert refused.status_code == 422, refused.text
        assert "in the years 1 to 9999" in refused.text
