"""The tables. A change here needs a migration in alembic/versions; a test compares the two."""

from dataclasses import fields
from datetime import datetime
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import JSON, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, MetaData, UniqueConstraint, false
from sqlalchemy import Table as CoreTable
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from service.parameters import Layout
from service.store.columns import ArrayBytes, LayoutShapes, LongInteger, UtcTime, WritableText

LOCAL = "local"
"""Whose everything is that was made without a key."""

Json = dict[str, Any]
Array = NDArray[np.generic]
Value = TypeVar("Value")


class Table(DeclarativeBase):
    """What the rows below have in common: types of columns, and names of constraints."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        str: WritableText,
        datetime: UtcTime,
        Json: JSON(none_as_null=True),
        list[Json]: JSON,
        Layout: LayoutShapes,
        Array: ArrayBytes,
        bytes: LargeBinary,
    }

    def as_value(self, kind: type[Value], **others: Any) -> Value:
        """Copy the columns that a frozen dataclass names, but for `others`, into one, which may leave the store."""
        names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
        return kind(**{name: others[name] if name in others else getattr(self, name) for name in names})


class DatasetRow(Table):
    """A dataset, kept once however often it is given; uploaded ones have their table in files, others in `content`.

    A deleted one leaves its row, for jobs and versions name it.
    """

    __tablename__ = "datasets"
    __table_args__ = (
        Index(None, "deleted_at", "n_bytes", "id"),
    )  # whatever is kept asks what all take, and which most

    id: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str]  # of the content as it was sent, or of `content`
    origin: Mapped[str]
    format: Mapped[str | None]
    n_samples: Mapped[int] = mapped_column(LongInteger)
    columns: Mapped[list[Json]]  # name and kind of each
    statistics: Mapped[Json | None]  # of each column, by its name
    reading: Mapped[Json | None]  # how the file was read
    n_bytes: Mapped[int] = mapped_column(LongInteger)  # what it takes on disk
    content: Mapped[bytes | None] = mapped_column(deferred=True)
    deleted_at: Mapped[datetime | None]


class HoldingRow(Table):
    """That a dataset is an owner's: each has a name for it and may delete it for itself.

    The dataset goes with the last of its owners. A deleted one leaves its row, to tell that it was here.
    """

    __tablename__ = "holdings"
    __table_args__ = (Index(None, "owner", "created_at"),)

    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    owner: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(index=True)
    deleted_at: Mapped[datetime | None]


class JobRow(Table):
    """A job. The rows with status `queued` are the queue, in the order of `sequence`."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "status", "paused", "priority", "sequence"),
        Index(None, "model", "sequence"),
        Index(None, "finished_at"),
        Index(None, "changed_at", "sequence"),
        Index(None, "owner", "sequence"),
        Index(None, "owner", "status"),
        {"sqlite_autoincrement": True},  # no sequence is ever given twice, also when the newest job is deleted
    )

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    owner: Mapped[str] = mapped_column(server_default=LOCAL)
    model: Mapped[str]
    version: Mapped[int | None]
    task: Mapped[str]
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    selection: Mapped[Json | None]  # of the dataset's columns; null where it is features and targets already
    requested: Mapped[Json]  # hyperparameters as asked for, with the seed that was drawn for them
    resolved: Mapped[Json | None]  # as planned, then as the running or last attempt settled them
    layout: Mapped[Layout]
    user_metadata: Mapped[Json]
    retry_of: Mapped[str | None]  # the id of a job

    status: Mapped[str]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    changed_at: Mapped[datetime] = mapped_column(nullable=True)  # to its status; never null, but SQLite is not told so
    cancel_requested: Mapped[bool] = mapped_column(server_default=false())
    paused: Mapped[bool] = mapped_column(server_default="0")  # a queued job that waits to be resumed
    priority: Mapped[int] = mapped_column(server_default="0")  # higher ones first
    request_id: Mapped[str | None]  # of the request that asked for it, for the logs

    attempt: Mapped[int] = mapped_column(server_default="0")
    n_lost_workers: Mapped[int] = mapped_column(server_default="0")
    worker_id: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]

    engine: Mapped[str | None]
    advice: Mapped[Json | None]  # what the data says of the learning rate; null before the start
    scaling: Mapped[Json | None]  # of what the history holds; null when it is in original units
    environment: Mapped[Json | None]
    progress: Mapped[float] = mapped_column(server_default="0")
    stop_reason: Mapped[str | None]
    result: Mapped[Json | None]
    warnings: Mapped[list[Json]]
    diagnosis: Mapped[Json | None]
    error: Mapped[Json | None]


