"""Count the stock

Revision ID: 64512af883e7
Revises: b37bb8a5ef7c
Create Date: 2024-08-26 16:48:13.205576

"""

import sqlalchemy as sa
from alembic import op

revision = "64512af883e7"
down_revision = "b37bb8a5ef7c"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "product", sa.Column("stock", sa.Integer(), server_default=sa.text("0"), nullable=False)
    )


def downgrade() -> None:
    with op.batch_alter_table("product") as batch:
        batch.drop_column("stock")
