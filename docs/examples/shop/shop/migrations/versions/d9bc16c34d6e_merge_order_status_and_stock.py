"""Merge order status and stock

Revision ID: d9bc16c34d6e
Revises: a215d93a7d5f, 64512af883e7
Create Date: 2024-09-09 08:57:29.840021

"""

revision = "d9bc16c34d6e"
down_revision = ("a215d93a7d5f", "64512af883e7")
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
