"""Keep prices in cents

Revision ID: 920fa25eefff
Revises: d9bc16c34d6e
Create Date: 2025-03-10 14:33:06.512894

"""

import sqlalchemy as sa
from alembic import op

revision = "920fa25eefff"
down_revision = "d9bc16c34d6e"
branch_labels = None
depends_on = None
destructive = "prices are kept in cents"


def upgrade() -> None:
    op.add_column("product", sa.Column("price_cents", sa.Integer(), nullable=True))
    op.execute("UPDATE product SET price_cents = ROUND(price * 100)")
    with op.batch_alter_table("product") as batch:
        batch.drop_column("price")

    op.add_column("order_line", sa.Column("unit_price_cents", sa.Integer(), nullable=True))
    op.execute("UPDATE order_line SET unit_price_cents = ROUND(unit_price * 100)")
    with op.batch_alter_table("order_line") as batch:
        batch.alter_column("unit_price_cents", existing_type=sa.Integer(), nullable=False)
        batch.drop_column("unit_price")


def downgrade() -> None:
    op.add_column("order_line", sa.Column("unit_price", sa.Numeric(10, 2), nullable=True))
    op.execute("UPDATE order_line SET unit_price = unit_price_cents / 100.0")
    with op.batch_alter_table("order_line") as batch:
        batch.alter_column("unit_price", existing_type=sa.Numeric(10, 2), nullable=False)
        batch.drop_column("unit_price_cents")

    op.add_column("product", sa.Column("price", sa.Numeric(10, 2), nullable=True))
    op.execute("UPDATE product SET price = price_cents / 100.0")
    with op.batch_alter_table("product") as batch:
        batch.drop_column("price_cents")
