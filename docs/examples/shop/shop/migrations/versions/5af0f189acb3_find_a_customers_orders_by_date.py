"""Find a customer's orders by date

Revision ID: 5af0f189acb3
Revises: b05808c0689a
Create Date: 2025-12-01 13:14:41.986350

"""

from alembic import op

revision = "5af0f189acb3"
down_revision = "b05808c0689a"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_order_customer_id_placed_at"), "order", ["customer_id", "placed_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_order_customer_id_placed_at"), table_name="order")
