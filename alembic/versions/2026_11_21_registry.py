"""registry: aliases, what is told of a model, deleted models, the ranges that a version was trained on

Revision: 0006
After: 0005
"""

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "aliases",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["model", "version"], ["versions.model", "versions.version"], name="fk_aliases_model_version"
        ),
        sa.PrimaryKeyConstraint("model", "alias", name="pk_aliases"),
    )
    registry = op.create_table(
        "registry",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("n_changes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_registry"),
    )
    op.bulk_insert(registry, [{"id": 1, "n_changes": 0}])
    kind = sa.JSON(none_as_null=True)
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.add_column(sa.Column("last_number", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("description", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("user_metadata", kind, nullable=False, server_default="{}"))
    op.execute("UPDATE models SET last_number = latest_version")
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.alter_column("user_metadata", existing_type=kind, server_default=None)
    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("ranges", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_table("registry")
    op.drop_table("aliases")
    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.drop_column("ranges")
    op.execute("DELETE FROM models WHERE latest_version = 0")
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.drop_column("user_metadata")
        batch_op.drop_column("description")
        batch_op.drop_column("last_number")
