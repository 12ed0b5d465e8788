"""Create reviews

Revision ID: de085310cd1c
Revises:
Create Date: 2024-05-06 12:02:19.450782

"""

import sqlalchemy as sa
from alembic import op

revision = "de085310cd1c"
down_revision = None
branch_labels = ("reviews",)
depends_on = "e878a5e61c3c"


def upgrade() -> None:
    op.create_table(
        "review",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("product_id", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review")),
        sa.ForeignKeyConstraint(
            ["product_id"], ["product.id"], name=op.f("fk_review_product_id_product")
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_review_customer_id_customer")
        ),
        sa.CheckConstraint("rating BETWEEN 1 AND 5", name=op.f("ck_review_rating_range")),
    )
    op.create_index(op.f("ix_review_product_id"), "review", ["product_id"])


def downgrade() -> None:
    op.drop_table("review")
