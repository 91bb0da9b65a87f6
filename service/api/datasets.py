"""GET and DELETE /datasets: what there is to train on, what is in it, and away with it."""

from datetime import datetime
from pathlib import Path as FolderPath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field

from service.api.dependencies import After, Limit, Page, Reading, Response, TheDatabase, TheSettings
from service.api.problems import describe
from service.api.routes import LateRoute
from service.copies import bytes_of
from service.data.statistics import Statistics
from service.data.tables import Table
from service.encoding import Kind
from service.errors import InvalidDataset
from service.files import Format
from service.library import kept_table, while_files_are_there
from service.store import datasets, folders
from service.store.datasets import Origin, StoredDataset

router = APIRouter(prefix="/datasets", tags=["datasets"], route_class=LateRoute)

DatasetId = Annotated[str, Path(description="The dataset's id.", max_length=100, examples=["ds_5b1f0c9e4d7a8236"])]
Cell = float | int | str | bool | None


class DatasetLinks(Response):
    """Where to go on from a dataset."""

    self: str = Field(description="The dataset.")
    preview: str = Field(description="Its first rows.")


class DatasetSummary(Response):
    """A dataset, in short."""

    id: str = Field(description="The dataset's id: the same content has the same.")
    name: str | None = Field(description="As given, or that of the file; null when there is none.")
    origin: Origin = Field(
        description="`inline` in a request to train, by `upload`, or `synthetic`: made from a recipe."
    )
    format: Format | None = Field(
        description="Of the file; null for one that came inside a request, and for a synthetic one."
    )
    sha256: str = Field(description="The SHA-256 of the content, unpacked.")
    n_samples: int = Field(description="How many rows there are.")
    n_columns: int = Field(description="How many columns there are.")
    n_bytes: int = Field(description="What its content takes on disk.")
    encoded_bytes: int = Field(
        description="What its encoded copies take on disk besides: files that trainings share, and that go away by "
        "themselves when space is needed."
    )
    created_at: datetime = Field(description="When it came here.")
    links: DatasetLinks = Field(description="Where to go on.")


class ColumnResponse(Response):
    """A column of a dataset."""

    name: str = Field(description="Its name.", examples=["area"])
    type: Kind = Field(description="What its values are.", examples=["number"])


class DatasetResponse(DatasetSummary):
    """A dataset, and what is in it."""

    # pydantic has a method of the name `schema`.
    model_config = ConfigDict(validate_by_name=True)

    columns: list[ColumnResponse] = Field(alias="schema", description="Name and type of each column, in order.")
    statistics: dict[str, dict[str, Any]] | None = Field(
        description="Of each column, by its name: `count` of the values that are there, `missing`, `distinct`; of "
        "numbers `mean`, `standard_deviation` (of these values: divided by their count, not by one less as pandas and "
        "polars do), `min`, `max` and `quantiles`; of dates `min` and `max`, in UTC; of others `top`, the most "
        "frequent values and their counts. `estimated` names those that are not exact. Null for a dataset that came "
        "inside a request and has a feature and a target of the same name."
    )
    reading: dict[str, Any] | None = Field(
        description="How the file was read, such as its delimiter and its encoding, with those `types` that were said "
        "and are others than the columns would have been taken as; the recipe of a synthetic dataset; null for one "
        "that came inside a request."
    )


class DatasetPage(Page):
    """Datasets, newest first."""

    data: list[DatasetSummary] = Field(description="The datasets.")


class Preview(Response):
    """Some rows of a dataset."""

    first: int = Field(description="The number of the first of these rows, from 0.")
    n_samples: int = Field(description="How many rows the dataset has.")
    columns: list[str] = Field(description="The columns' names, in order.")
    rows: list[list[Cell]] = Field(
        description="The values of each row; null stands for a missing one, dates are texts in UTC."
    )


def dataset_response(
    stored: StoredDataset, statistics: dict[str, Any] | None, datasets_path: FolderPath
) -> DatasetResponse:
    """Put a dataset into the words of the wire."""
    columns = [ColumnResponse(name=column["name"], type=column["kind"]) for column in stored.columns]
    summary = _summary(stored, datasets_path).model_dump()
    return DatasetResponse(**summary, columns=columns, statistics=statistics, reading=stored.reading)


def statistics_of(table: Table) -> dict[str, Any]:
    """Go through a table for the statistics of each column, as JSON values."""
    statistics = Statistics(table.columns)
    for frame in table.frames():
        statistics.add(frame)
    return statistics.to_json()


def _summary(stored: StoredDataset, datasets_path: FolderPath) -> DatasetSummary:
    path = f"/datasets/{stored.id}"
    values = {name: getattr(stored, name) for name in DatasetSummary.model_fields if hasattr(stored, name)}
    links = DatasetLinks(self=path, preview=f"{path}/preview")
    encoded_bytes = bytes_of(datasets_path / stored.id)
    return DatasetSummary(**values, n_columns=len(stored.columns), encoded_bytes=encoded_bytes, links=links)


@router.get("", response_description="A page of datasets.", responses=describe(404))
def list_datasets(session: Reading, settings: TheSettings, limit: Limit = 100, after: After = None) -> DatasetPage:
    """List datasets, newest first."""
    found, has_more = datasets.page(session, limit=limit, after=after)
    return DatasetPage(
        data=[_summary(stored, settings.datasets_path) for stored in found],
        has_more=has_more,
        next=found[-1].id if has_more else None,
    )


@router.get("/{dataset_id}", response_description="The dataset.", responses=describe(404))
def get_dataset(session: Reading, settings: TheSettings, dataset_id: DatasetId) -> DatasetResponse:
    """Tell what is in a dataset: its columns with their types and their statistics."""
    stored = datasets.get(session, dataset_id)
    if stored.format is not None:
        return dataset_response(stored, stored.statistics, settings.datasets_path)
    try:
        table = kept_table(session, settings.datasets_path, dataset_id).table
    except InvalidDataset:  # a feature and a target have the same name
        return dataset_response(stored, None, settings.datasets_path)
    return dataset_response(stored, statistics_of(table), settings.datasets_path)


@router.get("/{dataset_id}/preview", response_description="Some rows of the dataset.", responses=describe(404))
def preview_dataset(
    session: Reading,
    settings: TheSettings,
    dataset_id: DatasetId,
    rows: Annotated[int, Query(ge=1, le=1000, description="How many at the most.")] = 20,
    first: Annotated[int, Query(ge=0, le=2**62, description="The number of the first of them, from 0.")] = 0,
) -> Preview:
    """Show some rows of a dataset."""
    stored = datasets.get(session, dataset_id)
    with while_files_are_there(dataset_id):
        # A feature and a target may have the same name.
        table = kept_table(session, settings.datasets_path, dataset_id, by_number=True).table
        shown = table.preview(first, rows)
    return Preview(
        first=first,
        n_samples=stored.n_samples,
        columns=[column["name"] for column in stored.columns],
        rows=[list(record.values()) for record in shown],
    )


@router.delete("/{dataset_id}", status_code=204, response_description="It is gone.", responses=describe(404, 409, 507))
def delete_dataset(database: TheDatabase, settings: TheSettings, dataset_id: DatasetId) -> None:
    """Delete a dataset. Jobs and versions that were trained on it stay, and go on naming it."""
    folders.delete(database, settings, dataset_id)
