"""Reward published reviews

Revision ID: eff330b94ad1
Revises: 2c045abf2c84
Create Date: 2025-09-22 11:37:04.604817

"""

import sqlalchemy as sa
from alembic import op

revision = "eff330b94ad1"
down_revision = "2c045abf2c84"
branch_labels = None
depends_on = "b90f89d57361"


def upgrade() -> None:
    op.create_table(
        "review_reward",
        sa.Column("review_id", sa.Integer(), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("review_id", name=op.f("pk_review_reward")),
        sa.ForeignKeyConstraint(
            ["review_id"], ["review.id"], name=op.f("fk_review_reward_review_id_review")
        ),
    )
    op.execute(
        "INSERT INTO review_reward (review_id, points) SELECT id, 10 FROM review WHERE published"
    )


def downgrade() -> None:
    op.drop_table("review_reward")
