"""Follow the status of orders

Revision ID: a215d93a7d5f
Revises: b37bb8a5ef7c
Create Date: 2024-08-12 10:21:50.663148

"""

import sqlalchemy as sa
from alembic import op

revision = "a215d93a7d5f"
down_revision = "b37bb8a5ef7c"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "order", sa.Column("status", sa.String(20), server_default="open", nullable=False)
    )


def downgrade() -> None:
    with op.batch_alter_table("order") as batch:
        batch.drop_column("status")
