"""access: keys, owners of jobs, models, datasets and idempotency keys, the audit

Revision: 0005
After: 0004
"""

import sqlalchemy as sa

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.UniqueConstraint("sha256", name="uq_keys_sha256"),
    )
    op.create_table(
        "audit",
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key_id", sa.String(), nullable=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("objects", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    _own_datasets()
    with op.batch_alter_table("jobs", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.add_column(sa.Column("owner", sa.String(), nullable=False, server_default="local"))
        batch_op.create_index("ix_jobs_owner_sequence", ["owner", "sequence"])
        batch_op.create_index("ix_jobs_owner_status", ["owner", "status"])
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.add_column(sa.Column("owner", sa.String(), nullable=False, server_default="local"))
        batch_op.create_index("ix_models_owner", ["owner"])
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.add_column(sa.Column("owner", sa.String(), nullable=False, server_default="local"))
    _key_idempotency_by("owner", "key")


def _own_datasets() -> None:
    """Move what each owner has a right to say of a dataset out of it."""
    op.create_table(
        "holdings",
        sa.Column("dataset_id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_holdings_dataset_id"),
        sa.PrimaryKeyConstraint("dataset_id", "owner", name="pk_holdings"),
    )
    op.create_index("ix_holdings_created_at", "holdings", ["created_at"])
    op.create_index("ix_holdings_owner_created_at", "holdings", ["owner", "created_at"])
    op.execute(
        "INSERT INTO holdings (dataset_id, owner, name, created_at, deleted_at) "
        "SELECT id, 'local', name, created_at, deleted_at FROM datasets"
    )
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.drop_index("ix_datasets_created_at")
        batch_op.drop_column("created_at")
        batch_op.drop_column("name")


def _key_idempotency_by(*columns: str) -> None:
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.drop_constraint("pk_idempotency_keys", type_="primary")
        batch_op.create_primary_key("pk_idempotency_keys", list(columns))
        if "owner" in columns:
            batch_op.alter_column("owner", server_default=None)


def downgrade() -> None:
    """Go back to one owner; of what several have under the same name or hash, the first stays."""
    op.execute("DELETE FROM idempotency_keys WHERE owner <> 'local'")
    _key_idempotency_by("key")
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.drop_column("owner")
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.drop_index("ix_models_owner")
        batch_op.drop_column("owner")
    with op.batch_alter_table("jobs", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.drop_index("ix_jobs_owner_status")
        batch_op.drop_index("ix_jobs_owner_sequence")
        batch_op.drop_column("owner")
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("name", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("created_at", sa.DateTime(timezone=True), nullable=True))
    of_first = (
        "SELECT {} FROM holdings AS held WHERE held.dataset_id = datasets.id "
        "ORDER BY held.created_at, held.owner LIMIT 1"
    )
    for column in ("name", "created_at"):
        op.execute(f"UPDATE datasets SET {column} = ({of_first.format(column)})")
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.alter_column("created_at", existing_type=sa.DateTime(timezone=True), nullable=False)
        batch_op.create_index("ix_datasets_created_at", ["created_at"])
    op.drop_table("holdings")
    op.drop_table("audit")
    op.drop_table("keys")
