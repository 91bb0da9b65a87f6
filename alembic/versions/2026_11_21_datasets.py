"""datasets: tables in files with names, columns and statistics; deletion; what a job selects of them

Revision: 0003
After: 0002
"""

import json

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

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
        batch_op.add_column(sa.Column("n_bytes", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("deleted_at", sa.DateTime(), nullable=True))
    describe_inline_datasets()
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.alter_column("content", existing_type=sa.LargeBinary(), nullable=True)
        batch_op.alter_column("origin", existing_type=sa.String(), server_default=None)
        batch_op.alter_column("columns", existing_type=sa.JSON(), server_default=None)
        batch_op.alter_column("n_bytes", existing_type=sa.Integer(), server_default=None)
        batch_op.drop_constraint("uq_datasets_sha256", type_="unique")
        batch_op.drop_column("n_features")
        batch_op.create_index("ix_datasets_created_at", ["created_at"])
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("selection", sa.JSON(none_as_null=True), nullable=True))


def describe_inline_datasets() -> None:
    """Take the columns out of the schema in the header of what is kept (safetensors)."""
    connection = op.get_bind()
    identifiers = connection.execute(sa.select(DATASETS.c.id)).scalars().all()
    for identifier in identifiers:
        is_this = DATASETS.c.id == identifier
        content = connection.execute(sa.select(DATASETS.c.content).where(is_this)).scalar_one()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        schema = json.loads(header["__metadata__"]["schema"])
        columns = [{"name": name, "kind": "number"} for name in schema["feature_names"]]
        target_kind = "number" if schema["classes"] is None else "category"
        columns += [{"name": name, "kind": target_kind} for name in schema["target_names"]]
        connection.execute(DATASETS.update().where(is_this).values(columns=columns, n_bytes=len(content)))


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
    for identifier, columns in connection.execute(sa.select(DATASETS.c.id, DATASETS.c.columns)).all():
        counted = DATASETS.update().where(DATASETS.c.id == identifier)
        connection.execute(counted.values(n_features=sum(column["kind"] == "number" for column in columns)))
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.alter_column("n_features", existing_type=sa.Integer(), server_default=None)
        batch_op.alter_column("content", existing_type=sa.LargeBinary(), nullable=False)
        batch_op.drop_index("ix_datasets_created_at")
        batch_op.create_unique_constraint("uq_datasets_sha256", ["sha256"])
        for column in ("name", "origin", "format", "columns", "statistics", "reading", "n_bytes", "deleted_at"):
            batch_op.drop_column(column)
