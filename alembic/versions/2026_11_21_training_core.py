"""training core: a learning rate for each epoch, validation loss, scaling, environment, retries

Revision: 0002
After: 0001
"""

import io
from typing import Any

import numpy as np
import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROWS_AT_ONCE = 500

BLOCKS = sa.table(
    "history_blocks",
    sa.column("job_sequence", sa.Integer),
    sa.column("first_epoch", sa.Integer),
    sa.column("n_epochs", sa.Integer),
    sa.column("learning_rate", sa.Double),
    sa.column("learning_rates", sa.LargeBinary),
    sa.column("parameters", sa.LargeBinary),
)
JOBS = sa.table(
    "jobs",
    sa.column("sequence", sa.Integer),
    sa.column("id", sa.String),
    sa.column("progress", sa.Double),
    sa.column("result", sa.JSON(none_as_null=True)),
    sa.column("warnings", sa.JSON()),
    sa.column("diagnosis", sa.JSON(none_as_null=True)),
    sa.column("error", sa.JSON(none_as_null=True)),
)
VERSIONS = sa.table(
    "versions", sa.column("id", sa.Integer), sa.column("job_id", sa.String), sa.column("result", sa.JSON())
)


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("scaling", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("environment", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("retry_of", sa.String(), nullable=True))
    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("scaling", sa.JSON(none_as_null=True), nullable=True))
    complete_findings()
    complete_results()

    with op.batch_alter_table("history_blocks", schema=None) as batch_op:
        batch_op.add_column(sa.Column("validation_loss", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("learning_rates", sa.LargeBinary(), nullable=True))
    spread_learning_rates()
    with op.batch_alter_table("history_blocks", schema=None) as batch_op:
        batch_op.drop_column("learning_rate")
        batch_op.alter_column(
            "learning_rates", new_column_name="learning_rate", existing_type=sa.LargeBinary(), nullable=False
        )
        batch_op.alter_column("parameters", existing_type=sa.LargeBinary(), nullable=True)
        batch_op.alter_column("gradient", existing_type=sa.LargeBinary(), nullable=True)


def spread_learning_rates() -> None:
    """Repeat the one learning rate that a block had for each of its epochs."""
    connection = op.get_bind()
    key = sa.tuple_(BLOCKS.c.job_sequence, BLOCKS.c.first_epoch)
    wanted = sa.select(BLOCKS.c.job_sequence, BLOCKS.c.first_epoch, BLOCKS.c.n_epochs, BLOCKS.c.learning_rate)
    this = (BLOCKS.c.job_sequence == sa.bindparam("sequence")) & (BLOCKS.c.first_epoch == sa.bindparam("first"))
    update = BLOCKS.update().where(this).values(learning_rates=sa.bindparam("rates"))
    last: tuple[int, int] = (-1, -1)
    while rows := connection.execute(wanted.where(key > last).order_by(*key).limit(ROWS_AT_ONCE)).all():
        rates = [
            {"sequence": row.job_sequence, "first": row.first_epoch, "rates": npy(row.n_epochs, row.learning_rate)}
            for row in rows
        ]
        connection.execute(update, rates)
        last = (rows[-1].job_sequence, rows[-1].first_epoch)


def npy(n_epochs: int, learning_rate: float) -> bytes:
    """Write one number many times, in NumPy's own format."""
    stream = io.BytesIO()
    np.save(stream, np.full(n_epochs, learning_rate), allow_pickle=False)
    return stream.getvalue()


def complete_findings() -> None:
    """Give warnings and diagnoses the fields that they have from now on."""
    connection = op.get_bind()
    told = sa.or_(sa.func.json_array_length(JOBS.c.warnings) > 0, JOBS.c.diagnosis.is_not(None))
    columns = (JOBS.c.sequence, JOBS.c.warnings, JOBS.c.diagnosis, JOBS.c.error)
    for row in connection.execute(sa.select(*columns).where(told)).all():
        empty = {"evidence": {}, "suggestion": {}, "epoch": None}
        diagnosis: dict[str, Any] | None = row.diagnosis
        if diagnosis is not None:
            diagnosis = {**empty, "detail": (row.error or {}).get("detail", ""), **diagnosis}
        warnings = [{**empty, **warning} for warning in row.warnings]
        these = JOBS.update().where(JOBS.c.sequence == row.sequence)
        connection.execute(these.values(warnings=warnings, diagnosis=diagnosis))


def complete_results() -> None:
    """Say in each result that it is of the last epoch, and that no optimum was looked for."""
    connection = op.get_bind()
    of_jobs = sa.select(JOBS.c.sequence, JOBS.c.progress, JOBS.c.result).where(JOBS.c.result.is_not(None))
    same_job = VERSIONS.outerjoin(JOBS, JOBS.c.id == VERSIONS.c.job_id)
    of_versions = sa.select(VERSIONS.c.id, JOBS.c.progress, VERSIONS.c.result).select_from(same_job)
    for key, found in ((JOBS.c.sequence, of_jobs), (VERSIONS.c.id, of_versions)):
        for number, progress, result in connection.execute(found).all():
            complete = {**result, "epoch": None if progress is None else int(progress), "optimum": None}
            connection.execute(key.table.update().where(key == number).values(result=complete))


def downgrade() -> None:
    op.execute(BLOCKS.delete().where(BLOCKS.c.parameters.is_(None)))  # there was no way to be without
    with op.batch_alter_table("history_blocks", schema=None) as batch_op:
        batch_op.alter_column(
            "learning_rate", new_column_name="learning_rates", existing_type=sa.LargeBinary(), nullable=True
        )
        batch_op.alter_column("parameters", existing_type=sa.LargeBinary(), nullable=False)
        batch_op.alter_column("gradient", existing_type=sa.LargeBinary(), nullable=False)
        batch_op.drop_column("validation_loss")
    with op.batch_alter_table("history_blocks", schema=None) as batch_op:
        batch_op.add_column(sa.Column("learning_rate", sa.Double(), server_default="0", nullable=False))
    join_learning_rates()
    with op.batch_alter_table("history_blocks", schema=None) as batch_op:
        batch_op.drop_column("learning_rates")
        batch_op.alter_column("learning_rate", existing_type=sa.Double(), server_default=None)
    # Altered in place: a table that is made anew would take the rows that point to it along.
    with op.batch_alter_table("versions", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("scaling")
    with op.batch_alter_table("jobs", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("retry_of")
        batch_op.drop_column("environment")
        batch_op.drop_column("scaling")


def join_learning_rates() -> None:
    """Keep of each block the learning rate of its first epoch."""
    connection = op.get_bind()
    columns = (BLOCKS.c.job_sequence, BLOCKS.c.first_epoch, BLOCKS.c.learning_rates)
    for row in connection.execute(sa.select(*columns)).all():
        this = (BLOCKS.c.job_sequence == row.job_sequence) & (BLOCKS.c.first_epoch == row.first_epoch)
        rate = float(np.load(io.BytesIO(row.learning_rates), allow_pickle=False)[0])
        connection.execute(BLOCKS.update().where(this).values(learning_rate=rate))
