"""changes: when each job came to its status, a return to the queue included

Revision: 0007
After: 0006
"""

import sqlalchemy as sa

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE jobs SET changed_at = COALESCE(finished_at, started_at, created_at)")
    op.create_index("ix_jobs_changed_at_sequence", "jobs", ["changed_at", "sequence"])


def downgrade() -> None:
    op.drop_index("ix_jobs_changed_at_sequence", table_name="jobs")
    with op.batch_alter_table("jobs", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.drop_column("changed_at")
