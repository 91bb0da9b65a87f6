"""Datasets, kept once each under their content hash, for as many owners as have brought the same content.

Each of these has a name of their own for it, and deletes it for themselves; it goes with the last of them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import and_, bindparam, exists, func, or_, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from service.dataset import Dataset, Label, id_of_content
from service.encoding import Kind
from service.errors import NotFound
from service.store.columns import now
from service.store.ownership import OF_ALL, owner_of
from service.store.statements import run
from service.store.tables import DatasetRow, HoldingRow, JobRow, Json, core

Origin = Literal["inline", "upload", "synthetic"]

_HOLDINGS = core(HoldingRow)  # which is read for all owners
_IS_HELD = select(
    exists().where(
        _HOLDINGS.c.dataset_id == bindparam("its_id"),
        _HOLDINGS.c.owner == bindparam("its_owner"),
        _HOLDINGS.c.deleted_at.is_(None),
    )
)
_IS_THIS = DatasetRow.id == bindparam("its_id")
_CONTENT = select(DatasetRow.content).where(_IS_THIS, DatasetRow.deleted_at.is_(None))


@dataclass(frozen=True)
class StoredDataset:
    """A dataset that is kept, without its samples.

    `name` and `created_at` are those of whom it is read for; of its first owner for one who sees everything.
    `columns` has name and kind of each; `format` and `statistics` are those of a table in files, else None; `reading`
    is how that was read, or the recipe of a synthetic dataset.
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


def keep(session: Session, dataset: Dataset, origin: Origin = "inline", recipe: Json | None = None) -> str:
    """Keep a dataset in the database, unless it is here already; give its id.

    Args:
        recipe: that of a synthetic one.
    """
    identifier = id_of_content(dataset.sha256)
    schema = dataset.schema
    columns = [{"name": name, "kind": "number"} for name in schema.feature_names]
    columns += [{"name": name, "kind": _kind_of(schema.classes)} for name in schema.target_names]
    row = DatasetRow(
        id=identifier,
        sha256=dataset.sha256,
        origin=origin,
        format=None,
        n_samples=dataset.n_samples,
        columns=columns,
        statistics=None,
        reading=recipe,
        n_bytes=len(dataset.content),
        content=dataset.content,
    )
    _put(session, row)
    _hold(session, identifier, owner_of(session), None, now())
    return identifier


def _kind_of(classes: tuple[Label, ...] | None) -> Kind:
    if classes is None or not any(isinstance(label, bool | str) for label in classes):
        return "number"
    return "boolean" if all(isinstance(label, bool) for label in classes) else "category"


def keep_table(session: Session, stored: StoredDataset) -> bool:
    """Note a dataset whose table lies in files; tell whether its content is new here."""
    row = DatasetRow(
        id=stored.id,
        sha256=stored.sha256,
        origin=stored.origin,
        format=stored.format,
        n_samples=stored.n_samples,
        columns=stored.columns,
        statistics=stored.statistics,
        reading=stored.reading,
        n_bytes=stored.n_bytes,
        content=None,
    )
    is_new = _put(session, row)
    _hold(session, stored.id, owner_of(session), stored.name, stored.created_at)
    return is_new


def _put(session: Session, row: DatasetRow) -> bool:
    """Add a row, or bring it back to life where it was deleted; tell whether it is new."""
    known = session.get(DatasetRow, row.id, execution_options=OF_ALL)
    if known is not None and known.deleted_at is None:
        return False
    row.deleted_at = None
    session.merge(row)  # into the one that is known, if there is one
    session.flush()
    return True


def _hold(session: Session, dataset_id: str, owner: str, name: str | None, created_at: datetime) -> None:
    """Let a dataset be an owner's, too, unless it is."""
    held = session.get(HoldingRow, (dataset_id, owner), execution_options=OF_ALL)
    if held is None or held.deleted_at is not None:
        fresh = HoldingRow(dataset_id=dataset_id, owner=owner, name=name, created_at=created_at, deleted_at=None)
        session.merge(fresh)
        session.flush()


def hold(session: Session, dataset_id: str, owner: str) -> None:
    """Let a dataset that can be seen be an owner's, so that it stays while they need it.

    Raises:
        NotFound: when there is none of this id.
    """
    if not is_held(session, dataset_id, owner):
        _hold(session, dataset_id, owner, get(session, dataset_id).name, now())


def rename(session: Session, dataset_id: str, name: str) -> None:
    """Let a dataset have another name for the session's owner, whose it is."""
    session.get_one(HoldingRow, (dataset_id, owner_of(session))).name = name
    session.flush()


def get(session: Session, dataset_id: str) -> StoredDataset:
    """Read a dataset, without its samples.

    Raises:
        NotFound: when there is none of this id.
    """
    found = session.execute(_SEEN.where(DatasetRow.id == dataset_id)).first()
    if found is None:
        raise _not_found(session, dataset_id)
    return _stored(*found)


def is_held(session: Session, dataset_id: str, owner: str) -> bool:
    """Tell whether a dataset is here and an owner's; it is here as long as it is anybody's."""
    return bool(run(session, _IS_HELD, {"its_id": dataset_id, "its_owner": owner}).scalar())


