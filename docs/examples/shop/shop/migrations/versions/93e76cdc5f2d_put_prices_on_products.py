"""Put prices on products

Revision ID: 93e76cdc5f2d
Revises: e878a5e61c3c
Create Date: 2024-02-20 15:40:02.771930

"""

import sqlalchemy as sa
from alembic import op

revision = "93e76cdc5f2d"
down_revision = "e878a5e61c3c"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("product", sa.Column("price", sa.Numeric(10, 2), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("product") as batch:
        batch.drop_column("price")
