"""robust jobs: pausing, priorities, checkpoints, idempotency keys, request ids

Revision: 0004
After: 0003
"""

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("job_sequence", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_sequence"], ["jobs.sequence"], name="fk_checkpoints_job_sequence", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_sequence", name="pk_checkpoints"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body_sha256", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("paused", sa.Boolean(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("request_id", sa.String(), nullable=True))
        batch_op.drop_index("ix_jobs_status_sequence")
        batch_op.create_index("ix_jobs_status_paused_priority_sequence", ["status", "paused", "priority", "sequence"])
        batch_op.create_index("ix_jobs_finished_at", ["finished_at"])


def downgrade() -> None:
    with op.batch_alter_table("jobs", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.drop_index("ix_jobs_finished_at")
        batch_op.drop_index("ix_jobs_status_paused_priority_sequence")
        batch_op.drop_column("request_id")
        batch_op.drop_column("priority")
        batch_op.drop_column("paused")
        batch_op.create_index("ix_jobs_status_sequence", ["status", "sequence"])
    op.drop_table("idempotency_keys")
    op.drop_table("checkpoints")