def held(session: Session, dataset_id: str) -> StoredDataset | None:
    """Read a dataset that is the session's owner's, without its samples; None when it is not."""
    row = session.get(HoldingRow, (dataset_id, owner_of(session)))
    return get(session, dataset_id) if row is not None and row.deleted_at is None else None


def load(session: Session, dataset_id: str) -> Dataset:
    """Read a dataset that is kept in the database, samples and all.

    Raises:
        NotFound: when there is none of this id.
    """
    found = session.execute(_CONTENT, {"its_id": dataset_id}).first()
    if found is None:
        raise _not_found(session, dataset_id)
    content: bytes | None = found.content
    if content is None:
        raise NotFound(f"dataset {dataset_id!r} is not in the database: its table lies in files")
    return Dataset.from_content(content)


def page(session: Session, *, limit: int, after: str | None = None) -> tuple[list[StoredDataset], bool]:
    """Read up to `limit` datasets, newest first, those after a given id; and tell whether there are more.

    Raises:
        NotFound: when there is no dataset `after`.
    """
    query = _SEEN
    if after is not None:
        its = select(HoldingRow.created_at).where(HoldingRow.dataset_id == after)
        # One that is deleted still has its place.
        time = session.scalar(its.order_by(HoldingRow.deleted_at.is_not(None), HoldingRow.created_at).limit(1))
        if time is None:
            raise NotFound(f"there is no dataset {after!r} to go on after")
        older = HoldingRow.created_at < time
        query = query.where(or_(older, and_(HoldingRow.created_at == time, DatasetRow.id < after)))
    query = query.order_by(HoldingRow.created_at.desc(), DatasetRow.id.desc()).limit(limit + 1)
    rows = session.execute(query).all()
    return [_stored(*row) for row in rows[:limit]], len(rows) > limit


def total_bytes(session: Session) -> int:
    """Sum up what all datasets take on disk, whosesoever they are."""
    query = select(func.sum(DatasetRow.n_bytes)).where(DatasetRow.deleted_at.is_(None))
    return int(session.scalar(query, execution_options=OF_ALL) or 0)  # PostgreSQL gives a Decimal


def largest(session: Session, limit: int) -> list[tuple[str, int]]:
    """Give the datasets that take most on disk, with their bytes."""
    query = select(DatasetRow.id, DatasetRow.n_bytes).where(DatasetRow.deleted_at.is_(None))
    found = session.execute(query.order_by(DatasetRow.n_bytes.desc(), DatasetRow.id.desc()).limit(limit))
    return [(identifier, n_bytes) for identifier, n_bytes in found]


def kept_among(session: Session, dataset_ids: Collection[str]) -> set[str]:
    """Tell which of these are datasets that are here, whosesoever they are."""
    query = select(DatasetRow.id).where(DatasetRow.id.in_(dataset_ids), DatasetRow.deleted_at.is_(None))
    return set(session.scalars(query, execution_options=OF_ALL))


def jobs_in_need(session: Session, dataset_id: str) -> list[str]:
    """Give the ids of the queued and running jobs that train on a dataset."""
    query = select(JobRow.id).where(JobRow.dataset_id == dataset_id, JobRow.status.in_(("queued", "running")))
    return list(session.scalars(query.order_by(JobRow.sequence)))


def delete(session: Session, dataset_id: str) -> None:
    """Delete a dataset for all owners that the session sees; its content goes with the last owner.

    That it was here is remembered, for jobs and versions name it.

    Raises:
        NotFound: when there is none of this id.
    """
    row = session.get(DatasetRow, dataset_id)
    if row is None or row.deleted_at is not None:
        raise _not_found(session, dataset_id)
    moment = now()
    its = HoldingRow.dataset_id == dataset_id, HoldingRow.deleted_at.is_(None)
    session.execute(update(HoldingRow).where(*its).values(deleted_at=moment))
    if not session.scalar(select(exists().where(*its)), execution_options=OF_ALL):
        row.deleted_at, row.content = moment, None
        session.flush()


_earlier = aliased(HoldingRow)
_SEEN = select(DatasetRow, HoldingRow).where(
    HoldingRow.dataset_id == DatasetRow.id,
    HoldingRow.deleted_at.is_(None),
    ~exists().where(
        _earlier.dataset_id == HoldingRow.dataset_id,
        _earlier.deleted_at.is_(None),
        tuple_(_earlier.created_at, _earlier.owner) < tuple_(HoldingRow.created_at, HoldingRow.owner),
    ),
)
"""Each dataset that a session sees, with the first of those who have it: of those whom the session sees."""


def _stored(row: DatasetRow, held_as: HoldingRow) -> StoredDataset:
    return row.as_value(StoredDataset, name=held_as.name, created_at=held_as.created_at)


def _not_found(session: Session, dataset_id: str) -> NotFound:
    was_here = session.scalar(select(exists().where(HoldingRow.dataset_id == dataset_id)))
    hint = "; it was deleted, and comes back when the same is uploaded again" if was_here else ""
    return NotFound(f"there is no dataset {dataset_id!r}{hint or ': GET /datasets lists them'}")
