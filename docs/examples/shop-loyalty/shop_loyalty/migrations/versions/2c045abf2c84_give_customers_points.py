"""Give customers points

Revision ID: 2c045abf2c84
Revises:
Create Date: 2025-05-19 15:08:27.391146

"""

import sqlalchemy as sa
from alembic import op

revision = "2c045abf2c84"
down_revision = None
branch_labels = ("loyalty",)
depends_on = "e878a5e61c3c"


def upgrade() -> None:
    op.add_column("customer", sa.Column("loyalty_points", sa.Integer(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("customer") as batch:
        batch.drop_column("loyalty_points")
