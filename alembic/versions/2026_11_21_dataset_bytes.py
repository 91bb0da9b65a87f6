"""dataset bytes: an index for what all datasets take, and which take most

Revision: 0008
After: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_datasets_deleted_at_n_bytes_id", "datasets", ["deleted_at", "n_bytes", "id"])


def downgrade() -> None:
    op.drop_index("ix_datasets_deleted_at_n_bytes_id", table_name="datasets")
