"""Let reviews be hidden

Revision ID: b90f89d57361
Revises: a61af2e4d2c7
Create Date: 2025-08-25 10:44:12.738059

"""

import sqlalchemy as sa
from alembic import op

revision = "b90f89d57361"
down_revision = "a61af2e4d2c7"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "review", sa.Column("published", sa.Boolean(), server_default=sa.true(), nullable=False)
    )


def downgrade() -> None:
    op.drop_column("review", "published")
