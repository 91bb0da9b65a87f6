"""datasets: tables in files with names, columns and statistics; deletion; what a job selects of them

Revision: 0003
After: 0002
"""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LONG_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

DATASETS = sa.table(
    "datasets",
    sa.column("id", sa.String),
    sa.column("n_features", sa.Integer),
    sa.column("columns", sa.JSON()),
    sa.column("n_bytes", sa.Integer),
    sa.column("content", sa.LargeBinary),
    sa.column("deleted_at", sa.DateTime),
)


def upgrade() -> None:
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("name", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("origin", sa.String(), nullable=False, server_default="inline"))
        batch_op.add_column(sa.Column("format", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("columns", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("statistics", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("reading", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("n_bytes", LONG_INTEGER, nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    describe_inline_datasets()
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.alter_column("content", existing_type=sa.LargeBinary(), nullable=True)
        batch_op.alter_column("origin", existing_type=sa.String(), server_default=None)
        batch_op.alter_column("columns", existing_type=sa.JSON(), server_default=None)
        batch_op.alter_column("n_bytes", existing_type=LONG_INTEGER, server_default=None)
        batch_op.drop_constraint("uq_datasets_sha256", type_="unique")
        batch_op.drop_column("n_features")
        batch_op.create_index("ix_datasets_created_at", ["created_at"])
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("selection", sa.JSON(none_as_null=True), nullable=True))


def schemas() -> Iterator[tuple[str, dict[str, Any], int]]:
    """Give the id of each dataset, the schema in the header of what is kept (safetensors), and how many bytes that has.

    It is kept as a whole in one value, of which the database gives a part as well.
    """
    connection = op.get_bind()
    for identifier in connection.execute(sa.select(DATASETS.c.id)).scalars().all():
        is_this = DATASETS.c.id == identifier

        def part(start: int, length: int, is_this: sa.ColumnElement[bool] = is_this) -> bytes:
            content = sa.cast(sa.func.substr(DATASETS.c.content, start, length), sa.LargeBinary)
            return connection.execute(sa.select(content).where(is_this)).scalar_one()

        header = json.loads(part(9, int.from_bytes(part(1, 8), "little")))
        n_bytes = connection.execute(sa.select(sa.func.length(DATASETS.c.content)).where(is_this)).scalar_one()
        yield identifier, json.loads(header["__metadata__"]["schema"]), n_bytes


def kind_of(classes: list[Any] | None) -> str:
    if classes is None or not any(isinstance(label, bool | str) for label in classes):
        return "number"
    return "boolean" if all(isinstance(label, bool) for label in classes) else "category"


def describe_inline_datasets() -> None:
    for identifier, schema, n_bytes in schemas():
        columns = [{"name": name, "kind": "number"} for name in schema["feature_names"]]
        columns += [{"name": name, "kind": kind_of(schema["classes"])} for name in schema["target_names"]]
        described = DATASETS.update().where(DATASETS.c.id == identifier).values(columns=columns, n_bytes=n_bytes)
        op.get_bind().execute(described)


def downgrade() -> None:
    """Go back; refused where there is a dataset that the older version could not read."""
    connection = op.get_bind()
    uploaded = connection.execute(sa.select(DATASETS.c.id).where(DATASETS.c.content.is_(None))).scalars().first()
    if uploaded is not None:
        raise ValueError(f"dataset {uploaded} has no content in the database: there is no way back")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("selection")
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("n_features", sa.Integer(), nullable=False, server_default="0"))
    for identifier, schema, _ in schemas():
        counted = DATASETS.update().where(DATASETS.c.id == identifier)
        connection.execute(counted.values(n_features=len(schema["feature_names"])))
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.alter_column("n_features", existing_type=sa.Integer(), server_default=None)
        batch_op.alter_column("content", existing_type=sa.LargeBinary(), nullable=False)
        batch_op.drop_index("ix_datasets_created_at")
        batch_op.create_unique_constraint("uq_datasets_sha256", ["sha256"])
        for column in ("name", "origin", "format", "columns", "statistics", "reading", "n_bytes", "deleted_at"):
            batch_op.drop_column(column)
