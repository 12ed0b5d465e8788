"""Remember the price at review

Revision ID: a61af2e4d2c7
Revises: de085310cd1c
Create Date: 2024-11-18 17:26:35.089341

"""

import sqlalchemy as sa
from alembic import op

revision = "a61af2e4d2c7"
down_revision = "de085310cd1c"
branch_labels = None
depends_on = "93e76cdc5f2d"


def upgrade() -> None:
    op.add_column("review", sa.Column("price_at_review", sa.Numeric(10, 2), nullable=True))
    op.execute(
        "UPDATE review SET price_at_review ="
        " (SELECT product.price FROM product WHERE product.id = review.product_id)"
    )


def downgrade() -> None:
    op.drop_column("review", "price_at_review")