class HistoryBlockRow(Table):
    """Some thousand consecutive recorded epochs of a job, an array a column, in the units of the descent."""

    __tablename__ = "history_blocks"

    job_sequence: Mapped[int] = mapped_column(ForeignKey("jobs.sequence", ondelete="CASCADE"), primary_key=True)
    first_epoch: Mapped[int] = mapped_column(primary_key=True)
    last_epoch: Mapped[int]
    n_epochs: Mapped[int]
    epoch: Mapped[Array]
    train_loss: Mapped[Array]
    validation_loss: Mapped[Array | None]
    gradient_norm: Mapped[Array]
    learning_rate: Mapped[Array]
    parameters: Mapped[Array | None]
    gradient: Mapped[Array | None]


class CheckpointRow(Table):
    """Where a running job's descent stands after the last block that was recorded, to go on from there."""

    __tablename__ = "checkpoints"

    job_sequence: Mapped[int] = mapped_column(ForeignKey("jobs.sequence", ondelete="CASCADE"), primary_key=True)
    content: Mapped[bytes]  # as `service.training.checkpoint` writes it


class IdempotencyRow(Table):
    """A request that was answered with a job, under the key that its sender gave it."""

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_sha256: Mapped[str]
    job_id: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(index=True)


class ModelRow(Table):
    """A model: a name with versions. Names are unique among all owners, so that one means the same whoever asks.

    A deleted one leaves its row, with 0 as its latest version, so that no version's number is ever given twice.
    """

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(server_default=LOCAL, index=True)
    latest_version: Mapped[int]  # of those that are there
    last_number: Mapped[int] = mapped_column(server_default="0")  # that was given to a version
    description: Mapped[str | None]
    user_metadata: Mapped[Json]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime] = mapped_column(index=True)


class VersionRow(Table):
    """A version of a model: the outcome of one job, never changed."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("model", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(ForeignKey("models.name"))
    version: Mapped[int]
    task: Mapped[str]
    job_id: Mapped[str]
    dataset_id: Mapped[str]
    dataset_schema: Mapped[Json]
    hyperparameters: Mapped[Json]
    user_metadata: Mapped[Json]
    result: Mapped[Json]
    scaling: Mapped[Json | None]
    ranges: Mapped[Json | None]  # of the features that were trained on; null for versions older than this column
    n_parameters: Mapped[int]
    parameters: Mapped[bytes] = mapped_column(deferred=True)
    created_at: Mapped[datetime]


class AliasRow(Table):
    """A name of the users' own for a version, which it keeps from being deleted."""

    __tablename__ = "aliases"
    __table_args__ = (ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),)

    model: Mapped[str] = mapped_column(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    updated_at: Mapped[datetime]


class RegistryRow(Table):
    """The one row that counts the changes of what names mean, so that those who remember it know when to ask again."""

    __tablename__ = "registry"

    id: Mapped[int] = mapped_column(primary_key=True)
    n_changes: Mapped[int]


class WorkerRow(Table):
    """A worker that lives, or lived until `seen_at`."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[str]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class KeyRow(Table):
    """An access key, of which only the hash is kept."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]  # the owner of what is made with it
    scope: Mapped[str]
    sha256: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class AuditRow(Table):
    """Something that was done, by whom and when."""

    __tablename__ = "audit"
    __table_args__ = ({"sqlite_autoincrement": True},)

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(index=True)
    key_id: Mapped[str | None]
    owner: Mapped[str]
    action: Mapped[str]
    objects: Mapped[str]  # what it was done to and what it made, with spaces between
    request_id: Mapped[str | None]


def core(row: type[Table]) -> CoreTable:
    """Give a table as it is without classes, for what is nobody's view of it: no owner narrows it down.

    Statements that are run for every job are made of these, once, with `bindparam` for what changes: to make one anew,
    and to load what it gives as rows of classes, takes several times as long as to run it.
    """
    return cast(CoreTable, row.__table__)
