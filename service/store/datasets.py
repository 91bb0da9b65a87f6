"""Datasets, kept once each under their content hash."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Literal

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from service.dataset import Dataset, Label
from service.encoding import Kind
from service.errors import NotFound
from service.store.columns import now
from service.store.tables import DatasetRow, JobRow, Json

Origin = Literal["inline", "upload", "synthetic"]


@dataclass(frozen=True)
class StoredDataset:
    """A dataset that is kept, without its samples.

    `columns` has name and kind of each; `format`, `statistics` and `reading` are those of a table in files, and None
    for a dataset that came inside a request.
    """

    id: str
    sha256: str
    name: str | None
    origin: Origin
    format: str | None
    n_samples: int
    columns: list[Json]
    statistics: Json | None
    reading: Json | None
    n_bytes: int
    created_at: datetime


def keep(session: Session, dataset: Dataset, origin: Origin = "inline") -> str:
    """Keep a dataset in the database, unless it is here already; give its id."""
    identifier = f"ds_{dataset.sha256[:32]}"
    schema = dataset.schema
    columns = [{"name": name, "kind": "number"} for name in schema.feature_names]
    columns += [{"name": name, "kind": _kind_of(schema.classes)} for name in schema.target_names]
    _put(
        session,
        DatasetRow(
            id=identifier,
            sha256=dataset.sha256,
            name=None,
            origin=origin,
            format=None,
            n_samples=dataset.n_samples,
            columns=columns,
            statistics=None,
            reading=None,
            n_bytes=len(dataset.content),
            content=dataset.content,
            created_at=now(),
        ),
    )
    return identifier


def _kind_of(classes: tuple[Label, ...] | None) -> Kind:
    if classes is None or not any(isinstance(label, bool | str) for label in classes):
        return "number"
    return "boolean" if all(isinstance(label, bool) for label in classes) else "category"


def keep_table(session: Session, stored: StoredDataset) -> bool:
    """Note a dataset whose table lies in files; tell whether it is new here."""
    values = {field.name: getattr(stored, field.name) for field in fields(stored)}
    return _put(session, DatasetRow(**values, content=None))


def _put(session: Session, row: DatasetRow) -> bool:
    """Add a row, or bring it back to life where it was deleted; tell whether it is new."""
    known = session.get(DatasetRow, row.id)
    if known is not None and known.deleted_at is None:
        return False
    row.deleted_at = None
    session.merge(row)
    session.flush()
    return True


def get(session: Session, dataset_id: str) -> StoredDataset:
    """Read a dataset, without its samples.

    Raises:
        NotFound: when there is none of this id.
    """
    return _row(session, dataset_id).as_value(StoredDataset)


def load(session: Session, dataset_id: str) -> Dataset:
    """Read a dataset that is kept in the database, samples and all.

    Raises:
        NotFound: when there is none of this id.
    """
    content = _row(session, dataset_id).content
    if content is None:
        raise NotFound(f"dataset {dataset_id!r} is not in the database: its table lies in files")
    return Dataset.from_content(content)


def page(session: Session, *, limit: int, after: str | None = None) -> tuple[list[StoredDataset], bool]:
    """Read up to `limit` datasets, newest first, those after a given id; and tell whether there are more.

    Raises:
        NotFound: when there is no dataset `after`.
    """
    query = select(DatasetRow).where(DatasetRow.deleted_at.is_(None))
    if after is not None:
        last = session.get(DatasetRow, after)
        if last is None:
            raise NotFound(f"there is no dataset {after!r} to go on after")
        older = DatasetRow.created_at < last.created_at
        query = query.where(or_(older, and_(DatasetRow.created_at == last.created_at, DatasetRow.id < last.id)))
    query = query.order_by(DatasetRow.created_at.desc(), DatasetRow.id.desc()).limit(limit + 1)
    rows: Sequence[DatasetRow] = session.scalars(query).all()
    return [row.as_value(StoredDataset) for row in rows[:limit]], len(rows) > limit


def total_bytes(session: Session) -> int:
    """Sum up what all datasets take on disk."""
    total = session.scalar(select(func.sum(DatasetRow.n_bytes)).where(DatasetRow.deleted_at.is_(None)))
    return int(total or 0)  # PostgreSQL gives a Decimal


def largest(session: Session, limit: int) -> list[tuple[str, int]]:
    """Give the datasets that take most on disk, with their bytes."""
    query = select(DatasetRow.id, DatasetRow.n_bytes).where(DatasetRow.deleted_at.is_(None))
    found = session.execute(query.order_by(DatasetRow.n_bytes.desc(), DatasetRow.id).limit(limit))
    return [(identifier, n_bytes) for identifier, n_bytes in found]


def kept_among(session: Session, dataset_ids: Collection[str]) -> set[str]:
    """Tell which of these are datasets that are here."""
    query = select(DatasetRow.id).where(DatasetRow.id.in_(dataset_ids), DatasetRow.deleted_at.is_(None))
    return set(session.scalars(query))


def jobs_in_need(session: Session, dataset_id: str) -> list[str]:
    """Give the ids of the queued and running jobs that train on a dataset."""
    query = select(JobRow.id).where(JobRow.dataset_id == dataset_id, JobRow.status.in_(("queued", "running")))
    return list(session.scalars(query.order_by(JobRow.sequence)))


def delete(session: Session, dataset_id: str) -> None:
    """Delete a dataset; that it was here is remembered, for jobs and versions name it.

    Raises:
        NotFound: when there is none of this id.
    """
    row = _row(session, dataset_id)
    row.deleted_at, row.content = now(), None


def _row(session: Session, dataset_id: str) -> DatasetRow:
    row = session.get(DatasetRow, dataset_id)
    if row is None or row.deleted_at is not None:
        was_here = "; it was deleted, and comes back when the same is uploaded again"
        hint = was_here if row is not None else ": GET /datasets lists them"
        raise NotFound(f"there is no dataset {dataset_id!r}{hint}")
    return row
